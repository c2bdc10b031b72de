package otp

import (
	"context"
	"crypto/sha256"
	"errors"

	"parley"
)

// KindPad is the kind of key under which a [parley.Keyring] gives a [Pad].
const KindPad parley.KeyKind = "pad"

// A Version is the format of a pad's packets. A pad has one, for ever.
type Version uint8

const (
	V1 Version = 1 // One Time Chat's
	V2 Version = 2 // ours
)

// A Pad is one end of a pad that somebody keeps: files here, or a device. It packages
// and unpackages; r, s, keys and unused bytes never come out of it. (A client that sees
// a packet and its text can work out the bytes between them: those are spent, and open
// nothing else.)
//
// Errors wrap one of the contract's: [parley.ErrForged], [parley.ErrMalformed],
// [parley.ErrSeen] for a packet that was taken before, [parley.ErrRefused] when it cannot
// ever be, such as [ErrDepleted], [parley.ErrNoKey] when there is no pad with that peer,
// [parley.ErrDenied] when a person said no, or not yet, [parley.ErrOffline] when the
// device cannot be reached. A failure uses no pad.
type Pad interface {
	// Package seals a message. It returns the same bytes for the same id until Done, also
	// after a crash, and another id uses new pad. The same id with another message is
	// [parley.ErrRefused].
	Package(ctx context.Context, id [16]byte, peer parley.Name, msg []byte) (packet []byte, err error)
	// Unpackage opens a packet of the peer's. It returns the same answer for the same packet
	// until Done; after that the packet is [parley.ErrSeen].
	Unpackage(ctx context.Context, peer parley.Name, packet []byte) (*Opened, error)
	// Done says that a packet, which either of the two has made or opened, is safe with
	// the caller: its pad is burned. It may be repeated, and of an unknown packet it does
	// nothing.
	Done(ctx context.Context, peer parley.Name, packet [32]byte) error
	// Status tells how much is left.
	Status(ctx context.Context, peer parley.Name) (Status, error)
}

// Digest is how a packet is named to [Pad.Done].
func Digest(packet []byte) [32]byte { return sha256.Sum256(packet) }

// Opened is what a genuine packet says.
type Opened struct {
	Message []byte // nil: there is nothing to show (a grant)
	Offset  int64  // where its pad begins; no other packet of this peer has it
	Seq     uint64 // version 2: the how many-th of the peer's it is; else 0
	// Skipped: pad before this one was used for messages that have not come (so far).
	// Missing says how many, in version 2.
	Skipped bool
	Missing uint64
	// RolledBack: the peer has forgotten what it had seen before (version 2): it was put
	// back from a copy, and may use pad again that it has used.
	RolledBack bool
}

// Status is a pad at a glance. Sizes are in bytes.
type Status struct {
	Version Version
	Self    parley.Name
	Peer    parley.Name
	ID      [8]byte  // version 2
	Mailbox [16]byte // version 2: see [PadHeader]
	Lane    int      // version 2: ours
	Size    int64
	Left    int64 // that we can still send with
	Theirs  int64 // that the peer can, as far as we know
	Largest int64 // the longest message that still fits
	// Unconditional: the pad comes from a physical source that somebody has assessed. A
	// pad of a computer's generator is as secret as that generator is good.
	Unconditional bool
	Source        string // where the pad came from, for people
	// Held says why nothing is sent with it, or is "".
	Held string
}

var (
	// ErrDepleted means that what is left of a pad is too little for the message.
	ErrDepleted = errors.New("the pad is depleted")
	// ErrUnanswered means that a person was asked and has not answered in time. It comes
	// with [parley.ErrDenied]; another try asks again.
	ErrUnanswered = errors.New("nobody has answered in time")
	// ErrHeld means that a pad is not used for sending because it may be an old copy.
	ErrHeld = errors.New("the pad may be an old copy")
)
