package client

import (
	"context"
	"errors"
	"fmt"
)

// An outgoing is a message of QoS 1 or 2 on its way to the broker.
type outgoing struct {
	msg     Message
	id      uint16 // 0 while it waits
	sent    bool   // perhaps; on whatever connection
	rec     bool   // QoS 2: PUBREC has come, PUBREL goes out
	dropped bool   // nobody waits for it any more
	brief   bool   // it does not outlive a connection
	done    chan error
}

// end tells who waits; only the first end counts.
func (o *outgoing) end(err error) {
	select {
	case o.done <- err:
	default:
	}
}

// Publish sends a message. With QoS 1 or 2 it returns when the broker has
// acknowledged it; until ctx ends the message goes out again, with the same
// identifier and marked as a duplicate, after each connection that was lost. With
// QoS 0 it returns when the message has been handed to the network, and fails with
// [parley.ErrOffline] when there is none.
//
// A broker's refusal is [parley.ErrDenied], [parley.ErrFull] or
// [parley.ErrRefused], for the last of which no other try will do: too large, a bad
// topic, a QoS that it has not. 3.1.1 brokers cannot refuse: they acknowledge and
// drop, or hang up. When ctx ends first, the broker may have the message
// nevertheless.
func (c *Conn) Publish(ctx context.Context, m Message) error { return c.publish(ctx, m, false) }

