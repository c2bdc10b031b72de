//go:build unix

package server

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// ours reports who else than us may change a file or folder. root may change everything
// anyway.
func ours(path string, st fs.FileInfo, mode string) error {
	if s, ok := st.Sys().(*syscall.Stat_t); ok && s.Uid != 0 && int(s.Uid) != os.Geteuid() {
		return fmt.Errorf("%w: %s belongs to user %d, and this runs as user %d: run it as the owner, or look at what is in it and run: chown %d %s", ErrFolder, path, s.Uid, os.Geteuid(), os.Geteuid(), path)
	}
	if perm := st.Mode().Perm(); perm&0o022 != 0 {
		return fmt.Errorf("%w: others can write to %s (mode %04o), and could have set rules or paired a client: look at what is in it, then run: chmod %s %s", ErrFolder, path, perm, mode, path)
	}
	return nil
}
