package padstore

import (
	"parley"
	"parley/secure/otp"
)

// Options say how a pad is opened.
type Options struct {
	// Marks is the folder of the high-water marks, which must not be the pad's: "" is
	// $XDG_STATE_HOME/parley/marks or ~/.local/state/parley/marks.
	Marks string
	// Salt, for tests: a pad of version 1 that was never used counts as a new one unless an
	// equal one was used with the same salt, even if these marks know an equal pad.
	Salt []byte
	// Event is told about what is suspicious. It may be nil, and must not block.
	Event func(Event)
	// View is for those who only look: what can only be read is opened all the same, and then
	// everything that would change it is [parley.ErrRefused].
	View bool
	// NoSync leaves out every fsync, to measure what they cost.
	NoSync bool

	disk  disk  // for tests
	slack int64 // for tests
}

// An Event is something that a pad's owner should know of.
type Event struct {
	Kind string
	Peer parley.Name
	Text string // for people; nothing secret
}

// Kinds of an [Event].
const (
	Forged    = "forged"    // a packet with a bad tag
	Malformed = "malformed" // what no packet of this pad looks like, or a grant that cannot be
	Reuse     = "reuse"     // a packet whose pad was used for another one before
	Skip      = "skip"      // version 1: pad before this message was used for others that have not come
	Gap       = "gap"       // version 2: so many messages before this one have not come
	Rollback  = "rollback"  // our pad, or the peer's, was put back from an old copy
	Hole      = "hole"      // pad that reads as zeros: damaged, or burned by something else
	Recovered = "recovered" // what a crash left was mended
	Foreign   = "foreign"   // another program has used the pad
	Damaged   = "damaged"   // a pad that cannot be opened
	Replaced  = "replaced"  // another pad stands where one of the same names was
)

// Kinds of a [Range]: whose it is now, and what has become of it.
const (
	OursUsed      = "ours used" // sent, and kept until Done
	OursBurned    = "ours burned"
	OursLeft      = "ours left"
	OursGranted   = "ours granted" // left, and granted by the peer
	TheirsUsed    = "theirs used"  // received, and kept until Done
	TheirsBurned  = "theirs burned"
	TheirsLeft    = "theirs left"
	TheirsGranted = "theirs granted" // left, and granted by us
	TheirsMissing = "theirs missing" // the peer went past it, but no message came
	Unused        = "unused"         // version 1: the last byte of each half
	Unsplit       = "unsplit"        // a whole pad
)

// A Range is the positions from Start to before End.
type Range struct {
	Start int64  `json:"start"`
	End   int64  `json:"end"`
	Kind  string `json:"kind"`
}

// A Layout is a picture of a pad.
type Layout struct {
	Size        int64   `json:"size"`
	Split       int64   `json:"split"`
	Ranges      []Range `json:"ranges"`  // in order, from 0 to Size
	Pending     int     `json:"pending"` // packets that wait for Done
	Sent        uint64  `json:"sent"`
	Received    uint64  `json:"received"`
	MissingSeqs uint64  `json:"missing"` // version 2: messages of the peer's that have not come
}

// MaxMessage is the longest message, in bytes, of both versions.
const MaxMessage = otp.MaxBody
