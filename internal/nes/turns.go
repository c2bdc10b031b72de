package nes

import (
	"context"
	"slices"
	"sync"
)

// How many look-ups run at a time, and how many of them for names for which there was
// no answer in time.
const (
	maxLookups = 8
	maxSlow    = 2
)

// turns give out the look-ups that may run, first come, first served. Names without an
// answer have places of their own among them, and hold up nobody who asks for the first
// time.
type turns struct {
	mu            sync.Mutex
	running, slow int
	queue         []*turn
}

type turn struct {
	slow  bool
	given chan struct{} // closed when it is theirs
}

func newTurns() *turns { return new(turns) }

// take waits for a turn until ctx ends; leave ends the turn.
func (t *turns) take(ctx context.Context, slow bool) (leave func(), err error) {
	q := &turn{slow, make(chan struct{})}
	t.mu.Lock()
	t.queue = append(t.queue, q)
	t.give()
	t.mu.Unlock()
	select {
	case <-q.given:
		return func() { t.end(q) }, nil
	case <-ctx.Done():
		t.end(q)
		return nil, ctx.Err()
	}
}

// give hands out what is free. t.mu is held.
func (t *turns) give() {
	for i := 0; i < len(t.queue) && t.running < maxLookups; {
		q := t.queue[i]
		if q.slow && t.slow == maxSlow {
			i++
			continue
		}
		t.queue = slices.Delete(t.queue, i, i+1)
		t.running++
		if q.slow {
			t.slow++
		}
		close(q.given)
	}
}

// end takes back a turn, or a place in the queue.
func (t *turns) end(q *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(t.queue, q); i >= 0 {
		t.queue = slices.Delete(t.queue, i, i+1)
	} else {
		t.running--
		if q.slow {
			t.slow--
		}
	}
	t.give()
}
