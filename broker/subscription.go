package broker

import "parley/broker/store"

// A subscription is one queue on one connection. About 96 bytes, so that a
// connection may have very many; Broker.mu guards it.
type subscription struct {
	lease store.Lease
	conn  *Conn // nil once the subscription has ended
	seq   uint64
	// The connection's subscriptions, and those of them that may have something.
	prev, next *subscription
	nextReady  *subscription

	queued  bool // in the connection's ready list
	reading bool // Next reads the store for it, unlocked
	again   bool // woken meanwhile
	acking  bool
	stale   bool // in Broker.stale
	leaving bool // its own connection renews it or deletes the queue
}

// ready notes that the queue may have a message, unless one is unacknowledged.
func (s *subscription) ready() {
	switch {
	case s.conn == nil || s.seq != 0 || s.queued:
	case s.reading:
		s.again = true
	default:
		c := s.conn
		s.queued = true
		if c.lastReady == nil {
			c.firstReady = s
		} else {
			c.lastReady.nextReady = s
		}
		c.lastReady = s
		c.notify()
	}
}

// popReady takes the subscription that has waited longest off the ready list.
func (c *Conn) popReady() *subscription {
	s := c.firstReady
	if s == nil {
		return nil
	}
	if c.firstReady = s.nextReady; c.firstReady == nil {
		c.lastReady = nil
	}
	s.nextReady, s.queued = nil, false
	return s
}

// link puts a new subscription in place.
func (b *Broker) link(c *Conn, l store.Lease) *subscription {
	s := &subscription{lease: l, conn: c, next: c.subs}
	if c.subs != nil {
		c.subs.prev = s
	}
	c.subs = s
	b.subs[l.Queue] = s
	return s
}

// unlink ends a subscription. If it waits in its connection's ready list, Next
// skips it there.
func (b *Broker) unlink(s *subscription) {
	if s.prev != nil {
		s.prev.next = s.next
	} else {
		s.conn.subs = s.next
	}
	if s.next != nil {
		s.next.prev = s.prev
	}
	s.prev, s.next, s.conn = nil, nil, nil
	if b.subs[s.lease.Queue] == s {
		delete(b.subs, s.lease.Queue)
	}
}

// end ends a subscription that its connection did not ask to end, and tells it.
func (b *Broker) end(s *subscription) {
	c := s.conn
	b.unlink(s)
	if s.leaving {
		return
	}
	c.ended = append(c.ended, s.lease.Queue)
	c.notify()
}
