package parleytest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"parley/broker/store"
)

// Store checks that open returns stores that keep the rules of [store.Store].
// Each subtest opens an empty one and closes it.
func Store(t *testing.T, open func(t *testing.T) store.Store) {
	for _, c := range []struct {
		name string
		run  func(*storeTest)
	}{
		{"Create", testCreate},
		{"BadInput", testBadInput},
		{"Update", testUpdate},
		{"Delete", testDelete},
		{"Append", testAppend},
		{"AppendErrors", testAppendErrors},
		{"AckOutOfOrder", testAckOutOfOrder},
		{"Lease", testLease},
		{"Wake", testWake},
		{"WakeCoalesces", testWakeCoalesces},
		{"WakeEnds", testWakeEnds},
		{"SweepItems", testSweepItems},
		{"SweepQueues", testSweepQueues},
		{"SweepBackwards", testSweepBackwards},
		{"Context", testContext},
		{"Closed", testClosed},
		{"Aliasing", testAliasing},
		{"UpdateRace", testUpdateRace},
		{"CreateRace", testCreateRace},
		{"FoundRace", testFoundRace},
		{"AppendRace", testAppendRace},
		{"SecureRace", testSecureRace},
		{"Model", testModel},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t)
			t.Cleanup(func() { s.Close() })
			c.run(&storeTest{T: t, s: s, ctx: t.Context()})
		})
	}
}

// storeTest is one subtest with its store.
type storeTest struct {
	*testing.T
	s   store.Store
	ctx context.Context
}

var (
	day0  = time.Date(2020, 10, 1, 12, 0, 0, 0, time.UTC)
	props = []byte("props")
)

func qid(n int) (id store.ID) {
	copy(id[:], fmt.Sprintf("%03d queue", n))
	return id
}

func sid(n int) (id store.ID) {
	copy(id[:], fmt.Sprintf("%03d sender", n))
	return id
}

func (t *storeTest) want(err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want %v", err, want)
	}
}

func (t *storeTest) ok(err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// create makes queue n with its sender.
func (t *storeTest) create(n int) store.ID {
	t.Helper()
	t.ok(t.s.Create(t.ctx, store.Queue{
		ID: qid(n), Alias: map[store.Role]store.ID{store.Sender: sid(n)}, Props: props,
	}))
	return qid(n)
}

func (t *storeTest) own(q store.ID) store.Lease {
	t.Helper()
	l, err := t.s.Own(t.ctx, []store.ID{q})
	t.ok(err)
	if len(l) != 1 || l[0].Queue != q || l[0].Epoch == 0 {
		t.Fatalf("leases %v", l)
	}
	return l[0]
}

func (t *storeTest) append(q store.ID, body string) store.Item {
	t.Helper()
	it, err := t.s.Append(t.ctx, q, 1, 1000, day0, []byte(body))
	t.ok(err)
	return it
}

func (t *storeTest) head(l store.Lease, body string) store.Item {
	t.Helper()
	it, err := t.s.Head(t.ctx, l)
	t.ok(err)
	if string(it.Body) != body {
		t.Fatalf("head is %q, want %q", it.Body, body)
	}
	return it
}

func (t *storeTest) empty(l store.Lease) {
	t.Helper()
	_, err := t.s.Head(t.ctx, l)
	t.want(err, store.ErrEmpty)
}

func (t *storeTest) len(q store.ID, want int) {
	t.Helper()
	n, err := t.s.Len(t.ctx, q)
	t.ok(err)
	if n != want {
		t.Fatalf("%d messages, want %d", n, want)
	}
}

func (t *storeTest) missing(q store.ID) {
	t.Helper()
	_, err := t.s.Find(t.ctx, store.Recipient, q)
	t.want(err, store.ErrNotFound)
}
