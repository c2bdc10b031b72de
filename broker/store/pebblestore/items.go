package pebblestore

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"parley/broker/store"
)

// Append is [store.Store.Append].
func (s *Store) Append(ctx context.Context, id store.ID, version uint64, limit int, at time.Time, body []byte) (store.Item, error) {
	if err := store.CheckBody(body); err != nil {
		return store.Item{}, err
	}
	if err := s.space.room(len(body) + 128); err != nil {
		return store.Item{}, err
	}
	e, err := s.enter(ctx)
	if err != nil {
		return store.Item{}, err
	}
	defer s.leave()
	q, err := e.locked(id)
	if err != nil {
		return store.Item{}, err
	}
	if q.version != version {
		e.unlock(q)
		return store.Item{}, store.ErrChanged
	}
	if q.n >= limit {
		e.unlock(q)
		return store.Item{}, store.ErrFull
	}
	ms := at.UnixMilli()
	q.tail++
	q.n++
	seq, was := q.tail, q.indexed
	if was == none || ms < was {
		q.indexed = ms
	}
	f := effect{seq: seq}
	if was != q.indexed {
		f.kind, f.at = byAge, q.indexed
	}
	g := e.submit(q, f, func(b *pebble.Batch) {
		setItem(b, id, seq, ms, body)
		if was != q.indexed {
			reindex(b, q, was)
			_ = b.Set(idKey(kCount, id), q.counts().append(nil), nil)
		}
	})
	if err := e.wait(ctx, g); err != nil {
		return store.Item{}, err
	}
	return store.Item{Seq: seq, At: fromMilli(ms), Body: slices.Clone(body)}, nil
}

// setItem writes a message straight into the batch.
func setItem(b *pebble.Batch, id store.ID, seq uint64, ms int64, body []byte) {
	op := b.SetDeferred(1+store.IDSize+8, 8+len(body))
	copy(op.Key, itemKey(id, seq))
	appendItem(op.Value[:0], ms, body)
	_ = op.Finish()
}

// reindex moves q in the index by age from its former place. The place is the
// time of its oldest message or before, and is kept when the queue runs empty,
// so that a busy queue doesn't pay for it; prune clears up.
func reindex(b *pebble.Batch, q *queue, was int64) {
	if was != none {
		_ = b.Delete(indexKey(byAge, was, q.id), nil)
	}
	if q.indexed != none {
		_ = b.Set(indexKey(byAge, q.indexed, q.id), nil, nil)
	}
}

// leased returns the queue of a lease in force, locked.
func (e *engine) leased(l store.Lease) (*queue, error) {
	q, err := e.locked(l.Queue)
	if err != nil {
		return nil, err
	}
	if !e.leases.Holds(l) {
		e.unlock(q)
		return nil, store.ErrFenced
	}
	return q, nil
}

// settle waits, with q unlocked meanwhile, until nothing of q is under way, so
// that the disk tells what is there. On an error q is unlocked and released.
func (e *engine) settle(ctx context.Context, q *queue) error {
	return e.await(ctx, q, func() *group { return q.pending })
}

// await is settle for those changes of q that some picks, nil being none.
func (e *engine) await(ctx context.Context, q *queue, some func() *group) error {
	for g := some(); g != nil; g = some() {
		q.mu.Unlock()
		err := e.wait(ctx, g)
		q.mu.Lock()
		if err == nil && q.gone {
			err = store.ErrNotFound
		}
		if err != nil {
			e.unlock(q)
			return err
		}
	}
	return nil
}

