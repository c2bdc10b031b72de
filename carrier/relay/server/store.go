package server

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/ncruces/go-sqlite3"
)

const (
	databaseName = "relay.db"
	readers      = 4   // connections that read at the same time
	batch        = 128 // writes that one commit may carry
	busyTime     = 10 * time.Second
)

var (
	errClosed   = errors.New("the database is closed")
	errDiskFull = errors.New("the disk is full")
)

// A store is the database: one goroutine writes, and commits together what waits at
// the same time; several connections read.
type store struct {
	writer  *conn
	readers chan *conn
	mu      sync.RWMutex // closed, and sends on writes
	closed  bool
	writes  chan *write
	closing chan struct{}
	once    sync.Once
	done    sync.WaitGroup
	trouble atomic.Pointer[error] // of the last write; nil: none
}

// A write is what one request changes. Its error undoes it alone.
type write struct {
	do         func(*conn) error
	checkpoint bool // instead of do
	whole      bool // the checkpoint emptied the write-ahead log
	err        error
	done       chan struct{}
}

func openStore(dir string) (*store, error) {
	abs, err := filepath.Abs(filepath.Join(dir, databaseName))
	if err != nil {
		return nil, err
	}
	// SQLite would make these for others to read, depending on the umask.
	for _, name := range []string{abs, abs + "-shm"} {
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		f.Close()
	}
	slash := filepath.ToSlash(abs)
	if slash[0] != '/' {
		slash = "/" + slash
	}
	u := url.URL{Scheme: "file", Path: slash, RawQuery: url.Values{"mode": {"rw"}, "modeof": {abs}}.Encode()}
	s := &store{readers: make(chan *conn, readers), writes: make(chan *write, batch), closing: make(chan struct{})}
	if s.writer, err = openConn(u.String(), ""); err == nil {
		err = s.writer.prepare()
	}
	for i := 0; i < readers && err == nil; i++ {
		var c *conn
		if c, err = openConn(u.String(), "PRAGMA query_only = ON"); err == nil {
			s.readers <- c
		}
	}
	if err != nil {
		close(s.readers)
		for c := range s.readers {
			c.close()
		}
		if s.writer != nil {
			s.writer.close()
		}
		return nil, fmt.Errorf("%s: %w", abs, err)
	}
	s.done.Go(s.run)
	return s, nil
}

// read calls f with a connection that sees what was committed.
func (s *store) read(f func(*conn) error) error {
	select {
	case <-s.closing:
		return errClosed
	case c := <-s.readers:
		defer func() { s.readers <- c }()
		return f(c)
	}
}

// write carries out what a request changes and returns when it is on disk, or not done
// at all.
func (s *store) write(do func(*conn) error) error {
	return s.enqueue(&write{do: do, done: make(chan struct{})})
}

func (s *store) enqueue(w *write) error {
	s.mu.RLock()
	if s.closed {
		s.mu.RUnlock()
		return errClosed
	}
	s.writes <- w
	s.mu.RUnlock()
	<-w.done
	return w.err
}

// run writes until the channel is closed and empty.
func (s *store) run() {
	for w := range s.writes {
		s.commit(s.gather(w))
	}
}

func (s *store) gather(first *write) []*write {
	all := []*write{first}
	for len(all) < batch {
		select {
		case w, ok := <-s.writes:
			if !ok {
				return all
			}
			all = append(all, w)
		default:
			return all
		}
	}
	return all
}

func (s *store) commit(all []*write) {
	writes := slices.DeleteFunc(slices.Clone(all), func(w *write) bool { return w.checkpoint })
	var err error
	if len(writes) > 0 {
		before := s.writer.TotalChanges()
		err = s.writer.transaction(writes)
		s.note(err, writes, s.writer.TotalChanges() > before)
	}
	whole := false
	if len(writes) < len(all) && err == nil {
		var busy int64
		busy, err = s.writer.one("PRAGMA wal_checkpoint(TRUNCATE)")
		whole = err == nil && busy == 0
	}
	for _, w := range all {
		if w.err == nil {
			w.err = err
		}
		w.err, w.whole = diskFault(w.err), whole
		close(w.done)
	}
}

// note remembers a fault of the disk, not of a request, until something is written again.
func (s *store) note(commit error, writes []*write, written bool) {
	fault := commit
	for _, w := range writes {
		if isDiskFault(w.err) {
			fault = w.err
		}
	}
	switch {
	case fault != nil:
		fault = diskFault(fault)
		s.trouble.Store(&fault)
	case written:
		s.trouble.Store(nil)
	}
}

// checkpoint moves the write-ahead log into the database and empties it, so that what
// was deleted is in neither; whole says that nobody's reading kept it from doing all.
func (s *store) checkpoint() (whole bool, err error) {
	w := &write{checkpoint: true, done: make(chan struct{})}
	err = s.enqueue(w)
	if errors.Is(err, errClosed) {
		return true, nil // closing does the same
	}
	return w.whole, err
}

func (s *store) close() error {
	var err error
	s.once.Do(func() {
		close(s.closing)
		s.mu.Lock()
		s.closed = true
		close(s.writes)
		s.mu.Unlock()
		s.done.Wait()
		for range readers {
			err = errors.Join(err, (<-s.readers).close())
		}
		err = errors.Join(err, s.writer.close())
	})
	return err
}

// diskFault says so when an error means that the disk is full.
func diskFault(err error) error {
	if errors.Is(err, sqlite3.FULL) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", errDiskFull, err)
	}
	return err
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
