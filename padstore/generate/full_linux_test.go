package generate

import (
	"errors"
	"syscall"
	"testing"

	"parley/secure/otp"
)

// TestDiskFull: on a real file system that is too small, although it claimed room.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("parley-test", dir, "tmpfs", 0, "size=3m"); err != nil {
		t.Skipf("no tmpfs (root only): %v", err)
	}
	defer syscall.Unmount(dir, 0)
	freeSpace = func(string) (int64, bool) { return 0, false }
	defer func() { freeSpace = diskFree }()
	for _, v := range []otp.Version{otp.V1, otp.V2} {
		s := spec(dir, 8<<20, Urandom)
		s.Version = v
		if _, err := Run(t.Context(), s); !errors.Is(err, ErrSpace) || !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("version %d: %v", v, err)
		}
		if left := names(t, dir); len(left) > 0 {
			t.Errorf("version %d: left behind: %v", v, left)
		}
		s.Size = 1 << 20
		if _, err := Run(t.Context(), s); err != nil {
			t.Errorf("version %d: what fits: %v", v, err)
		}
		for _, name := range names(t, dir) {
			if err := syscall.Unlink(dir + "/" + name); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestDeviceNodes: another node of the system's generator is no device of its own.
func TestDeviceNodes(t *testing.T) {
	dir := t.TempDir()
	nodes := [2]string{dir + "/one", dir + "/two"}
	for _, path := range nodes {
		if err := syscall.Mknod(path, syscall.S_IFCHR|0o600, 1<<8|9); err != nil {
			t.Skipf("no device nodes (root only): %v", err)
		}
	}
	s := spec(t.TempDir(), 5000, nodes[0])
	s.Sources[0].Assessed = true
	if _, err := Run(t.Context(), s); !errors.Is(err, ErrSource) {
		t.Errorf("/dev/urandom under another name is assessed: %v", err)
	}
	if _, err := Run(t.Context(), spec(t.TempDir(), 5000, nodes[0], nodes[1])); !errors.Is(err, ErrEqual) {
		t.Errorf("one device by two nodes: %v", err)
	}
}
