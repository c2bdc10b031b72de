package smpclient

import (
	"time"

	"parley"
	"parley/carrier/smp"
)

// deliver takes a message over from the goroutine that reads.
func (b *box) deliver(body []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.live || b.pending != nil || b.stopped {
		return
	}
	b.pending = &arrival{body, b.round}
	if !b.running {
		b.running = true
		b.wg.Go(b.run)
	}
}

// run handles messages as long as there are any.
func (b *box) run() {
	for {
		b.mu.Lock()
		a := b.pending
		b.pending = nil
		if a == nil || b.stopped {
			b.running = false
			b.mu.Unlock()
			return
		}
		b.mu.Unlock()
		if b.handle(a) {
			b.acknowledge(a)
		}
	}
}

// handle opens a message and keeps it, however often that takes. It returns
// false if the relay will deliver the message again. What cannot be opened is
// let go: anybody could have sent it while the mailbox was not secured, and it
// must not block those behind it.
func (b *box) handle(a *arrival) bool {
	d, err := b.open(a.body)
	if err != nil {
		return true
	}
	for tries := 0; b.ctx.Err() == nil; tries++ {
		if b.keep(d) == nil {
			return true
		}
		if !b.wait(a.round, retryAfter(tries)) {
			return false
		}
	}
	return false
}

// wait reports false when the message of that round is of no more use.
func (b *box) wait(round int, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		b.mu.Lock()
		current := round == b.round && !b.stopped
		b.mu.Unlock()
		if !current {
			return false
		}
		select {
		case <-timer.C:
			return true
		case <-b.poke:
		case <-b.ctx.Done():
			return false
		}
	}
}

// open makes a delivery of a body.
func (b *box) open(body []byte) (d parley.Delivery, err error) {
	plain, err := openBody(b.ek, body)
	if err != nil {
		return d, err
	}
	_, client, bind, err := splitBody(plain)
	if err != nil {
		return d, err
	}
	switch {
	case !b.bare:
		d.Packet = client
	case bind != nil:
		d.Packet = joinBody(client, nil)
	default:
		d.Packet = plain
	}
	d.Bind = bind
	return d, nil
}

// acknowledge sends ACK and does not wait: while a HOLD waits, so does the reply.
func (b *box) acknowledge(a *arrival) {
	if b.ack == nil {
		ack, err := b.command(smp.ACK)
		if err != nil {
			b.report(err)
			return
		}
		b.ack = ack
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if a.round != b.round || !b.live {
		return
	}
	b.conn.Start(b.rid, b.ack, func(r Reply, err error) { b.acknowledged(a.round, r, err) })
}

// acknowledged subscribes again, after a while, when the relay could not delete
// the message: only so it delivers again.
func (b *box) acknowledged(round int, r Reply, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err == nil && r.Verb == smp.ERR && round == b.round {
		b.later(retryAfter(b.tries))
		b.tries++
	}
}
