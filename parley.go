// Package parley is the contract of the suite: the words every other package
// shares, and the few interfaces a plug-in implements. It holds no code that
// does anything. Read this file, then builtin/builtin.go, and you know the
// whole system.
//
// A message goes down a stack of four layers and up again at the other end:
//
//	content    what the user means    text, receipt, file, edit …  (PhoneX: AMP)
//	secure     who may read it        S/MIME … Double Ratchet      (PhoneX: STP)
//	envelope   which of those it is   MessageProtocolEnvelope; splits and joins
//	carrier    how it gets there      SMP queue, MQTT topic, HTTP relay …
package parley

import (
	"context"
	"crypto"
	"errors"
	"iter"
	"time"
)

type (
	// A Name says who: what a person or a device is known by.
	Name string
	// An Address says where: a URL whose scheme names the carrier. It is safe
	// to hand out; what only its owner may know is in an [Endpoint].
	Address string
	// A KeyKind says which of a person's keys: "rsa-sign", "ed25519", "pad".
	KeyKind string
	// STP numbers a secure transport protocol, AMP an application message
	// protocol. Assigned numbers are in numbers.go.
	STP struct{ Type, Version uint16 }
	AMP struct{ Type, Version uint16 }
)

// A Message is what a secure transport carries for a content type.
type Message struct {
	ID    [16]byte // made when the user presses Enter; the same in every resend, path and device
	Group []byte   // authenticated; empty in a conversation of two
	AMP   AMP
	Seq   uint32 // 0 if the sender does not count
	Sent  time.Time
	From  Name // after Open: proven, never merely claimed
	To    []Name
	Body  []byte
	Once  []byte // after Open: the nonce, counter or pad index that may never come twice
}

// Reach says how far a packet is known to have got.
type Reach uint8

const (
	AtRelay  Reach = iota + 1 // the far server has it, durably
	AtDevice                  // the far device has it (SIP's 200)
)

// An Endpoint is one end of a path through a carrier. The messenger keeps it;
// only its carrier reads Secret and Mark.
type Endpoint struct {
	Address Address
	Secret  []byte // keys and IDs that are ours alone
	Mark    []byte // how far we have received
	Max     int    // largest packet in bytes; envelope splits what is longer
}

// A Delivery is one packet that arrived. Mark and Bind are stored in the same
// transaction as the packet, so that none is ever ahead of the others. From is
// the carrier's word for who sent it, if it has one: a hint, never a proof.
type Delivery struct {
	Packet []byte
	Mark   []byte
	Bind   []byte // what Secure needs to close the mailbox to all but this sender
	From   Name
}

// A Carrier moves packets it cannot read.
type Carrier interface {
	// Claim makes a mailbox for us to receive from: at a server, or at a full
	// address such as an MQTT topic.
	Claim(ctx context.Context, at Address) (Endpoint, error)
	// Join makes the sending end of the mailbox somebody gave us.
	Join(ctx context.Context, mailbox Address) (Endpoint, error)
	// Send returns once the far server has the packet. It may be repeated.
	// [ErrOffline] counts as no try; [ErrDenied] (not secured yet, or gone) and
	// [ErrFull] are worth another try later; [ErrRefused] is not.
	Send(ctx context.Context, to Endpoint, packet []byte) (Reach, error)
	// Receive calls keep with the index of the mailbox for each packet until
	// ctx is done. It acknowledges a packet only after keep has returned nil.
	Receive(ctx context.Context, at []Endpoint, keep func(i int, d Delivery) error) error
}

// A Binder is a Carrier whose mailboxes can be closed to all but one sender, as
// both generations of SMP do.
type Binder interface {
	Carrier
	// Confirm sends the first packet, which may carry the key that closes it.
	Confirm(ctx context.Context, to Endpoint, packet []byte) error
	// Secure closes the mailbox. It may be repeated.
	Secure(ctx context.Context, at Endpoint, bind []byte) error
}

// A SecureTransport turns messages into packets only the right people can open.
// It has no memory: what must last is in c.State, which commits together with
// the packet or not at all. That is what keeps a ratchet from falling behind.
// (A pad is the one exception: its device remembers; see secure/otp.)
type SecureTransport interface {
	// Guarantees reports what the protocol promises, for policy and for people.
	Guarantees() Guarantee
	// Seal makes the packet that carries m. Nothing is sent until State commits.
	Seal(ctx context.Context, c *Conversation, m *Message) (packet []byte, err error)
	// Open returns a message only when everything about it has been verified,
	// and nil, nil for a genuine packet with nothing to show (a rotation, a
	// grant); then State commits. What a failing Open wrote is thrown away.
	// [ErrForged], [ErrMalformed], [ErrSeen] and [ErrLate] drop the packet, the
	// last one not without telling; [ErrNoKey],
	// [ErrUntrusted] and [ErrDenied] keep it, within bounds, for later.
	// A packet that asks or answers to be let in is an [*Introduction].
	Open(ctx context.Context, c *Conversation, packet []byte) (*Message, error)
}

