//go:build unix && !solaris && !illumos && !aix && !netbsd && !openbsd

package generate

import (
	"errors"
	"io/fs"
	"math"
	"syscall"

	"golang.org/x/sys/unix"
)

// diskFree returns how many bytes dir has left for us, if that is known.
func diskFree(dir string) (int64, bool) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil || st.Bsize <= 0 {
		return 0, false
	}
	free, size := int64(st.Bavail), int64(st.Bsize)
	switch {
	case free < 0: // more than an int64 holds, or a debt to the superuser's reserve
		return 0, false
	case free > math.MaxInt64/size:
		return math.MaxInt64, true
	}
	return free * size, true
}

// sameDevice reports whether two files are nodes of one device.
func sameDevice(a, b fs.FileInfo) bool {
	x, ok := a.Sys().(*syscall.Stat_t)
	y, ok2 := b.Sys().(*syscall.Stat_t)
	return ok && ok2 && a.Mode()&b.Mode()&fs.ModeCharDevice != 0 && x.Rdev == y.Rdev
}

func full(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}
