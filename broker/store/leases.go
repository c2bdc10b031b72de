package store

import (
	"iter"
	"sync"
)

// Leases are the leases and wake-ups of one process, for stores whose queues
// only this process serves. A store over several nodes keeps its epochs in its
// database instead. It holds about 100 bytes for each leased queue and nothing
// for the others. The zero value is not usable; see [NewLeases].
type Leases struct {
	mu     sync.Mutex
	some   sync.Cond
	epoch  uint64
	held   map[ID]uint64
	due    map[ID]due
	order  []ID // queues in due, oldest first, from next on
	next   int
	closed bool
}

// due is what Wake still has to yield for one queue: zero means nothing. Two
// numbers are enough, so that a reader who sleeps costs no memory.
type due struct{ fenced, ready uint64 }

// NewLeases returns an empty table.
func NewLeases() *Leases {
	t := &Leases{held: make(map[ID]uint64), due: make(map[ID]due)}
	t.some.L = &t.mu
	return t
}

// Own gives out a new lease on q and fences the one before.
func (t *Leases) Own(q ID) Lease {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.epoch++
	if old := t.held[q]; old != 0 {
		d := t.due[q]
		d.fenced, d.ready = old, 0
		t.wake(q, d)
	}
	t.held[q] = t.epoch
	return Lease{Queue: q, Epoch: t.epoch}
}

// Holds reports whether l is in force.
func (t *Leases) Holds(l Lease) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return l.Epoch != 0 && t.held[l.Queue] == l.Epoch
}

// Release takes l back, unless it has been fenced.
func (t *Leases) Release(l Lease) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l.Epoch == 0 || t.held[l.Queue] != l.Epoch {
		return
	}
	delete(t.held, l.Queue)
	if d, ok := t.due[l.Queue]; ok {
		d.ready = 0
		t.due[l.Queue] = d // its place in order stays, and is skipped
	}
}

// Ready wakes the owner of q, if it has one.
func (t *Leases) Ready(q ID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.held[q]; e != 0 {
		d := t.due[q]
		d.ready = e
		t.wake(q, d)
	}
}

// Drop ends the lease on a queue that has been deleted, and wakes its holder.
func (t *Leases) Drop(q ID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.held[q]; e != 0 {
		d := t.due[q]
		d.fenced, d.ready = e, 0
		t.wake(q, d)
		delete(t.held, q)
	}
}

// wake notes d for q; t.mu is held.
func (t *Leases) wake(q ID, d due) {
	if _, queued := t.due[q]; !queued {
		t.order = append(t.order, q)
	}
	t.due[q] = d
	t.some.Signal()
}

// Wake is [Store.Wake].
func (t *Leases) Wake() iter.Seq[Lease] {
	return func(yield func(Lease) bool) {
		for {
			l, ok := t.take()
			if !ok || !yield(l) {
				return
			}
		}
	}
}

// take waits for the next wake-up; false means closed.
func (t *Leases) take() (Lease, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for !t.closed {
		if l, ok := t.first(); ok {
			return l, true
		}
		t.some.Wait()
	}
	return Lease{}, false
}

// first takes the first wake-up, if there is one; t.mu is held.
func (t *Leases) first() (Lease, bool) {
	for t.next < len(t.order) {
		q := t.order[t.next]
		d := t.due[q]
		if d.fenced != 0 { // first, so that the old holder stops before the new one starts
			l := Lease{Queue: q, Epoch: d.fenced}
			d.fenced = 0
			t.due[q] = d
			return l, true
		}
		delete(t.due, q)
		t.next++
		if t.next == len(t.order) || t.next > 1<<16 {
			t.order = append(t.order[:0], t.order[t.next:]...)
			t.next = 0
		}
		if d.ready != 0 && d.ready == t.held[q] {
			return Lease{Queue: q, Epoch: d.ready}, true
		}
	}
	return Lease{}, false
}

// Close ends Wake.
func (t *Leases) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	t.some.Broadcast()
}

// ReadyAll wakes every owner, for a store that can't tell whose queue has changed.
func (t *Leases) ReadyAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for q, e := range t.held {
		d := t.due[q]
		d.ready = e
		t.wake(q, d)
	}
}