// publish is Publish; brief fails with the connection, or at once without one.
func (c *Conn) publish(ctx context.Context, m Message, brief bool) error {
	m.Duplicate = false
	if err := m.check(); err != nil {
		return err
	}
	if n := m.size(); n > c.o.MaxPacket {
		return refused(fmt.Sprintf("a packet of %d bytes; at most %d are allowed here", n, c.o.MaxPacket))
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if m.QoS == 0 {
		return c.shout(ctx, m)
	}
	o := &outgoing{msg: m, brief: brief, done: make(chan error, 1)}
	if err := c.enqueue(ctx, o); err != nil {
		return err
	}
	select {
	case err := <-o.done:
		return err
	case <-ctx.Done():
	case <-c.ctx.Done():
	}
	connected, why := c.drop(o)
	select {
	case err := <-o.done: // after all
		return err
	default:
	}
	switch {
	case ctx.Err() == nil:
		return ErrClosed
	case !connected && why != nil:
		return errors.Join(ctx.Err(), why)
	}
	return ctx.Err()
}

// size is the most that a PUBLISH of it takes in bytes: fixed header, topic,
// identifier, no properties.
func (m *Message) size() int { return 5 + 2 + len(m.Topic) + 2 + 1 + len(m.Payload) }

// suits says why the broker would not take m.
func (m *Message) suits(l limits) error {
	switch {
	case m.size() > l.maxPacket:
		return refused(fmt.Sprintf("a packet of %d bytes; the broker takes at most %d", m.size(), l.maxPacket))
	case m.QoS > l.maxQoS:
		return refused(fmt.Sprintf("the broker offers no QoS above %d", l.maxQoS))
	case m.Retain && l.noRetain:
		return refused("the broker keeps no retained messages")
	}
	return nil
}

// shout sends a message of QoS 0.
func (c *Conn) shout(ctx context.Context, m Message) error {
	l, err := c.now(ctx)
	if err != nil {
		return err
	}
	if err := m.suits(l.limits); err != nil {
		return err
	}
	written := make(chan error, 1)
	if err := l.send(&packet{kind: kPublish, msg: m}, func(err error) { written <- err }); err != nil {
		return offline(err)
	}
	select {
	case err := <-written:
		return offline(err)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// now returns the connection, waiting for an attempt that is under way.
func (c *Conn) now(ctx context.Context) (*link, error) {
	for {
		c.mu.Lock()
		l, err, trying, changed := c.link, c.err, c.trying, c.changed
		c.mu.Unlock()
		switch {
		case c.ctx.Err() != nil:
			return nil, ErrClosed
		case l != nil:
			return l, nil
		case !trying && err != nil:
			return nil, offline(err)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-c.ctx.Done():
		}
	}
}

func (c *Conn) enqueue(ctx context.Context, o *outgoing) error {
	if o.brief {
		if _, err := c.now(ctx); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.ctx.Err() != nil:
		return ErrClosed
	case c.link == nil && o.brief:
		return offline(errHangup)
	}
	c.waiting = append(c.waiting, o)
	c.pump()
	return nil
}

// pump publishes what waits, as many as the broker wants at a time. c.mu is held.
func (c *Conn) pump() {
	for c.link != nil && len(c.waiting) > 0 && len(c.out) < c.link.limits.window {
		o := c.waiting[0]
		c.waiting = c.waiting[1:]
		if err := o.msg.suits(c.link.limits); err != nil {
			o.end(err)
			continue
		}
		o.id, o.sent = c.newID(), true
		o.msg.Duplicate = false
		c.out[o.id] = o
		c.order = append(c.order, o)
		c.link.send(&packet{kind: kPublish, id: o.id, msg: o.msg}, nil)
	}
}

// newID returns an identifier that is not in use. c.mu is held; there is one,
// since no window is as large.
func (c *Conn) newID() uint16 {
	for {
		c.lastID++
		if c.lastID != 0 && c.out[c.lastID] == nil && c.asked[c.lastID] == nil {
			return c.lastID
		}
	}
}

// answered takes PUBACK, PUBREC and PUBCOMP.
func (c *Conn) answered(l *link, p *packet) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.out[p.id]
	switch {
	case p.kind == kPubrec && (o == nil || o.msg.QoS != 2):
		l.send(&packet{kind: kPubrel, id: p.id, code: reasonNoID}, nil)
	case o == nil || (p.kind == kPuback) != (o.msg.QoS == 1):
		// of a message that nobody waits for, or not of this one
	case p.kind == kPubrec && p.code < 0x80:
		o.rec = true
		l.send(&packet{kind: kPubrel, id: p.id}, nil)
	case p.kind == kPubcomp && !o.rec:
		return errWire
	case p.kind == kPubcomp:
		c.finish(o, nil) // a reason here says only that it was done before
	default:
		c.finish(o, refusal(p.code))
	}
	return nil
}

// finish ends o, and others may go. c.mu is held.
func (c *Conn) finish(o *outgoing, err error) {
	delete(c.out, o.id)
	for i, x := range c.order {
		if x == o {
			c.order = append(c.order[:i], c.order[i+1:]...)
			break
		}
	}
	if err != nil {
		err = fmt.Errorf("publishing: %w", err)
	}
	o.end(err)
	c.pump()
}

// drop is called when nobody waits for o any more.
func (c *Conn) drop(o *outgoing) (connected bool, why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o.dropped = true
	for i, x := range c.waiting {
		if x == o {
			c.waiting = append(c.waiting[:i], c.waiting[i+1:]...)
			break
		}
	}
	return c.link != nil, c.err
}

// resumeOut goes on with what was under way when the last connection ended. If the
// broker has the session, under the same identifiers; otherwise anew. A message of
// QoS 2 that nobody waits for goes on too, since the broker may hold its
// identifier, and would take the next message with that for the same. c.mu is held.
func (c *Conn) resumeOut(l *link) {
	order := c.order
	c.order = nil
	var again []*outgoing
	for _, o := range order {
		switch {
		case o.dropped && (o.msg.QoS == 1 || !l.present):
			delete(c.out, o.id)
		case !l.present:
			delete(c.out, o.id)
			if o.rec {
				o.end(nil) // it took the message over with PUBREC
				continue
			}
			o.id = 0
			again = append(again, o)
		case o.rec:
			c.order = append(c.order, o)
			l.send(&packet{kind: kPubrel, id: o.id}, nil)
		default:
			c.order = append(c.order, o)
			o.msg.Duplicate = true
			l.send(&packet{kind: kPublish, id: o.id, msg: o.msg}, nil)
		}
	}
	c.waiting = append(again, c.waiting...)
	c.pump()
}

// endBrief fails what does not outlive a connection. c.mu is held.
func (c *Conn) endBrief(err error) {
	for _, o := range c.order {
		if o.brief && !o.dropped {
			o.dropped = true
			o.end(offline(err))
		}
	}
	keep := c.waiting[:0]
	for _, o := range c.waiting {
		if o.brief {
			o.end(offline(err))
			continue
		}
		keep = append(keep, o)
	}
	c.waiting = keep
}
