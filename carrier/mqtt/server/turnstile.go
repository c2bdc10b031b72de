package server

import (
	"sync"
	"time"
)

// A turnstile lets a few at a time do what takes much, in turn by where they come
// from: whoever sends many waits for itself.
type turnstile struct {
	mu    sync.Mutex
	free  int
	hosts map[string][]chan struct{}
	turn  []string // hosts of those who wait
}

// mostWaiting is how many of one host may wait; the others are told that we are
// busy at once, instead of when their time is over.
const mostWaiting = 64

func newTurnstile(n int) *turnstile {
	return &turnstile{free: n, hosts: make(map[string][]chan struct{})}
}

// enter waits for its turn, for at most the given time and until done. If it
// returns true, leave must follow.
func (t *turnstile) enter(host string, within time.Duration, done <-chan struct{}) bool {
	t.mu.Lock()
	if t.free > 0 {
		t.free--
		t.mu.Unlock()
		return true
	}
	line := t.hosts[host]
	if len(line) >= mostWaiting {
		t.mu.Unlock()
		return false
	}
	if len(line) == 0 {
		t.turn = append(t.turn, host)
	}
	me := make(chan struct{})
	t.hosts[host] = append(line, me)
	t.mu.Unlock()
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-me:
		return true
	case <-timer.C:
	case <-done:
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	line = t.hosts[host]
	for i, x := range line {
		if x == me {
			t.hosts[host] = append(line[:i], line[i+1:]...)
			if len(line) == 1 {
				t.gone(host)
			}
			return false
		}
	}
	t.next() // it was our turn just now
	return false
}

func (t *turnstile) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.next()
}

// next lets the first of the host in whose turn it is.
func (t *turnstile) next() {
	if len(t.turn) == 0 {
		t.free++
		return
	}
	host := t.turn[0]
	t.turn = t.turn[1:]
	line := t.hosts[host]
	close(line[0])
	if len(line) > 1 {
		t.hosts[host] = line[1:]
		t.turn = append(t.turn, host)
	} else {
		delete(t.hosts, host)
	}
}

func (t *turnstile) gone(host string) {
	delete(t.hosts, host)
	for i, x := range t.turn {
		if x == host {
			t.turn = append(t.turn[:i], t.turn[i+1:]...)
			return
		}
	}
}
