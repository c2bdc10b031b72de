package messenger

import (
	"log/slog"
	"time"

	"parley"
	"parley/messenger/profile"
)

// Options say what a messenger is made of. Profile and Registry are needed.
type Options struct {
	Profile  *profile.Profile
	Registry *parley.Registry
	STP      parley.STP // of new lines; zero: the ratchet

	// Number returns what two people compare to know that nobody sits between
	// them, or nil if the line has no such thing (yet). Words puts it into forms
	// for people; it fills Words, Digits and QR.
	Number func(c *parley.Conversation) []byte
	Words  func(number []byte) SafetyNumber
	// Groups knows the transports with many members; nil: there are none.
	Groups Groups
	// Pads knows where one-time pads are kept; nil: there are none.
	Pads Pads
	// Systems knows the older systems in which one can have an account, by kind.
	Systems map[string]System
	// Mailboxes knows the forms of a carrier's addresses, by scheme. Without an
	// entry, addresses travel as they are and bare invitations are refused.
	Mailboxes map[string]Mailboxes

	// Events, if set, is called once with two functions to be told by: of relays
	// that are or are not connected, and of trouble with a mailbox of ours.
	Events func(relay func(at parley.Address, connected bool, err error), mailbox func(at parley.Endpoint, err error))

	MaxTries int           // fail a message after so many negative answers; 0: never
	Drain    time.Duration // how long Close lets packets on their way finish; 0: one second
	OnClose  func() error  // called when Close has ended everything; may be nil
	Log      *slog.Logger  // gets no texts, keys or mailbox addresses; nil: none
	Now      func() time.Time
	Jitter   func() float64 // from 0 up to 1

	fault func(step string) error // tests: a crash at this step
}

// Mailboxes are the forms in which a carrier's addresses travel.
type Mailboxes interface {
	// Compact returns a short binary form of a mailbox's address, Expand the
	// address again.
	Compact(mailbox parley.Address) ([]byte, error)
	Expand(b []byte) (parley.Address, error)
	// Relay returns the address of the mailbox's relay, with no secret in it.
	Relay(mailbox parley.Address) (parley.Address, error)
	// Line returns the original system's own invitation, and ParseLine reads it.
	// Both fail with [ErrInvitation] in a carrier that has none.
	Line(mailbox parley.Address) (string, error)
	ParseLine(line string) (parley.Address, error)
	// Bare turns a relay's address into one whose mailboxes speak the original
	// format only.
	Bare(relay parley.Address) (parley.Address, error)
}
