package client

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"parley/carrier/mqtt"
)

// A subscription is a filter and who handles what it takes in.
type subscription struct {
	filter string
	qos    byte
	handle func(Message) error
	kept   bool // the broker has had it: it is restored with each connection
	fresh  bool // but this Conn has not asked for it yet
}

// Subscribe asks for all topics that the filter takes in, and returns when the
// broker has agreed, or when ctx ends. It is done again over each new connection,
// so that a broker which has lost the session, or a part of it, is no trouble;
// one of 3.1.1 then sends retained messages again.
//
// handle is called for one message of a Conn at a time, in the broker's order.
// Messages of QoS 1 and 2 are acknowledged (PUBACK, PUBREC) after it has returned
// nil and not before; when it fails, it is called again with the same message,
// after o.RetryMin, then less and less often, and what came later waits. It may
// publish and subscribe. A message of QoS 1 may come more than once. One of QoS 2
// comes once as long as this Conn lives; after a crash the last ones may come
// again. QoS 0 is offered once. When several filters take in a topic, all their
// handlers are called for each copy that the broker sends.
//
// A refusal is [parley.ErrDenied] (the rights), [parley.ErrFull] or
// [parley.ErrRefused]; [ErrSubscribed] if this Conn has the filter already.
func (c *Conn) Subscribe(ctx context.Context, filter string, qos byte, handle func(Message) error) error {
	if err := mqtt.CheckFilter(filter); err != nil {
		return refused(err.Error())
	}
	if qos > 2 {
		return refused("QoS must be 0, 1 or 2")
	}
	s := &subscription{filter: filter, qos: qos, handle: handle}
	c.mu.Lock()
	if slices.ContainsFunc(c.subs, func(x *subscription) bool { return x.filter == filter }) {
		c.mu.Unlock()
		return ErrSubscribed
	}
	delete(c.gone, filter)
	c.subs = append(c.subs, s)
	c.unpark()
	c.mu.Unlock()
	err := c.ask(ctx, &packet{kind: kSubscribe, filter: filter, qos: qos})
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.remove(filter)
		return fmt.Errorf("subscribing: %w", err)
	}
	s.kept = true
	return nil
}

// Unsubscribe ends what Subscribe began, and returns when the broker has agreed.
// The handler is not called any more, but for a message that it has in hand.
// Messages that the broker had sent already are thrown away.
func (c *Conn) Unsubscribe(ctx context.Context, filter string) error {
	if err := mqtt.CheckFilter(filter); err != nil {
		return refused(err.Error())
	}
	c.mu.Lock()
	c.remove(filter)
	c.gone[filter] = true
	c.mu.Unlock()
	if err := c.ask(ctx, &packet{kind: kUnsubscribe, filter: filter}); err != nil {
		return fmt.Errorf("unsubscribing: %w", err)
	}
	return nil
}

// remove forgets a subscription. c.mu is held.
func (c *Conn) remove(filter string) {
	c.subs = slices.DeleteFunc(c.subs, func(x *subscription) bool { return x.filter == filter })
}

// ask sends SUBSCRIBE or UNSUBSCRIBE until it is answered.
func (c *Conn) ask(ctx context.Context, p *packet) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		c.mu.Lock()
		l, why, changed := c.link, c.err, c.changed
		answer := make(chan error, 1)
		if l != nil {
			c.request(l, *p, answer)
		}
		c.mu.Unlock()
		select {
		case err := <-answer:
			if !errors.Is(err, errAgain) {
				return err
			}
		case <-changed:
			select { // the answer came first
			case err := <-answer:
				if !errors.Is(err, errAgain) {
					return err
				}
			default:
			}
		case <-ctx.Done():
			if l == nil {
				return errors.Join(ctx.Err(), why)
			}
			return ctx.Err()
		case <-c.ctx.Done():
			return ErrClosed
		}
	}
}

// errAgain says that a connection ended before the answer.
var errAgain = errors.New("once more")

// request sends p and has its outcome sent to answer. c.mu is held.
func (c *Conn) request(l *link, p packet, answer chan<- error) {
	p.id = c.newID()
	version := l.codec.version()
	c.asked[p.id] = func(a *packet, err error) {
		switch {
		case err != nil:
			answer <- errAgain
		case (a.kind == kSuback) != (p.kind == kSubscribe):
			answer <- errWire
		case a.kind == kSuback:
			answer <- granted(p.qos, a.codes[0], version)
		case len(a.codes) > 0:
			answer <- refusal(reason(a.codes[0]))
		default:
			answer <- nil
		}
	}
	l.send(&p, nil)
}

// granted returns why a subscription is not what was asked for. A broker may grant
// less; then nothing would be acknowledged, or twice, and nobody would notice.
func granted(asked, code byte, version int) error {
	switch {
	case code > 2 && code < 0x80:
		return errWire
	case code >= 0x80:
		return subRefusal(reason(code), version)
	case code < asked:
		return refused(fmt.Sprintf("the broker grants this subscription no QoS above %d", code))
	}
	return nil
}

// resubscribe restores the subscriptions on a new connection. c.mu is held.
func (c *Conn) resubscribe(l *link) {
	for _, s := range c.subs {
		if !s.kept {
			continue // Subscribe is at it
		}
		id := c.newID()
		c.asked[id] = func(a *packet, err error) {
			if err != nil || a.kind != kSuback {
				return
			}
			if err := granted(s.qos, a.codes[0], l.codec.version()); err != nil {
				c.o.Log.Warn("mqtt: a subscription was not restored", "broker", c.o.Broker.Address(), "error", err)
				if c.o.onLoss != nil {
					c.o.onLoss(err)
				}
			}
		}
		l.send(&packet{kind: kSubscribe, id: id, filter: s.filter, qos: s.qos, again: !s.fresh}, nil)
		s.fresh = false
	}
}
