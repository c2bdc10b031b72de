package pebblestore

import (
	"context"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"parley/broker/store"
)

// A group is what one write to the log carries: the changes of all callers that
// came while the one before was on its way. It is applied whole or not at all.
type group struct {
	batch *pebble.Batch
	after []effect
	done  chan struct{}
}

// An effect is what the rest of the world sees once its group is on disk. It
// holds a reference on its queue, if any, until then.
type effect struct {
	q    *queue
	seq  uint64 // appended, if not 0
	drop bool   // messages removed
	gone bool   // deleted
	kind byte   // the index has got an entry of this kind, if not 0 …
	at   int64  // … at this time
}

// groupBytes is how much a group takes before the next one is begun: well under
// a write buffer, which a larger batch would bypass.
const groupBytes = 512 << 10

// A committer turns changes into groups, in the order in which they come.
type committer struct {
	mu     sync.Mutex
	some   sync.Cond
	groups []*group
	closed bool
	over   chan struct{} // closed when run has ended
}

func (c *committer) init() {
	c.some.L = &c.mu
	c.over = make(chan struct{})
}

// add puts a change into the next group. Whoever holds a queue's lock while it
// adds gets the queue's changes in order.
func (c *committer) add(db *pebble.DB, fill func(*pebble.Batch), f effect) *group {
	c.mu.Lock()
	defer c.mu.Unlock()
	var g *group
	if n := len(c.groups); n > 0 && c.groups[n-1].batch.Len() < groupBytes {
		g = c.groups[n-1]
	} else {
		g = &group{batch: db.NewBatch(), done: make(chan struct{})}
		c.groups = append(c.groups, g)
		c.some.Signal()
	}
	fill(g.batch)
	g.after = append(g.after, f)
	return g
}

// next waits for a group; nil means closed and empty.
func (c *committer) next() *group {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.groups) == 0 {
		if c.closed {
			return nil
		}
		c.some.Wait()
	}
	g := c.groups[0]
	c.groups[0] = nil
	c.groups = c.groups[1:]
	return g
}

func (c *committer) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.some.Signal()
}

// commit writes groups until the committer is closed. While one is being synced
// the next ones are applied behind it; finish takes them in the same order.
func (e *engine) commit() {
	defer e.rescue()
	synced := make(chan *group, 4)
	go e.finish(synced)
	defer close(synced)
	for {
		g := e.committer.next()
		if g == nil {
			return
		}
		if err := e.db.ApplyNoSyncWait(g.batch, pebble.Sync); err != nil {
			e.fail(err)
			return
		}
		synced <- g
	}
}

func (e *engine) finish(synced <-chan *group) {
	defer close(e.committer.over)
	for g := range synced {
		if err := g.batch.SyncWait(); err != nil {
			e.fail(err)
			return
		}
		select {
		case <-e.failed: // nothing of a failed engine is announced
			return
		default:
		}
		g.batch.Close()
		g.batch = nil
		for _, f := range g.after {
			e.effect(g, f)
		}
		g.after = nil
		close(g.done)
	}
}

func (e *engine) effect(g *group, f effect) {
	if f.kind != 0 && f.at != none {
		e.horizon.lower(f.kind, f.at)
	}
	q := f.q
	if q == nil {
		return
	}
	q.mu.Lock()
	if f.seq > q.durable {
		q.durable = f.seq
	}
	if q.pending == g {
		q.pending = nil
	}
	if q.dropping == g {
		q.dropping = nil
	}
	q.mu.Unlock()
	switch {
	case f.gone:
		e.forget(q)
		e.leases.Drop(q.id)
	case f.seq != 0:
		e.leases.Ready(q.id)
	}
	e.release(q)
}

// wait returns when g is on disk, ctx is done or the engine has failed.
func (e *engine) wait(ctx context.Context, g *group) error {
	select {
	case <-g.done:
		return nil
	default:
	}
	select {
	case <-g.done:
		return nil
	case <-e.failed:
		return e.failure()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// failure is what callers get from a failed engine.
func (e *engine) failure() error { return fmt.Errorf("%w: %v", store.ErrFailed, e.cause) }
