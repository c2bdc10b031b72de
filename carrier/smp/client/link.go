package smpclient

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"parley"
	"parley/carrier/smp"
)

// A link is a client's one connection to a relay, which comes and goes, and what
// outlives it: the mailboxes to subscribe again.
type link struct {
	c      *Client
	server smp.Server
	kick   chan struct{} // somebody wants the next attempt now

	mu      sync.Mutex
	running bool          // run is
	tried   chan struct{} // closed after the attempt that is under way; nil if none is
	conn    *Conn         // nil when not connected
	err     error         // why not
	used    time.Time
	boxes   map[smp.ID]*box
}

// do sends a command over the link, and returns once it has been done.
func (l *link) do(ctx context.Context, t *smp.Transmission, urgent bool) (Reply, error) {
	conn, err := l.get(ctx, urgent)
	if err != nil {
		return Reply{}, offline(err)
	}
	wait, cancel := context.WithTimeout(ctx, l.c.o.ReplyTimeout)
	defer cancel()
	r, err := conn.Do(wait, t)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return r, ctx.Err()
	case errors.Is(err, smp.ErrTooLarge):
		return r, errors.Join(parley.ErrRefused, err)
	default:
		if wait.Err() != nil {
			err = errSilent
			conn.fail(err)
		}
		return r, offline(err)
	}
	l.touch()
	if err := r.Err(); err != nil {
		return r, refusal(r.Code)
	}
	return r, nil
}

func (l *link) touch() {
	l.mu.Lock()
	l.used = time.Now()
	l.mu.Unlock()
}

// get returns the connection, waiting for an attempt that is under way. Between
// attempts it returns why the last one failed; if urgent, it asks for another.
func (l *link) get(ctx context.Context, urgent bool) (*Conn, error) {
	l.mu.Lock()
	l.used = time.Now()
	l.ensure()
	if l.tried == nil && l.conn == nil && urgent {
		l.tried = make(chan struct{})
		select {
		case l.kick <- struct{}{}:
		default:
		}
	}
	tried := l.tried
	conn, err := l.conn, l.err
	l.mu.Unlock()
	if tried == nil {
		return conn, err
	}
	select {
	case <-tried:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-l.c.ctx.Done():
		return nil, errClosed
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn == nil && l.err == nil {
		return nil, errClosed
	}
	return l.conn, l.err
}

// ensure starts run if it isn't running. l.mu is held.
func (l *link) ensure() {
	if l.running {
		return
	}
	if !l.c.start(l.run) {
		l.err = errClosed
		return
	}
	l.running, l.err = true, nil
	l.tried = make(chan struct{})
}

// run connects, and connects again, until nobody needs the link.
func (l *link) run() {
	o, ctx := l.c.o, l.c.ctx
	backoff := time.Duration(0)
	for {
		began := time.Now()
		conn, err := Dial(ctx, l.server, o, l.event)
		if err == nil {
			l.attach(conn)
			err = l.watch(ctx, conn)
			conn.Close()
		}
		if errors.Is(err, errIdle) {
			l.state(false, nil)
			return
		}
		l.lost(err)
		if ctx.Err() != nil {
			err = nil // we close
		}
		l.state(false, err)
		if l.leave() {
			return
		}
		backoff = min(max(2*backoff, o.BackoffMin), o.BackoffMax)
		var key *ServerKeyError
		switch {
		case errors.As(err, &key):
			backoff = o.BackoffMax
		case conn != nil && time.Since(began) > o.BackoffMax:
			backoff = o.BackoffMin
		}
		l.pause(ctx, jitter(backoff))
	}
}

// jitter spreads d over half to one and a half of it.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d+1) }

// pause waits before the next attempt, less long if somebody needs it now.
func (l *link) pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-l.kick:
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tried == nil {
		l.tried = make(chan struct{})
	}
}

var errIdle = errors.New("not in use")

// watch waits for the connection's end, or until nobody has used it for a while:
// then the link has been left already.
func (l *link) watch(ctx context.Context, conn *Conn) error {
	tick := time.NewTicker(l.c.o.Linger)
	defer tick.Stop()
	for {
		select {
		case <-conn.Done():
			return conn.Err()
		case <-ctx.Done():
			return errClosed
		case <-tick.C:
			if !conn.busy() && l.leave() {
				return errIdle
			}
		}
	}
}

// leave ends run if there are no mailboxes here and nobody asked lately.
func (l *link) leave() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	wanted := len(l.boxes) > 0 || time.Since(l.used) < l.c.o.Linger
	if wanted && l.c.ctx.Err() == nil {
		return false
	}
	l.running, l.conn = false, nil
	l.done()
	return true
}

// done ends the attempt that others may wait for. l.mu is held.
func (l *link) done() {
	if l.tried != nil {
		close(l.tried)
		l.tried = nil
	}
}

// attach makes conn the connection, and subscribes everything, many in a block.
func (l *link) attach(conn *Conn) {
	l.mu.Lock()
	l.conn, l.err = conn, nil
	l.done()
	for _, b := range l.boxes {
		b.subscribe(conn)
	}
	l.mu.Unlock()
	l.state(true, nil)
}

// lost is called after an attempt that failed or a connection that ended.
func (l *link) lost(err error) {
	l.mu.Lock()
	l.conn, l.err = nil, err
	l.done()
	l.mu.Unlock()
}

func (l *link) state(connected bool, err error) {
	if l.c.o.OnState == nil {
		return
	}
	if err != nil {
		err = offline(err)
	}
	l.c.o.OnState(parley.Address(l.server.String()), connected, err)
}
