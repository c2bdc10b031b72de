// Package nes is the message format of the NES messenger (seeds/nes-messenger.txt,
// "Encryption and sending" to "Message format"), STP 66: what a sender writes is
// signed with RSA-PSS, encrypted with AES-256-CBC under a key of its own, and that
// key with the recipient's RSA key. Users of the original client, v0.2.0, read what
// [Seal] writes and the other way round; docs/nes-format.md has the bytes.
//
// A packet is read in three steps, so that nobody gets hold of anything that is not
// verified: [Decrypt], then [Sealed.Claimed] to look up whose key to ask for, then
// [Sealed.Open]. What the original leaves out is here or is the caller's: who a
// message is for is checked here; that it does not come twice is [Guard]'s part, or
// that of a database with [Message.ID]; whether its time is odd, the caller's.
//
// [Transport] is the same as a plug-in. The package is pure: keys, time and storage
// are its caller's.
//
// The format has no forward secrecy: who gets a message key opens every message
// ever sealed to it.
package nes
