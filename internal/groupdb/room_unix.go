//go:build unix && !solaris && !illumos && !aix && !netbsd && !openbsd

package groupdb

import "golang.org/x/sys/unix"

// fullDisk reports whether the file system of dir has almost no room left for us.
func fullDisk(dir string) bool {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil || st.Bsize <= 0 {
		return false
	}
	free := int64(st.Bavail) // below 0: what only the superuser may use is used, too
	return free <= 0 || free < almostFull/int64(st.Bsize)
}
