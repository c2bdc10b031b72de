package parleytest

import (
	"bytes"
	"context"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"parley/broker/store"
)

// A MemStore is a [store.Store] in memory, for tests: it keeps every rule of the
// interface but durability. It uses no goroutine and no clock, so that it works
// inside a synctest bubble.
type MemStore struct {
	mu     sync.Mutex
	queues map[store.ID]*memQueue
	alias  map[aliasKey]store.ID
	leases *store.Leases
	closed bool
}

type aliasKey struct {
	role store.Role
	id   store.ID
}

type memQueue struct {
	rec   store.Queue
	tail  uint64
	items []store.Item
}

// NewStore returns an empty store.
func NewStore() *MemStore {
	return &MemStore{
		queues: make(map[store.ID]*memQueue),
		alias:  make(map[aliasKey]store.ID),
		leases: store.NewLeases(),
	}
}

// enter takes the lock if the store is open and ctx is not done; the caller
// unlocks.
func (m *MemStore) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return store.ErrClosed
	}
	return nil
}

func (m *MemStore) Create(ctx context.Context, q store.Queue) error {
	if err := store.CheckQueue(q); err != nil {
		return err
	}
	if err := m.enter(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	if m.queues[q.ID] != nil {
		return store.ErrExists
	}
	for r, id := range q.Alias {
		if _, taken := m.alias[aliasKey{r, id}]; taken {
			return store.ErrExists
		}
	}
	for r, id := range q.Alias {
		m.alias[aliasKey{r, id}] = q.ID
	}
	q = copyQueue(q)
	q.Version, q.Expires = 1, milli(q.Expires)
	m.queues[q.ID] = &memQueue{rec: q}
	return nil
}

func (m *MemStore) Find(ctx context.Context, r store.Role, id store.ID) (store.Queue, error) {
	if err := m.enter(ctx); err != nil {
		return store.Queue{}, err
	}
	defer m.mu.Unlock()
	if r != store.Recipient {
		var ok bool
		if id, ok = m.alias[aliasKey{r, id}]; !ok {
			return store.Queue{}, store.ErrNotFound
		}
	}
	q := m.queues[id]
	if q == nil {
		return store.Queue{}, store.ErrNotFound
	}
	return copyQueue(q.rec), nil
}

func (m *MemStore) Update(ctx context.Context, q store.Queue) error {
	if err := store.CheckProps(q.Props); err != nil {
		return err
	}
	if err := m.enter(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	old := m.queues[q.ID]
	switch {
	case old == nil:
		return store.ErrNotFound
	case old.rec.Version != q.Version:
		return store.ErrChanged
	case len(q.Props) == 0:
		m.remove(q.ID)
	default:
		old.rec.Version++
		old.rec.Props, old.rec.Expires = bytes.Clone(q.Props), milli(q.Expires)
	}
	return nil
}

// remove deletes a queue; m.mu is held.
func (m *MemStore) remove(id store.ID) {
	for r, a := range m.queues[id].rec.Alias {
		delete(m.alias, aliasKey{r, a})
	}
	delete(m.queues, id)
	m.leases.Drop(id)
}

func (m *MemStore) Append(ctx context.Context, id store.ID, version uint64, limit int, at time.Time, body []byte) (store.Item, error) {
	if err := store.CheckBody(body); err != nil {
		return store.Item{}, err
	}
	if err := m.enter(ctx); err != nil {
		return store.Item{}, err
	}
	defer m.mu.Unlock()
	q := m.queues[id]
	switch {
	case q == nil:
		return store.Item{}, store.ErrNotFound
	case q.rec.Version != version:
		return store.Item{}, store.ErrChanged
	case len(q.items) >= limit:
		return store.Item{}, store.ErrFull
	}
	q.tail++
	it := store.Item{Seq: q.tail, At: milli(at), Body: bytes.Clone(body)}
	q.items = append(q.items, it)
	m.leases.Ready(id)
	it.Body = bytes.Clone(body)
	return it, nil
}

func (m *MemStore) Own(ctx context.Context, ids []store.ID) ([]store.Lease, error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	out := make([]store.Lease, len(ids))
	for i, id := range ids {
		if m.queues[id] != nil {
			out[i] = m.leases.Own(id)
		}
	}
	return out, nil
}

func (m *MemStore) Release(l store.Lease) { m.leases.Release(l) }

// leased returns the queue of a lease in force; m.mu is held.
func (m *MemStore) leased(l store.Lease) (*memQueue, error) {
	q := m.queues[l.Queue]
	switch {
	case q == nil:
		return nil, store.ErrNotFound
	case !m.leases.Holds(l):
		return nil, store.ErrFenced
	}
	return q, nil
}

func (m *MemStore) Head(ctx context.Context, l store.Lease) (store.Item, error) {
	if err := m.enter(ctx); err != nil {
		return store.Item{}, err
	}
	defer m.mu.Unlock()
	q, err := m.leased(l)
	if err != nil {
		return store.Item{}, err
	}
	if len(q.items) == 0 {
		return store.Item{}, store.ErrEmpty
	}
	it := q.items[0]
	it.Body = bytes.Clone(it.Body)
	return it, nil
}

func (m *MemStore) Ack(ctx context.Context, l store.Lease, seq uint64) error {
	if err := m.enter(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	q, err := m.leased(l)
	if err != nil {
		return err
	}
	q.items = slices.DeleteFunc(q.items, func(it store.Item) bool { return it.Seq == seq })
	return nil
}

func (m *MemStore) Len(ctx context.Context, id store.ID) (int, error) {
	if err := m.enter(ctx); err != nil {
		return 0, err
	}
	defer m.mu.Unlock()
	q := m.queues[id]
	if q == nil {
		return 0, store.ErrNotFound
	}
	return len(q.items), nil
}

func (m *MemStore) Sweep(ctx context.Context, now, before time.Time, max int) (int, error) {
	if err := m.enter(ctx); err != nil {
		return 0, err
	}
	defer m.mu.Unlock()
	n := 0
	for id, q := range m.queues {
		if n < max && !q.rec.Expires.IsZero() && q.rec.Expires.Before(now) {
			m.remove(id)
			n++
			continue
		}
		q.items = slices.DeleteFunc(q.items, func(it store.Item) bool {
			old := n < max && it.At.Before(before)
			if old {
				n++
			}
			return old
		})
	}
	return n, nil
}

func (m *MemStore) Wake() iter.Seq[store.Lease] { return m.leases.Wake() }

func (m *MemStore) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	m.leases.Close()
	return nil
}

func copyQueue(q store.Queue) store.Queue {
	q.Props = bytes.Clone(q.Props)
	q.Alias = maps.Clone(q.Alias)
	return q
}

// milli is what a store keeps of a time.
func milli(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Millisecond)
}
