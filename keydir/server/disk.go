package server

import (
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/ncruces/go-sqlite3"
)

var errDiskFull = errors.New("the disk is full")

// diskFault says so when an error means that the disk is full.
func diskFault(err error) error {
	if errors.Is(err, sqlite3.FULL) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", errDiskFull, err)
	}
	return err
}

// A diskTrouble is why the last write failed.
type diskTrouble struct{ err error }

// note remembers how writing goes: a fault of the disk or of the files, not of a
// request, until something is written again.
func (s *store) note(commit error, writes []*write, written bool) {
	fault := commit
	for _, w := range writes {
		if isDiskFault(w.err) {
			fault = w.err
		}
	}
	switch {
	case fault != nil:
		s.trouble.Store(&diskTrouble{diskFault(fault)})
	case written:
		s.trouble.Store(nil)
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

// probeEvery is how often a database that could not be written is tried by those who
// ask how it is.
const probeEvery = 10 * time.Second

// A probe is when that was done.
type probe struct {
	mu   sync.Mutex
	last time.Time
}

// writable returns why the database cannot be written, or nil. After a fault it
// tries, with as much as a request may need: nobody else may write for hours.
func (d *Directory) writable() error {
	t := d.store.trouble.Load()
	if t == nil {
		return nil
	}
	d.probe.mu.Lock()
	defer d.probe.mu.Unlock()
	now := d.o.Now()
	if age := now.Sub(d.probe.last); age >= 0 && age < probeEvery {
		return t.err
	}
	d.probe.last = now
	return d.store.write(func(c *conn) error {
		if err := c.exec("INSERT INTO mailed (mailbox, time) VALUES (zeroblob(65536), 0)"); err != nil {
			return err
		}
		return c.exec("DELETE FROM mailed WHERE time = 0")
	})
}
