// Package messenger is the messenger without a face: contacts, conversations,
// timeline, pairing, outbox and inbox over any carrier and secure transport of a
// [parley.Registry]. Every face (command line, terminal, browser) uses [API],
// which this package implements in the process that owns the profile, and
// messenger/remote in any other.
package messenger

import (
	"context"
	"errors"
	"time"

	"parley"
)

// A State says how far a message has got. The order is the order of progress.
type State string

// States of a message. Those we receive are Received until they are shown.
const (
	Queued   State = "queued"    // on our disk, and will be tried until it is sent
	AtRelay  State = "relay"     // a relay has it on its disk
	AtDevice State = "device"    // the peer's device has it on its disk
	Read     State = "read"      // the peer has seen it
	Failed   State = "failed"    // it will not be sent; Error says why
	Canceled State = "cancelled" // by the user
	Received State = "received"  // theirs: it is on our disk
	Shown    State = "shown"     // theirs: a face has shown it
)

// A Message is one row of a timeline. Its JSON is part of the command line's contract.
type Message struct {
	ID        string    `json:"id"` // 32 hex digits: the message ID, the same on both sides
	Contact   string    `json:"contact"`
	From      string    `json:"from,omitempty"` // who wrote it, in a conversation of many: our name, else 8 digits of the ID
	Direction string    `json:"direction"`      // "in" or "out"
	Kind      string    `json:"kind"`           // "text"; "notice" is the messenger's own word, such as a changed key
	Text      string    `json:"text"`
	Sent      time.Time `json:"sent"`
	Received  time.Time `json:"received,omitzero"`
	State     State     `json:"state"`
	Error     string    `json:"error,omitempty"`
	Tries     int       `json:"tries,omitempty"`
	NextTry   time.Time `json:"next_try,omitzero"`
	Seq       int64     `json:"seq"` // position in the timeline; grows
}

// A Contact is a person we talk with.
type Contact struct {
	Name       string    `json:"contact"`
	State      string    `json:"state"` // "invited", "connecting", "connected"
	Verified   bool      `json:"verified"`
	KeyChanged bool      `json:"key_changed,omitempty"` // loud, until verified again
	Protocol   string    `json:"protocol"`              // "ratchet", "smp-bare", "string-phone", "nes", "one-time-pad"
	Mode       string    `json:"mode,omitempty"`        // of a conversation of many: "plain", "headed", "forward-secret"
	Account    string    `json:"account,omitempty"`     // ours in an older system, that reaches the contact
	User       string    `json:"user,omitempty"`        // the contact's name there
	Key        []string  `json:"key,omitempty"`         // fingerprints of the contact's keys there
	NewKey     []string  `json:"new_key,omitempty"`     // and of others that the directory offers now
	Presence   string    `json:"presence,omitempty"`    // "online", "away", "offline", "unknown"; empty: never told
	Seen       time.Time `json:"seen,omitzero"`         // when it told that
	Members    int       `json:"members,omitempty"`     // of a conversation of many, with us; else 0
	Pad        *Pad      `json:"pad,omitempty"`         // of a contact that is reached with one
	Promises   []string  `json:"promises"`              // what the line promises, in words
	Lacks      []string  `json:"lacks"`                 // and what it does not
	Relays     []string  `json:"relays"`                // where we send to them, without secrets
	Receipts   string    `json:"receipts"`              // what we tell them: "none", "delivered", "read"
	Queued     int       `json:"queued"`                // messages not yet at a relay
	Unread     int       `json:"unread"`
	Created    time.Time `json:"created"`
	LastSeen   time.Time `json:"last_message,omitzero"`
}

// InviteOptions say what kind of invitation to make. No relays: the profile's default.
type InviteOptions struct {
	Relays []string `json:"relays,omitempty"`
	As     string   `json:"as,omitempty"`   // our name for who accepts it; empty: the name they give
	Bare   bool     `json:"bare,omitempty"` // SMP's out-of-band message: EK's protection only
}

// An Invitation is one line of text for one person, and works once.
type Invitation struct {
	Text    string `json:"invitation"`
	Contact string `json:"contact"`
	Bare    bool   `json:"bare,omitempty"`
}

