package padstore

import (
	"errors"
	"path/filepath"
	"syscall"
	"testing"

	"parley/secure/otp"
)

// TestBurnByAnother: what a process could not burn, another one does before it says that
// all is burned.
func TestBurnByAnother(t *testing.T) {
	eachVersion(t, func(t *testing.T, v otp.Version) {
		disk := newMemDisk()
		names, contents := padFiles(t, v, randomBytes(7, modelSize), modelSize/2, 0)
		for i := range names {
			disk.put(filepath.Join("/alice", names[i]), contents[i])
		}
		open := func() *Pad {
			p, err := Open(filepath.Join("/alice", names[0]), Options{Marks: "/marks", disk: disk})
			check(t, err)
			return p
		}
		a, b := open(), open()
		one, two := pack(t, a, 1, "one"), pack(t, b, 2, "two")
		finished(t, a, one) // a thinks that all is burned
		disk.burnFault = syscall.EIO
		if err := b.Done(ctx, "bob", otp.Digest(two)); !errors.Is(err, syscall.EIO) {
			t.Fatalf("a burn that failed: %v", err)
		}
		disk.burnFault = errPower
		_, err := a.Package(ctx, id(3), "bob", []byte("three"))
		if err != nil && !errors.Is(err, errPower) {
			t.Fatal(err)
		}
		disk.burnFault, disk.failAt = nil, 0
		disk.reboot(lost, nil)
		a = open()
		pack(t, a, 4, "four")
		at := used(t, v, modelSize, two, 0)
		raw := make([]byte, at.len())
		if _, err := a.pad.ReadAt(raw, a.base+at.start); err != nil || !allZero(raw) {
			t.Errorf("nobody has burned it (%v)", err)
		}
	})
}
