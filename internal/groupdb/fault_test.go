package groupdb

import (
	"errors"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"github.com/ncruces/go-sqlite3"
)

// A database that cannot grow is told as such, until something can be written again.
func TestDiskFull(t *testing.T) {
	db := newDB(t)
	db.must(t, add("small"))
	// The limit belongs to the connection that writes.
	db.must(t, func(c *Conn) error { return c.Exec("PRAGMA max_page_count = 1") })
	large := add(strings.Repeat("x", 100_000))
	if err := db.Write(large); !errors.Is(err, ErrDiskFull) || !errors.Is(db.Fault(), ErrDiskFull) {
		t.Errorf("%v, then %v", err, db.Fault())
	}
	// A write that changes nothing says nothing of the disk, and neither does one that
	// fails for its own reasons.
	db.must(t, func(c *Conn) error { return c.Exec("UPDATE note SET text = '' WHERE text = 'none'") })
	db.Write(func(*Conn) error { return errOwn })
	if db.Fault() == nil {
		t.Error("forgotten")
	}
	if got := db.notes(t); got != "small" {
		t.Errorf("%.20q", got)
	}
	db.must(t, func(c *Conn) error { return c.Exec("PRAGMA max_page_count = 1000000") })
	db.must(t, large)
	if err := db.Fault(); err != nil {
		t.Error(err)
	}
}

// A write that fails while there is no room has failed for that, and else not.
func TestFailedWrite(t *testing.T) {
	db := newDB(t)
	full := false
	db.must(t, func(*Conn) error { db.isFull = func() bool { return full }; return nil })
	for _, full = range []bool{true, false} {
		err := db.Write(func(*Conn) error { return sqlite3.IOERR_WRITE })
		if !errors.Is(err, sqlite3.IOERR_WRITE) || errors.Is(err, ErrDiskFull) != full || errors.Is(db.Fault(), ErrDiskFull) != full {
			t.Errorf("full %v: %v, %v", full, err, db.Fault())
		}
		if err := db.Write(func(*Conn) error { return errOwn }); errors.Is(err, ErrDiskFull) {
			t.Error(err)
		}
	}
	if fullDisk(t.TempDir()) {
		t.Error("the disk of this test has no room")
	}
}

func TestDiskFaults(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT} {
		if err := DiskFault(&fs.PathError{Op: "write", Path: "x", Err: errno}); !errors.Is(err, ErrDiskFull) || !errors.Is(err, errno) {
			t.Error(err)
		}
	}
	if err := DiskFault(errOwn); errors.Is(err, ErrDiskFull) {
		t.Error(err)
	}
	if DiskFault(nil) != nil || isDiskFault(nil) || isDiskFault(errOwn) {
		t.Error("a fault of the disk without one")
	}
}
