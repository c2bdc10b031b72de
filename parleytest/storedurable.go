package parleytest

import (
	"fmt"
	"testing"
	"time"

	"parley/broker/store"
)

// DurableStore checks a store that outlives its process: the rules of [Store],
// and that everything is there after it was closed and opened again. open opens
// the store in dir, which is empty at first and its own for each subtest.
func DurableStore(t *testing.T, open func(dir string) (store.Store, error)) {
	must := func(t *testing.T, dir string) store.Store {
		t.Helper()
		s, err := open(dir)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	Store(t, func(t *testing.T) store.Store { return must(t, t.TempDir()) })

	t.Run("Locked", func(t *testing.T) {
		dir := t.TempDir()
		s := must(t, dir)
		if second, err := open(dir); err == nil {
			second.Close()
			t.Error("opened twice")
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = must(t, dir)
		s.Close()
	})
	for name, run := range map[string]func(*storeTest, func()){
		"ReopenAll":     reopenAll,
		"ReopenNumbers": reopenNumbers,
		"ReopenIndex":   reopenIndex,
		"ReopenModel":   reopenModel,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			st := &storeTest{T: t, s: must(t, dir), ctx: t.Context()}
			t.Cleanup(func() { st.s.Close() })
			run(st, func() {
				t.Helper()
				if err := st.s.Close(); err != nil {
					t.Fatal(err)
				}
				st.s = must(t, dir)
			})
		})
	}
}

func reopenAll(t *storeTest, reopen func()) {
	for i := range 20 {
		q := store.Queue{
			ID: qid(i), Props: fmt.Append(nil, "props ", i), Expires: day0.Add(time.Duration(i) * time.Hour),
			Alias: map[store.Role]store.ID{store.Sender: sid(i), store.Link: sid(100 + i)},
		}
		t.ok(t.s.Create(t.ctx, q))
		for k := range i {
			t.append(q.ID, fmt.Sprintf("%d/%d", i, k))
		}
		if i%2 == 1 {
			t.ok(t.s.Update(t.ctx, store.Queue{ID: q.ID, Version: 1, Props: []byte("new")}))
		}
	}
	t.ok(t.s.Update(t.ctx, store.Queue{ID: qid(4), Version: 1}))
	reopen()
	t.missing(qid(4))
	for i := range 20 {
		if i == 4 {
			continue
		}
		q, err := t.s.Find(t.ctx, store.Link, sid(100+i))
		t.ok(err)
		want := store.Queue{ID: qid(i), Version: 1, Props: fmt.Append(nil, "props ", i), Expires: day0.Add(time.Duration(i) * time.Hour),
			Alias: map[store.Role]store.ID{store.Sender: sid(i), store.Link: sid(100 + i)}}
		if i%2 == 1 {
			want.Version, want.Props, want.Expires = 2, []byte("new"), time.Time{}
		}
		if fmt.Sprint(q) != fmt.Sprint(want) {
			t.Fatalf("%+v, want %+v", q, want)
		}
		t.len(q.ID, i)
		l := t.own(q.ID)
		for k := range i {
			it := t.head(l, fmt.Sprintf("%d/%d", i, k))
			t.ok(t.s.Ack(t.ctx, l, it.Seq))
		}
		t.empty(l)
	}
	reopen()
	for i := range 20 {
		if i != 4 {
			t.len(qid(i), 0)
		}
	}
}

// No number comes twice, however the queue was emptied.
func reopenNumbers(t *storeTest, reopen func()) {
	q := t.create(1)
	last := uint64(0)
	for round := range 4 {
		l := t.own(q)
		var seq []uint64
		for i := range 5 {
			it := t.append(q, fmt.Sprint(i))
			if it.Seq <= last {
				t.Fatalf("round %d: number %d after %d", round, it.Seq, last)
			}
			last = it.Seq
			seq = append(seq, it.Seq)
		}
		switch round {
		case 0: // in order
			for _, s := range seq {
				t.ok(t.s.Ack(t.ctx, l, s))
			}
		case 1: // the last ones first
			t.ok(t.s.Ack(t.ctx, l, seq[4]))
			t.ok(t.s.Ack(t.ctx, l, seq[3]))
			reopen()
			l = t.own(q)
			t.len(q, 3)
			t.head(l, "0")
			t.ok(t.s.Ack(t.ctx, l, seq[1]))
			reopen()
			l = t.own(q)
			t.ok(t.s.Ack(t.ctx, l, seq[0]))
			t.head(l, "2")
			t.ok(t.s.Ack(t.ctx, l, seq[2]))
		case 2:
			t.sweep(day0, day0.Add(time.Hour), 100, 5)
		}
		if round < 3 {
			t.empty(l)
			t.len(q, 0)
			reopen()
			t.empty(t.own(q))
		}
	}
	t.len(q, 5)
}

// Sweep finds after a restart what it would have found before.
func reopenIndex(t *storeTest, reopen func()) {
	a, b := t.create(1), t.create(2)
	t.ok(t.s.Create(t.ctx, store.Queue{ID: qid(3), Props: props, Expires: day0.Add(time.Hour)}))
	l := t.own(a)
	t.appendAt(a, day0, "x")
	t.ok(t.s.Ack(t.ctx, l, t.head(l, "x").Seq))
	t.appendAt(a, day0.Add(2*time.Hour), "y")
	t.appendAt(b, day0.Add(time.Hour), "z")
	reopen()
	t.sweep(day0, day0.Add(time.Hour), 9, 0)
	t.sweep(day0.Add(2*time.Hour), day0.Add(2*time.Hour), 9, 2)
	t.missing(qid(3))
	t.len(a, 1)
	reopen()
	t.sweep(day0.Add(3*time.Hour), day0.Add(3*time.Hour), 9, 1)
	t.len(a, 0)
}

func reopenModel(t *storeTest, reopen func()) {
	m := newModel(t, 3)
	for i := range 600 {
		if i%40 == 39 {
			reopen()
			m.compareAll()
			for n := range modelQueues {
				delete(m.lease, qid(n))
				m.own(qid(n))
			}
		}
		m.step()
	}
	m.end()
}
