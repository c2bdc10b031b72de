// Package otp is the one-time pad: messages that stay secret whatever anybody can
// ever compute, sealed with random bytes that two people share and that are used once.
//
// There are two formats, and a pad belongs to one of them for ever:
//
//   - Version 1 is One Time Chat's (seeds/one-time-chat §5), byte for byte: secrecy is
//     unconditional, integrity rests on HMAC-SHA256, lengths show.
//   - Version 2 is ours: a fresh Poly1305 key from the pad for every message makes
//     integrity unconditional too, only length buckets show, every message says how
//     many came before it and how much of the other side's pad its sender has seen.
//
// This file's functions only turn bytes into bytes: which bytes of a pad were used is
// the business of whoever keeps the pad, and of nobody twice. Package padstore keeps
// pads on disk; a [Pad] is one that somebody keeps, here or on another machine.
package otp