// An Introducer is a SecureTransport that strangers can ask to join: a ratchet
// from an invitation, a String phone topic from an intro.
type Introducer interface {
	SecureTransport
	Introduce(ctx context.Context, c *Conversation) (packet []byte, err error)
	// Admit answers a Request or an Offer. Only a user's decision calls it.
	Admit(ctx context.Context, c *Conversation, in *Introduction) (packet []byte, err error)
	// Accept takes an Answer in.
	Accept(ctx context.Context, c *Conversation, in *Introduction) error
}

// A Sorter names the sender that a packet claims, where one mailbox serves many
// conversations (NES, S/MIME, key slots). Open then proves it.
type Sorter interface {
	Claimed(ctx context.Context, k Keyring, packet []byte) (Name, error)
}

// A Grouper is a SecureTransport that keeps its members itself; it posts what a
// change needs.
type Grouper interface {
	Members(c *Conversation) []Name
	Change(ctx context.Context, c *Conversation, add, remove []Name) error
}

// A Conversation is all a secure transport may know while it works on one line.
type Conversation struct {
	STP   STP // the number in use; the packet never chooses it
	Self  Name
	Peers []Name
	Keys  Keyring
	State Bucket // this protocol's memory of this line
	Now   time.Time
	Bare  bool                // speak the original system's format, without our headers
	Post  func(packet []byte) // goes out if and only if State commits
	After func(do func())     // runs once State has committed; nil: nobody does
	Tell  func(text string)   // a word for the user, if and only if State commits; nil: nobody reads
}

// A Keyring does private-key work and vouches for public keys. It never goes to
// the network: a key that is not there yet is [ErrNoKey].
type Keyring interface {
	// Private returns our key of that kind for talking to peer. The value does
	// the kind's work (crypto.Signer, crypto.Decrypter, ecdh.KeyExchanger,
	// otp.Pad) and may be an agent, a smart card or a pad device.
	Private(ctx context.Context, kind KeyKind, peer Name) (crypto.PrivateKey, error)
	// Public returns a key the user trusts to be peer's, or [ErrUntrusted].
	Public(ctx context.Context, kind KeyKind, peer Name) (crypto.PublicKey, error)
}

// A Bucket is a transaction's view of what a line remembers: an ordered map.
type Bucket interface {
	Get(key string) []byte // nil if absent
	Put(key string, value []byte)
	Delete(key string)
	Scan(prefix string) iter.Seq2[string, []byte]
}

// A Guarantee is a set of promises. A conversation can demand some; a protocol
// that lacks them is refused, not downgraded to.
type Guarantee uint16

const (
	Confidential  Guarantee = 1 << iota // outsiders cannot read
	Authentic                           // the sender is proven
	NonRepudiable                       // and can be proven to others
	Deniable                            // and cannot
	ForwardSecret                       // stolen keys do not open old messages
	Healing                             // nor later ones, after a while
	PostQuantum
	Everlasting // holds against unbounded computation
	Group       // one packet serves all peers
)

var (
	ErrForged    = errors.New("packet is not authentic")
	ErrMalformed = errors.New("packet is malformed")
	ErrSeen      = errors.New("packet was seen before")
	ErrForked    = errors.New("packet comes from a copy of the peer's state") // wrapped together with ErrForged
	ErrLate      = errors.New("packet's key is gone: it came too late")
	ErrNoKey     = errors.New("no such key yet")
	ErrUntrusted = errors.New("key is not trusted")
	ErrDenied    = errors.New("a person said no, or not yet")
	ErrRefused   = errors.New("refused for good") // retrying cannot help
	ErrFull      = errors.New("the mailbox is full, for now")
	ErrOffline   = errors.New("the far server cannot be reached") // counts as no try
)

// A Kind says what an Introduction does.
type Kind uint8

const (
	Offer   Kind = iota + 1 // keys in an invitation
	Request                 // a stranger asks (String phone's intro)
	Answer                  // the key comes (the ratchet's first packet, String phone's reply)
)

// An Introduction is an error, so that code which does not expect one cannot
// mistake it for a message.
type Introduction struct {
	Kind   Kind
	From   Name
	Key    []byte // what the user should compare
	Packet []byte
	// Payload rides along, sealed, with an Answer: set it before Admit; Open
	// has verified it when it returns the Answer. A pairing needs one packet
	// each way because of it.
	Payload []byte
}

func (in *Introduction) Error() string { return "introduction from " + string(in.From) }
