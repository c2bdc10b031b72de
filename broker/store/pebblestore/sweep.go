package pebblestore

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"parley/broker/store"
)

// A horizon is, for each kind, the time before which the index is empty, so that
// a sweep doesn't step over the tombstones of all earlier ones.
type horizon struct {
	mu  sync.Mutex
	low [2]int64
}

func slot(kind byte) int {
	if kind == byExpiry {
		return 0
	}
	return 1
}

func newHorizon() horizon { return horizon{low: [2]int64{math.MinInt64, math.MinInt64}} }

func (h *horizon) lower(kind byte, ms int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.low[slot(kind)] = min(h.low[slot(kind)], ms)
}

// take returns the horizon, and lets lower note what is added from now on.
func (h *horizon) take(kind byte) int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	low := h.low[slot(kind)]
	h.low[slot(kind)] = math.MaxInt64
	return low
}

// Sweep is [store.Store.Sweep]. Each entry that it looks at is either due or
// moves past the given time, so the work is bounded by what is due.
func (s *Store) Sweep(ctx context.Context, now, before time.Time, most int) (int, error) {
	if err := s.space.relief(); err != nil {
		return 0, err
	}
	e, err := s.enter(ctx)
	if err != nil {
		return 0, err
	}
	defer s.leave()
	s.sweeps.Lock()
	defer s.sweeps.Unlock()
	n, err := e.sweep(ctx, byExpiry, ceilMilli(now), most, e.expire)
	if err != nil {
		return n, err
	}
	until := ceilMilli(before)
	more, err := e.sweep(ctx, byAge, until, most-n, func(ctx context.Context, id store.ID, ms int64, left int) (int, *group, error) {
		return e.age(ctx, id, ms, until, left)
	})
	return n + more, err
}

// ceilMilli is the first millisecond that is not before t.
func ceilMilli(t time.Time) int64 {
	ms := t.UnixMilli()
	if time.UnixMilli(ms).Before(t) {
		ms++
	}
	return ms
}

// An entry of the index.
type entry struct {
	ms int64
	id store.ID
}

// visit deals with one entry and returns how much it deleted, at most left.
type visit func(ctx context.Context, id store.ID, ms int64, left int) (int, *group, error)

// sweep visits the entries of a kind before a time until most are deleted.
func (e *engine) sweep(ctx context.Context, kind byte, until int64, most int, v visit) (n int, err error) {
	if most <= 0 {
		return 0, nil
	}
	low := e.horizon.take(kind)
	done := low // all before is dealt with
	defer func() { e.horizon.lower(kind, done) }()
	from := indexFrom(kind, low)
	for n < most {
		chunk, err := e.index(from, indexFrom(kind, until), 256)
		if err != nil {
			return n, err
		}
		if len(chunk) == 0 {
			done = max(done, until)
			return n, nil
		}
		var last *group
		for _, x := range chunk {
			if n == most {
				break
			}
			k, g, err := v(ctx, x.id, x.ms, most-n)
			if err != nil {
				return n, err
			}
			if g != nil {
				last = g
			}
			n += k
			from = append(indexKey(kind, x.ms, x.id), 0)
		}
		if last != nil { // groups are written in order
			if err := e.wait(ctx, last); err != nil {
				return n, err
			}
		}
		done = max(done, chunk[0].ms)
	}
	return n, nil
}

// index reads up to most entries between two keys.
func (e *engine) index(from, to []byte, most int) ([]entry, error) {
	if string(from) >= string(to) {
		return nil, nil
	}
	it, err := e.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return nil, err
	}
	var out []entry
	for ok := it.First(); ok && len(out) < most; ok = it.Next() {
		ms, id, err := splitIndex(it.Key())
		if err != nil {
			return nil, errors.Join(err, it.Close())
		}
		out = append(out, entry{ms, id})
	}
	return out, it.Close()
}

// expire deletes a queue whose time has come.
func (e *engine) expire(_ context.Context, id store.ID, ms int64, _ int) (int, *group, error) {
	q, err := e.locked(id)
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil, nil // it is being deleted, and its entry with it
	}
	if err != nil {
		return 0, nil, err
	}
	if q.expires != ms { // likewise replaced
		e.unlock(q)
		return 0, nil, nil
	}
	g, err := e.remove(q)
	if err != nil {
		return 0, nil, err
	}
	return 1, g, nil
}

// age deletes up to left messages of a queue that are older than until, and puts
// the queue where its oldest message is.
func (e *engine) age(ctx context.Context, id store.ID, ms, until int64, left int) (int, *group, error) {
	q, err := e.locked(id)
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil, nil
	}
	if err != nil {
		return 0, nil, err
	}
	if err := e.settle(ctx, q); err != nil {
		if errors.Is(err, store.ErrNotFound) {
			err = nil
		}
		return 0, nil, err
	}
	if q.indexed != ms {
		e.unlock(q)
		return 0, nil, nil
	}
	var old []uint64
	oldest, first := int64(math.MaxInt64), q.tail+1
	err = e.items(id, q.head, func(seq uint64, it *pebble.Iterator) (bool, error) {
		v, err := it.ValueAndErr()
		if err != nil {
			return false, err
		}
		at, err := itemTime(v)
		if err != nil {
			return false, err
		}
		if at < until && len(old) < left {
			old = append(old, seq)
		} else {
			oldest, first = min(oldest, at), min(first, seq)
		}
		return true, nil
	})
	if err != nil {
		e.unlock(q)
		return 0, nil, err
	}
	if q.indexed = none; oldest != math.MaxInt64 {
		q.indexed = oldest
	}
	q.n -= len(old)
	q.head = first
	if len(old) > 0 {
		e.dirt.mark(prefix(kItem), id)
	}
	g := e.submit(q, effect{drop: len(old) > 0, kind: byAge, at: q.indexed}, func(b *pebble.Batch) {
		for _, seq := range old {
			_ = b.SingleDelete(itemKey(id, seq), nil)
		}
		_ = b.Set(idKey(kCount, id), q.counts().append(nil), nil)
		reindex(b, q, ms)
	})
	return len(old), g, nil
}
