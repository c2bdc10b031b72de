package generate

import (
	"context"
	"sync"
	"sync/atomic"
)

// A fan gives each chunk to several writers, which work at the same time. A chunk goes
// back to its stream when the last of them is done with it.
type fan struct {
	lanes []chan *shared
	group sync.WaitGroup
	once  sync.Once
	err   error
	bad   chan struct{} // closed with the first error
}

type shared struct {
	b    []byte
	left atomic.Int32
	back chan<- []byte
}

func newFan(writers []func([]byte) error) *fan {
	f := &fan{bad: make(chan struct{})}
	for _, w := range writers {
		lane := make(chan *shared, ahead)
		f.lanes = append(f.lanes, lane)
		f.group.Go(func() {
			failed := false
			for s := range lane {
				if !failed {
					if err := w(s.b); err != nil {
						failed = true
						f.once.Do(func() { f.err = err; close(f.bad) })
					}
				}
				if s.left.Add(-1) == 0 {
					s.back <- s.b[:cap(s.b)] // it has room for all of them
				}
			}
		})
	}
	return f
}

// write returns the error of an earlier chunk as soon as there is one.
func (f *fan) write(ctx context.Context, b []byte, back chan<- []byte) error {
	s := &shared{b: b, back: back}
	s.left.Store(int32(len(f.lanes)))
	for _, lane := range f.lanes {
		select {
		case lane <- s:
		case <-f.bad:
			return f.err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// close waits for the writers and returns the first error.
func (f *fan) close() error {
	for _, lane := range f.lanes {
		close(lane)
	}
	f.group.Wait()
	return f.err
}