// Head is [store.Store.Head].
func (s *Store) Head(ctx context.Context, l store.Lease) (it store.Item, err error) {
	e, err := s.enter(ctx)
	if err != nil {
		return it, err
	}
	defer s.leave()
	for {
		if it.Seq, err = e.head(ctx, l); err != nil {
			return store.Item{}, err
		}
		// Without the lock: a slow disk must not keep the queue's commits waiting.
		err = e.get(itemKey(l.Queue, it.Seq), func(v []byte) error {
			ms, err := itemTime(v)
			if err == nil {
				it.At, it.Body = fromMilli(ms), slices.Clone(v[8:])
			}
			return err
		})
		switch {
		case err == nil:
			return it, nil
		case !errors.Is(err, pebble.ErrNotFound): // acknowledged, swept or deleted just now
			return store.Item{}, err
		}
		if err := e.changed(ctx, l.Queue, it.Seq); err != nil {
			return store.Item{}, err
		}
	}
}

// head returns the number of the oldest message on disk. It waits until the
// removal of those before it is there too: whoever acknowledged one may be gone
// without an answer, and after a crash that message would come again, behind the
// one after it.
func (e *engine) head(ctx context.Context, l store.Lease) (uint64, error) {
	q, err := e.leased(l)
	if err != nil {
		return 0, err
	}
	if err := e.await(ctx, q, func() *group { return q.dropping }); err != nil {
		return 0, err
	}
	if !e.leases.Holds(l) { // taken over meanwhile
		e.unlock(q)
		return 0, store.ErrFenced
	}
	if !q.gapless() {
		if err := e.settle(ctx, q); err != nil {
			return 0, err
		}
		if err := e.skipGap(q); err != nil {
			e.unlock(q)
			return 0, err
		}
	}
	defer e.unlock(q)
	if q.n == 0 || q.head > q.durable {
		return 0, store.ErrEmpty
	}
	return q.head, nil
}

// changed is nil if the head of the queue is no longer seq: a cursor that points
// at nothing is damage, not a race.
func (e *engine) changed(ctx context.Context, id store.ID, seq uint64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	q, err := e.locked(id)
	if err != nil {
		return err
	}
	defer e.unlock(q)
	if q.n > 0 && q.head == seq && q.gapless() {
		return errCorrupt
	}
	return nil
}

// skipGap puts the head of q, which is settled, on its first message.
func (e *engine) skipGap(q *queue) error {
	first := q.tail + 1
	err := e.items(q.id, q.head, func(seq uint64, _ *pebble.Iterator) (bool, error) {
		first = seq
		return false, nil
	})
	if err == nil {
		q.head = first
	}
	return err
}

// Ack is [store.Store.Ack].
func (s *Store) Ack(ctx context.Context, l store.Lease, seq uint64) error {
	if err := s.space.relief(); err != nil {
		return err
	}
	e, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer s.leave()
	q, err := e.leased(l)
	if err != nil {
		return err
	}
	there := seq >= q.head && seq <= q.durable
	if there && !q.gapless() {
		if err := e.settle(ctx, q); err != nil {
			return err
		}
		if there, err = e.has(itemKey(q.id, seq)); err != nil {
			e.unlock(q)
			return err
		}
	}
	if !there { // but its removal may not be on disk yet
		if err := e.settle(ctx, q); err != nil {
			return err
		}
		e.unlock(q)
		return nil
	}
	e.drop(q, seq)
	g := e.submit(q, effect{drop: true}, func(b *pebble.Batch) {
		_ = b.SingleDelete(itemKey(q.id, seq), nil)
		_ = b.Set(idKey(kCount, q.id), q.counts().append(nil), nil)
	})
	return e.wait(ctx, g)
}

// drop takes a message out of the cursor of q, which is locked.
func (e *engine) drop(q *queue, seq uint64) {
	q.n--
	if seq == q.head {
		q.head++
	}
	if q.n == 0 {
		q.head = q.tail + 1
	}
	e.dirt.mark(prefix(kItem), q.id)
}

// Len is [store.Store.Len].
func (s *Store) Len(ctx context.Context, id store.ID) (int, error) {
	e, err := s.enter(ctx)
	if err != nil {
		return 0, err
	}
	defer s.leave()
	q, err := e.locked(id)
	if err != nil {
		return 0, err
	}
	defer e.unlock(q)
	return q.n - int(q.tail-q.durable), nil
}
