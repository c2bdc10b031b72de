// Package filelock keeps processes from each other by a lock on a file. The operating
// system drops a lock when its process ends, however it ends. Within one process each
// open file has a lock of its own.
package filelock

import (
	"context"
	"errors"
	"os"
	"time"
)

// ErrLocked says that somebody else has the lock.
var ErrLocked = errors.New("locked")

// look is how often Wait tries again.
const look = 10 * time.Millisecond

// Open opens a file, which is made with mode 0600 if need be, and takes its lock, as
// Wait does. Closing it gives the lock back.
func Open(ctx context.Context, path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := Wait(ctx, f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Wait takes the lock on a file when others have left it. When ctx ends first, or has
// ended, the error is [ErrLocked].
func Wait(ctx context.Context, f *os.File) error {
	err := Try(f)
	if !errors.Is(err, ErrLocked) {
		return err
	}
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ErrLocked
		}
		if err := Try(f); !errors.Is(err, ErrLocked) {
			return err
		}
	}
}
