package groupdb

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/ncruces/go-sqlite3"
)

var errOwn = errors.New("a fault of its own")

func (db *DB) commitOf(all ...func(*Conn) error) []error {
	writes := make([]*write, len(all))
	for i, do := range all {
		writes[i] = &write{do: do, done: make(chan struct{})}
	}
	db.commit(writes)
	errs := make([]error, len(all))
	for i, w := range writes {
		<-w.done
		errs[i] = w.err
	}
	return errs
}

// Writes of one commit fail alone.
func TestWritesFailAlone(t *testing.T) {
	db := newDB(t)
	bad := func(c *Conn) error { return errors.Join(add("bad")(c), errOwn) }
	errs := db.commitOf(add("a"), bad, add("b"))
	if errs[0] != nil || !errors.Is(errs[1], errOwn) || errs[2] != nil {
		t.Error(errs)
	}
	if got := db.notes(t); got != "a b" {
		t.Errorf("%q", got)
	}
	if err := db.Fault(); err != nil {
		t.Errorf("a fault of one request is told as the disk's: %v", err)
	}
}

// When the commit cannot be, nobody is told that it was.
func TestCommitFailsForAll(t *testing.T) {
	db := newDB(t)
	undoes := func(c *Conn) error { return errors.Join(add("bad")(c), c.Exec("ROLLBACK"), errOwn) } // as SQLite does by itself after some faults
	for i, err := range db.commitOf(add("a"), undoes, add("b")) {
		if err == nil {
			t.Errorf("write %d is done", i)
		}
	}
	if got := db.notes(t); got != "" {
		t.Errorf("%q", got)
	}
	if db.Fault() == nil {
		t.Error("a commit that failed is no fault")
	}
	db.must(t, add("c"))
	if got := db.notes(t); got != "c" || db.Fault() != nil {
		t.Errorf("%q, %v", got, db.Fault())
	}
}

// What waits at the same time is one commit, of no more than a batch.
func TestGroups(t *testing.T) {
	db := &DB{writes: make(chan *write, 64), batch: 8}
	for range 20 {
		db.writes <- &write{}
	}
	for _, want := range []int{8, 8, 4} {
		if n := len(db.gather(<-db.writes)); n != want {
			t.Errorf("%d writes, want %d", n, want)
		}
	}
	db.writes <- &write{}
	close(db.writes)
	if n := len(db.gather(<-db.writes)); n != 1 {
		t.Errorf("%d writes at the end", n)
	}
}

// Writers and readers at the same time, until the end: each write that was answered is
// there, each that was not is not.
func TestWritersAndTheEnd(t *testing.T) {
	path := t.TempDir() + "/notes.db"
	db := open(t, path, notes)
	var mu sync.Mutex
	done := map[string]bool{}
	var all sync.WaitGroup
	enough := make(chan struct{})
	for w := range 8 {
		all.Go(func() {
			for i := 0; ; i++ {
				text := fmt.Sprint(w, "-", i)
				err := db.Write(add(text))
				if errors.Is(err, ErrClosed) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				done[text] = true
				if len(done) == 200 {
					close(enough)
				}
				mu.Unlock()
				err = db.Read(func(c *Conn) error {
					if n, err := c.Int64("SELECT count(*) FROM note WHERE text = ?", text); err != nil || n != 1 {
						return fmt.Errorf("%d of %s, %w", n, text, err)
					}
					return nil
				})
				if err != nil && !errors.Is(err, ErrClosed) {
					t.Error(err)
				}
			}
		})
	}
	<-enough
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	all.Wait()
	there := strings.Fields(open(t, path, notes).notes(t))
	for _, text := range there {
		if !done[text] {
			t.Errorf("%s is there and was not answered", text)
		}
	}
	if len(there) != len(done) {
		t.Errorf("%d answered, %d there", len(done), len(there))
	}
}

// What is asked after the end is answered, not waited for.
func TestAfterTheEnd(t *testing.T) {
	db := newDB(t)
	db.Close()
	if err := db.Read(func(*Conn) error { return nil }); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if err := db.Write(func(*Conn) error { return nil }); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if err := db.Ping(); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if whole, err := db.Checkpoint(); !whole || err != nil {
		t.Error(whole, err)
	}
}

func TestStatements(t *testing.T) {
	db := newDB(t)
	db.must(t, func(c *Conn) error {
		return c.Script("CREATE TABLE x (i INTEGER, b BLOB, t TEXT) STRICT; INSERT INTO x VALUES (9, NULL, NULL)")
	})
	db.must(t, func(c *Conn) error {
		for _, args := range [][]any{{int64(5), []byte{1}, "one"}, {true, nil, "two"}} {
			if err := c.Exec("INSERT INTO x VALUES (?, ?, ?)", args...); err != nil {
				return err
			}
		}
		if n := c.LastInsertRowID(); n != 3 {
			t.Errorf("row %d", n)
		}
		return nil
	})
	err := db.Read(func(c *Conn) error {
		if n, err := c.Int64("SELECT sum(i) FROM x"); n != 15 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		if n, err := c.Int64("SELECT i FROM x WHERE i = 100"); n != 0 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		// A row that is not wanted ends the reading, and the statement can be used again.
		for range 2 {
			rows := 0
			if err := c.Each("SELECT i FROM x", func(*sqlite3.Stmt) error { rows++; return errOwn }); rows != 1 || !errors.Is(err, errOwn) {
				t.Errorf("%d rows, %v", rows, err)
			}
		}
		// Parameters of the last time are not those of this one.
		if n, err := c.Int64("SELECT ? IS NULL", "x"); n != 0 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		if n, err := c.Int64("SELECT ? IS NULL"); n != 1 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		if err := c.Exec("SELECT nothing"); err == nil {
			t.Error("a column that is not there")
		}
		if err := c.Exec("SELECT ?", "a", "b"); err == nil {
			t.Error("a parameter that is not there")
		}
		if err := c.Exec("DELETE FROM x"); !errors.Is(err, sqlite3.READONLY) {
			t.Errorf("a reader deletes: %v", err)
		}
		defer func() {
			if recover() == nil {
				t.Error("an int is taken")
			}
		}()
		return c.Exec("SELECT ?", 1)
	})
	if err != nil {
		t.Error(err)
	}
	if err := db.Ping(); err != nil {
		t.Error(err)
	}
}
