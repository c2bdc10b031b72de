package parleytest

import (
	"fmt"
	"time"

	"parley/broker/store"
)

func testAppend(t *storeTest) {
	q := t.create(1)
	l := t.own(q)
	t.empty(l)
	at := day0.Add(1234567 * time.Microsecond).In(time.FixedZone("east", 3600))
	for i := range 10 {
		it, err := t.s.Append(t.ctx, q, 1, 10, at, []byte(fmt.Sprint(i)))
		t.ok(err)
		if it.Seq < uint64(i+1) || string(it.Body) != fmt.Sprint(i) || !it.At.Equal(at.Truncate(time.Millisecond)) || it.At.Location() != time.UTC {
			t.Fatalf("%+v", it)
		}
		t.len(q, i+1)
	}
	last := uint64(0)
	for i := range 10 {
		it := t.head(l, fmt.Sprint(i))
		if t.head(l, fmt.Sprint(i)); it.Seq <= last || !it.At.Equal(at.Truncate(time.Millisecond)) || it.At.Location() != time.UTC {
			t.Fatalf("%+v after %d", it, last)
		}
		last = it.Seq
		t.ok(t.s.Ack(t.ctx, l, it.Seq))
		t.ok(t.s.Ack(t.ctx, l, it.Seq)) // not there any more
		t.len(q, 9-i)
	}
	t.empty(l)
	t.ok(t.s.Ack(t.ctx, l, last+100))
	if it := t.append(q, ""); it.Seq <= last {
		t.Fatalf("number %d after %d", it.Seq, last)
	}
	if it := t.head(l, ""); len(it.Body) != 0 {
		t.Fatal(it)
	}
}

func testAppendErrors(t *storeTest) {
	q := t.create(1)
	_, err := t.s.Append(t.ctx, qid(2), 1, 9, day0, nil)
	t.want(err, store.ErrNotFound)
	_, err = t.s.Append(t.ctx, q, 2, 9, day0, nil)
	t.want(err, store.ErrChanged)
	_, err = t.s.Append(t.ctx, q, 1, 0, day0, nil)
	t.want(err, store.ErrFull)
	t.append(q, "a")
	t.append(q, "b")
	_, err = t.s.Append(t.ctx, q, 1, 2, day0, nil)
	t.want(err, store.ErrFull)
	t.len(q, 2)
	l := t.own(q)
	t.ok(t.s.Ack(t.ctx, l, t.head(l, "a").Seq))
	_, err = t.s.Append(t.ctx, q, 1, 2, day0, []byte("c"))
	t.ok(err)
}

func testAckOutOfOrder(t *storeTest) {
	q := t.create(1)
	l := t.own(q)
	var seq []uint64
	for i := range 6 {
		seq = append(seq, t.append(q, fmt.Sprint(i)).Seq)
	}
	for _, i := range []int{5, 3, 1, 3} {
		t.ok(t.s.Ack(t.ctx, l, seq[i]))
	}
	t.len(q, 3)
	for _, i := range []int{0, 2, 4} {
		it := t.head(l, fmt.Sprint(i))
		t.ok(t.s.Ack(t.ctx, l, it.Seq))
	}
	t.empty(l)
	t.len(q, 0)
	if it := t.append(q, "x"); it.Seq <= seq[5] {
		t.Fatalf("number %d after %d", it.Seq, seq[5])
	}
	t.head(l, "x")
}
