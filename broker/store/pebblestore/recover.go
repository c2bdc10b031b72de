package pebblestore

import (
	"context"
	"fmt"
	"time"
)

// A failed engine stays in memory (its goroutines are held, see gate), so a
// process has only so many lives; after that the store stays failed until the
// process is started anew.
const (
	lives     = 16
	retryMin  = 100 * time.Millisecond
	retryMost = 5 * time.Second
)

// watch replaces failed engines until ctx is done.
func (s *Store) watch(ctx context.Context) {
	for life := 1; ; life++ {
		e := s.engine.Load()
		select {
		case <-ctx.Done():
			return
		case <-e.failed:
		}
		if life >= lives {
			s.o.Report(fmt.Errorf("store: %w; it has failed %d times: restart the relay", e.failure(), life))
			return
		}
		s.o.Report(fmt.Errorf("store: %w", e.failure()))
		e.gate.shut()
		if !s.revive(ctx) {
			return
		}
		s.o.Report(fmt.Errorf("store: recovered"))
		// Appends whose callers got an error may be there after all.
		s.leases.ReadyAll()
	}
}

// revive opens a fresh engine over the files of a failed one, as soon as the disk
// has room and lets it.
func (s *Store) revive(ctx context.Context) bool {
	for pause := retryMin; ; pause = min(2*pause, retryMost) {
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return false
		case <-t.C:
		}
		if s.space.relief() != nil {
			continue
		}
		e, err := openEngine(s.dir, s.o, s.cache, s.leases)
		if err == nil {
			s.engine.Store(e)
			return true
		}
		s.o.Report(fmt.Errorf("store: not recovered yet: %w", err))
	}
}
