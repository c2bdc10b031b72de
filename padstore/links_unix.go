//go:build unix

package padstore

import (
	"io/fs"
	"syscall"
)

func links(st fs.FileInfo) int {
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		return int(min(uint64(sys.Nlink), 1<<30))
	}
	return 1
}
