package groupdb

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
)

// readers is how many connections read at the same time.
const readers = 4

// ErrClosed says that the database is closed.
var ErrClosed = errors.New("the database is closed")

// A DB is an open database. Its methods may be called by several goroutines.
type DB struct {
	writer  *Conn
	readers chan *Conn
	batch   int
	mu      sync.RWMutex // closed, and sends on writes
	closed  bool
	writes  chan *write
	closing chan struct{} // closed first: no new reads
	once    sync.Once
	done    sync.WaitGroup
	fault   atomic.Pointer[error] // of the last write; nil: none
	deleted chan struct{}         // something that must not stay was deleted
	isFull  func() bool           // the file system has almost no room left
}

// A write is what one request changes. Its error undoes it alone.
type write struct {
	do         func(*Conn) error
	checkpoint bool // instead of do
	whole      bool // the checkpoint emptied the write-ahead log
	err        error
	done       chan struct{}
}

// Read calls f with a connection that sees what was committed and can change nothing.
// After Close the error is [ErrClosed].
func (db *DB) Read(f func(*Conn) error) error {
	select {
	case <-db.closing:
		return ErrClosed
	case c := <-db.readers:
		defer func() { db.readers <- c }()
		return f(c)
	}
}

// Write calls do, which changes the database, and returns when that is on disk, or not
// done at all: an error of do undoes what do did. Another goroutine calls do. Errors
// that mean a full disk are [ErrDiskFull]; after Close the error is [ErrClosed].
func (db *DB) Write(do func(*Conn) error) error {
	return db.enqueue(&write{do: do, done: make(chan struct{})})
}

func (db *DB) enqueue(w *write) error {
	db.mu.RLock()
	if db.closed {
		db.mu.RUnlock()
		return ErrClosed
	}
	db.writes <- w
	db.mu.RUnlock()
	<-w.done
	return w.err
}

// run writes until the channel is closed and empty.
func (db *DB) run() {
	for w := range db.writes {
		db.commit(db.gather(w))
	}
}

// gather takes what waits, to commit it at once.
func (db *DB) gather(first *write) []*write {
	all := []*write{first}
	for len(all) < db.batch {
		select {
		case w, ok := <-db.writes:
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

func (db *DB) commit(all []*write) {
	writes := slices.DeleteFunc(slices.Clone(all), func(w *write) bool { return w.checkpoint })
	var err error
	if len(writes) > 0 {
		before := db.writer.conn.TotalChanges()
		err = db.writer.transaction(writes)
		db.note(err, writes, db.writer.conn.TotalChanges() > before)
	}
	whole := false
	if len(writes) < len(all) && err == nil {
		var busy int64
		busy, err = db.writer.Int64("PRAGMA wal_checkpoint(TRUNCATE)")
		whole = err == nil && busy == 0
	}
	for _, w := range all {
		if w.err == nil {
			w.err = err
		}
		w.err, w.whole = db.diskFault(w.err), whole
		close(w.done)
	}
}

// Close lets reads and writes under way end and closes the database. It may be
// repeated; only the first call has an error to tell.
func (db *DB) Close() error {
	var err error
	db.once.Do(func() {
		close(db.closing)
		db.mu.Lock()
		db.closed = true
		close(db.writes)
		db.mu.Unlock()
		db.done.Wait()
		for range readers {
			err = errors.Join(err, (<-db.readers).close())
		}
		err = errors.Join(err, db.writer.close())
	})
	return err
}
