package client

import (
	"time"

	"parley/carrier/mqtt"
)

// An incoming is a message that has come and has not been acknowledged.
type incoming struct {
	id  uint16
	msg Message
	// l is the connection that it came over. When that has ended, the broker
	// delivers it again; nil, if the broker has forgotten it: then this is the last
	// copy.
	l    *link
	done map[*subscription]bool // that have handled it
}

const (
	maxInbox = 1024     // messages that wait for a handler
	maxHeld  = 64 << 20 // bytes of them
	// mostInbox is how many may wait where a new connection would not bring the rest:
	// a broker that forgets the session forgets them too.
	mostInbox = 65536
)

// room is how many messages may wait for a handler.
func (o *Options) room() int {
	if o.SessionExpiry < 0 {
		return mostInbox
	}
	return max(maxInbox, 2*o.Window)
}

// received takes a PUBLISH.
func (c *Conn) received(l *link, p *packet, big bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	in := &incoming{id: p.id, msg: p.msg, l: l}
	full := len(c.inbox)+len(c.parked) >= c.o.room() || c.held+len(p.msg.Payload) > max(maxHeld, 4*c.o.MaxPacket)
	switch {
	case big:
		c.o.Log.Warn("mqtt: a message is too large and was thrown away", "broker", c.o.Broker.Address(), "limit", c.o.MaxPacket)
		c.acknowledge(in)
		return nil
	case p.msg.QoS == 2 && c.handled[p.id] && p.msg.Duplicate:
		c.acknowledge(in) // the broker did not hear it the last time
		return nil
	case p.msg.QoS == 0 && full || l.lossy && p.msg.QoS > 0:
		return nil
	case full:
		l.lossy = true
		c.o.Log.Warn("mqtt: too many messages wait to be handled", "broker", c.o.Broker.Address(), "for no subscription", len(c.parked))
		c.look()
		return nil
	}
	delete(c.handled, p.id) // without DUP the broker means another message
	c.inbox = append(c.inbox, in)
	c.held += len(p.msg.Payload)
	c.look()
	return nil
}

// released takes PUBREL, which ends a message of QoS 2.
func (c *Conn) released(l *link, id uint16) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.handled, id)
	l.send(&packet{kind: kPubcomp, id: id}, nil)
	return nil
}

// acknowledge tells the broker that a message is ours now. c.mu is held.
func (c *Conn) acknowledge(in *incoming) {
	if in.msg.QoS == 0 || in.l == nil {
		return
	}
	p := &packet{kind: kPuback, id: in.id}
	if in.msg.QoS == 2 {
		p.kind = kPubrec
		c.handled[in.id] = true
	}
	if in.l == c.link {
		in.l.send(p, nil)
	}
}

// resumeIn sorts out what came before this connection: if the broker has the
// session, it delivers that again; otherwise ours is the last copy. c.mu is held.
func (c *Conn) resumeIn(l *link) {
	if l.present {
		c.inbox, c.parked = c.unsettled(c.inbox), c.unsettled(c.parked)
		return
	}
	clear(c.handled)
	for _, in := range c.inbox {
		in.l = nil
	}
	for _, in := range c.parked {
		in.l = nil
	}
}

// unsettled returns what no broker delivers again. c.mu is held.
func (c *Conn) unsettled(list []*incoming) (keep []*incoming) {
	for _, in := range list {
		if in.msg.QoS == 0 || in.l == nil {
			keep = append(keep, in)
			continue
		}
		c.held -= len(in.msg.Payload)
	}
	return keep
}

// handle calls handlers, one at a time, for one message after the other.
func (c *Conn) handle() {
	defer close(c.idle)
	for c.ctx.Err() == nil {
		if in := c.next(); in != nil {
			c.serve(in)
			continue
		}
		select {
		case <-c.poke:
		case <-c.ctx.Done():
		}
	}
}

// next returns the message whose turn it is, nil if there is none now. One that
// came over a connection that has ended waits for the next one, which decides
// whether it comes again.
func (c *Conn) next() *incoming {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.inbox) > 0 {
		if in := c.inbox[0]; in.msg.QoS == 0 || in.l == nil || in.l == c.link {
			return in
		}
		return nil
	}
	if l := c.link; l != nil && l.lossy && !l.anew && len(c.parked) == 0 {
		l.anew = true
		l.end(false, errOverflow)
	}
	return nil
}

