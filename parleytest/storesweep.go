package parleytest

import (
	"fmt"
	"time"

	"parley/broker/store"
)

func (t *storeTest) sweep(now, before time.Time, max, want int) {
	t.Helper()
	n, err := t.s.Sweep(t.ctx, now, before, max)
	t.ok(err)
	if n != want {
		t.Fatalf("swept %d, want %d", n, want)
	}
}

func (t *storeTest) appendAt(q store.ID, at time.Time, body string) store.Item {
	t.Helper()
	it, err := t.s.Append(t.ctx, q, 1, 1000, at, []byte(body))
	t.ok(err)
	return it
}

func testSweepItems(t *storeTest) {
	q, other := t.create(1), t.create(2)
	l := t.own(q)
	for i := range 10 {
		t.appendAt(q, day0.Add(time.Duration(i)*time.Hour), fmt.Sprint(i))
	}
	t.appendAt(other, day0.Add(time.Hour), "x")
	t.sweep(day0, day0, 100, 0)
	t.sweep(day0, day0.Add(time.Hour), 0, 0)
	t.sweep(day0, day0.Add(time.Hour), 100, 1) // before, not at
	it := t.head(l, "1")
	t.sweep(day0, day0.Add(2*time.Hour), 100, 2)
	t.len(other, 0)
	t.ok(t.s.Ack(t.ctx, l, it.Seq)) // swept meanwhile
	t.len(q, 8)
	t.sweep(day0, day0.Add(5*time.Hour), 2, 2)
	t.len(q, 6)
	t.sweep(day0, day0.Add(5*time.Hour), 2, 1)
	t.head(l, "5")
	t.sweep(day0, day0.Add(5*time.Hour), 2, 0)
	t.appendAt(other, day0.Add(90*time.Minute), "late")
	t.sweep(day0, day0.Add(5*time.Hour), 9, 1)
	t.sweep(day0, day0.Add(100*time.Hour), 9, 5)
	t.empty(l)
	if it := t.appendAt(q, day0.Add(200*time.Hour), "y"); it.Seq <= 10 {
		t.Fatalf("number %d again", it.Seq)
	}
	t.head(l, "y")
}

func testSweepQueues(t *storeTest) {
	for i := range 6 {
		q := store.Queue{ID: qid(i), Props: props, Alias: map[store.Role]store.ID{store.Sender: sid(i)}}
		if i > 0 {
			q.Expires = day0.Add(time.Duration(i) * time.Hour)
		}
		t.ok(t.s.Create(t.ctx, q))
		t.append(qid(i), "x")
	}
	never := day0.Add(-1000 * time.Hour)
	t.sweep(day0.Add(time.Hour), never, 100, 0) // at, not before
	t.sweep(day0.Add(time.Hour+1), never, 100, 1)
	t.missing(qid(1))
	_, err := t.s.Find(t.ctx, store.Sender, sid(1))
	t.want(err, store.ErrNotFound)
	// An update moves the end, or takes it away.
	t.ok(t.s.Update(t.ctx, store.Queue{ID: qid(2), Version: 1, Props: props, Expires: day0.Add(50 * time.Hour)}))
	t.ok(t.s.Update(t.ctx, store.Queue{ID: qid(3), Version: 1, Props: props}))
	t.ok(t.s.Update(t.ctx, store.Queue{ID: qid(0), Version: 1, Props: props, Expires: day0}))
	t.sweep(day0.Add(10*time.Hour), never, 2, 2)
	t.sweep(day0.Add(10*time.Hour), never, 2, 1)
	t.missing(qid(0))
	t.missing(qid(4))
	t.missing(qid(5))
	t.len(qid(2), 1)
	t.len(qid(3), 1)
	t.sweep(day0.Add(100*time.Hour), never, 9, 1)
	t.missing(qid(2))
	// Messages count after queues, and max holds for both.
	t.ok(t.s.Create(t.ctx, store.Queue{ID: qid(20), Props: props, Expires: day0}))
	t.sweep(day0.Add(100*time.Hour), day0.Add(100*time.Hour), 1, 1)
	t.sweep(day0.Add(100*time.Hour), day0.Add(100*time.Hour), 9, 1)
	t.len(qid(3), 0)
}

// The clock may go back: what is received then is still found.
func testSweepBackwards(t *storeTest) {
	q := t.create(1)
	l := t.own(q)
	t.appendAt(q, day0.Add(10*time.Hour), "late")
	t.sweep(day0, day0.Add(9*time.Hour), 9, 0)
	t.appendAt(q, day0, "early")
	t.appendAt(q, day0.Add(11*time.Hour), "later")
	t.sweep(day0, day0.Add(9*time.Hour), 9, 1)
	t.head(l, "late")
	t.len(q, 2)
	t.sweep(day0, day0.Add(12*time.Hour), 9, 2)
	t.empty(l)
}
