package generate

import (
	"os"

	"golang.org/x/sys/unix"
)

// flush has the disk begin to write n bytes at from, and does not wait for it.
func flush(f *os.File, from, n int64) {
	_ = unix.SyncFileRange(int(f.Fd()), from, n, unix.SYNC_FILE_RANGE_WRITE)
}
