package pebblestore_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"parley/broker/store"
	"parley/broker/store/pebblestore"
)

// grep returns the files under dir that hold the text.
func grep(t *testing.T, dir string, text []byte) (files []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil // the engine may have removed it just now
		}
		if b, err := os.ReadFile(path); err == nil && bytes.Contains(b, text) {
			files = append(files, filepath.Base(path))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// secret is a body that is easily found.
func secret(mark string, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	copy(b[n/2:], mark)
	return b
}

// What was acknowledged, swept, deleted or replaced is in no file afterwards,
// wherever it had got to; what was not stays.
func TestScrub(t *testing.T) {
	for _, memTable := range []int{64 << 10, 8 << 20} { // bodies reach the tables, or only the log
		t.Run(fmt.Sprint(memTable), func(t *testing.T) {
			dir := t.TempDir()
			s, err := pebblestore.Open(dir, pebblestore.Options{MemTable: memTable, ScrubEvery: -1})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			l := makeQueues(t, s, 40)
			old, now := time.Now().Add(-time.Hour), time.Now()
			put := func(i int, at time.Time, mark string) {
				t.Helper()
				if _, err := s.Append(ctx, l[i].Queue, 1, 1e6, at, secret(mark, 4000)); err != nil {
					t.Fatal(err)
				}
			}
			for i := range l {
				for range 5 {
					switch {
					case i < 10:
						put(i, now, "MARK-ACKED")
					case i < 20:
						put(i, old, "MARK-SWEPT")
					case i < 30:
						put(i, now, "MARK-DELETED")
					}
				}
				put(i, now, "MARK-KEPT")
			}
			for _, i := range []int{35, 36} {
				if err := s.Update(ctx, store.Queue{ID: l[i].Queue, Version: 1, Props: secret("MARK-PROPS", 700)}); err != nil {
					t.Fatal(err)
				}
			}
			marks := []string{"MARK-ACKED", "MARK-SWEPT", "MARK-DELETED", "MARK-PROPS"}
			for _, m := range marks {
				if len(grep(t, dir, []byte(m))) == 0 {
					t.Fatalf("%s is in no file: this test sees nothing", m)
				}
			}

			for i := range 10 {
				for range 5 {
					it, err := s.Head(ctx, l[i])
					if err == nil {
						err = s.Ack(ctx, l[i], it.Seq)
					}
					if err != nil {
						t.Fatal(err)
					}
				}
			}
			if n, err := s.Sweep(ctx, old, now.Add(-time.Minute), 1000); err != nil || n != 50 {
				t.Fatal(n, err)
			}
			for i := 20; i < 30; i++ {
				if err := s.Update(ctx, store.Queue{ID: l[i].Queue, Version: 1}); err != nil {
					t.Fatal(err)
				}
			}
			for _, i := range []int{35, 36} {
				if err := s.Update(ctx, store.Queue{ID: l[i].Queue, Version: 2, Props: []byte("others")}); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Scrub(ctx); err != nil {
				t.Fatal(err)
			}
			for _, m := range marks {
				if f := grep(t, dir, []byte(m)); f != nil {
					t.Errorf("%s is still in %v", m, f)
				}
			}
			if len(grep(t, dir, []byte("MARK-KEPT"))) == 0 {
				t.Error("messages that nobody took are gone")
			}
			for i := range l {
				if i >= 20 && i < 30 {
					continue
				}
				if n, err := s.Len(ctx, l[i].Queue); err != nil || n != 1 {
					t.Errorf("queue %d: %d, %v", i, n, err)
				}
				if it, err := s.Head(ctx, l[i]); err != nil || !bytes.Contains(it.Body, []byte("MARK-KEPT")) {
					t.Errorf("queue %d: %v", i, err)
				}
			}
			for i := 20; i < 30; i++ { // nor does a table or log name a deleted queue
				for _, f := range grep(t, dir, l[i].Queue[:8]) {
					if filepath.Ext(f) != "" {
						t.Errorf("a deleted queue's ID is in %s", f)
					}
				}
			}
			if err := s.Scrub(ctx); err != nil { // nothing to do
				t.Fatal(err)
			}
		})
	}
}

// What a crash left behind is erased by the next life.
func TestScrubAfterCrash(t *testing.T) {
	dir, crashed := t.TempDir(), t.TempDir()
	s, err := pebblestore.Open(dir, pebblestore.Options{ScrubEvery: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	l := makeQueues(t, s, 3)
	for i := range l {
		it, err := s.Append(t.Context(), l[i].Queue, 1, 9, time.Now(), secret("MARK-ACKED", 3000))
		if err == nil {
			err = s.Ack(t.Context(), l[i], it.Seq)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := os.CopyFS(filepath.Join(crashed, "db"), os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if grep(t, crashed, []byte("MARK-ACKED")) == nil {
		t.Fatal("this test sees nothing")
	}
	s2, err := pebblestore.Open(filepath.Join(crashed, "db"), pebblestore.Options{ScrubEvery: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer s2.Close()
	if err := s2.Scrub(t.Context()); err != nil {
		t.Fatal(err)
	}
	if f := grep(t, crashed, []byte("MARK-ACKED")); f != nil {
		t.Errorf("still in %v", f)
	}
}

// Without being asked, and while others write, the store erases what was there
// before.
func TestScrubByItself(t *testing.T) {
	dir := t.TempDir()
	s, err := pebblestore.Open(dir, pebblestore.Options{
		ScrubEvery: 50 * time.Millisecond, MemTable: 64 << 20, // no flush but a scrub's
		Report: func(err error) { t.Error(err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	l := makeQueues(t, s, 20)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		spread(4, 4, func(i int) {
			for k := i; ctx.Err() == nil; k = (k + 4) % 16 {
				it, err := s.Append(ctx, l[k].Queue, 1, 1e6, time.Now(), secret("noise", 2000))
				if err == nil {
					err = s.Ack(ctx, l[k], it.Seq)
				}
				if err != nil && ctx.Err() == nil {
					t.Error(err)
				}
			}
		})
	}()
	for i := 16; i < 20; i++ {
		it, err := s.Append(ctx, l[i].Queue, 1, 9, time.Now(), secret("MARK-ACKED", 3000))
		if err == nil && grep(t, dir, []byte("MARK-ACKED")) == nil {
			t.Error("this test sees nothing")
		}
		if err == nil {
			err = s.Ack(ctx, l[i], it.Seq)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	until(t, "the bodies leave the disk", func() bool { return grep(t, dir, []byte("MARK-ACKED")) == nil })
	stop()
	<-done
}

// TestCloseErases: while a relay stands still nobody scrubs, so what was
// acknowledged goes when it is closed.
func TestCloseErases(t *testing.T) {
	dir := t.TempDir()
	s, err := pebblestore.Open(dir, pebblestore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	l := makeQueues(t, s, 1)[0]
	for _, text := range []string{"acknowledged before the relay stops", "still to be delivered"} {
		if _, err := s.Append(t.Context(), l.Queue, 1, 10, time.Now(), []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	it, err := s.Head(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Ack(t.Context(), l, it.Seq); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if files := grep(t, dir, []byte("acknowledged before")); len(files) > 0 {
		t.Errorf("the acknowledged message is still in %v", files)
	}
	if files := grep(t, dir, []byte("still to be delivered")); len(files) == 0 {
		t.Error("the other message is gone")
	}
}
