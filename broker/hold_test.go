package broker_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"parley/broker"
	"parley/broker/store"
	"parley/parleytest"
)

func (c *client) hold(q broker.Queue, name string) error {
	return c.Hold(ctx, q.ID, func(err error) { c.note(fmt.Sprint(name, " ", err)) })
}

func TestHoldAnswersWhenAllWasDelivered(t *testing.T) {
	inBubble(t, broker.Options{}, func(b *bench) {
		c, other := b.connect(), b.connect()
		q := c.create()
		b.send(q, "m0")
		b.send(q, "m1")
		b.want(other.hold(q, "other"), nil)
		b.want(c.hold(q, "h1"), nil)
		b.want(c.hold(q, "h2"), nil)
		before, _ := b.Lookup(ctx, store.Sender, q.Sender)
		b.wantErr(b.Send(ctx, before, []byte("x")), broker.ErrSuspended)
		b.want(c.next(), "m0")
		b.want(c.Ack(ctx, q.ID, c.did("ack")), nil)
		b.want(c.told(), "[ack]")
		b.want(c.next(), "m1")
		b.want(c.Ack(ctx, q.ID, c.did("ack")), nil)
		b.want(c.told(), "[ack ack h1 <nil> h2 <nil>]")
		b.want(other.told(), "[other <nil>]")
		b.want(c.hold(q, "h3"), nil) // drained: at once
		b.want(c.told()[4], "h3 <nil>")
		b.wantErr(c.hold(broker.Queue{ID: q.Sender}, "wrong"), store.ErrNotFound)
	})
}

func TestSendLosesTheRaceAgainstHold(t *testing.T) {
	inBubble(t, broker.Options{}, func(b *bench) {
		c := b.connect()
		q := c.create()
		before, _ := b.Lookup(ctx, store.Sender, q.Sender)
		b.want(c.hold(q, "h"), nil)
		b.wantErr(b.Send(ctx, before, []byte("x")), store.ErrChanged)
		b.want(c.told(), "[h <nil>]")
	})
}

func TestHoldIsForgottenWithItsConnection(t *testing.T) {
	inBubble(t, broker.Options{}, func(b *bench) {
		c, other := b.connect(), b.connect()
		q := c.create()
		b.send(q, "m0")
		b.want(c.hold(q, "gone"), nil)
		b.want(other.hold(q, "stays"), nil)
		c.Close()
		b.wantErr(c.hold(q, "late"), store.ErrClosed)
		b.want(other.Subscribe(ctx, q.ID, func() {}), nil)
		b.want(other.next(), "m0")
		b.want(other.Ack(ctx, q.ID, func() {}), nil)
		b.want(c.told(), "[]")
		b.want(other.told(), "[stays <nil>]")
	})
}

func TestMessagesExpire(t *testing.T) {
	inBubble(t, broker.Options{MessageTTL: time.Hour, SuspendedTTL: 48 * time.Hour}, func(b *bench) {
		c := b.connect()
		q := c.create()
		b.send(q, "m0")
		b.want(c.next(), "m0")
		b.want(c.hold(q, "h"), nil)
		pass(59 * time.Minute) // the bubble's clock
		b.want(c.told(), "[]")
		pass(3 * time.Minute)
		synctest.Wait()
		b.want(c.told(), "[h <nil>]")
		if n, _ := b.st.Len(ctx, q.ID); n != 0 {
			t.Errorf("%d messages after their time", n)
		}
		b.want(c.Ack(ctx, q.ID, c.did("ack")), nil) // delivered it was
	})
}

func TestSuspendedQueuesExpire(t *testing.T) {
	inBubble(t, broker.Options{SuspendedTTL: time.Hour}, func(b *bench) {
		c := b.connect()
		q, kept := c.create(), c.create()
		b.send(q, "m0")
		b.want(c.hold(q, "h"), nil)
		pass(30 * time.Minute)
		b.want(c.hold(q, "again"), nil) // doesn't prolong
		b.want(b.Secure(ctx, q.ID, []byte("SK")), nil)
		pass(33 * time.Minute)
		synctest.Wait()
		_, err := b.Lookup(ctx, store.Recipient, q.ID)
		b.wantErr(err, store.ErrNotFound)
		_, err = b.Lookup(ctx, store.Recipient, kept.ID)
		b.want(err, nil)
		b.want(c.told(), "[h no such queue again no such queue]")
		b.want(c.next(), "END")
	})
}

// flaky is a store whose disk fails when told to.
type flaky struct {
	*parleytest.MemStore
	mu  sync.Mutex
	bad error
}

func (f *flaky) set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.bad = err
}

func (f *flaky) get() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.bad
}

var errDisk = errors.New("disk on fire")

func (f *flaky) Head(ctx context.Context, l store.Lease) (store.Item, error) {
	if err := f.get(); err != nil {
		return store.Item{}, err
	}
	return f.MemStore.Head(ctx, l)
}

func (f *flaky) Ack(ctx context.Context, l store.Lease, seq uint64) error {
	if err := f.get(); err != nil {
		return err
	}
	return f.MemStore.Ack(ctx, l, seq)
}

func (f *flaky) Len(ctx context.Context, q store.ID) (int, error) {
	if err := f.get(); err != nil {
		return 0, err
	}
	return f.MemStore.Len(ctx, q)
}

func (f *flaky) Sweep(ctx context.Context, now, before time.Time, max int) (int, error) {
	if err := f.get(); err != nil {
		return 0, err
	}
	return f.MemStore.Sweep(ctx, now, before, max)
}

func TestDiskTroubleLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := &flaky{MemStore: parleytest.NewStore()}
		var trouble []string
		b := &bench{t, broker.New(st, broker.Options{Trouble: func(what string, err error) {
			st.mu.Lock()
			defer st.mu.Unlock()
			trouble = append(trouble, fmt.Sprint(what, ": ", err))
		}}), st.MemStore}
		defer b.Close()
		c := b.connect()
		q := c.create()
		b.send(q, "m0")
		synctest.Wait()
		st.set(errDisk)
		b.want(c.next(), "")
		b.want(trouble, "[a message could not be read: disk on fire]")
		b.want(c.hold(q, "h"), nil)
		pass(90 * time.Second)
		synctest.Wait()
		b.want(c.next(), "")
		st.set(nil)
		pass(time.Minute)
		b.want(c.next(), "m0") // the sweep tried again
		st.set(errDisk)
		b.wantErr(c.Ack(ctx, q.ID, c.did("never")), errDisk)
		st.set(store.ErrFenced) // another node took over
		b.wantErr(c.Ack(ctx, q.ID, c.did("never")), broker.ErrNothing)
		b.want(c.next(), "END")
		st.set(nil)
		b.want(c.Subscribe(ctx, q.ID, func() {}), nil)
		st.set(store.ErrFenced)
		b.want(c.next(), "END")
		b.want(c.next(), "")
		b.want(c.told(), "[]")
	})
}

// pass lets the bubble's clock run.
func pass(d time.Duration) { <-time.After(d) }
