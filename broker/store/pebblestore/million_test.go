package pebblestore_test

import (
	crand "crypto/rand"
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"parley/broker/store"
	"parley/broker/store/pebblestore"
)

// TestMillion makes PARLEY_MILLION queues with 700 bytes of Props (two RSA-2048
// keys and what else a queue has) and measures memory, disk and the time to
// open. It is skipped without the variable: it takes a minute and a gigabyte.
func TestMillion(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv("PARLEY_MILLION"))
	if err != nil {
		t.Skip("PARLEY_MILLION is not set to a number of queues, such as 1000000")
	}
	dir := t.TempDir()
	open := func() *pebblestore.Store {
		s, err := pebblestore.Open(dir, pebblestore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	name := func(i int) (q, s store.ID) {
		binary.BigEndian.PutUint64(q[:], uint64(i+1)*0x9e3779b97f4a7c15)
		binary.BigEndian.PutUint64(q[8:], uint64(i))
		binary.BigEndian.PutUint64(s[:], uint64(i+1)*0xc2b2ae3d27d4eb4f)
		binary.BigEndian.PutUint64(s[8:], uint64(i))
		return q, s
	}
	s := open()
	ctx := t.Context()
	began := time.Now()
	spread(n, 128, func(i int) {
		q, sender := name(i)
		p := make([]byte, 700)
		_, _ = crand.Read(p)
		if err := s.Create(ctx, store.Queue{ID: q, Props: p, Alias: map[store.Role]store.ID{store.Sender: sender}}); err != nil {
			t.Error(err)
		}
	})
	took := time.Since(began)
	t.Logf("made %d queues in %.1f s (%.0f/s); resident %d MiB, disk %d MiB", n, took.Seconds(), float64(n)/took.Seconds(), resident(t), size(t, dir))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	debug.FreeOSMemory()
	t.Logf("closed: resident %d MiB", resident(t))
	began = time.Now()
	s = open()
	took = time.Since(began)
	t.Logf("opened in %.2f s; resident %d MiB", took.Seconds(), resident(t))
	if took > 10*time.Second {
		t.Errorf("opening took %v", took)
	}
	began = time.Now()
	const looks = 20_000
	spread(looks, 16, func(i int) {
		q, sender := name(i * (n / looks))
		rec, err := s.Find(ctx, store.Sender, sender)
		if err != nil || rec.ID != q || len(rec.Props) != 700 {
			t.Errorf("queue %d: %v", i, err)
		}
	})
	t.Logf("%d finds of cold queues: %.0f/s; resident %d MiB", looks, looks/time.Since(began).Seconds(), resident(t))
	began = time.Now()
	spread(looks, 64, func(i int) {
		q, _ := name(i * (n / looks))
		if _, err := s.Append(ctx, q, 1, 9, time.Now(), make([]byte, 1024)); err != nil {
			t.Error(err)
		}
	})
	t.Logf("%d appends to cold queues: %.0f/s; resident %d MiB", looks, looks/time.Since(began).Seconds(), resident(t))
	began = time.Now()
	if _, err := s.Sweep(ctx, time.Now(), time.Now().Add(-time.Hour), 1000); err != nil {
		t.Error(err)
	}
	t.Logf("a sweep with nothing due: %v", time.Since(began))
	// One replaced record in every part of the key space: all is rewritten.
	spread(looks, 64, func(i int) {
		q, _ := name(i * (n / looks))
		p := make([]byte, 700)
		_, _ = crand.Read(p)
		if err := s.Update(ctx, store.Queue{ID: q, Version: 1, Props: p}); err != nil {
			t.Error(err)
		}
	})
	began = time.Now()
	if err := s.Scrub(ctx); err != nil {
		t.Error(err)
	}
	t.Logf("scrub: %.1f s; resident %d MiB, disk %d MiB", time.Since(began).Seconds(), resident(t), size(t, dir))
	if d := size(t, dir); d > n/1000 {
		t.Errorf("%d MiB on disk", d)
	}
	if m := resident(t); m > 200 {
		t.Errorf("%d MiB in memory", m)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// resident is the memory of this process in MiB, after a collection.
func resident(t *testing.T) int {
	t.Helper()
	runtime.GC()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip("no /proc")
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "VmRSS:" {
			kb, err := strconv.Atoi(f[1])
			if err != nil {
				t.Fatal(err)
			}
			return kb / 1024
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

// size is what the files in dir take, in MiB.
func size(t *testing.T, dir string) int {
	t.Helper()
	var n int64
	err := filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err == nil {
			if fi, err := d.Info(); err == nil && !fi.IsDir() {
				n += fi.Size()
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return int(n >> 20)
}
