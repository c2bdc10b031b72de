package filelock

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// at is the byte that is locked: far behind what is in the file, which others may
// read.
func at() *windows.Overlapped { return &windows.Overlapped{OffsetHigh: 1} }

// Try takes the lock on a file, or returns [ErrLocked] at once.
func Try(f *os.File) error {
	err := windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, at())
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return ErrLocked
	}
	return err
}

// Lock takes the lock on a file, however long that takes.
func Lock(f *os.File) error {
	return windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK, 0, 1, 0, at())
}

// Unlock gives the lock back.
func Unlock(f *os.File) error { return windows.UnlockFileEx(windows.Handle(f.Fd()), 0, 1, 0, at()) }
