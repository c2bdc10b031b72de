package parleytest

import (
	"errors"
	"sync"
	"sync/atomic"

	"parley/broker/store"
)

// Of many updates from the same version, exactly one wins.
func testUpdateRace(t *storeTest) {
	q := t.create(1)
	for v := uint64(1); v <= 5; v++ {
		var won atomic.Int32
		race(8, func(i int) {
			err := t.s.Update(t.ctx, store.Queue{ID: q, Version: v, Props: []byte{byte(i)}})
			switch {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, store.ErrChanged):
				t.Error(err)
			}
		})
		if won.Load() != 1 {
			t.Fatalf("%d updates of version %d", won.Load(), v)
		}
	}
}

// Of many queues with the same alias, exactly one is made.
func testCreateRace(t *storeTest) {
	for round := range 5 {
		var won atomic.Int32
		race(8, func(i int) {
			err := t.s.Create(t.ctx, store.Queue{ID: qid(100*round + i), Props: props, Alias: map[store.Role]store.ID{
				store.Sender: sid(round), store.Notifier: sid(round*100 + i + 50),
			}})
			switch {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, store.ErrExists):
				t.Error(err)
			}
		})
		if won.Load() != 1 {
			t.Fatalf("%d queues with one sender", won.Load())
		}
		if _, err := t.s.Find(t.ctx, store.Sender, sid(round)); err != nil {
			t.Fatal(err)
		}
	}
}

// Whoever was told that a queue is there finds it, also while others ask for it.
func testFoundRace(t *storeTest) {
	for n := range 50 {
		var made atomic.Bool
		race(4, func(i int) {
			if i == 0 {
				defer made.Store(true)
				t.ok(t.s.Create(t.ctx, store.Queue{ID: qid(n), Props: props}))
				if _, err := t.s.Len(t.ctx, qid(n)); err != nil {
					t.Error(err)
				}
				return
			}
			for !made.Load() {
				if _, err := t.s.Len(t.ctx, qid(n)); err != nil && !errors.Is(err, store.ErrNotFound) {
					t.Error(err)
				}
			}
		})
	}
}

// Senders and a reader at once: the limit holds, nothing is lost, doubled or out
// of its sender's order, and the reader finds all by wake-ups alone.
func testAppendRace(t *storeTest) {
	const senders, each, limit = 4, 100, 7
	q := t.create(1)
	l := t.own(q)
	c := t.wakes()
	room := make(chan struct{}, senders)
	var all sync.WaitGroup
	for i := range senders {
		all.Go(func() {
			for k := range each {
				for ; ; <-room {
					_, err := t.s.Append(t.ctx, q, 1, limit, day0, []byte{byte(i), byte(k)})
					if err == nil {
						break
					}
					if !errors.Is(err, store.ErrFull) {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	var last uint64
	next := make([]int, senders)
	for n := 0; n < senders*each; {
		if k, err := t.s.Len(t.ctx, q); err != nil || k > limit {
			t.Fatalf("%d messages over a limit of %d, %v", k, limit, err)
		}
		it, err := t.s.Head(t.ctx, l)
		if errors.Is(err, store.ErrEmpty) {
			t.awaits(c, l)
			continue
		}
		t.ok(err)
		i, k := it.Body[0], int(it.Body[1])
		if it.Seq <= last || k != next[i] {
			t.Fatalf("message %d of sender %d, want %d; number %d after %d", k, i, next[i], it.Seq, last)
		}
		next[i], last = k+1, it.Seq
		t.ok(t.s.Ack(t.ctx, l, it.Seq))
		n++
		select {
		case room <- struct{}{}:
		default:
		}
	}
	all.Wait()
	t.empty(l)
}

// Once a queue is secured, nothing with the version before gets in.
func testSecureRace(t *storeTest) {
	for n := range 10 {
		q := t.create(n)
		var in atomic.Int32
		race(4, func(i int) {
			if i == 0 {
				t.ok(t.s.Update(t.ctx, store.Queue{ID: q, Version: 1, Props: []byte("secured")}))
				before := in.Load()
				k, err := t.s.Len(t.ctx, q)
				t.ok(err)
				for range 3 {
					if _, err := t.s.Append(t.ctx, q, 1, 100, day0, nil); !errors.Is(err, store.ErrChanged) {
						t.Errorf("after the update: %v", err)
					}
				}
				if int(before) > k {
					t.Errorf("%d messages, %d were acknowledged", k, before)
				}
				return
			}
			for range 10 {
				_, err := t.s.Append(t.ctx, q, 1, 100, day0, nil)
				if err == nil {
					in.Add(1)
				} else if !errors.Is(err, store.ErrChanged) {
					t.Error(err)
				}
			}
		})
		t.len(q, int(in.Load()))
	}
}

func race(n int, f func(i int)) {
	var all sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		all.Go(func() { <-start; f(i) })
	}
	close(start)
	all.Wait()
}
