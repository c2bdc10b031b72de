package server

import (
	"log/slog"
	"sync"
	"time"
)

// A trouble logs faults, each kind at most once in 10 s: a broken disk fails
// every command, and the log would fill it.
type trouble struct {
	log  *slog.Logger
	mu   sync.Mutex
	last map[string]*faults
}

type faults struct {
	logged time.Time
	since  int
}

const troubleEvery = 10 * time.Second

func newTrouble(log *slog.Logger) *trouble {
	return &trouble{log: log, last: make(map[string]*faults)}
}

func (t *trouble) report(what string, err error) {
	t.mu.Lock()
	f := t.last[what]
	if f == nil {
		f = new(faults)
		t.last[what] = f
	}
	now := time.Now()
	if now.Sub(f.logged) < troubleEvery {
		f.since++
		t.mu.Unlock()
		return
	}
	since := f.since
	f.logged, f.since = now, 0
	t.mu.Unlock()
	t.log.Error(what, "error", err, "not logged since the last", since)
}
