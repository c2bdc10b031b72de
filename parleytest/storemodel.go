package parleytest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"parley/broker/store"
)

// A model plays random calls on a store and on one in memory, and compares.
type model struct {
	*storeTest
	r     *rand.Rand
	want  *MemStore
	lease map[store.ID][2]store.Lease    // ours, the model's
	seqs  map[store.ID]map[uint64]uint64 // the model's numbers and ours
	made  int
}

func newModel(t *storeTest, seed uint64) *model {
	return &model{
		storeTest: t, r: rand.New(rand.NewPCG(seed, 2)), want: NewStore(),
		lease: make(map[store.ID][2]store.Lease), seqs: make(map[store.ID]map[uint64]uint64),
	}
}

// Random calls give the same as the store in memory.
func testModel(t *storeTest) {
	m := newModel(t, 1)
	for range 1500 {
		m.step()
	}
	m.end()
}

const modelQueues = 5

// same fails unless both errors are the same, and reports whether they are nil.
func (m *model) same(what string, got, want error) bool {
	m.Helper()
	if got == want || want != nil && errors.Is(got, want) {
		return got == nil
	}
	m.Fatalf("%s: %v, the model says %v", what, got, want)
	return false
}

func (m *model) step() {
	m.Helper()
	n := m.r.IntN(modelQueues)
	q := qid(n)
	at := day0.Add(time.Duration(m.r.IntN(1000)) * time.Minute)
	version := uint64(1 + m.r.IntN(2))
	if rec, err := m.want.Find(m.ctx, store.Recipient, q); err == nil && m.r.IntN(4) > 0 {
		version = rec.Version
	}
	switch k := m.r.IntN(20); {
	case k < 2:
		rec := store.Queue{ID: q, Props: fmt.Append(nil, m.r.IntN(99)), Alias: map[store.Role]store.ID{store.Sender: sid(n)}}
		if m.r.IntN(2) == 0 {
			rec.Expires = at
		}
		if m.same("Create", m.s.Create(m.ctx, rec), m.want.Create(m.ctx, rec)) {
			m.seqs[q] = make(map[uint64]uint64)
			m.made++
		}
	case k < 4:
		rec := store.Queue{ID: q, Version: version, Props: fmt.Append(nil, m.r.IntN(99))}
		if m.r.IntN(4) == 0 {
			rec.Props = nil
		}
		if m.r.IntN(2) == 0 {
			rec.Expires = at
		}
		m.same("Update", m.s.Update(m.ctx, rec), m.want.Update(m.ctx, rec))
	case k < 11:
		body := fmt.Append(nil, m.r.Uint64())
		got, err := m.s.Append(m.ctx, q, version, 6, at, body)
		want, errWant := m.want.Append(m.ctx, q, version, 6, at, body)
		if m.same("Append", err, errWant) {
			for _, s := range m.seqs[q] {
				if s >= got.Seq {
					m.Fatalf("number %d after %d", got.Seq, s)
				}
			}
			m.seqs[q][want.Seq] = got.Seq
		}
	case k < 13:
		m.own(q)
	case k < 14:
		m.s.Release(m.lease[q][0])
		m.want.Release(m.lease[q][1])
	case k < 18:
		m.ack(q)
	case k < 19:
		now, before := day0.Add(time.Duration(m.r.IntN(200))*time.Minute), day0.Add(time.Duration(m.r.IntN(500))*time.Minute)
		got, err := m.s.Sweep(m.ctx, now, before, 1000)
		want, errWant := m.want.Sweep(m.ctx, now, before, 1000)
		if m.same("Sweep", err, errWant); got != want {
			m.Fatalf("swept %d, the model %d", got, want)
		}
	default:
		m.compare(n)
	}
}

func (m *model) own(q store.ID) {
	m.Helper()
	got, err := m.s.Own(m.ctx, []store.ID{q})
	want, errWant := m.want.Own(m.ctx, []store.ID{q})
	m.same("Own", err, errWant)
	if (got[0] == store.Lease{}) != (want[0] == store.Lease{}) {
		m.Fatalf("Own: %v, the model has %v", got, want)
	}
	if want[0] != (store.Lease{}) {
		m.lease[q] = [2]store.Lease{got[0], want[0]}
	}
}

// ack takes the head, or any message that ever was.
func (m *model) ack(q store.ID) {
	m.Helper()
	l := m.lease[q]
	want, errWant := m.want.Head(m.ctx, l[1])
	got, err := m.s.Head(m.ctx, l[0])
	if m.same("Head", err, errWant) && (string(got.Body) != string(want.Body) || got.Seq != m.seqs[q][want.Seq] || !got.At.Equal(want.At)) {
		m.Fatalf("head %+v, the model's %+v", got, want)
	}
	theirs := want.Seq
	if m.r.IntN(3) == 0 {
		for theirs = range m.seqs[q] {
			break
		}
	}
	ours, ok := m.seqs[q][theirs]
	if !ok {
		ours = 1 << 40
	}
	m.same("Ack", m.s.Ack(m.ctx, l[0], ours), m.want.Ack(m.ctx, l[1], theirs))
}

// compare looks at queue n in both stores.
func (m *model) compare(n int) {
	m.Helper()
	q := qid(n)
	got, err := m.s.Find(m.ctx, store.Sender, sid(n))
	want, errWant := m.want.Find(m.ctx, store.Sender, sid(n))
	if m.same("Find", err, errWant) && fmt.Sprint(got) != fmt.Sprint(want) {
		m.Fatalf("found %+v, the model has %+v", got, want)
	}
	k, err := m.s.Len(m.ctx, q)
	kWant, errWant := m.want.Len(m.ctx, q)
	if m.same("Len", err, errWant); k != kWant {
		m.Fatalf("queue %d holds %d, the model's %d", n, k, kWant)
	}
}

func (m *model) compareAll() {
	m.Helper()
	for n := range modelQueues {
		m.compare(n)
	}
}

// end compares all, and that the run was worth something.
func (m *model) end() {
	m.Helper()
	m.compareAll()
	if m.made < 10 {
		m.Fatalf("only %d queues were made", m.made)
	}
}
