package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A failed engine stays in memory (its goroutines are held, see gate), so a
// process has only so many lives; after that the store stays failed until the
// process is started anew.
const (
	lives     = 16
	retryMin  = 100 * time.Millisecond
	retryMost = 10 * time.Second
	// openPatience is the longest pause between tries to open a store.
	openPatience = 800 * time.Millisecond
)

// watch replaces failed engines until ctx is done.
func (s *Store) watch(ctx context.Context) {
	for left := lives; ; {
		e := s.engine.Load()
		select {
		case <-ctx.Done():
			return
		case <-e.failed:
		}
		s.o.Report(fmt.Errorf("store: %w", e.failure()))
		e.gate.shut()
		if left = s.revive(ctx, left-1); left == 0 {
			if ctx.Err() == nil {
				s.o.Report(fmt.Errorf("store: it has failed %d times and stays so: mend the disk and restart the relay", lives))
			}
			return
		}
		s.o.Report(errors.New("store: recovered"))
		// Appends whose callers got an error may be there after all.
		s.leases.ReadyAll()
	}
}

// revive opens a fresh engine over the files of a failed one, as soon as the disk
// has room and lets it. It returns the lives that are left, 0 if it gave up.
func (s *Store) revive(ctx context.Context, left int) int {
	for wait := retryMin; left > 0; wait = min(2*wait, retryMost) {
		if pause(ctx, wait) != nil {
			return 0
		}
		if s.space.relief() != nil {
			continue
		}
		e, err := openEngine(s.dir, s.o, s.cache, s.leases)
		if err == nil {
			s.engine.Store(e)
			return left
		}
		if errors.Is(err, errHeld) {
			left--
		}
		s.o.Report(fmt.Errorf("store: not recovered yet: %w", err))
	}
	return 0
}
