package server

import (
	"math"

	"github.com/cockroachdb/pebble/v2"
)

// A session is what the broker remembers of a client (MQTT 5 §4.1).
type session struct {
	key, user, client string
	id                uint64 // its number on the disk, 0: it ends with the connection
	expiry            uint32 // seconds that it outlives the connection
	left              int64  // when the connection ended, Unix milliseconds; 0: it is there
	conn              *conn
	ready             bool // CONNACK is out; messages may follow
	dead              bool
	subs              map[string]*subscription
	received          map[uint16]struct{} // QoS 2 messages from the client that are not released
	will              *will
	willAlarm         *alarm
	alarm             *alarm // its end

	// Entries wait in a list, in order; those before next are sent and not
	// answered. byID also holds those that are accepted and not yet in the list.
	byID       map[uint16]*entry
	head, tail *entry
	next       *entry
	inflight   int
	lastID     uint16
	bytes      int64
	sent       uint64 // entries up to this number may have been sent
	purged     int64  // when expired entries were last looked for
	progress   int64  // when the client last answered one, or the first came
	mark       int    // scratch of match

	zero      []zeroItem // QoS 0 messages that wait
	zeroBytes int
	feeds     []*feed
}

// A message is one that waits for somebody, stored once for all.
type message struct {
	num    uint64
	size   int
	refs   int  // entries
	pins   int  // entries and QoS 0 items for which memory is the only place
	stored bool // it is on the disk
	body   *body
}

// An entry is a QoS 1 or 2 message in one session.
type entry struct {
	m          *message
	num        uint64
	expires    int64
	size       int
	subIDs     []uint32
	prev, next *entry
	pid        uint16
	qos        byte
	retain     bool
	released   bool // QoS 2: PUBREC has come, only the identifier is left
	sent       bool // since the connection began
	dup        bool // perhaps sent before
	visible    bool // in the list
	gone       bool
}

// A zeroItem is a QoS 0 message for one connection.
type zeroItem struct {
	m      *message
	retain bool
	subIDs []uint32
}

func (s *session) record() *sessionRecord {
	left := s.left
	return &sessionRecord{id: s.id, expiry: s.expiry, left: left, sent: s.sent}
}

// full reports whether an entry of n bytes has no room.
func (h *hub) full(s *session, n int) bool {
	return len(s.byID) >= h.o.Limits.QueueMessages || s.bytes+int64(n) > h.o.Limits.QueueBytes
}

// enqueue accepts an entry; show makes it visible when it is on the disk.
func (h *hub) enqueue(s *session, e *entry) {
	for {
		if s.lastID++; s.lastID == 0 {
			continue
		}
		if _, used := s.byID[s.lastID]; !used {
			break
		}
	}
	e.pid = s.lastID
	if s.byID == nil {
		s.byID = make(map[uint16]*entry)
	}
	s.byID[e.pid] = e
	s.bytes += int64(e.size)
	e.m.refs++
	h.queued++
	if s.id != 0 {
		_ = h.batch().Set(entryKey(s.id, e.num), e.pack(), nil)
	}
}

func (h *hub) show(s *session, e *entry) {
	if e.gone {
		return
	}
	e.visible = true
	if s.id == 0 {
		h.pin(e.m)
	}
	s.link(e)
	s.wake()
}

func (s *session) link(e *entry) {
	if e.prev = s.tail; s.tail != nil {
		s.tail.next = e
	} else {
		s.head = e
		s.progress = nowMilli()
	}
	s.tail = e
	if s.next == nil {
		s.next = e
	}
}

// drop removes an entry: it is answered, expired or of no use any more.
func (h *hub) drop(s *session, e *entry) {
	if e.gone {
		return
	}
	e.gone = true
	delete(s.byID, e.pid)
	if len(s.byID) == 0 {
		s.byID = nil // maps don't shrink
	}
	s.bytes -= int64(e.size)
	h.queued--
	if e.visible {
		s.unlink(e)
		if s.id == 0 && !e.released {
			h.unpin(e.m)
		}
	}
	if s.id != 0 && !s.dead {
		_ = h.batch().Delete(entryKey(s.id, e.num), nil)
		h.dirt.entry(s.id)
	}
	if !e.released {
		h.unref(e.m)
	}
}

