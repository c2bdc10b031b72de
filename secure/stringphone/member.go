package stringphone

import (
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"io"
	"slices"
	"time"

	"parley"
)

// A Mode says what a topic's members promise each other beyond the original's
// format; docs/stringphone-modes.md has the table.
type Mode uint8

const (
	// Plain is the original's format and nothing else. The guard against replays
	// is the receiver's own affair, and is on.
	Plain Mode = iota
	// Headed puts a header of [HeaderSize] bytes into the plaintext, which binds
	// sender, topic, epoch and counter, and can rotate the topic key.
	Headed
	// ForwardSecret is Headed with a key of its own for each message.
	ForwardSecret
)

func (m Mode) String() string {
	switch m {
	case Plain:
		return "plain"
	case Headed:
		return "headed"
	case ForwardSecret:
		return "forward-secret"
	}
	return fmt.Sprintf("mode %d", uint8(m))
}

// Limits of a Member.
const (
	// MaxMembers is how many members a topic has at most, ourselves included.
	MaxMembers = 1000
	// MaxGuarded is how many messages of all senders together a replay is
	// recognised for at least, in every mode.
	MaxGuarded = 65536
	// MaxCounters is how many counters of each sender are remembered (Headed).
	MaxCounters = 1024
	// MaxSkip is how many keys of missing messages one gap leaves behind: the
	// latest (ForwardSecret).
	MaxSkip = 1000
	// MaxSkipped is how many keys of missing messages are kept for a sender.
	MaxSkipped = 2000
	// MaxJump is the longest gap that is followed at all: a bound on the work
	// that one packet can cause. Beyond it is [ErrSkip].
	MaxJump = 1 << 14
)

// A Member is one participant of one topic with all that it has to remember, in
// a Bucket. Each call writes all of what it changes, or, when it fails, nothing.
// The packets it returns or posts may go out once the Bucket's transaction has
// committed, and never if it has not. It is not safe for concurrent use.
type Member struct {
	bucket parley.Bucket
	post   func([]byte)
	random io.Reader
	self   identity
	// hints are not in the Bucket: a failing Open writes nothing.
	hints map[ID]*hint
}

// Load continues with what Create or an earlier Member left in b. post takes the
// packets that others must get besides those that calls return: rotations and
// announcements; without it, calls that need it fail with [ErrNoPost]. The error
// is [ErrNoState] where there is nothing.
func Load(b parley.Bucket, post func([]byte)) (*Member, error) {
	p := b.Get(selfRow)
	if p == nil {
		return nil, ErrNoState
	}
	self, err := parseIdentity(p)
	if err != nil {
		return nil, err
	}
	if _, err := loadRecord(b); err != nil {
		return nil, err
	}
	return &Member{bucket: b, post: post, random: rand.Reader, self: self}, nil
}

// record is the state as it is now; a damaged one reads as empty.
func (m *Member) record() record {
	st, _ := loadRecord(m.bucket)
	return st
}

// ID returns our ID.
func (m *Member) ID() ID { return m.self.id }

// PublicKey returns our public key, 32 bytes.
func (m *Member) PublicKey() ed25519.PublicKey { return slices.Clone(m.self.public()) }

// HasKey reports whether we know a topic key.
func (m *Member) HasKey() bool { return m.record().has(flagKey) }

// Mode returns the topic's mode; before we have joined, the least that we accept.
func (m *Member) Mode() Mode { return m.record().mode }

// Epoch returns the number of the topic key in use: it grows with each rotation.
func (m *Member) Epoch() uint32 { return m.record().epoch }

// Removed reports whether another member has removed us.
func (m *Member) Removed() bool { return m.record().has(flagRemoved) }

// NeedsKey reports that a trusted member writes under a key that we lack: it is
// time to [Member.Introduce] ourselves again. A rotation that left us out is
// remembered; a message that did not open is, until the next Load.
func (m *Member) NeedsKey() bool {
	st := m.record()
	return st.has(flagLacks) || m.hinted(st.epoch)
}

// A hint is what we gather from messages of one trusted member that did not open.
type hint struct {
	until uint64                // the epoch from which on it is settled; 0: nothing sure
	tried map[[16]byte]struct{} // IDs of messages that did not open
	news  int                   // messages under older keys, since the sender was last understood
}

// manyBehind is how many messages under an older key make it likely that their
// sender is not late, but that it, or we, went another way. Fewer may be late, or
// replayed by an outsider. What is tried again counts once.
const (
	manyBehind = 8
	maxTried   = 4096
)

// noteLack takes in why a message did not open.
func (m *Member) noteLack(e *lackError) {
	h := m.hints[e.sender]
	if h == nil {
		h = &hint{tried: make(map[[16]byte]struct{})}
		if m.hints == nil {
			m.hints = make(map[ID]*hint)
		}
		m.hints[e.sender] = h
	}
	if _, known := h.tried[e.id]; known || len(h.tried) == maxTried {
		return
	}
	h.tried[e.id] = struct{}{}
	if e.behind {
		if h.news++; h.news < manyBehind {
			return
		}
	}
	h.until = max(h.until, e.until)
}

// settleHint ends a hint: the sender has the key that we have.
func (m *Member) settleHint(sender ID) {
	if h := m.hints[sender]; h != nil {
		h.until, h.news = 0, 0
	}
}

func (m *Member) hinted(epoch uint32) bool {
	for id, h := range m.hints {
		if uint64(epoch) < h.until && m.bucket.Get(row(memberRow, id)) != nil {
			return true
		}
	}
	return false
}

// OpenOptions change what [Member.Open] reports.
type OpenOptions struct {
	IgnoreUntrusted bool // nothing to show instead of [ErrUntrustedKey]
}

// An Opened message has been verified in every respect that the mode has.
type Opened struct {
	From  ID
	Key   ed25519.PublicKey
	ID    [16]byte  // the message's, from its nonce; shown once for each sender
	Sent  time.Time // by the sender's clock, in milliseconds; zero in Plain
	Epoch uint32
	Index uint32 // of the message in its sender's chain; 0 but in ForwardSecret
	Body  []byte // never nil
}

// A Participant is a member as we know it.
type Participant struct {
	ID      ID
	Key     ed25519.PublicKey
	By      ID // who vouched: our own ID if we or our user did
	Self    bool
	Trusted bool // its messages are taken
	// Outside: we or our user let it in, and another member's rotation did not
	// know it. It has to introduce itself again to get the key.
	Outside bool
	Since   time.Time // zero: from the setup, or by Trust
}

// GuaranteesOf says what a mode promises; docs/stringphone-modes.md says it in
// full.
func GuaranteesOf(mode Mode) parley.Guarantee {
	g := parley.Confidential | parley.Authentic | parley.NonRepudiable | parley.Group
	if mode == ForwardSecret {
		g |= parley.ForwardSecret
	}
	return g
}