// AcceptOptions say how to take an invitation. No relays: the profile's default,
// else the invitation's own.
type AcceptOptions struct {
	Invitation string   `json:"invitation"`
	As         string   `json:"as,omitempty"`
	Relays     []string `json:"relays,omitempty"`
}

// ConversationOptions say how to make a conversation of many at a topic.
type ConversationOptions struct {
	Name string     `json:"name"` // ours for it
	STP  parley.STP `json:"stp"`
	Bare bool       `json:"bare,omitempty"` // the original system's format
	// Address is where all write and read. User and password may stand in it; they
	// are kept apart from it, in the profile alone.
	Address string `json:"address"`
	Setup   []byte `json:"setup"` // the transport's own: keys, mode, who is trusted
}

// A Person is somebody in a conversation of many, or at its door.
type Person struct {
	Contact string    `json:"contact"` // the conversation
	ID      string    `json:"id"`      // 32 hex digits
	Name    string    `json:"name,omitempty"`
	Key     string    `json:"public_key"`  // base64
	Words   []string  `json:"fingerprint"` // to compare
	Digits  string    `json:"digits"`
	State   string    `json:"state"`        // "self", "removed" (we), "member", "distrusted", "asks", "denied", "expelled"
	By      string    `json:"by,omitempty"` // who vouched for a member; empty: we did
	Since   time.Time `json:"since,omitzero"`
}

// A SafetyNumber is what two people compare to know that nobody sits between them.
type SafetyNumber struct {
	Contact  string   `json:"contact"`
	ID       string   `json:"id"` // stands for the number: what was compared is this one
	Words    []string `json:"words"`
	Digits   string   `json:"digits"`
	QR       string   `json:"qr"` // text for a QR code
	Verified bool     `json:"verified"`
}

// RelayStatus tells about one relay we receive from or send to.
type RelayStatus struct {
	Address   string    `json:"address"`
	Connected bool      `json:"connected"`
	Mailboxes int       `json:"mailboxes"`
	Error     string    `json:"error,omitempty"`
	Since     time.Time `json:"since,omitzero"`
}

// Status is the messenger at a glance.
type Status struct {
	Name     string        `json:"name"`
	Profile  string        `json:"profile"`
	Relays   []RelayStatus `json:"relays"`
	Contacts int           `json:"contacts"`
	Queued   int           `json:"queued"`
	Waiting  int           `json:"waiting"` // arrived, and cannot be opened yet
	Unread   int           `json:"unread"`
	Dropped  int           `json:"dropped"` // forged, malformed or repeated packets since start
}

// A Change is something that happened. One of the pointers is set.
type Change struct {
	Message *Message `json:"message,omitempty"`
	Contact *Contact `json:"contact,omitempty"`
}

// QueueEntry is one packet that waits to be sent.
type QueueEntry struct {
	Message string    `json:"id"`
	Contact string    `json:"contact"`
	Relay   string    `json:"relay"`
	State   string    `json:"state"` // "waiting for keys", "waiting for the pad", "waiting", "sending"
	Tries   int       `json:"tries"`
	NextTry time.Time `json:"next_try,omitzero"`
	Why     string    `json:"why,omitempty"`
}

