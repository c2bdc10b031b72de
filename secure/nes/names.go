package nes

import (
	"errors"
	"fmt"

	"parley"
)

// Bounds, in bytes.
const (
	MinName = 3
	MaxName = 32
	// MaxText is the longest text. The original has no bound.
	MaxText = 256 << 10
	// MaxPresence is the longest body of a presence.
	MaxPresence = 4 << 10
	// maxPlain is the longest plaintext: JSON needs up to 6 bytes for one of the text.
	maxPlain = 6*MaxText + (MaxPresence+2)/3*4 + 1<<10
	// maxKey is the length of what the longest RSA key makes.
	maxKey = 2 << 10
	// MaxEnvelope is the longest envelope that is written or looked at: about 2 MiB.
	MaxEnvelope = (maxPlain+blockSize+2)/3*4 + 2*((maxKey+2)/3*4) + 1<<10
)

// Kinds of a user's two keys in a [parley.Keyring]. Private returns a [crypto.Decrypter]
// or [Decrypters] for the first and a [crypto.Signer] for the second, Public an
// [*rsa.PublicKey] for both.
const (
	KindMessage parley.KeyKind = "rsa-message" // what is sealed to a user
	KindSign    parley.KeyKind = "rsa-sign"    // what a user signs with
)

var (
	// ErrName means that a text is no user's name.
	ErrName = errors.New("a user name has 3 to 32 of a-z, 0-9, _ and -")
	// ErrNotForUs means that a message is genuine and names another recipient: its
	// recipient, or somebody who got hold of its plaintext, passed it on to us.
	ErrNotForUs = fmt.Errorf("the message is for somebody else: %w", parley.ErrForged)
	// ErrDamaged means that what a Bucket remembers is not what this package wrote.
	ErrDamaged = errors.New("what is remembered of the conversation is damaged")

	// errForged is the one answer to everything that fails once the private key was
	// used: the same whatever it was, so that nobody learns from it.
	errForged = fmt.Errorf("nes: %w", parley.ErrForged)
)

// CheckName accepts 3 to 32 of a-z, 0-9, _ and -: nothing that has a meaning in a
// URL, a topic or on a terminal. The error is [ErrName].
func CheckName(name string) error {
	if len(name) < MinName || len(name) > MaxName {
		return ErrName
	}
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '_', c == '-':
		default:
			return ErrName
		}
	}
	return nil
}

// Topic is the MQTT topic at which a user receives. The name must pass [CheckName].
func Topic(user string) string { return "nes/" + user + "/message" }

func malformed(format string, a ...any) error {
	return fmt.Errorf("nes: %w: %s", parley.ErrMalformed, fmt.Sprintf(format, a...))
}

func refused(format string, a ...any) error {
	return fmt.Errorf("nes: %w: %s", parley.ErrRefused, fmt.Sprintf(format, a...))
}
