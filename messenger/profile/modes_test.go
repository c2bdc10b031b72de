//go:build unix

package profile

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestModes(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	dir := t.TempDir()
	os.Chmod(dir, 0o755) // an empty directory of the user's is closed to others
	p, err := Create(dir, options())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	note(t, p, "x")
	if st, _ := os.Stat(dir); st.Mode().Perm() != 0o700 {
		t.Errorf("directory: %v", st.Mode())
	}
	list, _ := os.ReadDir(dir)
	names := ""
	for _, e := range list {
		names += e.Name() + " "
		if st, _ := e.Info(); st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v", e.Name(), st.Mode())
		}
	}
	if names != "lock profile.db profile.db-shm profile.db-wal profile.json " {
		t.Errorf("files: %s", names)
	}
	p.Close()
	os.Chmod(dir, 0o750)
	if _, err := Open(dir, options()); err == nil || !strings.Contains(err.Error(), "chmod 700 "+dir) {
		t.Errorf("open directory: %v", err)
	}
	os.Chmod(dir, 0o700)
	os.Chmod(filepath.Join(dir, keyName), 0o644)
	if _, err := Open(dir, options()); err == nil || !strings.Contains(err.Error(), "chmod 600 ") {
		t.Errorf("open key file: %v", err)
	}
}
