package live

import (
	"encoding/binary"
	"encoding/hex"
	"iter"
	"strings"

	"parley"
	"parley/secure/stringphone"
)

// Parts of the state file.
const (
	memberPart = "m/" // the Member's
	outPart    = "o/" // outbox: number in hex → flag byte and packet, or text to be sealed
	askPart    = "a/" // ID in hex → number, introduction that waits for a decision
	offerPart  = "f/" // ID in hex → number, whether it is signed, reply that waits for a decision
	parkPart   = "p/" // number in hex → packet that could not be opened yet
	keptPart   = "s/" // purpose → there: the channel keeps messages for it
	numberKey  = "n"  // the last number given
	lastKey    = "l"  // the newest message shown: digest and message
	mineKey    = "r"  // the newest text of ours that the channel is to retain
	lacksKey   = "k"  // there: a member writes under a key that we lack
)

// Bounds of what waits.
const (
	maxAsking  = 64
	maxParked  = 256
	maxParking = 4 << 20 // bytes
	maxLast    = 64 << 10
)

// part is a part of a bucket, by a prefix.
type part struct {
	b      parley.Bucket
	prefix string
}

func (p part) Get(key string) []byte        { return p.b.Get(p.prefix + key) }
func (p part) Put(key string, value []byte) { p.b.Put(p.prefix+key, value) }
func (p part) Delete(key string)            { p.b.Delete(p.prefix + key) }
func (p part) Scan(prefix string) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for k, v := range p.b.Scan(p.prefix + prefix) {
			if !yield(strings.TrimPrefix(k, p.prefix), v) {
				return
			}
		}
	}
}

// A member is the topic's state within one commit.
type member struct {
	*stringphone.Member
	b      parley.Bucket
	after  []func() // run once it is committed
	lacks  bool     // a member writes under a key that we lack
	posted bool     // something can go out that could not
}

// tx runs do in one commit.
func (s *Session) tx(do func(*member) error) error {
	var m member
	var ready bool
	err := s.o.State.Update(func(b parley.Bucket) (err error) {
		m = member{b: b}
		var epoch uint32
		if m.Member, err = stringphone.Load(part{b, memberPart}, func(packet []byte) { m.out(packet, false, true) }); err != nil {
			return err
		}
		m.lacks = m.NeedsKey() // what the Member itself remembers
		had, removed := m.ready(), m.Removed()
		epoch = m.Epoch()
		if err := do(&m); err != nil {
			return err
		}
		if m.Removed() && !removed {
			m.then(func() { s.o.Note(Note{Kind: NoteRemoved}) })
		}
		if m.lacks && !m.Removed() && m.b.Get(lacksKey) == nil {
			m.b.Put(lacksKey, []byte{})
		}
		if had != m.ready() || epoch != m.Epoch() {
			m.then(func() { poke(s.key) })
			m.posted = true // what had no key to go under may have one now
			if err := s.renew(&m, epoch); err != nil {
				return err
			}
		}
		ready = m.ready()
		return nil
	})
	if err != nil {
		return err
	}
	if m.posted {
		poke(s.leave)
	}
	for _, f := range m.after {
		f()
	}
	s.tellJoined(ready)
	return nil
}

func (m *member) ready() bool {
	return m.HasKey() && m.b.Get(lacksKey) == nil && !m.Removed()
}

// isMember reports whether that is another member whom we trust.
func (m *member) isMember(id stringphone.ID) bool {
	for _, p := range m.Members() {
		if p.ID == id && !p.Self && p.Trusted {
			return true
		}
	}
	return false
}

func (m *member) then(f func()) { m.after = append(m.after, f) }

func (s *Session) tellJoined(ready bool) {
	s.mu.Lock()
	first := ready && !s.joined
	s.joined = ready
	s.mu.Unlock()
	if first && s.o.Joined != nil {
		s.o.Joined()
	}
}

// renew follows a new key: what the channel retains of ours is said again under
// it, for those who come later.
func (s *Session) renew(m *member, epoch uint32) error {
	if m.Epoch() == epoch {
		return nil
	}
	m.b.Delete(lacksKey)
	m.then(func() { s.o.Note(Note{Kind: NoteRotated}) })
	mine := m.b.Get(mineKey)
	if mine == nil || !m.ready() || m.Removed() {
		return nil
	}
	m.out(mine, true, false)
	return nil
}

// number returns a new number in 16 hex digits; later ones sort behind.
func (m *member) number() string {
	n := uint64(1)
	if b := m.b.Get(numberKey); len(b) == 8 {
		n += binary.BigEndian.Uint64(b)
	}
	b := binary.BigEndian.AppendUint64(nil, n)
	m.b.Put(numberKey, b)
	return hex.EncodeToString(b)
}

// wait keeps a request or an answer until somebody decides: the newest of each ID,
// and the newest IDs within a bound, so that a flood of strangers keeps nobody out
// who asks after it.
func (m *member) wait(where string, id stringphone.ID, packet []byte) {
	n, oldest, first := 0, "", ""
	for k, v := range m.b.Scan(where) {
		n++
		if number := string(v[:waitHead]); first == "" || number < first {
			oldest, first = k, number
		}
	}
	key := where + id.String()
	if n >= maxAsking && m.b.Get(key) == nil {
		m.b.Delete(oldest)
	}
	m.b.Put(key, append([]byte(m.number()), packet...))
}

// waitHead is the length of the number before what waits.
const waitHead = 16

// waiting returns what waits under a key, nil if nothing does.
func (m *member) waiting(key string) []byte {
	if v := m.b.Get(key); len(v) > waitHead {
		return v[waitHead:]
	}
	return nil
}

// park keeps a packet that may open later. The oldest make room.
func (m *member) park(packet []byte, retained bool) {
	flag := byte(0)
	if retained {
		flag = 1
	}
	if len(packet) > maxParking/4 {
		return
	}
	var keys []string
	size := len(packet)
	for k, v := range m.b.Scan(parkPart) {
		if string(v[1:]) == string(packet) {
			return
		}
		keys = append(keys, k)
		size += len(v)
	}
	for len(keys) > 0 && (len(keys) >= maxParked || size > maxParking) {
		size -= len(m.b.Get(keys[0]))
		m.b.Delete(keys[0])
		keys = keys[1:]
	}
	m.b.Put(parkPart+m.number(), append([]byte{flag}, packet...))
}
