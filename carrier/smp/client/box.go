package smpclient

import (
	"context"
	"fmt"
	"sync"
	"time"

	"parley"
	"parley/carrier/smp"
)

// A box is a mailbox that Receive receives from. An ACK names no message: it
// deletes whatever the relay has delivered last. So one goes out only on the
// connection and the subscription that delivered, and never while a SUB is
// under way, which redelivers: else it could delete a message not kept yet.
type box struct {
	*recipient
	link     *link
	endpoint parley.Endpoint
	keep     func(parley.Delivery) error
	ctx      context.Context // of Receive
	wg       *sync.WaitGroup
	sub      []byte        // signed SUB
	poke     chan struct{} // the round has changed

	ack []byte // signed ACK, once needed; only run's

	mu      sync.Mutex
	conn    *Conn
	round   int  // grows with each subscription
	live    bool // the subscription of this round stands
	pending *arrival
	running bool
	timer   *time.Timer // subscribes again
	tries   int
	stopped bool
}

type arrival struct {
	body  []byte
	round int
}

const (
	retryMin = time.Second // before keep, or SUB after an error, is tried again
	retryMax = time.Minute
)

func retryAfter(tries int) time.Duration {
	return jitter(min(retryMin<<min(tries, 10), retryMax))
}

func (b *box) command(v smp.Verb) ([]byte, error) {
	t := smp.Transmission{ID: b.rid, Verb: v}
	if err := t.Sign(b.rk); err != nil {
		return nil, err
	}
	return t.Append(nil), nil
}

// subscribe sends SUB. Whatever was delivered before counts no more.
func (b *box) subscribe(conn *Conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.conn = conn
	round := b.newRound()
	conn.Start(b.rid, b.sub, func(r Reply, err error) { b.subscribed(round, r, err) }) // if it fails, the link connects again
}

// newRound forgets what the last subscription has delivered. b.mu is held.
func (b *box) newRound() int {
	b.round++
	b.live, b.pending = false, nil
	select {
	case b.poke <- struct{}{}:
	default:
	}
	return b.round
}

func (b *box) subscribed(round int, r Reply, err error) {
	b.mu.Lock()
	if err != nil || round != b.round {
		b.mu.Unlock()
		return // the link will see to it
	}
	if r.Verb == smp.OK {
		b.live, b.tries = true, 0
		b.mu.Unlock()
		return
	}
	after := retryAfter(b.tries)
	b.tries++
	if r.Code == smp.CodeAuth {
		after = jitter(b.link.c.o.Displaced)
	}
	b.later(after)
	b.mu.Unlock()
	b.report(fmt.Errorf("receiving from a mailbox at %s: %w", b.server, refusal(r.Code)))
}

// displaced is called when another subscriber has come. To take the mailbox back
// at once would begin a quarrel without end.
func (b *box) displaced() {
	b.mu.Lock()
	b.newRound()
	b.later(jitter(b.link.c.o.Displaced))
	b.mu.Unlock()
	b.report(ErrTakenOver)
}

// later subscribes again after d. b.mu is held.
func (b *box) later(d time.Duration) {
	if b.timer != nil {
		b.timer.Stop()
	}
	if b.ctx.Err() == nil {
		b.timer = time.AfterFunc(d, func() { b.link.again(b) })
	}
}

func (b *box) report(err error) {
	if f := b.link.c.o.OnMailbox; f != nil && b.ctx.Err() == nil {
		f(b.endpoint, err)
	}
}

// stop ends the box; the goroutine that may still run is the caller's to wait for.
func (b *box) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stopped = true
	if b.timer != nil {
		b.timer.Stop()
	}
}
