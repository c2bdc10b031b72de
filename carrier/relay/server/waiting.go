package server

import "sync"

// waiting is who waits for a message, by mailbox.
type waiting struct {
	mu   sync.Mutex
	most int
	n    int
	by   map[string]map[chan struct{}]bool
}

func newWaiting(most int) *waiting {
	return &waiting{most: most, by: map[string]map[chan struct{}]bool{}}
}

// join returns a channel that is closed when something comes to the mailbox, and how to
// stop waiting; nil if too many wait.
func (w *waiting) join(uid string) (bell chan struct{}, leave func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.n >= w.most {
		return nil, func() {}
	}
	w.n++
	bell = make(chan struct{})
	if w.by[uid] == nil {
		w.by[uid] = map[chan struct{}]bool{}
	}
	w.by[uid][bell] = true
	return bell, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.n--
		if all := w.by[uid]; all[bell] {
			if delete(all, bell); len(all) == 0 {
				delete(w.by, uid)
			}
		}
	}
}

// ring wakes those who wait for a mailbox.
func (w *waiting) ring(uid string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for bell := range w.by[uid] {
		close(bell)
	}
	delete(w.by, uid)
}

func (w *waiting) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.n
}
