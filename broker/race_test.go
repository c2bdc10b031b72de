package broker_test

import (
	"context"
	"testing"
	"testing/synctest"

	"parley/broker"
	"parley/broker/store"
	"parley/parleytest"
)

// hooked is a store that lets a test act in the middle of a call.
type hooked struct {
	*parleytest.MemStore
	afterHead, afterOwn, afterUpdate func()
}

func (h *hooked) Head(ctx context.Context, l store.Lease) (store.Item, error) {
	it, err := h.MemStore.Head(ctx, l)
	run(&h.afterHead)
	return it, err
}

func (h *hooked) Own(ctx context.Context, q []store.ID) ([]store.Lease, error) {
	l, err := h.MemStore.Own(ctx, q)
	run(&h.afterOwn)
	return l, err
}

func (h *hooked) Update(ctx context.Context, q store.Queue) error {
	err := h.MemStore.Update(ctx, q)
	run(&h.afterUpdate)
	return err
}

// run calls a hook once.
func run(f *func()) {
	if g := *f; g != nil {
		*f = nil
		g()
	}
}

func withHooks(t *testing.T, f func(b *bench, h *hooked)) {
	synctest.Test(t, func(t *testing.T) {
		h := &hooked{MemStore: parleytest.NewStore()}
		b := &bench{t, broker.New(h, broker.Options{}), h.MemStore}
		defer b.Close()
		f(b, h)
	})
}

// A message that is being read when another subscriber takes over is not given
// to the first: it gets End and nothing else.
func TestTakenOverWhileReading(t *testing.T) {
	withHooks(t, func(b *bench, h *hooked) {
		first, second := b.connect(), b.connect()
		q := first.create()
		b.send(q, "m0")
		synctest.Wait()
		h.afterHead = func() { b.want(second.Subscribe(ctx, q.ID, func() {}), nil) }
		b.want(first.next(), "END")
		b.want(first.next(), "")
		b.want(second.next(), "m0")
	})
}

// A message that arrives just after the queue was found empty is delivered.
func TestSentWhileReading(t *testing.T) {
	withHooks(t, func(b *bench, h *hooked) {
		c := b.connect()
		q := c.create()
		h.afterHead = func() { b.send(q, "m0"); synctest.Wait() }
		b.want(c.next(), "m0")
	})
}

// Neither renewing one's own subscription nor deleting one's own queue is an
// End, however early the store's wake-up is seen.
func TestNoEndForOnesOwnDoing(t *testing.T) {
	withHooks(t, func(b *bench, h *hooked) {
		c := b.connect()
		q := c.create()
		b.want(c.next(), "")
		h.afterOwn = func() { b.want(c.next(), "") }
		b.want(c.Subscribe(ctx, q.ID, func() {}), nil)
		b.send(q, "m0")
		b.want(c.next(), "m0")
		b.want(c.Ack(ctx, q.ID, func() {}), nil)
		b.want(c.next(), "")
		h.afterUpdate = func() { b.want(c.next(), "") }
		b.want(c.Delete(ctx, q.ID, func() {}), nil)
		b.want(c.next(), "")
		b.want(c.Idle(), true)
	})
}
