package main

import (
	"context"
	"errors"
	"os"
	"time"
)

// lockLook is how often a lock that another process has is tried again.
const lockLook = 10 * time.Millisecond

// awaitLock takes the lock on a file when others have left it. When ctx ends first,
// the error is errLocked.
func awaitLock(ctx context.Context, f *os.File) error {
	tick := time.NewTicker(lockLook)
	defer tick.Stop()
	for {
		if err := lockFile(f); !errors.Is(err, errLocked) {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errLocked
		}
	}
}
