//go:build unix && !solaris && !illumos && !aix && !netbsd

package generate

import (
	"errors"
	"math"
	"syscall"

	"golang.org/x/sys/unix"
)

// diskFree returns how many bytes dir has left for us, if that is known.
func diskFree(dir string) (int64, bool) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil || st.Bsize <= 0 || st.Bavail < 0 {
		return 0, false
	}
	free, block := uint64(st.Bavail), uint64(st.Bsize)
	if free > math.MaxInt64/block {
		return math.MaxInt64, true
	}
	return int64(free * block), true
}

func full(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}
