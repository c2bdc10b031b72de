package parleytest

import (
	"bytes"
	"context"
	"errors"

	"parley/broker/store"
)

func testContext(t *storeTest) {
	q := t.create(1)
	l := t.own(q)
	ctx, cancel := context.WithCancel(t.ctx)
	cancel()
	for name, f := range storeCalls(t.s, q, l) {
		if err := f(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
	t.len(q, 0)
}

func testClosed(t *storeTest) {
	q := t.create(1)
	l := t.own(q)
	t.ok(t.s.Close())
	for name, f := range storeCalls(t.s, q, l) {
		if err := f(t.ctx); !errors.Is(err, store.ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	t.s.Release(l)
	t.ok(t.s.Close())
}

// storeCalls is each method with a context, as a call.
func storeCalls(s store.Store, q store.ID, l store.Lease) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"Create": func(ctx context.Context) error { return s.Create(ctx, store.Queue{ID: qid(5), Props: props}) },
		"Find":   func(ctx context.Context) error { _, err := s.Find(ctx, store.Recipient, q); return err },
		"Update": func(ctx context.Context) error { return s.Update(ctx, store.Queue{ID: q, Version: 1, Props: props}) },
		"Append": func(ctx context.Context) error { _, err := s.Append(ctx, q, 1, 9, day0, nil); return err },
		"Own":    func(ctx context.Context) error { _, err := s.Own(ctx, []store.ID{q}); return err },
		"Head":   func(ctx context.Context) error { _, err := s.Head(ctx, l); return err },
		"Ack":    func(ctx context.Context) error { return s.Ack(ctx, l, 1) },
		"Len":    func(ctx context.Context) error { _, err := s.Len(ctx, q); return err },
		"Sweep":  func(ctx context.Context) error { _, err := s.Sweep(ctx, day0, day0, 9); return err },
	}
}

// What goes in may be overwritten afterwards; what comes out too.
func testAliasing(t *storeTest) {
	p, body := []byte("props"), []byte("body")
	alias := map[store.Role]store.ID{store.Sender: sid(1)}
	t.ok(t.s.Create(t.ctx, store.Queue{ID: qid(1), Props: p, Alias: alias}))
	l := t.own(qid(1))
	it, err := t.s.Append(t.ctx, qid(1), 1, 9, day0, body)
	t.ok(err)
	p[0], body[0], it.Body[1] = 'X', 'X', 'X'
	delete(alias, store.Sender)
	h := t.head(l, "body")
	h.Body[0] = 'X'
	t.head(l, "body")
	for range 2 {
		q, err := t.s.Find(t.ctx, store.Sender, sid(1))
		t.ok(err)
		if string(q.Props) != "props" || len(q.Alias) != 1 {
			t.Fatalf("%+v", q)
		}
		q.Props[0] = 'X'
		delete(q.Alias, store.Sender)
	}
	if !bytes.Equal(t.head(l, "body").Body, []byte("body")) {
		t.Fatal("changed")
	}
}
