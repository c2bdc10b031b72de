package groupdb

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

const secret = "unforgettable"

// holding returns the files that hold the secret.
func holding(t *testing.T, path string) (files []string) {
	t.Helper()
	for _, name := range []string{path, path + "-wal"} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte(secret)) {
			files = append(files, filepath.Base(name))
		}
	}
	return files
}

// forgotten writes and deletes what must not stay.
func (db *DB) forgotten(t *testing.T) {
	t.Helper()
	db.must(t, add(strings.Repeat(secret, 1000)))
	db.must(t, func(c *Conn) error { return c.Exec("DELETE FROM note") })
}

// What was deleted is in no file after a checkpoint, unless somebody is reading.
func TestCheckpoint(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notes.db")
	db := open(t, path, notes)
	db.must(t, func(c *Conn) error { return c.Exec("PRAGMA busy_timeout = 1") })
	db.must(t, add("x"))
	err := db.Read(func(c *Conn) error {
		if err := errors.Join(c.Exec("BEGIN"), c.Exec("SELECT * FROM note")); err != nil {
			return err
		}
		db.forgotten(t)
		if whole, err := db.Checkpoint(); whole || err != nil {
			t.Errorf("while somebody reads: %v, %v", whole, err)
		}
		if len(holding(t, path)) == 0 {
			t.Error("the test looks in the wrong place")
		}
		return c.Exec("COMMIT")
	})
	if err != nil {
		t.Fatal(err)
	}
	if whole, err := db.Checkpoint(); !whole || err != nil {
		t.Error(whole, err)
	}
	if files := holding(t, path); len(files) > 0 {
		t.Errorf("what was deleted is in %q", files)
	}
}

// What was deleted goes at once, and then not again for a while; while somebody reads,
// it is tried again sooner.
func TestRunCheckpoints(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notes.db")
	synctest.Test(t, func(t *testing.T) {
		db := open(t, path, notes)
		db.must(t, func(c *Conn) error { return c.Exec("PRAGMA busy_timeout = 0") })
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			db.RunCheckpoints(ctx, func(err error) { t.Error(err) })
			close(ended)
		}()
		after := func(d time.Duration, gone bool) {
			t.Helper()
			<-time.After(d)
			synctest.Wait()
			if files := holding(t, path); gone != (len(files) == 0) {
				t.Errorf("after %v: in %q", d, files)
			}
		}
		db.forgotten(t)
		after(time.Hour, false) // nobody has said so
		db.CheckpointSoon()
		after(0, true)
		db.forgotten(t)
		db.CheckpointSoon()
		db.CheckpointSoon()
		after(CheckpointEvery-1, false)
		after(1, true)
		<-time.After(CheckpointEvery)

		err := db.Read(func(c *Conn) error {
			if err := errors.Join(c.Exec("BEGIN"), c.Exec("SELECT * FROM note")); err != nil {
				return err
			}
			db.forgotten(t)
			db.CheckpointSoon()
			after(5*CheckpointAgain+CheckpointAgain/2, false)
			return c.Exec("COMMIT")
		})
		if err != nil {
			t.Error(err)
		}
		after(CheckpointAgain/2-1, false)
		after(1, true)
		cancel()
		<-ended
	})
}

// A checkpoint that fails is told and tried again, no sooner than any other.
func TestCheckpointFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := &DB{writes: make(chan *write), deleted: make(chan struct{}, 1)}
		ctx, cancel := context.WithCancel(t.Context())
		var told atomic.Int64
		var all sync.WaitGroup
		all.Go(func() { db.RunCheckpoints(ctx, func(error) { told.Add(1) }) })
		begun := time.Now()
		db.CheckpointSoon()
		for i := range 3 {
			w := <-db.writes
			if took := time.Since(begun); took != time.Duration(i)*CheckpointEvery {
				t.Errorf("try %d after %v", i+1, took)
			}
			if w.whole = i == 2; !w.whole {
				w.err = errOwn
			}
			close(w.done)
		}
		select {
		case <-db.writes:
			t.Error("tried again without need")
		case <-time.After(time.Hour):
		}
		if told.Load() != 2 {
			t.Errorf("told %d times", told.Load())
		}
		cancel()
		all.Wait()
	})
}

// The sweep comes at once and every hour, with a checkpoint each; its faults are told.
func TestSweepHourly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := &DB{deleted: make(chan struct{}, 1)}
		ctx, cancel := context.WithCancel(t.Context())
		var swept, told atomic.Int64
		var all sync.WaitGroup
		all.Go(func() {
			db.SweepHourly(ctx, func() error {
				if swept.Add(1) == 2 {
					return errOwn
				}
				return nil
			}, func(err error) {
				if told.Add(1); !errors.Is(err, errOwn) {
					t.Error(err)
				}
			})
		})
		for hour := range 4 {
			synctest.Wait()
			if swept.Load() != int64(hour+1) || len(db.deleted) != 1 {
				t.Errorf("hour %d: swept %d times, %d checkpoints asked for", hour, swept.Load(), len(db.deleted))
			}
			<-db.deleted
			<-time.After(time.Hour)
		}
		if told.Load() != 1 {
			t.Errorf("told %d times", told.Load())
		}
		cancel()
		all.Wait()
	})
}
