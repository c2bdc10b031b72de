package nes

import (
	"context"

	"parley/internal/filelock"
)

// acquire takes the lock on a file of that name, which is made if need be. While
// another process has it, it waits until ctx ends, and then the error is
// [filelock.ErrLocked].
func acquire(ctx context.Context, path string) (release func(), err error) {
	f, err := filelock.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	return func() { f.Close() }, nil
}
