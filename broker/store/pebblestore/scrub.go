package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"parley/broker/store"

	"github.com/cockroachdb/pebble/v2"
)

// Scrub erases from the files what has been acknowledged, swept, deleted or
// replaced before the call: it writes the buffers out, so that the logs go, and
// rewrites the tables where something was deleted. When it returns nil, no file
// of the store holds any of it. What the medium keeps of deleted files is beyond
// its reach.
func (s *Store) Scrub(ctx context.Context) error { return s.scrub(ctx, false) }

// scrubLoop scrubs every ScrubEvery, resting as long as it works, so that it
// takes at most half of the disk's time.
func (s *Store) scrubLoop(ctx context.Context) {
	t := time.NewTicker(s.o.ScrubEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		err := s.scrub(ctx, true)
		if err != nil && ctx.Err() == nil && !errors.Is(err, store.ErrClosed) {
			s.o.Report(fmt.Errorf("store: deleted messages are not erased yet: %w", err))
		}
	}
}

func (s *Store) scrub(ctx context.Context, gently bool) error {
	s.scrubs.Lock()
	defer s.scrubs.Unlock()
	e, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer s.leave()
	d := e.dirt.take()
	if err := e.scrub(ctx, d, gently); err != nil {
		e.dirt.put(d)
		return err
	}
	return nil
}

func (e *engine) scrub(ctx context.Context, d *dirt, gently bool) error {
	pruned, err := e.prune(ctx, d.lost)
	if err != nil || !pruned && len(d.area) == 0 {
		return err
	}
	old, err := e.files()
	if err != nil {
		return err
	}
	if err := e.flush(ctx); err != nil {
		return err
	}
	spans := append(d.spans(), span{[]byte{kIndex}, []byte{kIndex + 1}})
	if err := e.cover(ctx, spans); err != nil {
		return err
	}
	for _, sp := range spans {
		began := time.Now()
		err := e.guard(func() error { return e.db.Compact(ctx, sp.from, sp.to, false) })
		if err != nil {
			return err
		}
		if gently {
			if err := pause(ctx, time.Since(began)); err != nil {
				return err
			}
		}
	}
	return e.erased(ctx, old)
}

// cover puts an entry without meaning across each span (it deletes range keys, of
// which there are none), in a table of its own. A compaction down to the last
// level then has to merge it with every table there, and so to rewrite them.
// Without it, a table with nothing below it may just be moved down, and keep the
// tombstones that name what was deleted.
func (e *engine) cover(ctx context.Context, spans []span) error {
	err := e.guard(func() error {
		b := e.db.NewBatch()
		defer b.Close()
		for _, sp := range spans {
			if err := b.RangeKeyDelete(sp.from, sp.to, nil); err != nil {
				return err
			}
		}
		return e.db.Apply(b, pebble.NoSync)
	})
	if err != nil {
		return err
	}
	return e.flush(ctx)
}

// flush writes the buffers into tables. On a full disk the engine tries until
// there is room.
func (e *engine) flush(ctx context.Context) error {
	var flushed <-chan struct{}
	err := e.guard(func() (err error) {
		flushed, err = e.db.AsyncFlush()
		return err
	})
	if err != nil {
		return err
	}
	select {
	case <-flushed:
		return nil
	case <-e.failed:
		return e.failure()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// guard runs a step that a failing engine may hold for good.
func (e *engine) guard(step func() error) error {
	done := make(chan error, 1)
	go func() {
		defer e.rescue()
		done <- step()
	}()
	select {
	case err := <-done:
		return err
	case <-e.failed:
		return e.failure()
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// files returns the tables and logs that are in the folder.
func (e *engine) files() ([]string, error) {
	names, err := e.gate.List(e.dir)
	return slices.DeleteFunc(names, func(n string) bool {
		return !strings.HasSuffix(n, ".sst") && !strings.HasSuffix(n, ".log")
	}), err
}

// erased waits until of the files that were there before, only those are left
// that are still in use. Logs are not: all that was in them is in tables.
func (e *engine) erased(ctx context.Context, old []string) error {
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		live := make(map[string]bool)
		levels, err := e.db.SSTables()
		if err != nil {
			return err
		}
		for _, l := range levels {
			for _, t := range l {
				live[fmt.Sprintf("%06d.sst", t.BackingSSTNum)] = true
			}
		}
		names, err := e.files()
		if err != nil {
			return err
		}
		left := slices.DeleteFunc(names, func(n string) bool {
			return live[n] || !slices.Contains(old, n)
		})
		if len(left) == 0 {
			return nil
		}
		if err := pause(ctx, wait); err != nil {
			return fmt.Errorf("%d files are still in use: %w", len(left), err)
		}
	}
}

// prune takes empty queues out of the index by age, which would tell that and
// when a message was there. With all set it looks through the whole index, else
// at the cursors only. It reports whether it found any.
func (e *engine) prune(ctx context.Context, all bool) (bool, error) {
	var last *group
	for i := range e.cache.shards {
		s := &e.cache.shards[i]
		s.mu.Lock()
		all = all || s.dropped
		s.dropped = false
		var ids []store.ID
		for id := range s.queues {
			ids = append(ids, id)
		}
		s.mu.Unlock()
		for _, id := range ids {
			g, err := e.pruneQueue(id)
			if err != nil {
				return false, err
			}
			if g != nil {
				last = g
			}
		}
	}
	from := indexFrom(byAge, none)
	for all {
		chunk, err := e.index(from, []byte{kIndex, byAge + 1}, 256)
		if err != nil || len(chunk) == 0 {
			if err != nil {
				return false, err
			}
			break
		}
		for _, x := range chunk {
			from = append(indexKey(byAge, x.ms, x.id), 0)
			if used, err := e.hasItems(x.id); err != nil || used {
				if err != nil {
					return false, err
				}
				continue
			}
			g, err := e.pruneQueue(x.id)
			if err != nil {
				return false, err
			}
			if g != nil {
				last = g
			}
		}
		if err := ctx.Err(); err != nil {
			return false, err
		}
	}
	if last == nil {
		return false, nil
	}
	return true, e.wait(ctx, last)
}

// hasItems looks at the disk, without a cursor.
func (e *engine) hasItems(id store.ID) (found bool, err error) {
	var c counts
	err = e.get(idKey(kCount, id), func(v []byte) (err error) {
		c, err = splitCounts(v)
		return err
	})
	if err != nil && !errors.Is(err, pebble.ErrNotFound) {
		return false, err
	}
	err = e.items(id, c.floor+1, func(uint64, *pebble.Iterator) (bool, error) {
		found = true
		return false, nil
	})
	return found, err
}

func (e *engine) pruneQueue(id store.ID) (*group, error) {
	q, err := e.locked(id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if q.n > 0 || q.indexed == none {
		e.unlock(q)
		return nil, nil
	}
	was := q.indexed
	q.indexed = none
	return e.submit(q, effect{}, func(b *pebble.Batch) {
		_ = b.Set(idKey(kCount, id), q.counts().append(nil), nil)
		reindex(b, q, was)
	}), nil
}
