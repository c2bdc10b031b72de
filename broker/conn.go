package broker

import (
	"context"
	"errors"

	"parley/broker/store"
)

// A Conn is one transport connection's view: its subscriptions and what they
// have to deliver. Its methods may be called concurrently, except Next, which
// one goroutine at a time calls.
type Conn struct {
	b      *Broker
	notify func()

	// Guarded by b.mu.
	subs                  *subscription
	firstReady, lastReady *subscription
	ended                 []store.ID
	holding               map[store.ID]struct{}
	closed                bool
}

// An Event is what Next has for the front to write: a message, or that another
// subscriber took the queue over (End).
type Event struct {
	Queue store.ID
	Item  store.Item
	End   bool
}

// Connect starts a connection. notify is called, with the broker locked, when
// Next may have something: it only wakes whoever calls Next.
func (b *Broker) Connect(notify func()) *Conn {
	return &Conn{b: b, notify: notify}
}

// Create makes a queue, as [Broker.Create] does, and subscribes to it. created
// is called before anything can be delivered from it.
func (c *Conn) Create(ctx context.Context, recipientKey []byte, idSize, maxBody int, created func(Queue)) error {
	if err := c.b.room(); err != nil {
		return err
	}
	q, err := c.b.Create(ctx, recipientKey, idSize, maxBody)
	if err != nil {
		return err
	}
	if err := c.Subscribe(ctx, q.ID, func() { created(q) }); err != nil {
		// Nobody will ever know its IDs.
		_ = c.b.remove(context.WithoutCancel(ctx), q.ID)
		return err
	}
	return nil
}

// room reports ErrTooMany if one more subscription is one too many.
func (b *Broker) room() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.subs) >= b.o.Subscriptions {
		return ErrTooMany
	}
	return nil
}

// Subscribe makes this connection the queue's one subscriber; an earlier one
// gets End and nothing more. subscribed is called before anything is delivered.
// Delivery starts with the oldest message, also if it was delivered before and
// not acknowledged, on this connection or another.
func (c *Conn) Subscribe(ctx context.Context, id store.ID, subscribed func()) error {
	c.leave(id, true) // a lease of our own, fenced by the new one, is no End
	leases, err := c.b.st.Own(ctx, []store.ID{id})
	if err == nil && (len(leases) != 1 || leases[0] == (store.Lease{})) {
		err = store.ErrNotFound
	}
	if err != nil {
		c.leave(id, false)
		return err
	}
	b, l := c.b, leases[0]
	b.mu.Lock()
	defer b.mu.Unlock()
	old := b.subs[id]
	if c.closed || b.closed {
		b.st.Release(l)
		return store.ErrClosed
	}
	if old == nil && len(b.subs) >= b.o.Subscriptions {
		b.st.Release(l)
		return ErrTooMany
	}
	if old != nil && old.lease.Epoch > l.Epoch {
		// Someone subscribed after us and was faster here: we were taken over.
		subscribed()
		if old.conn != c {
			c.ended = append(c.ended, id)
			c.notify()
		}
		return nil
	}
	if old != nil {
		if old.conn == c {
			b.unlink(old)
		} else {
			b.end(old)
		}
	}
	s := b.link(c, l)
	subscribed()
	s.ready()
	return nil
}

// Next returns the next event to write, or false if there is none now: notify
// is called when that changes. The message's body is read here and nowhere
// kept. Until its Ack the queue delivers nothing else.
func (c *Conn) Next(ctx context.Context) (Event, bool) {
	b := c.b
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		if c.closed {
			return Event{}, false
		}
		if n := len(c.ended); n > 0 {
			id := c.ended[0]
			if c.ended = c.ended[1:]; n == 1 {
				c.ended = nil
			}
			return Event{Queue: id, End: true}, true
		}
		s := c.popReady()
		if s == nil {
			return Event{}, false
		}
		if s.conn != c || s.seq != 0 {
			continue
		}
		s.reading = true
		b.mu.Unlock()
		item, err := b.st.Head(ctx, s.lease)
		b.mu.Lock()
		s.reading = false
		again := s.again
		s.again = false
		if s.conn != c {
			continue // ended while we read: not a byte of it goes out
		}
		switch {
		case err == nil:
			s.seq = item.Seq
			return Event{Queue: s.lease.Queue, Item: item}, true
		case errors.Is(err, store.ErrEmpty):
			if again {
				s.ready()
			}
		case errors.Is(err, store.ErrFenced), errors.Is(err, store.ErrNotFound):
			b.end(s) // taken over through another node, or expired
		case errors.Is(err, store.ErrClosed), ctx.Err() != nil:
			return Event{}, false
		default:
			b.o.Trouble("a message could not be read", err)
			b.unread(s)
		}
	}
}