func (s *session) unlink(e *entry) {
	if e.sent {
		s.inflight--
	}
	if s.next == e {
		s.next = e.next
	}
	if e.prev != nil {
		e.prev.next = e.next
	} else {
		s.head = e.next
	}
	if e.next != nil {
		e.next.prev = e.prev
	} else {
		s.tail = e.prev
	}
	e.prev, e.next = nil, nil
}

// release forgets the message of an entry whose PUBREC has come.
func (h *hub) release(s *session, e *entry) {
	e.released = true
	s.bytes -= int64(e.size)
	e.size = 0
	if s.id != 0 {
		_ = h.batch().Set(entryKey(s.id, e.num), e.pack(), nil)
	} else {
		h.unpin(e.m)
	}
	h.unref(e.m)
	e.m = nil
}

// unref lets a message go with its last entry.
func (h *hub) unref(m *message) {
	if m.refs--; m.refs > 0 {
		return
	}
	if m.stored {
		_ = h.batch().Delete(numKey(kMessage, m.num), nil)
		h.dirt.message(m.num)
	}
	if m.pins == 0 {
		h.lose(m)
	}
}

// keep has a message's body in memory, lose only on the disk, if at all.
func (h *hub) keep(m *message, b *body) {
	if m.body == nil {
		h.cached += int64(m.size)
	}
	m.body = b
}

func (h *hub) lose(m *message) {
	if m.body != nil {
		h.cached -= int64(m.size)
	}
	m.body = nil
}

// pin counts what only memory holds.
func (h *hub) pin(m *message) {
	if m.pins++; m.pins == 1 {
		h.pinned += int64(m.size)
	}
}

func (h *hub) unpin(m *message) {
	if m.pins--; m.pins == 0 {
		h.pinned -= int64(m.size)
		if m.stored || m.refs == 0 {
			h.lose(m)
		}
	}
}

// purge drops expired entries that were never sent, at most once a second.
func (h *hub) purge(s *session) {
	now := nowMilli()
	if now-s.purged < 1000 {
		return
	}
	s.purged = now
	for e := s.next; e != nil; {
		next := e.next
		if e.expires != 0 && e.expires <= now && !e.dup && !e.released {
			h.stats.expired.Add(1)
			h.drop(s, e)
		}
		e = next
	}
}

// forget ends a session for good.
func (h *hub) forget(s *session) {
	s.dead = true
	delete(h.sessions, s.key)
	h.unset(s.alarm)
	for filter := range s.subs {
		h.subs.remove(filter, s)
	}
	for _, e := range s.byID {
		h.drop(s, e)
	}
	h.clearZero(s)
	s.subs, s.received, s.feeds, s.will = nil, nil, nil, nil
	if s.id == 0 {
		return
	}
	b := h.batch()
	_ = b.Delete(textKey(kSession, s.key), nil)
	for _, k := range []byte{kSub, kEntry, kReceived} {
		end := numKey(k, s.id+1)
		if s.id == math.MaxUint64 {
			end = []byte{k + 1}
		}
		deleteRange(b, numKey(k, s.id), end)
	}
	h.dirt.entry(s.id)
}

func deleteRange(b *pebble.Batch, from, to []byte) { _ = b.DeleteRange(from, to, nil) }

func (h *hub) clearZero(s *session) {
	for _, z := range s.zero {
		h.unpin(z.m)
	}
	s.zero, s.zeroBytes = nil, 0
}

// persistent reports whether messages for s go to the disk.
func (s *session) persistent() bool { return s.id != 0 }

func (s *session) wake() {
	if s.conn != nil {
		s.conn.signal()
	}
}
