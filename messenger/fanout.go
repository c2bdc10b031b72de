package messenger

import (
	"context"
	"sync"
)

// A fanout tells subscribers what has happened, in order, without polling and
// without losing a wake-up. It is written to only after a commit.
type fanout struct {
	mu   sync.Mutex
	subs map[*subscription]struct{}
}

// A subscription is one reader's queue. Beyond crowded entries only the newest
// change of each message or contact is kept, so that a reader that never comes
// back costs no more than one entry for each of them.
type subscription struct {
	f     *fanout
	wake  chan struct{} // holds one token while there is something to read
	queue []Change
}

const crowded = 256

func (f *fanout) subscribe() *subscription {
	s := &subscription{f: f, wake: make(chan struct{}, 1)}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.subs == nil {
		f.subs = map[*subscription]struct{}{}
	}
	f.subs[s] = struct{}{}
	return s
}

func (s *subscription) close() {
	s.f.mu.Lock()
	delete(s.f.subs, s)
	s.f.mu.Unlock()
}

func (f *fanout) publish(changes []Change) {
	if len(changes) == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for s := range f.subs {
		for _, c := range changes {
			s.add(c)
		}
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

func (s *subscription) add(c Change) {
	if len(s.queue) >= crowded {
		for i := range s.queue {
			if same(s.queue[i], c) {
				s.queue[i] = c
				return
			}
		}
	}
	s.queue = append(s.queue, c)
}

func same(a, b Change) bool {
	switch {
	case a.Message != nil && b.Message != nil:
		return a.Message.Seq == b.Message.Seq
	case a.Contact != nil && b.Contact != nil:
		return a.Contact.Name == b.Contact.Name
	}
	return false
}

// next waits for changes and takes them all. done is the messenger's end.
func (s *subscription) next(ctx context.Context, done <-chan struct{}) ([]Change, error) {
	for {
		s.f.mu.Lock()
		all := s.queue
		s.queue = nil
		s.f.mu.Unlock()
		if len(all) > 0 {
			return all, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-done:
			return nil, ErrClosed
		case <-s.wake:
		}
	}
}
