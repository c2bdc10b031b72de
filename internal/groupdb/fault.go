package groupdb

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/ncruces/go-sqlite3"
)

// ErrDiskFull says that a disk is full.
var ErrDiskFull = errors.New("the disk is full")

// DiskFault makes an error [ErrDiskFull], too, when that is what it means: one of
// SQLite, or of any other file.
func DiskFault(err error) error {
	if errors.Is(err, sqlite3.FULL) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", ErrDiskFull, err)
	}
	return err
}

// almostFull is how many bytes are too few: what did not fit into a file system need not
// have filled it.
const almostFull = 1 << 20

// diskFault is DiskFault for errors of this database. Most of its writes to a full disk
// fail as any other (IOERR), and the operating system's error is lost: then the room
// that is left tells.
func (db *DB) diskFault(err error) error {
	if errors.Is(err, sqlite3.IOERR) && !errors.Is(err, sqlite3.FULL) && !errors.Is(err, syscall.ENOSPC) && db.isFull() {
		return fmt.Errorf("%w: %w", ErrDiskFull, err)
	}
	return DiskFault(err)
}

// Fault returns why the last write could not be done: a fault of the disk or of the
// files, not of what was asked. It is nil again when something was written.
func (db *DB) Fault() error {
	if f := db.fault.Load(); f != nil {
		return *f
	}
	return nil
}

// Ping reads a little, and has the error of reading.
func (db *DB) Ping() error {
	return db.Read(func(c *Conn) error { _, err := c.Int64("SELECT count(*) FROM sqlite_schema"); return err })
}

// note remembers how writing goes.
func (db *DB) note(commit error, writes []*write, written bool) {
	fault := commit
	for _, w := range writes {
		if isDiskFault(w.err) {
			fault = w.err
		}
	}
	switch {
	case fault != nil:
		fault = db.diskFault(fault)
		db.fault.Store(&fault)
	case written:
		db.fault.Store(nil)
	}
}

func isDiskFault(err error) bool {
	for _, code := range []sqlite3.ErrorCode{
		sqlite3.FULL, sqlite3.IOERR, sqlite3.READONLY, sqlite3.CANTOPEN, sqlite3.CORRUPT, sqlite3.NOTADB, sqlite3.NOMEM, sqlite3.PERM,
	} {
		if errors.Is(err, code) {
			return true
		}
	}
	return false
}
