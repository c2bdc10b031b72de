package messenger

import (
	"context"
	"time"

	"parley"
)

// A System is an older system that people already use, in which one mailbox, named
// after its owner, takes the packets of everybody, and keys are looked up under
// names: NES, and others of that kind. The messenger keeps an account's state and
// decides when; the System knows forms, keys and the directory. What it remembers is
// in the account's state, which commits together with what was done because of it.
type System interface {
	// STP is what the lines of such accounts speak, Scheme the scheme of the
	// addresses of their mailboxes.
	STP() parley.STP
	// SetUp puts into an empty state what a new account needs: keys, the directory.
	SetUp(state parley.Bucket, self string, setup []byte) error
	// Mailbox returns where a user receives, at the server that the account uses.
	// The error says what is wrong with the name.
	Mailbox(server parley.Address, user string) (parley.Address, error)
	// Keyring returns the account's keys and those that are pinned for its peers.
	Keyring(state parley.Bucket) parley.Keyring
	// MaxText is the longest text in bytes that always fits a packet.
	MaxText() int

	// Describe tells about the account itself.
	Describe(state parley.Bucket) SystemAccount
	// Question returns what Lookup needs to know, and whether there is anybody to
	// ask about that user at all.
	Question(state parley.Bucket, user string) (question []byte, ask bool)
	// Lookup asks the directory. It runs outside of any commit. [ErrNoUser] says that
	// the directory knows no such user, [parley.ErrOffline] that it cannot be reached.
	Lookup(ctx context.Context, question []byte, user string) (answer []byte, err error)
	// Learn takes an answer in, and pins keys that are the first for that user.
	Learn(state parley.Bucket, user string, answer []byte) (News, error)
	// Pin pins keys that the user got by another way: nobody is asked about them.
	Pin(state parley.Bucket, user string, keys []byte) error
	// Accept puts the keys that were offered last in the place of the pinned ones, which
	// stay good for packets that came before; Refuse keeps the pinned ones, and takes
	// that offer for nothing from then on.
	Accept(state parley.Bucket, user string, now time.Time) error
	Refuse(state parley.Bucket, user string) error
	// Rings returns the keys that a packet of a user may be opened with that came at
	// some time: the pinned ones, the offered ones, and former ones that were pinned
	// then.
	Rings(state parley.Bucket, user string, came time.Time) []Ring
	// Forget forgets a user's keys.
	Forget(state parley.Bucket, user string)
	// Keys tells what is pinned and offered for a user.
	Keys(state parley.Bucket, user string) PeerKeys
	// Register makes the account known to its directory. It runs outside of any
	// commit; its result is given to Registered.
	Register(ctx context.Context, question []byte, contact string) (answer []byte, err error)
	// Registering notes before that it is asked for, or (false) that it was refused.
	Registering(state parley.Bucket, asked bool)
	Registered(state parley.Bucket, answer []byte) error
	// NextKeys keeps new keys of ours beside those in use, unless others are there
	// already. Rotate has the directory take them, outside of any commit, and Rotated
	// puts them in use; answer is nil where no directory was asked.
	// Between NextKeys and Rotated nothing is sealed: it is not known which keys others
	// hold to be ours.
	NextKeys(state parley.Bucket, setup []byte) error
	// Unchanged takes the next keys back, since the directory is known not to have them;
	// what was sealed to them, against all odds, must still open.
	Unchanged(state parley.Bucket)
	// Errors of Rotate are [ErrNotTaken] when the directory is known to have the old
	// keys, and [ErrNotAsked] when it was not given the new ones by this call.
	Rotate(ctx context.Context, question []byte) (answer []byte, err error)
	Rotated(state parley.Bucket, answer []byte) error
}

// SystemAccount is what a system tells of an account.
type SystemAccount struct {
	Directory   string // where keys are looked up; "" if nowhere
	Fingerprint []string
	PublicKeys  []string // to hand over where there is no directory
	Registered  bool     // the directory has taken our keys once
	Asked       bool     // it was asked to, and perhaps it has
	Rotating    bool     // new keys are on their way to the directory
}

// A Ring is one pair of keys of a user.
type Ring struct {
	Keys    parley.Keyring
	Trusted bool // pinned, or former
	Former  bool
}

// News is what an answer of a directory has changed.
type News struct {
	First   bool // the first keys of that user, which are pinned now
	Changed bool // other keys than the pinned ones: they are offered, and nothing more
	Again   bool // they were offered before
	Refused bool // they were refused before
	// Skipped: there were others in between, which nobody can get any more.
	Skipped bool
	// Withdrawn: other keys were offered, and now the pinned ones are again.
	Withdrawn bool
	Vouched   bool // the old key has signed the new ones
	Note      string
}

// PeerKeys is what is known of a user's keys.
type PeerKeys struct {
	Pinned, Offered []string // fingerprints with what they are for, for people; nil: none
	Number          []byte   // what both sides compare under the pinned keys; nil: none
	OfferedNumber   []byte   // and under the offered ones
	Vouched         bool
}

// An Account is ours at a [System].
type Account struct {
	Kind        string   `json:"kind"` // "nes"
	Name        string   `json:"account"`
	Server      string   `json:"server"`
	Directory   string   `json:"directory,omitempty"`
	Registered  bool     `json:"registered"`
	Rotating    bool     `json:"rotating,omitempty"` // new keys are on their way to the directory
	State       string   `json:"state"`              // "connecting" until its mailbox is made, "connected"
	Fingerprint []string `json:"fingerprint"`
	PublicKeys  []string `json:"public_keys,omitempty"`
	Presence    bool     `json:"presence"` // contacts are told when we are here
	Contacts    int      `json:"contacts"`
	Waiting     int      `json:"waiting"`       // packets of users whose keys are not known yet
	Why         string   `json:"why,omitempty"` // trouble with its mailbox
}

// AccountOptions say how to make an account.
type AccountOptions struct {
	Kind   string `json:"kind"`
	Name   string `json:"account"` // who we are there
	Server string `json:"server"`  // mqtt://[USER:PASSWORD@]HOST:PORT
	Setup  []byte `json:"setup"`   // the system's own
}

// PeerOptions say how to add somebody who uses an older system.
type PeerOptions struct {
	Account string `json:"account,omitempty"` // ours; empty: the only one of that kind
	Kind    string `json:"kind"`
	User    string `json:"user"`
	As      string `json:"as,omitempty"` // our name for them; empty: the user's
	Keys    []byte `json:"keys,omitempty"`
}