// Ack deletes the message that was delivered last from the queue. It returns
// after that is on disk; acked is called before the next message is delivered.
// With nothing delivered on this connection it is [ErrNothing].
func (c *Conn) Ack(ctx context.Context, id store.ID, acked func()) error {
	b := c.b
	b.mu.Lock()
	s := b.subs[id]
	if s == nil || s.conn != c || s.seq == 0 || s.acking {
		b.mu.Unlock()
		return ErrNothing
	}
	s.acking = true
	l, seq := s.lease, s.seq
	b.mu.Unlock()

	err := b.st.Ack(ctx, l, seq)

	b.mu.Lock()
	s.acking = false
	if errors.Is(err, store.ErrFenced) {
		if s.conn != nil {
			b.end(s)
		}
		b.mu.Unlock()
		return ErrNothing
	}
	if err != nil {
		b.mu.Unlock()
		return err
	}
	waiting := len(b.holds[id]) > 0
	s.seq = 0
	acked()
	s.ready()
	b.mu.Unlock()
	if waiting {
		b.drain(ctx, id)
	}
	return nil
}

// Delete deletes the queue with all its messages, at once: nothing of it is
// delivered after deleted was called. Another connection that is subscribed
// gets End, and holds that wait for it end with [store.ErrNotFound].
func (c *Conn) Delete(ctx context.Context, id store.ID, deleted func()) error {
	b := c.b
	c.leave(id, true)
	if err := b.remove(ctx, id); err != nil {
		c.leave(id, false)
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.subs[id]; s != nil {
		if s.conn == c {
			b.unlink(s)
		} else {
			b.end(s)
		}
	}
	b.release(id, store.ErrNotFound)
	deleted()
	return nil
}

// leave notes that this connection's subscription, if it has one, needs no End
// when its lease or its queue is found to be gone.
func (c *Conn) leave(id store.ID, leaving bool) {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	if s := c.b.subs[id]; s != nil && s.conn == c {
		s.leaving = leaving
	}
}

// Evict ends this connection's subscription with End: the front cannot write the
// message that Next gave it, which stays for a subscriber that can.
func (c *Conn) Evict(id store.ID) {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	if s := c.b.subs[id]; s != nil && s.conn == c {
		c.b.st.Release(s.lease)
		c.b.end(s)
	}
}

// Idle reports that nothing can happen here unless the client asks for it: no
// subscription and no hold.
func (c *Conn) Idle() bool {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	return c.subs == nil && len(c.holding) == 0
}

// Close ends all subscriptions. What was delivered and not acknowledged goes to
// the next subscriber.
func (c *Conn) Close() {
	b := c.b
	b.mu.Lock()
	if c.closed {
		b.mu.Unlock()
		return
	}
	c.closed = true
	var leases []store.Lease
	for s := c.subs; s != nil; {
		next := s.next
		leases = append(leases, s.lease)
		s.prev, s.next, s.nextReady, s.conn = nil, nil, nil, nil
		delete(b.subs, s.lease.Queue)
		s = next
	}
	c.subs, c.firstReady, c.lastReady, c.ended = nil, nil, nil, nil
	for id := range c.holding {
		b.dropHolds(c, id)
	}
	c.holding = nil
	b.mu.Unlock()
	for _, l := range leases {
		b.st.Release(l)
	}
}
