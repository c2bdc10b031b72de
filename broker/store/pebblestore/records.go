package pebblestore

import (
	"context"
	"errors"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"parley/broker/store"
)

// reserved are the names of queues that are just being created, so that of two
// calls with the same name one is refused.
type reserved struct {
	mu    sync.Mutex
	names map[string]bool
}

// take reserves all keys or none.
func (r *reserved) take(keys [][]byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.names == nil {
		r.names = make(map[string]bool)
	}
	for i, k := range keys {
		if r.names[string(k)] {
			for _, k := range keys[:i] {
				delete(r.names, string(k))
			}
			return false
		}
		r.names[string(k)] = true
	}
	return true
}

func (r *reserved) free(keys [][]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, k := range keys {
		delete(r.names, string(k))
	}
}

// Create is [store.Store.Create].
func (s *Store) Create(ctx context.Context, q store.Queue) error {
	if err := store.CheckQueue(q); err != nil {
		return err
	}
	if err := s.space.room(len(q.Props) + 256); err != nil {
		return err
	}
	e, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer s.leave()
	keys := [][]byte{idKey(kRecord, q.ID)}
	for r, id := range q.Alias {
		keys = append(keys, aliasKey(r, id))
	}
	if !e.reserved.take(keys) {
		return store.ErrExists
	}
	for _, k := range keys {
		there, err := e.has(k)
		if err != nil || there {
			e.reserved.free(keys)
			return errors.Join(err, ifTrue(there, store.ErrExists))
		}
	}
	q.Version = 1
	x := toMilli(q.Expires)
	g := e.committer.add(e.db, func(b *pebble.Batch) {
		_ = b.Set(keys[0], appendRecord(nil, q), nil)
		for _, k := range keys[1:] {
			_ = b.Set(k, q.ID[:], nil)
		}
		if x != none {
			_ = b.Set(indexKey(byExpiry, x, q.ID), nil, nil)
		}
	}, effect{kind: byExpiry, at: x})
	// The names stay reserved until the group can be read, also if ctx ends first.
	select {
	case <-g.done:
		e.reserved.free(keys)
		return nil
	case <-e.failed:
		return e.failure()
	case <-ctx.Done():
		go func() {
			select {
			case <-g.done:
				e.reserved.free(keys)
			case <-e.failed:
			}
		}()
		return ctx.Err()
	}
}

// ifTrue is err if there is reason for it.
func ifTrue(b bool, err error) error {
	if b {
		return err
	}
	return nil
}

func (e *engine) has(key []byte) (bool, error) {
	err := e.get(key, func([]byte) error { return nil })
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

func (e *engine) exists(id store.ID) (bool, error) { return e.has(idKey(kRecord, id)) }

// Find is [store.Store.Find].
func (s *Store) Find(ctx context.Context, r store.Role, id store.ID) (q store.Queue, err error) {
	e, err := s.enter(ctx)
	if err != nil {
		return q, err
	}
	defer s.leave()
	if r != store.Recipient {
		err = e.get(aliasKey(r, id), func(v []byte) error {
			if len(v) != store.IDSize {
				return errCorrupt
			}
			id = store.ID(v)
			return nil
		})
	}
	if err == nil {
		q, err = e.record(id)
	}
	if errors.Is(err, pebble.ErrNotFound) {
		err = store.ErrNotFound
	}
	return q, err
}

func (e *engine) record(id store.ID) (q store.Queue, err error) {
	err = e.get(idKey(kRecord, id), func(v []byte) (err error) {
		q, err = splitRecord(id, v)
		return err
	})
	return q, err
}

// Update is [store.Store.Update].
func (s *Store) Update(ctx context.Context, u store.Queue) error {
	err := store.CheckProps(u.Props)
	switch {
	case err != nil:
	case len(u.Props) == 0:
		err = s.space.relief()
	default:
		err = s.space.room(len(u.Props) + 256)
	}
	if err != nil {
		return err
	}
	e, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer s.leave()
	q, err := e.locked(u.ID)
	if err != nil {
		return err
	}
	if q.version != u.Version {
		e.unlock(q)
		return store.ErrChanged
	}
	var g *group
	if len(u.Props) == 0 {
		g, err = e.remove(q)
	} else {
		g, err = e.replace(q, u)
	}
	if err != nil {
		return err
	}
	return e.wait(ctx, g)
}

// replace gives q, which is locked, new props and expiry, and unlocks it. Its
// record on disk is current, or is about to be replaced by an earlier call whose
// group comes first; aliases never change.
func (e *engine) replace(q *queue, u store.Queue) (*group, error) {
	old, err := e.record(q.id)
	if err != nil {
		e.unlock(q)
		return nil, err
	}
	was := q.expires
	q.version++
	q.expires = toMilli(u.Expires)
	u.Version, u.Alias = q.version, old.Alias
	e.dirt.mark(prefix(kRecord), q.id)
	return e.submit(q, effect{kind: byExpiry, at: q.expires}, func(b *pebble.Batch) {
		_ = b.Set(idKey(kRecord, q.id), appendRecord(nil, u), nil)
		if was == q.expires {
			return
		}
		if was != none {
			_ = b.Delete(indexKey(byExpiry, was, q.id), nil)
		}
		if q.expires != none {
			_ = b.Set(indexKey(byExpiry, q.expires, q.id), nil, nil)
		}
	}), nil
}

// remove deletes q, which is locked, with all that is its, and unlocks it.
func (e *engine) remove(q *queue) (*group, error) {
	old, err := e.record(q.id)
	if err != nil {
		e.unlock(q)
		return nil, err
	}
	q.gone = true
	e.dirt.mark(prefix(kRecord), q.id)
	e.dirt.mark(prefix(kCount), q.id)
	e.dirt.mark(prefix(kItem), q.id)
	return e.submit(q, effect{gone: true}, func(b *pebble.Batch) {
		_ = b.Delete(idKey(kRecord, q.id), nil)
		for r, id := range old.Alias {
			_ = b.Delete(aliasKey(r, id), nil)
			e.dirt.mark(prefix(kAlias, byte(r)), id)
		}
		if q.tail > 0 {
			_ = b.Delete(idKey(kCount, q.id), nil)
		}
		if q.n > 0 {
			_ = b.DeleteRange(itemKey(q.id, 0), itemEnd(q.id), nil)
		}
		if q.expires != none {
			_ = b.Delete(indexKey(byExpiry, q.expires, q.id), nil)
		}
		if q.indexed != none {
			_ = b.Delete(indexKey(byAge, q.indexed, q.id), nil)
		}
	}), nil
}
