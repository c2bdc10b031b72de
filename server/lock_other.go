//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package server

import (
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// lockFile locks a file as the store's engine does on this system.
func lockFile(path string) (io.Closer, error) {
	l, err := vfs.Default.Lock(path)
	if err != nil {
		return nil, fmt.Errorf("%w (%v)", ErrLocked, err)
	}
	return l, nil
}
