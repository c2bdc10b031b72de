package parleytest

import (
	"fmt"
	"iter"
	"sync"
	"time"

	"parley/broker/store"
)

func testLease(t *storeTest) {
	q := t.create(1)
	a := t.append(q, "a")
	_, err := t.s.Head(t.ctx, store.Lease{Queue: q})
	t.want(err, store.ErrFenced)
	_, err = t.s.Head(t.ctx, store.Lease{})
	t.want(err, store.ErrNotFound)
	first := t.own(q)
	second := t.own(q)
	if second.Epoch <= first.Epoch {
		t.Fatalf("epochs %d, %d", first.Epoch, second.Epoch)
	}
	_, err = t.s.Head(t.ctx, first)
	t.want(err, store.ErrFenced)
	t.want(t.s.Ack(t.ctx, first, a.Seq), store.ErrFenced)
	t.s.Release(first) // does nothing
	t.head(second, "a")
	t.s.Release(second)
	_, err = t.s.Head(t.ctx, second)
	t.want(err, store.ErrFenced)
	t.s.Release(second)
	t.s.Release(store.Lease{})
	t.len(q, 1)
	ls, err := t.s.Own(t.ctx, []store.ID{qid(7), q, qid(8)})
	t.ok(err)
	if ls[0] != (store.Lease{}) || ls[2] != (store.Lease{}) {
		t.Fatal(ls)
	}
	t.head(ls[1], "a")
	if ls, err := t.s.Own(t.ctx, nil); err != nil || len(ls) != 0 {
		t.Fatal(ls, err)
	}
}

// wakes ranges over Wake in a goroutine until the store closes.
func (t *storeTest) wakes() <-chan store.Lease {
	c := make(chan store.Lease)
	stop := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		defer close(c)
		for l := range t.s.Wake() {
			select {
			case c <- l:
			case <-stop:
				return
			}
		}
	})
	t.Cleanup(func() { close(stop); t.s.Close(); done.Wait() })
	return c
}

// awaits reads wake-ups until l comes.
func (t *storeTest) awaits(c <-chan store.Lease, l store.Lease) {
	t.Helper()
	patience := time.After(10 * time.Second)
	for {
		select {
		case got, ok := <-c:
			if !ok {
				t.Fatal("Wake has ended")
			}
			if got == l {
				return
			}
		case <-patience:
			t.Fatalf("no wake-up for %v", l)
		}
	}
}

func testWake(t *storeTest) {
	c := t.wakes()
	q, other := t.create(1), t.create(2)
	l, m := t.own(q), t.own(other)
	t.empty(l)
	t.append(q, "a")
	t.awaits(c, l)
	t.append(other, "b")
	t.awaits(c, m)
	l2 := t.own(q) // fences
	t.awaits(c, l)
	t.append(q, "c")
	t.awaits(c, l2)
	t.ok(t.s.Update(t.ctx, store.Queue{ID: q, Version: 1}))
	t.awaits(c, l2)
	_, err := t.s.Head(t.ctx, l2)
	t.want(err, store.ErrNotFound)
	t.s.Release(m)
	t.append(other, "nobody is woken")
	m2 := t.own(other)
	t.append(other, "d")
	t.awaits(c, m2)
}

// Nobody listens while much happens; then one wake-up for each lease is enough.
func testWakeCoalesces(t *storeTest) {
	q := t.create(1)
	var l store.Lease
	for range 50 {
		l = t.own(q)
	}
	for i := range 50 {
		t.append(q, fmt.Sprint(i))
	}
	n := 0
	next, stop := iter.Pull(t.s.Wake())
	defer stop()
	for got, ok := next(); ok; got, ok = next() {
		if n++; got == l {
			break
		}
	}
	if n > 50 {
		t.Fatalf("%d wake-ups", n)
	}
	t.head(l, "0")
}

func testWakeEnds(t *storeTest) {
	c := t.wakes()
	t.ok(t.s.Close())
	for {
		select {
		case _, ok := <-c:
			if !ok {
				return
			}
		case <-time.After(10 * time.Second):
			t.Fatal("Wake goes on after Close")
		}
	}
}
