package parleytest

import (
	"fmt"
	"time"

	"parley/broker/store"
)

func testCreate(t *storeTest) {
	q := store.Queue{
		ID: qid(1), Version: 77, Props: []byte("two keys"), Expires: day0.Add(1500 * time.Microsecond),
		Alias: map[store.Role]store.ID{store.Sender: sid(1), store.Notifier: sid(2)},
	}
	t.ok(t.s.Create(t.ctx, q))
	for _, by := range []struct {
		r  store.Role
		id store.ID
	}{{store.Recipient, qid(1)}, {store.Sender, sid(1)}, {store.Notifier, sid(2)}} {
		got, err := t.s.Find(t.ctx, by.r, by.id)
		t.ok(err)
		if got.ID != q.ID || got.Version != 1 || string(got.Props) != "two keys" ||
			!got.Expires.Equal(day0.Add(time.Millisecond)) ||
			len(got.Alias) != 2 || got.Alias[store.Sender] != sid(1) || got.Alias[store.Notifier] != sid(2) {
			t.Fatalf("by role %d: %+v", by.r, got)
		}
	}
	for _, by := range []struct {
		r  store.Role
		id store.ID
	}{{store.Recipient, sid(1)}, {store.Sender, qid(1)}, {store.Sender, sid(2)}, {store.Link, sid(1)}} {
		_, err := t.s.Find(t.ctx, by.r, by.id)
		t.want(err, store.ErrNotFound)
	}
	// A taken ID or alias refuses the whole queue.
	t.want(t.s.Create(t.ctx, store.Queue{ID: qid(1), Props: props}), store.ErrExists)
	t.want(t.s.Create(t.ctx, store.Queue{ID: qid(9), Props: props, Alias: map[store.Role]store.ID{
		store.Sender: sid(9), store.Notifier: sid(2),
	}}), store.ErrExists)
	t.missing(qid(9))
	_, err := t.s.Find(t.ctx, store.Sender, sid(9))
	t.want(err, store.ErrNotFound)
	// But the same name in another role is another name.
	t.ok(t.s.Create(t.ctx, store.Queue{ID: sid(1), Props: props}))
}

func testBadInput(t *storeTest) {
	for name, q := range map[string]store.Queue{
		"no ID":           {Props: props},
		"no props":        {ID: qid(1)},
		"long props":      {ID: qid(1), Props: make([]byte, store.MaxProps+1)},
		"recipient alias": {ID: qid(1), Props: props, Alias: map[store.Role]store.ID{store.Recipient: sid(1)}},
		"zero alias":      {ID: qid(1), Props: props, Alias: map[store.Role]store.ID{store.Sender: {}}},
	} {
		if err := t.s.Create(t.ctx, q); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	t.missing(qid(1))
	q := t.create(1)
	if err := t.s.Update(t.ctx, store.Queue{ID: q, Version: 1, Props: make([]byte, store.MaxProps+1)}); err == nil {
		t.Error("long props: no error")
	}
	if _, err := t.s.Append(t.ctx, q, 1, 9, day0, make([]byte, store.MaxBody+1)); err == nil {
		t.Error("long body: no error")
	}
	t.len(q, 0)
	if _, err := t.s.Append(t.ctx, q, 1, 9, day0, make([]byte, store.MaxBody)); err != nil {
		t.Error(err)
	}
}

func testUpdate(t *storeTest) {
	q := t.create(1)
	t.append(q, "a")
	t.ok(t.s.Update(t.ctx, store.Queue{ID: q, Version: 1, Props: []byte("secured"), Expires: day0}))
	got, err := t.s.Find(t.ctx, store.Sender, sid(1))
	t.ok(err)
	if got.Version != 2 || string(got.Props) != "secured" || !got.Expires.Equal(day0) || got.Alias[store.Sender] != sid(1) {
		t.Fatalf("%+v", got)
	}
	for _, v := range []uint64{0, 1, 3} {
		t.want(t.s.Update(t.ctx, store.Queue{ID: q, Version: v, Props: props}), store.ErrChanged)
		t.want(t.s.Update(t.ctx, store.Queue{ID: q, Version: v}), store.ErrChanged)
	}
	t.want(t.s.Update(t.ctx, store.Queue{ID: qid(2), Version: 1, Props: props}), store.ErrNotFound)
	t.ok(t.s.Update(t.ctx, store.Queue{ID: q, Version: 2, Props: props}))
	got, err = t.s.Find(t.ctx, store.Recipient, q)
	t.ok(err)
	if got.Version != 3 || !got.Expires.IsZero() {
		t.Fatalf("%+v", got)
	}
	t.head(t.own(q), "a")
}

func testDelete(t *storeTest) {
	q, other := t.create(1), t.create(2)
	for i := range 5 {
		t.append(q, fmt.Sprint(i))
		t.append(other, fmt.Sprint(i))
	}
	l := t.own(q)
	t.ok(t.s.Update(t.ctx, store.Queue{ID: q, Version: 1}))
	t.missing(q)
	_, err := t.s.Find(t.ctx, store.Sender, sid(1))
	t.want(err, store.ErrNotFound)
	_, err = t.s.Append(t.ctx, q, 1, 9, day0, nil)
	t.want(err, store.ErrNotFound)
	_, err = t.s.Len(t.ctx, q)
	t.want(err, store.ErrNotFound)
	_, err = t.s.Head(t.ctx, l)
	t.want(err, store.ErrNotFound)
	t.want(t.s.Ack(t.ctx, l, 1), store.ErrNotFound)
	t.want(t.s.Update(t.ctx, store.Queue{ID: q, Version: 1}), store.ErrNotFound)
	ls, err := t.s.Own(t.ctx, []store.ID{q, other})
	t.ok(err)
	if ls[0] != (store.Lease{}) || ls[1].Queue != other {
		t.Fatalf("leases %v", ls)
	}
	t.len(other, 5)
	// The names are free again, and nothing of the old queue comes back.
	t.create(1)
	t.len(q, 0)
	_, err = t.s.Head(t.ctx, l)
	t.want(err, store.ErrFenced)
	n := t.own(q)
	t.empty(n)
	t.append(q, "new")
	t.ok(t.s.Ack(t.ctx, n, t.head(n, "new").Seq))
	t.empty(n)
}
