package server

import (
	"context"
	"sync"

	"parley/secure/otp"
)

// maxHeld is how many bytes of messages wait in memory, for a person or for a pad.
const maxHeld = 64 << 20

// flights are the requests that are under way. A client that repeats one, having lost
// patience or the connection, shares the answer of the first: one yes is one use of pad.
type flights struct {
	mu      sync.Mutex
	by      map[string]*flight
	held    int64
	running sync.WaitGroup
}

type flight struct {
	waiting int
	leave   context.CancelCauseFunc
	done    chan struct{}
	a       answer
	err     error
}

// An answer is one of the two.
type answer struct {
	packet []byte
	opened *otp.Opened
}

// do does something once for all who ask for the same at the same time, which key names.
// Its ctx ends when all of them have gone. size is what it holds, and drop lets go what
// the caller holds when another one's is used.
func (f *flights) do(ctx context.Context, key string, size int64, drop func(), do func(context.Context) (answer, error)) (answer, error) {
	f.mu.Lock()
	fl := f.by[key]
	if fl == nil {
		if f.held > 0 && f.held+size > maxHeld {
			f.mu.Unlock()
			return answer{}, errBusy
		}
		own, leave := context.WithCancelCause(context.WithoutCancel(ctx))
		fl = &flight{leave: leave, done: make(chan struct{})}
		if f.by == nil {
			f.by = map[string]*flight{}
		}
		f.by[key] = fl
		f.held += size
		f.running.Go(func() {
			fl.a, fl.err = do(own)
			f.mu.Lock()
			defer f.mu.Unlock()
			f.held -= size
			f.forget(key, fl)
			leave(nil)
			close(fl.done)
		})
	} else {
		drop()
	}
	fl.waiting++
	f.mu.Unlock()
	select {
	case <-fl.done:
		return fl.a, fl.err
	case <-ctx.Done():
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl.waiting--; fl.waiting == 0 {
		fl.leave(context.Cause(ctx))
		f.forget(key, fl)
	}
	return answer{}, context.Cause(ctx)
}

func (f *flights) forget(key string, fl *flight) {
	if f.by[key] == fl {
		delete(f.by, key)
	}
}
