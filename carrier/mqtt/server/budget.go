package server

import (
	"sync"
	"time"
)

// A budget is bytes that packets under way share. Who comes first is served first.
type budget struct {
	mu      sync.Mutex
	all     int64
	free    int64
	waiting []*want
}

type want struct {
	n     int64
	given chan struct{}
}

func newBudget(n int64) *budget { return &budget{all: n, free: n} }

// take waits for n bytes, for at most the given time and until done. What is more
// than all there is counts as all.
func (b *budget) take(n int, within time.Duration, done <-chan struct{}) bool {
	w := &want{n: min(int64(n), b.all), given: make(chan struct{})}
	b.mu.Lock()
	if len(b.waiting) == 0 && b.free >= w.n {
		b.free -= w.n
		b.mu.Unlock()
		return true
	}
	b.waiting = append(b.waiting, w)
	b.mu.Unlock()
	t := time.NewTimer(within)
	defer t.Stop()
	select {
	case <-w.given:
		return true
	case <-t.C:
	case <-done:
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-w.given: // just now
		b.free += w.n
	default:
		for i, x := range b.waiting {
			if x == w {
				b.waiting = append(b.waiting[:i], b.waiting[i+1:]...)
				break
			}
		}
	}
	b.serve()
	return false
}

// give gives n bytes back.
func (b *budget) give(n int) {
	if n == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.free += min(int64(n), b.all)
	b.serve()
}

func (b *budget) serve() {
	for len(b.waiting) > 0 && b.free >= b.waiting[0].n {
		w := b.waiting[0]
		b.free -= w.n
		b.waiting[0] = nil
		b.waiting = b.waiting[1:]
		close(w.given)
	}
}
