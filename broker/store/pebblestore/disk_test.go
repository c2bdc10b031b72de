package pebblestore_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/broker/store"
	"parley/broker/store/pebblestore"
	"parley/parleytest"
)

var errSlow = errors.New("the disk is slow")

func withTimeout(t *testing.T) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeoutCause(t.Context(), 300*time.Millisecond, errSlow)
	return causing{ctx}, cancel
}

// causing gives its cause as its error.
type causing struct{ context.Context }

func (c causing) Err() error {
	if c.Context.Err() == nil {
		return nil
	}
	return context.Cause(c.Context)
}

// smallDisk mounts a memory disk of so many bytes.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("parley", dir, "tmpfs", 0, "mode=0700,size="+size); err != nil {
		parleytest.Missing(t, "a small disk cannot be mounted here ("+err.Error()+")")
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// The store fills a real disk up to its reserve, refuses more, loses nothing, and
// takes more when messages have been fetched.
func TestFullDisk(t *testing.T) {
	dir := filepath.Join(smallDisk(t, "64m"), "db")
	o := pebblestore.Options{MemTable: 256 << 10, Reserve: 24 << 20, ScrubEvery: -1}
	s, err := pebblestore.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if s != nil {
			s.Close()
		}
	}()
	l := makeQueues(t, s, 8)
	ctx := t.Context()
	body := make([]byte, 16000)
	count := make([]int, len(l))
	fill := func() {
		t.Helper()
		for i := 0; ; i++ {
			if i > 10_000 {
				t.Fatal("the disk never fills")
			}
			k := i % len(l)
			body[0] = byte(count[k])
			if _, err := s.Append(ctx, l[k].Queue, 1, 1e6, time.Now(), body); err != nil {
				if !errors.Is(err, store.ErrNoSpace) {
					t.Fatal(err)
				}
				return
			}
			count[k]++
		}
	}
	fill()
	if count[0] < 50 {
		t.Fatalf("full after %d messages", count[0])
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = pebblestore.Open(dir, o); err != nil {
		t.Fatal(err)
	}
	for i := range l {
		if n, err := s.Len(ctx, l[i].Queue); err != nil || n != count[i] {
			t.Fatalf("%d messages of %d, %v", n, count[i], err)
		}
	}
	before := count[0]
	for i := range l {
		ls, err := s.Own(ctx, []store.ID{l[i].Queue})
		if err != nil {
			t.Fatal(err)
		}
		l[i] = ls[0]
		for k := range count[i] / 2 {
			it, err := s.Head(ctx, l[i])
			if err != nil || it.Body[0] != byte(k) || len(it.Body) != len(body) {
				t.Fatalf("message %d: %v", k, err)
			}
			if err := s.Ack(ctx, l[i], it.Seq); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Scrub(ctx); err != nil {
		t.Fatal(err)
	}
	fill()
	if count[0] < before+before/4 {
		t.Errorf("only %d messages more", count[0]-before)
	}
}

// Somebody else fills the disk to the last byte, past the reserve: callers get
// errors, and once there is room the store works, with all that it acknowledged.
func TestFilledDisk(t *testing.T) {
	disk := smallDisk(t, "16m")
	dir := filepath.Join(disk, "db")
	// It is told that there is room, as if the disk were filled between a look at
	// it and the write.
	fs := &faultFS{FS: vfs.Default}
	fs.free.Store(1 << 30)
	o := pebblestore.Options{FS: fs, MemTable: 256 << 10, ScrubEvery: -1}
	s, err := pebblestore.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { s.Close() }()
	l := makeQueues(t, s, 1)
	body := make([]byte, 4000)
	good := 0
	put := func() error {
		ctx, cancel := withTimeout(t)
		defer cancel()
		_, err := s.Append(ctx, l[0].Queue, 1, 1e6, time.Now(), body)
		if err == nil {
			good++
		}
		return err
	}
	for range 20 {
		if err := put(); err != nil {
			t.Fatal(err)
		}
	}
	hog := filepath.Join(disk, "hog")
	f, err := os.Create(hog)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 64<<10))
	}
	until(t, "the store fails", func() bool { return errors.Is(put(), store.ErrFailed) })
	if err := os.Truncate(hog, 0); err != nil {
		t.Fatal(err)
	}
	until(t, "Append works again", func() bool { return put() == nil })
	n, err := s.Len(t.Context(), l[0].Queue)
	if err != nil || n < good {
		t.Fatalf("%d messages of %d, %v", n, good, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = pebblestore.Open(dir, o); err != nil {
		t.Fatal(err)
	}
	if k, err := s.Len(t.Context(), l[0].Queue); err != nil || k != n {
		t.Fatalf("%d messages of %d, %v", k, n, err)
	}
}

// TestStartOnAFullDisk: the start ends with an error that says why, and works when
// there is room again, with nothing lost.
func TestStartOnAFullDisk(t *testing.T) {
	disk := smallDisk(t, "48m")
	dir, fill := filepath.Join(disk, "db"), filepath.Join(disk, "fill")
	s, err := pebblestore.Open(dir, pebblestore.Options{Reserve: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	l := makeQueues(t, s, 1)[0]
	if _, err := s.Append(t.Context(), l.Queue, 1, 10, time.Now(), []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(fill)
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 4096)
	for err == nil {
		_, err = f.Write(block)
	}
	f.Close()
	if s, err := pebblestore.Open(dir, pebblestore.Options{Reserve: 1 << 20}); !errors.Is(err, store.ErrNoSpace) && !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("on a full disk: %v, %v", s, err)
	}
	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	// The engine that gave up may still hold its files in this process; a relay
	// would have ended.
	until(t, "the store opens when there is room", func() bool {
		s, err := pebblestore.Open(dir, pebblestore.Options{Reserve: 1 << 20})
		if err != nil {
			return false
		}
		defer s.Close()
		n, err := s.Len(t.Context(), l.Queue)
		return err == nil && n == 1
	})
}
