// Package nes is the engine below the command nes: settings, key files, one state
// file, and the sending and listening of NES messages (seeds/nes-messenger.txt) over
// an MQTT broker. docs/nes.md tells what it promises:
//
// What is sent is in the outbox on disk before it is published, and leaves it when
// the broker has it. What comes is acknowledged after it was taken into the state;
// it leaves that after it was shown. Keys are pinned at first use, and a change stops
// everything with that person until somebody decides.
package nes
