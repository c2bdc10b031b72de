package server

import (
	"sync"
	"time"
)

// A budget is bytes that packets under way share. Who comes first is served first,
// but nobody gets more than what then is left for others, unless it has nothing yet:
// however many packets one client begins, another's find room.
type budget struct {
	mu      sync.Mutex
	all     int64
	free    int64
	held    map[string]int64 // by owner
	waiting []*want
}

type want struct {
	owner string
	n     int64
	given chan struct{}
}

func newBudget(n int64) *budget { return &budget{all: n, free: n, held: make(map[string]int64)} }

// fits reports whether an owner may have n bytes now.
func (b *budget) fits(owner string, n int64) bool {
	held := b.held[owner]
	return n <= b.free && (held == 0 || held+n <= b.free-n)
}

func (b *budget) hand(owner string, n int64) {
	b.free -= n
	b.held[owner] += n
}

// take waits for n bytes, for at most the given time and until done. What is more
// than all there is counts as all.
func (b *budget) take(owner string, n int, within time.Duration, done <-chan struct{}) bool {
	w := &want{owner: owner, n: min(int64(n), b.all), given: make(chan struct{})}
	b.mu.Lock()
	// Those who wait and fit have been served; so nobody is overtaken who could go.
	if b.fits(owner, w.n) && !b.starves(owner) {
		b.hand(owner, w.n)
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
		b.back(owner, w.n)
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

// starves reports whether somebody else waits who holds nothing: it needs much, and
// must not wait for ever while little is taken again and again.
func (b *budget) starves(owner string) bool {
	for _, w := range b.waiting {
		if w.owner != owner && b.held[w.owner] == 0 {
			return true
		}
	}
	return false
}

// give gives n bytes back.
func (b *budget) give(owner string, n int) {
	if n == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.back(owner, min(int64(n), b.all))
	b.serve()
}

func (b *budget) back(owner string, n int64) {
	b.free += n
	if b.held[owner] -= n; b.held[owner] <= 0 {
		delete(b.held, owner)
	}
}

// serve gives those who wait what there is, in their order.
func (b *budget) serve() {
	kept := b.waiting[:0]
	for i, w := range b.waiting {
		switch {
		case b.fits(w.owner, w.n):
			b.hand(w.owner, w.n)
			close(w.given)
		case b.held[w.owner] == 0: // it waits for much: nobody goes before it
			kept = append(kept, b.waiting[i:]...)
			clear(b.waiting[len(kept):])
			b.waiting = kept
			return
		default:
			kept = append(kept, w)
		}
	}
	clear(b.waiting[len(kept):])
	b.waiting = kept
}
