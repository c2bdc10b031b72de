package server

import (
	"math"

	"github.com/cockroachdb/pebble/v2"
)

// A session is what the broker remembers of a client (MQTT 5 §4.1).
type session struct {
	key, user, client string
	account           *account
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

// weight is how much of Limits.Queued an entry takes: many identifiers of
// subscriptions make it larger than others.
func (e *entry) weight() int { return 1 + len(e.subIDs)/16 }

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
	s.account.sessions--
	h.charge(s.account, -sessionCost)
	h.unset(s.alarm)
	for filter := range s.subs {
		h.subs.remove(filter, s)
		h.charge(s.account, -costOfSub(filter))
	}
	h.setWill(s, nil)
	for _, e := range s.byID {
		h.drop(s, e)
	}
	h.clearZero(s)
	h.charge(s.account, -int64(len(s.received))*holdCost)
	h.clearFeeds(s)
	s.subs, s.received = nil, nil
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
	for i := range s.zero {
		h.unpinZero(s, &s.zero[i])
	}
	s.zero, s.zeroBytes = nil, 0
}

// newSession makes a session and counts it.
func (h *hub) newSession(key, user, client string) *session {
	s := &session{key: key, user: user, client: client, account: h.account(user)}
	h.sessions[key] = s
	s.account.sessions++
	h.charge(s.account, sessionCost)
	return s
}

// setWill keeps a client's will in memory, or with nil forgets it.
func (h *hub) setWill(s *session, w *will) {
	if s.will != nil {
		h.charge(s.account, -s.will.cost())
	}
	if s.will = w; w != nil {
		h.charge(s.account, w.cost())
	}
}

// persistent reports whether messages for s go to the disk.
func (s *session) persistent() bool { return s.id != 0 }

func (s *session) wake() {
	if s.conn != nil {
		s.conn.signal()
	}
}
