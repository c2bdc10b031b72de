package nes

import (
	"context"
	"errors"
	"os"
	"time"
)

// lockLook is how often a lock that another process has is tried again.
const lockLook = 20 * time.Millisecond

// acquire takes the lock on a file of that name, which is made if need be. While
// another process has it, it waits until ctx ends, and then the error is errLocked.
func acquire(ctx context.Context, path string) (release func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(lockLook)
	defer tick.Stop()
	for {
		err := lockFile(f)
		if err == nil {
			return func() { unlockFile(f); f.Close() }, nil
		}
		if !errors.Is(err, errLocked) {
			f.Close()
			return nil, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			f.Close()
			return nil, errLocked
		}
	}
}
