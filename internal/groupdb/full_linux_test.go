package groupdb

import (
	"errors"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// On a real file system that is full, each write that fails says so, what was written
// stays, and so does a database that is opened then.
func TestFullFileSystem(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("parley-test", dir, "tmpfs", 0, "size=2m"); err != nil {
		t.Skipf("no tmpfs (root only): %v", err)
	}
	defer syscall.Unmount(dir, syscall.MNT_DETACH)
	path := filepath.Join(dir, "notes.db")
	db := open(t, path, notes)
	large := strings.Repeat("x", 15_000)
	written, failed := 0, 0
	for failed < 20 {
		err := db.Write(add(large))
		switch {
		case err == nil:
			written++
		case errors.Is(err, ErrDiskFull):
			failed++
		default:
			t.Fatalf("after %d: %v", written, err)
		}
	}
	if !errors.Is(db.Fault(), ErrDiskFull) {
		t.Error(db.Fault())
	}
	if n := len(strings.Fields(db.notes(t))); n != written {
		t.Errorf("%d of %d notes", n, written)
	}
	if err := db.Write(func(c *Conn) error { return c.Exec("DELETE FROM note") }); err != nil && !errors.Is(err, ErrDiskFull) {
		t.Error(err)
	}
	if db, err := Open(filepath.Join(dir, "other.db"), notes, 1); !errors.Is(err, ErrDiskFull) {
		db.Close()
		t.Errorf("a new database on a full disk: %v", err)
	}
}
