package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"parley/internal/filelock"
)

// lockPatience is how long a sub waits for another to end.
const lockPatience = time.Second

// lock makes us the only process that does something with this state. Two that are
// connected for one purpose would have one client ID, and the broker ends the one for
// the other; two that publish the outbox would say everything twice. It waits until
// ctx ends; then the error is filelock.ErrLocked.
func (h *here) lock(ctx context.Context, purpose string, tell bool) (unlock func(), err error) {
	path := h.file.Path()
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real // the same state by another name
	}
	f, err := os.OpenFile(path+"."+purpose+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("the topic's state: %w", err)
	}
	if tell {
		defer time.AfterFunc(2*time.Second, func() {
			h.a.note("Another command is at it with %s; waiting for it to end.", h.file.Path())
		}).Stop()
	}
	if err := filelock.Wait(ctx, f); err != nil {
		f.Close()
		return nil, fmt.Errorf("the topic's state: %w", err)
	}
	return func() {
		filelock.Unlock(f)
		f.Close()
	}, nil
}