// API is everything a face can ask of a messenger. All texts that come from
// others are as they came: faces strip terminal escapes. IDs may be given as any
// unique prefix of at least 4 digits. It is safe for concurrent use.
type API interface {
	Invite(ctx context.Context, o InviteOptions) (Invitation, error)
	Accept(ctx context.Context, o AcceptOptions) (Contact, error)
	// AddConversation makes a conversation of many, which is a contact from then on.
	AddConversation(ctx context.Context, o ConversationOptions) (Contact, error)

	// AddAccount makes an account of ours in an older system; Register makes it known
	// to its directory, where contact is an e-mail address or the like.
	AddAccount(ctx context.Context, o AccountOptions) (Account, error)
	Accounts(ctx context.Context) ([]Account, error)
	Register(ctx context.Context, kind, name, contact string) (Account, error)
	// RotateAccount gives the account new keys, which setup has.
	RotateAccount(ctx context.Context, kind, name string, setup []byte) (Account, error)
	RemoveAccount(ctx context.Context, kind, name string) error
	// SetPresence lets the account's contacts know when we are here, or not.
	SetPresence(ctx context.Context, kind, name string, on bool) (Account, error)
	// AddPeer makes a contact of somebody who uses an older system.
	AddPeer(ctx context.Context, o PeerOptions) (Contact, error)
	// AddPad makes a contact of the person at the other end of a one-time pad.
	AddPad(ctx context.Context, o PadOptions) (Contact, error)
	// GrantPad gives a contact some of the pad, in bytes, that is ours to send with.
	GrantPad(ctx context.Context, name string, size int64) error

	// SetCircle gives several contacts one name to send to; without members the name
	// is forgotten. To whom a message goes is decided when it is sent.
	SetCircle(ctx context.Context, name string, members []string) (Circle, error)
	Circles(ctx context.Context) ([]Circle, error)
	// SendAll sends one message to each member of a circle, or to none.
	SendAll(ctx context.Context, circle, text string) ([]Message, error)

	Contacts(ctx context.Context) ([]Contact, error)
	Contact(ctx context.Context, name string) (Contact, error)
	Rename(ctx context.Context, name, to string) error
	SetReceipts(ctx context.Context, name, level string) error
	// Remove deletes a contact, its timeline and its mailboxes at the relays.
	Remove(ctx context.Context, name string) error
	SafetyNumber(ctx context.Context, name string) (SafetyNumber, error)
	// SetVerified notes that a number was compared and is the same, or that it is not.
	// The number must be the present one still, else the error is [ErrCompareAgain].
	SetVerified(ctx context.Context, n SafetyNumber, verified bool) error

	// People lists ourselves, the members of a conversation of many, and those who
	// ask to be let in. Elsewhere a person is given by our name, the beginning of the
	// ID, the fingerprint or the public key.
	People(ctx context.Context, name string) ([]Person, error)
	// Admit lets somebody in who asks, or trusts a public key.
	Admit(ctx context.Context, name, person string) (Person, error)
	// Expel removes a member, or turns away somebody who asks.
	Expel(ctx context.Context, name, person string) (Person, error)
	// NamePerson gives a person a name of ours; "" takes it away.
	NamePerson(ctx context.Context, name, person, as string) (Person, error)

	// Send commits the message to disk and returns; Wait tells how it goes.
	Send(ctx context.Context, contact, text string) (Message, error)
	// Wait returns when the message has got to the state or beyond, or has failed.
	Wait(ctx context.Context, id string, until State) (Message, error)
	Message(ctx context.Context, id string) (Message, error)
	// Listen calls show with each message from others that no face has shown yet,
	// oldest first, then with those that come, until ctx ends or show fails. A
	// message counts as shown when show has returned nil.
	Listen(ctx context.Context, contact string, show func(Message) error) error
	// Watch calls changed with everything that happens from now on.
	Watch(ctx context.Context, changed func(Change) error) error
	// History returns the last limit messages, oldest first (0: all).
	History(ctx context.Context, contact string, limit int) ([]Message, error)
	Resend(ctx context.Context, id string) (Message, error)
	Cancel(ctx context.Context, id string) (Message, error)
	Queue(ctx context.Context) ([]QueueEntry, error)
	Status(ctx context.Context) (Status, error)
	Close() error
}

// Errors that faces tell apart. All are wrapped with what to do about them.
var (
	ErrNoContact  = errors.New("no such contact")
	ErrNoMessage  = errors.New("no such message")
	ErrTaken      = errors.New("that name is taken")
	ErrInvitation = errors.New("not a usable invitation")
	ErrNoRelay    = errors.New("no relay to receive at")
	ErrState      = errors.New("not possible in this state")
	// ErrCompareAgain means that what was compared is not the present number.
	ErrCompareAgain = errors.New("the number has changed since it was shown: compare again")
	// ErrMissed is what a carrier's trouble with a mailbox wraps when packets that
	// were sent while nobody received may be gone.
	ErrMissed  = errors.New("what was sent while this device was away may be missing")
	ErrTooLong = errors.New("the message is too long")
)

// MaxText is the largest text message, in bytes.
const MaxText = 256 << 10
