package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// lockLook is how often a lock that another process has is tried again.
const lockLook = 50 * time.Millisecond

// lockPatience is how long a sub waits for another to end.
const lockPatience = time.Second

// lock makes us the only process that is connected for a purpose with this state: two
// would have one client ID, and the broker ends the one for the other. It waits until
// ctx ends; then the error is errLocked.
func (h *here) lock(ctx context.Context, purpose string) (unlock func(), err error) {
	path := h.file.Path()
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real // the same state by another name
	}
	f, err := os.OpenFile(path+"."+purpose+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("the topic's state: %w", err)
	}
	tick := time.NewTicker(lockLook)
	defer tick.Stop()
	told := time.AfterFunc(2*time.Second, func() {
		h.a.note("Another command is at it with %s; waiting for it to end.", h.file.Path())
	})
	defer told.Stop()
	for {
		err := lockFile(f)
		if err == nil {
			return func() {
				unlockFile(f)
				f.Close()
			}, nil
		}
		if !errors.Is(err, errLocked) {
			f.Close()
			return nil, fmt.Errorf("the topic's state: %w", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			f.Close()
			return nil, errLocked
		}
	}
}
