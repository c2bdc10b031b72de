package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"parley"
)

const (
	shortLife = 5 * time.Second // a connection that the broker ends sooner is suspect
	manyShort = 4               // and so many in a row look like another client with our ID
)

// run connects, and connects again, until the Conn is closed.
func (c *Conn) run() {
	clean := c.o.CleanStart
	var n, short int
	for c.ctx.Err() == nil {
		c.try()
		conn, err := attempt(c.ctx, &c.o, c.Version(), clean)
		pause := time.Duration(0)
		if err == nil {
			began := time.Now()
			clean = false
			err = c.live(conn)
			n, short = c.judge(time.Since(began), &err, n, short)
		}
		if c.ctx.Err() != nil {
			break
		}
		switch {
		case errors.Is(err, ReasonError{byte(reasonTakenOver)}):
			pause = c.steady(c.o.Displaced)
		case hopeless(err) || errors.Is(err, ErrTakenOver):
			pause = c.steady(c.o.BackoffMax)
		default:
			pause = c.backoff(n)
			n++
		}
		c.lost(err)
		c.tell(false, err)
		c.pause(pause)
	}
	c.lost(ErrClosed)
	c.tell(false, nil)
}

// judge looks at a connection that has ended: after a good one the pauses begin
// anew. A broker of 3.1.1 cannot say that another client took our ID over; it just
// hangs up, soon, and again and again.
func (c *Conn) judge(lived time.Duration, err *error, n, short int) (int, int) {
	if lived > c.o.BackoffMax {
		n = 0
	}
	if lived > shortLife || !errors.Is(*err, errHangup) {
		return n, 0
	}
	if short++; short >= manyShort {
		*err = suspicion(short)
	}
	return n, short
}

// A suspicion is how many times in a row a broker has accepted us and hung up.
type suspicion int

func (n suspicion) Error() string {
	return fmt.Sprintf("the broker has accepted us and hung up %d times in a row; perhaps another client connects with this client ID", int(n))
}

func (n suspicion) Is(target error) bool {
	return target == ErrTakenOver || target == parley.ErrOffline
}

// backoff is the pause before attempt n: by lot between 0 and a time that doubles,
// so that clients do not come back all at once.
func (c *Conn) backoff(n int) time.Duration {
	most := c.o.BackoffMax
	if n < 20 {
		most = min(most, c.o.BackoffMin<<n)
	}
	return time.Duration(c.o.Jitter() * float64(most))
}

// steady is a pause of half of d to d.
func (c *Conn) steady(d time.Duration) time.Duration {
	return d/2 + time.Duration(c.o.Jitter()*float64(d/2))
}

func (c *Conn) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.ctx.Done():
	}
}

func (c *Conn) try() {
	c.mu.Lock()
	c.trying = true
	c.mu.Unlock()
}

// live runs one connection until it ends and returns why.
func (c *Conn) live(conn *connected) error {
	l := newLink(conn, &c.o)
	c.attach(l)
	l.run(func(p *packet, big bool) error { return c.packet(l, p, big) })
	c.tell(true, nil)
	if c.o.OnSession != nil {
		c.o.OnSession(conn.present)
	}
	select {
	case <-l.done:
	case <-c.ctx.Done():
		c.farewell(l)
	}
	l.wg.Wait()
	return offline(l.cause())
}

// farewell ends a connection in good order, unless that takes too long.
func (c *Conn) farewell(l *link) {
	defer l.fail(ErrClosed)
	ctx, cancel := context.WithTimeout(context.Background(), c.o.ReplyTimeout)
	defer cancel()
	for _, step := range []<-chan struct{}{c.idle, l.done} {
		if step == l.done {
			c.mu.Lock()
			forget := c.forget
			c.mu.Unlock()
			l.end(forget, ErrClosed)
		}
		select {
		case <-step:
		case <-l.done:
			return
		case <-c.cut:
			return
		case <-ctx.Done():
			return
		}
	}
}

// attach makes l the connection: what is under way goes on.
func (c *Conn) attach(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.link, c.err, c.trying, c.version = l, nil, false, l.codec.version()
	c.resumeIn(l)
	c.resubscribe(l)
	c.resumeOut(l)
	c.broadcast()
}

// lost is called after a connection has ended or an attempt failed.
func (c *Conn) lost(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.link, c.err, c.trying = nil, err, false
	asked := c.asked
	c.asked = make(map[uint16]func(*packet, error))
	for _, f := range asked {
		f(nil, err)
	}
	c.endBrief(err)
	c.broadcast()
}

// broadcast wakes who waits for a change. c.mu is held.
func (c *Conn) broadcast() {
	close(c.changed)
	c.changed = make(chan struct{})
	c.look()
}

// look wakes the goroutine that handles.
func (c *Conn) look() {
	select {
	case c.poke <- struct{}{}:
	default:
	}
}

func (c *Conn) tell(connected bool, err error) {
	if c.o.OnState != nil {
		c.o.OnState(connected, err)
	}
	if err != nil {
		c.o.Log.Info("mqtt: not connected", "broker", c.o.Broker.Address(), "error", err)
	}
}

// packet takes what the broker sends. An error ends the connection.
func (c *Conn) packet(l *link, p *packet, big bool) error {
	switch p.kind {
	case kPublish:
		return c.received(l, p, big)
	case kPubrel:
		return c.released(l, p.id)
	case kPuback, kPubrec, kPubcomp:
		return c.answered(l, p)
	case kSuback, kUnsuback:
		c.mu.Lock()
		f := c.asked[p.id]
		delete(c.asked, p.id)
		c.mu.Unlock()
		if f != nil {
			f(p, nil)
		}
		return nil
	case kDisconnect:
		if err := refusal(p.code); err != nil {
			return err
		}
		return errHangup
	case kPingresp:
		return nil
	}
	return errWire
}