// serve has a message handled by all who want it, however often that takes, and
// acknowledges it then.
func (c *Conn) serve(in *incoming) {
	for tries := 0; ; tries++ {
		wanted, failed := c.offer(in)
		switch {
		case !wanted:
			c.park(in)
			return
		case failed == nil:
			c.settle(in)
			return
		case in.msg.QoS == 0:
			c.o.Log.Warn("mqtt: a message of QoS 0 could not be handled and is gone", "broker", c.o.Broker.Address(), "error", failed)
			c.settle(in)
			return
		}
		if !c.again(in, tries) {
			return
		}
	}
}

// offer calls the handlers that have not handled it yet.
func (c *Conn) offer(in *incoming) (wanted bool, failed error) {
	c.mu.Lock()
	subs := c.takers(in.msg.Topic)
	known := in.msg.QoS == 2 && in.msg.Duplicate && c.handled[in.id] || len(subs) == 0 && c.unwanted(in.msg.Topic)
	c.mu.Unlock()
	if known {
		return true, nil
	}
	for _, s := range subs {
		if in.done[s] {
			continue
		}
		if err := s.handle(in.msg); err != nil {
			failed = err
			continue
		}
		if in.done == nil {
			in.done = make(map[*subscription]bool)
		}
		in.done[s] = true
	}
	if len(subs) == 0 && c.o.Rest != nil {
		return true, c.o.Rest(in.msg)
	}
	return len(subs) > 0, failed
}

// takers returns the subscriptions that take in a topic. c.mu is held.
func (c *Conn) takers(topic string) (subs []*subscription) {
	for _, s := range c.subs {
		if mqtt.Match(s.filter, topic) {
			subs = append(subs, s)
		}
	}
	return subs
}

// unwanted reports whether a topic was unsubscribed from. c.mu is held.
func (c *Conn) unwanted(topic string) bool {
	for filter := range c.gone {
		if mqtt.Match(filter, topic) {
			return true
		}
	}
	return false
}

// settle acknowledges a message that was handled.
func (c *Conn) settle(in *incoming) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.take(in)
	c.acknowledge(in)
}

// take removes a message from the inbox, if it is still there. c.mu is held.
func (c *Conn) take(in *incoming) bool {
	for i, x := range c.inbox {
		if x == in {
			c.inbox = append(c.inbox[:i], c.inbox[i+1:]...)
			c.held -= len(in.msg.Payload)
			return true
		}
	}
	return false
}

// park puts aside what nobody wants yet: a message of the session from before this
// process, for which Subscribe has not been called. Of QoS 0 it is dropped.
func (c *Conn) park(in *incoming) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.takers(in.msg.Topic)) > 0 || !c.take(in) || in.msg.QoS == 0 {
		return // asked for meanwhile, or comes again, or may be lost
	}
	c.parked = append(c.parked, in)
	c.held += len(in.msg.Payload)
}

// unpark brings back what was put aside and is wanted now. c.mu is held.
func (c *Conn) unpark() {
	var wanted, rest []*incoming
	for _, in := range c.parked {
		if len(c.takers(in.msg.Topic)) > 0 {
			wanted = append(wanted, in)
		} else {
			rest = append(rest, in)
		}
	}
	c.parked = rest
	c.inbox = append(wanted, c.inbox...)
	c.look()
}

// again waits before a handler that failed is called once more. It returns false
// if it shall not be: the Conn is closed, or the broker delivers the message again.
func (c *Conn) again(in *incoming, tries int) bool {
	pause := c.o.RetryMax
	if tries < 20 {
		pause = min(pause, c.o.RetryMin<<tries)
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		c.mu.Lock()
		ours := in.l == nil || in.l == c.link
		changed := c.changed
		c.mu.Unlock()
		if !ours {
			return false
		}
		select {
		case <-timer.C:
			return true
		case <-changed:
		case <-c.ctx.Done():
			return false
		}
	}
}
