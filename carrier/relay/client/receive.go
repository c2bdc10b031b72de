package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"parley"
	"parley/carrier/relay"
)

// page is how many messages are asked for at once.
const page = 100

// goodbye is how long it may take, when Receive ends, to tell a relay what was kept.
const goodbye = 2 * time.Second

// ErrReceiving says that a mailbox is being received from already, for the same sender.
var ErrReceiving = fmt.Errorf("%w: this mailbox is being received from already", parley.ErrRefused)

// Receive asks the relays for what comes to the mailboxes and calls keep with each packet
// until ctx is done, whatever the network does meanwhile. It calls keep for one packet of
// a mailbox at a time, but for several mailboxes at the same time. After keep has returned
// nil, a mailbox of ours is told to forget the message; in an open one, only the mark
// moves. When keep fails, it is called again with the same packet, later and later.
//
// It begins with the oldest message that waits, also when that came before the first
// start. What is no packet is passed over. Messages of others than the sender that the
// address names are left where they are.
//
// It returns ctx's error, or at once if an endpoint is none of ours or is being received
// from already. When it has returned, keep is not called any more.
func (c *Client) Receive(ctx context.Context, at []parley.Endpoint, keep func(i int, d parley.Delivery) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return ErrClosed
	}
	c.wg.Add(1)
	c.mu.Unlock()
	defer c.wg.Done()
	boxes := make([]*box, 0, len(at))
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, b := range boxes {
			delete(c.reading, b.key)
		}
	}()
	for i, e := range at {
		s, a, err := readSecret(e)
		if err != nil {
			return err
		}
		if !s.Own {
			return fmt.Errorf("%w: an end that sends", errSecret)
		}
		b := &box{c: c, s: s, a: a, at: e, key: a.Server().String() + "/" + a.UID + "\x00" + a.From}
		if b.mark, err = readMark(e.Mark); err != nil {
			return err
		}
		b.keep = func(d parley.Delivery) error { return keep(i, d) }
		c.mu.Lock()
		twice := c.reading[b.key]
		if !twice {
			c.reading[b.key] = true
			boxes = append(boxes, b)
		}
		c.mu.Unlock()
		if twice {
			return ErrReceiving
		}
	}
	inner, cancel := c.while(ctx)
	defer cancel()
	var wg sync.WaitGroup
	for _, b := range boxes {
		wg.Go(func() { b.run(inner) })
	}
	if len(boxes) == 0 {
		<-inner.Done()
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return err
	}
	return ErrClosed
}

// A box is a mailbox that is being received from.
type box struct {
	c    *Client
	s    secret
	a    relay.Address
	at   parley.Endpoint
	key  string
	mark mark
	keep func(parley.Delivery) error
	bad  bool // it was told that the mailbox cannot be received from
	met  bool // the relay has answered
	ours bool // the relay has agreed that it is, since the last trouble
}

// run receives until ctx is done.
func (b *box) run(ctx context.Context) {
	wait := b.c.o.BackoffMin
	for ctx.Err() == nil {
		err := b.turn(ctx)
		if err == nil {
			wait = b.c.o.BackoffMin
			continue
		}
		if ctx.Err() != nil {
			break
		}
		b.ours = false
		b.tell(err)
		pause(ctx, wait)
		wait = min(wait*2, b.c.o.BackoffMax)
	}
	if len(b.mark.Done) > 0 {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbye)
		defer cancel()
		b.finish(ctx) // else the mark says so the next time
	}
}

// tell passes on why nothing comes.
func (b *box) tell(err error) {
	var k *keepError
	switch {
	case errors.As(err, &k):
	case errors.Is(err, parley.ErrOffline):
		b.c.state(b.a, false, err)
	case b.c.o.OnMailbox != nil && !b.bad:
		b.bad = true
		b.c.o.OnMailbox(b.at, err)
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// A keepError is one of the messenger's, which is no news to it.
type keepError struct{ error }

// turn asks once and takes what comes.
func (b *box) turn(ctx context.Context) error {
	// Again, for a relay that has lost the mailbox.
	if b.s.Receive != "" && !b.ours {
		if err := b.c.claim(ctx, b.a, b.s.Receive); err != nil {
			return err
		}
		b.ours = true
		b.c.state(b.a, true, nil) // the question below may wait for long
	}
	if err := b.finish(ctx); err != nil {
		return err
	}
	q := relay.Question{Recipient: b.a.UID, Start: b.start(), Most: page, From: b.a.From, Waits: true}
	if b.met {
		q.Wait = b.c.o.Wait.Truncate(time.Second)
	}
	asked := time.Now()
	var reply relay.Messages
	if err := b.c.ask(ctx, b.s, b.a, q, &reply); err != nil {
		return err
	}
	b.bad = false
	b.c.state(b.a, true, nil)
	moved := !b.met // the first answer comes at once, and says that the relay is there
	b.met = true
	for _, m := range reply.Messages {
		if m.Ref < q.Start {
			continue // not what was asked for
		}
		moved = true
		if err := b.take(ctx, m); err != nil {
			return err
		}
	}
	if !moved && time.Since(asked) < min(b.c.o.Poll, q.Wait) { // a relay that does not wait
		pause(ctx, b.c.o.Poll)
	}
	return nil
}

// start is the first number to ask for. What a mailbox of ours still has is new; a relay
// that was set up anew numbers from the beginning.
func (b *box) start() int64 {
	if b.s.Receive != "" {
		return 0
	}
	return b.mark.Next
}

// take hands one message on.
func (b *box) take(ctx context.Context, m relay.Message) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if b.a.From != "" && m.Sender != b.a.From {
		b.mark.Next = m.Ref + 1
		return nil
	}
	next := b.mark.after(m, b.s.Receive != "")
	packet, ok := relay.Decode(m.Contents)
	if !ok {
		b.mark = next
		if b.c.o.OnSkipped != nil {
			b.c.o.OnSkipped(b.at, m.Ref)
		}
		return nil
	}
	d := parley.Delivery{Packet: packet, Mark: next.bytes()}
	if relay.CheckUID(m.Sender) == nil && m.Sender != noName {
		d.From = parley.Name(m.Sender)
	}
	wait := b.c.o.BackoffMin
	for {
		err := b.keep(d)
		if err == nil {
			break
		}
		pause(ctx, wait)
		wait = min(wait*2, b.c.o.BackoffMax)
		if err := ctx.Err(); err != nil {
			return &keepError{err}
		}
	}
	b.mark = next
	if len(b.mark.Done) >= relay.MaxDone/2 {
		return b.finish(ctx)
	}
	return nil
}

// finish has the relay forget what was kept.
func (b *box) finish(ctx context.Context) error {
	if b.s.Receive == "" || len(b.mark.Done) == 0 {
		return nil
	}
	if err := b.c.done(ctx, b.s, b.a, b.mark.Done, b.mark.Sums); err != nil {
		return err
	}
	b.mark.Done, b.mark.Sums = nil, nil
	return nil
}
