package server

import (
	"crypto/rand"
	"strings"
	"time"
)

// forever is the session expiry of MQTT 5 that stands for no end.
const forever = 1<<32 - 1

// seconds rounds a duration down to what a property holds.
func seconds(d time.Duration) uint32 { return uint32(min(d/time.Second, forever-1)) }

// connect accepts a CONNECT whose client may be here. CONNACK goes out when the
// session is on the disk, if it is to outlive the connection.
func (h *hub) connect(c *conn, p *connect) code {
	key := ownerKey(c.user, c.client)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closing {
		return unavailable
	}
	expiry := h.expiryOf(p)
	old := h.sessions[key]
	present := old != nil && !p.clean
	account := h.account(c.user)
	cost := int64(0)
	if old == nil {
		if !h.fitsSession(account) {
			return quotaExceeded
		}
		cost = sessionCost
	}
	var left *will
	if p.will != nil {
		left = newWill(p.will)
		cost += left.cost()
	}
	if cost > 0 && !h.fitsState(account, cost) {
		return quotaExceeded
	}
	if (expiry > 0 || p.will != nil) && !h.disk.space.room(1024) {
		return quotaExceeded
	}
	if old != nil {
		h.takeOver(old, p.clean)
		present = present && !old.dead
	}
	s := old
	if !present {
		if old != nil && !old.dead {
			h.end(old)
		}
		s = h.newSession(key, c.user, c.client)
	}
	h.unset(s.alarm)
	h.unset(s.willAlarm) // a client that is back has not gone (MQTT 5 §3.1.3.2.2)
	s.alarm, s.willAlarm = nil, nil
	if s.will != nil {
		h.setWill(s, nil)
		h.deleteWill(s.key)
	}
	s.conn, s.expiry, s.left, s.ready = c, expiry, 0, false
	if s.id == 0 && expiry > 0 {
		s.id = h.nextNumber()
	}
	c.s = s
	c.h = h
	if s.persistent() {
		_ = h.batch().Set(textKey(kSession, s.key), s.record().pack(), nil)
		h.recheck(s)
	}
	if left != nil {
		h.setWill(s, left)
		_ = h.batch().Set(textKey(kWill, s.key), packWill(s.will), nil)
	}
	limit := h.order
	h.do(c, s.persistent() || p.will != nil, true, func() {
		if s.conn != c {
			return
		}
		c.send(func(b []byte) []byte {
			return appendConnack(b, c.version, present, success, h.capabilities(c, p, expiry))
		})
		s.rewind()
		s.ready = true
		s.progress = nowMilli()
		for _, sub := range s.subs {
			if sub.unfed {
				h.feed(s, sub, limit)
			}
		}
	})
	return success
}

// expiryOf is how many seconds the session will outlive the connection.
func (h *hub) expiryOf(p *connect) uint32 {
	most := seconds(h.o.Limits.SessionExpiry)
	switch {
	case p.version == v5:
		return min(p.props.sessionExpiry, most)
	case p.clean:
		return 0
	}
	return most
}

// takeOver ends the old connection of a client that has come again.
func (h *hub) takeOver(old *session, clean bool) {
	if old.conn == nil {
		return
	}
	c := old.conn
	h.kick(c, takenOver)
	h.detach(old, true, clean)
}

// recheck ends subscriptions that the rules no longer allow.
func (h *hub) recheck(s *session) {
	for f := range s.subs {
		if !h.o.Users.mayRead(s.user, s.client, f) {
			h.unsub(s, f)
		}
	}
}

// mute lets a session whose user cannot come in any more get nothing new, so that it
// is in nobody's way when it is full. Its subscriptions stay on the disk, and what
// waits for it too: should the user be let in again, they are there.
func (h *hub) mute(s *session) {
	for f := range s.subs {
		h.subs.remove(f, s)
		h.charge(s.account, -costOfSub(f))
	}
	s.subs = nil
}

// capabilities are the properties of an accepting CONNACK.
func (h *hub) capabilities(c *conn, p *connect, expiry uint32) []byte {
	if p.version != v5 {
		return nil
	}
	l := &h.o.Limits
	var b []byte
	if expiry != p.props.sessionExpiry {
		b = appendU32(append(b, propSessionExpiry), expiry)
	}
	b = appendU16(append(b, propReceiveMaximum), uint16(l.Inflight))
	b = appendU32(append(b, propMaximumPacket), uint32(l.Packet))
	if l.Aliases > 0 {
		b = appendU16(append(b, propAliasMaximum), uint16(l.Aliases))
	}
	if p.client == "" {
		b = appendText(append(b, propAssignedID), c.client)
	}
	if k := c.serverKeepAlive; k != 0 {
		b = appendU16(append(b, propServerKeepAlive), k)
	}
	return append(b, propSharedAvailable, 0)
}

// assignedID makes an ID for a client that has none.
func assignedID() string { return "auto-" + strings.ToLower(rand.Text()) }

// detach ends the tie between a session and its connection. The will is published
// if the client didn't say goodbye; over says that the session ends with it.
func (h *hub) detach(s *session, will, over bool) {
	s.conn, s.ready = nil, false
	h.clearFeeds(s)
	s.left = nowMilli()
	h.clearZero(s)
	over = over || s.expiry == 0
	if s.will != nil {
		switch {
		case !will:
			h.setWill(s, nil)
			h.deleteWill(s.key)
		case s.will.delay == 0 || over:
			h.publishWill(s)
		default:
			s.willAlarm = h.set(s.left+int64(s.will.delay)*1000, func() { h.publishWill(s) })
		}
	}
	if over {
		h.forget(s)
		return
	}
	for e := s.head; e != nil; e = e.next {
		if e.sent {
			s.sent = max(s.sent, e.num)
		}
		if e.m != nil && e.m.pins == 0 {
			h.lose(e.m)
		}
	}
	_ = h.batch().Set(textKey(kSession, s.key), s.record().pack(), nil)
	s.alarm = h.set(s.left+int64(s.expiry)*1000, func() { h.end(s) })
}

// end ends a session that has no connection. A will that was delayed is due.
func (h *hub) end(s *session) {
	h.unset(s.willAlarm)
	if s.will != nil {
		h.publishWill(s)
	}
	h.forget(s)
}

// rewind makes all entries wait to be sent, those that were sent as duplicates.
func (s *session) rewind() {
	for e := s.head; e != nil; e = e.next {
		e.dup = e.dup || e.sent
		e.sent = false
	}
	s.next, s.inflight = s.head, 0
}
