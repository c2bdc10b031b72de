package padstore

import (
	"os"
	"syscall"
	"testing"
)

// blocks is how many sectors of 512 bytes a file takes.
func blocks(t *testing.T, path string) int64 {
	st, err := os.Stat(path)
	check(t, err)
	return st.Sys().(*syscall.Stat_t).Blocks
}
