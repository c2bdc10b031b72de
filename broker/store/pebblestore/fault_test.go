package pebblestore_test

import (
	"errors"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/broker/store"
	"parley/broker/store/pebblestore"
)

// A faultFS fails writes to files of one kind while it is told to.
type faultFS struct {
	vfs.FS
	fault atomic.Pointer[fault]
	free  atomic.Uint64 // bytes that it says are free, if not 0
	hits  atomic.Int64
}

type fault struct {
	kind string // the suffix of a file name, or the first letters
	op   string // create, write, sync
	err  error
}

func (f *faultFS) hit(name, op string) error {
	base := filepath.Base(name)
	x := f.fault.Load()
	if x == nil || op != x.op || filepath.Ext(base) != x.kind && (len(base) < len(x.kind) || base[:len(x.kind)] != x.kind) {
		return nil
	}
	f.hits.Add(1)
	return x.err
}

func (f *faultFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := f.hit(name, "create"); err != nil {
		return nil, err
	}
	file, err := f.FS.Create(name, c)
	return &faultFile{file, f, name}, err
}

func (f *faultFS) GetDiskUsage(dir string) (vfs.DiskUsage, error) {
	if n := f.free.Load(); n != 0 {
		return vfs.DiskUsage{AvailBytes: n, TotalBytes: 1 << 30}, nil
	}
	return f.FS.GetDiskUsage(dir)
}

type faultFile struct {
	vfs.File
	f    *faultFS
	name string
}

func (f *faultFile) Write(p []byte) (int, error) {
	if err := f.f.hit(f.name, "write"); err != nil {
		n, _ := f.File.Write(p[:len(p)/2]) // as a full disk does
		return n, err
	}
	return f.File.Write(p)
}

func (f *faultFile) Sync() error {
	if err := f.f.hit(f.name, "sync"); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *faultFile) SyncData() error {
	if err := f.f.hit(f.name, "sync"); err != nil {
		return err
	}
	return f.File.SyncData()
}

// until calls f every few milliseconds until it returns true.
func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	patience := time.After(20 * time.Second)
	for !f() {
		select {
		case <-tick.C:
		case <-patience:
			t.Fatalf("never: %s", what)
		}
	}
}

// Whatever write fails, the process lives on, callers get an error, and the store
// comes back by itself with all that it acknowledged.
func TestFaults(t *testing.T) {
	for _, x := range []fault{
		{".log", "write", syscall.ENOSPC},
		{".log", "write", syscall.EIO},
		{".log", "sync", syscall.EIO},
		{".log", "create", syscall.ENOSPC},
		{"MANIFEST", "write", syscall.ENOSPC},
		{"MANIFEST", "sync", syscall.EIO},
		{".sst", "create", syscall.ENOSPC},
		{".sst", "write", syscall.ENOSPC},
		{".sst", "sync", syscall.EIO},
	} {
		t.Run(x.kind+" "+x.op+" "+x.err.Error(), func(t *testing.T) {
			t.Parallel()
			fs := &faultFS{FS: vfs.NewMem()}
			s, err := pebblestore.Open("db", pebblestore.Options{FS: fs, MemTable: 64 << 10, ScrubEvery: -1})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			leases := makeQueues(t, s, 4)
			body := make([]byte, 4096)
			good := make([]int, len(leases))
			appendAll := func() (failed error) {
				for i, l := range leases {
					ctx, cancel := withTimeout(t)
					_, err := s.Append(ctx, l.Queue, 1, 1e6, time.Now(), body)
					cancel()
					if err != nil {
						failed = err
					} else {
						good[i]++
					}
				}
				return failed
			}
			for range 5 {
				if err := appendAll(); err != nil {
					t.Fatal(err)
				}
			}
			fs.fault.Store(&x)
			// Tables are written behind the callers' backs: they notice late or never.
			until(t, "the fault is met", func() bool {
				err := appendAll()
				if err != nil && !errors.Is(err, store.ErrFailed) && !errors.Is(err, errSlow) {
					t.Fatal(err)
				}
				return fs.hits.Load() > 0 && (err != nil || x.kind == ".sst")
			})
			fs.fault.Store(nil)
			until(t, "the store is back", func() bool { return appendAll() == nil })
			for i, l := range leases {
				if n, err := s.Len(t.Context(), l.Queue); err != nil || n < good[i] {
					t.Errorf("%d messages left of %d, %v", n, good[i], err)
				}
				if _, err := s.Head(t.Context(), l); err != nil { // the lease has survived
					t.Error(err)
				}
			}
			// And once more after a restart.
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s, err = pebblestore.Open("db", pebblestore.Options{FS: fs, ScrubEvery: -1})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			for i, l := range leases {
				if n, err := s.Len(t.Context(), l.Queue); err != nil || n < good[i] {
					t.Errorf("after a restart: %d messages left of %d, %v", n, good[i], err)
				}
			}
		})
	}
}

// After a failure every owner is woken: what it waits for may be there after all.
func TestFaultWakes(t *testing.T) {
	fs := &faultFS{FS: vfs.NewMem()}
	var reports atomic.Int32
	s, err := pebblestore.Open("db", pebblestore.Options{FS: fs, ScrubEvery: -1, Report: func(error) { reports.Add(1) }})
	if err != nil {
		t.Fatal(err)
	}
	l := makeQueues(t, s, 3)
	woken := make(chan store.Lease, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for l := range s.Wake() {
			woken <- l
		}
	}()
	fs.fault.Store(&fault{".log", "sync", syscall.EIO})
	if _, err := s.Append(t.Context(), l[0].Queue, 1, 9, time.Now(), nil); !errors.Is(err, store.ErrFailed) {
		t.Fatal(err)
	}
	if err := s.Ack(t.Context(), l[1], 1); !errors.Is(err, store.ErrFailed) {
		t.Error(err)
	}
	fs.fault.Store(nil)
	left := map[store.Lease]bool{l[0]: true, l[1]: true, l[2]: true}
	until(t, "every owner is woken", func() bool {
		select {
		case l := <-woken:
			delete(left, l)
		default:
		}
		return len(left) == 0
	})
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	<-done
	if reports.Load() < 2 {
		t.Error("nobody was told")
	}
}

// On a disk that stays broken the store stays failed, and can be closed.
func TestFaultStays(t *testing.T) {
	fs := &faultFS{FS: vfs.NewMem()}
	s, err := pebblestore.Open("db", pebblestore.Options{FS: fs, ScrubEvery: -1})
	if err != nil {
		t.Fatal(err)
	}
	l := makeQueues(t, s, 1)
	fs.fault.Store(&fault{".log", "write", syscall.EIO})
	for range 3 {
		if _, err := s.Append(t.Context(), l[0].Queue, 1, 9, time.Now(), nil); !errors.Is(err, store.ErrFailed) {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := s.Head(t.Context(), l[0]); !errors.Is(err, store.ErrClosed) {
		t.Error(err)
	}
}

// Opening on a broken disk is an error, no more.
func TestFaultsAtOpen(t *testing.T) {
	for _, x := range []fault{
		{".log", "create", syscall.ENOSPC},
		{".log", "write", syscall.ENOSPC},
		{".log", "sync", syscall.EIO},
		{"MANIFEST", "create", syscall.ENOSPC},
		{"MANIFEST", "write", syscall.EIO},
		{"MANIFEST", "sync", syscall.EIO},
		{".dbtmp", "write", syscall.ENOSPC},
	} {
		fs := &faultFS{FS: vfs.NewMem()}
		fs.fault.Store(&x)
		s, err := pebblestore.Open("db", pebblestore.Options{FS: fs})
		if err == nil {
			s.Close()
			t.Errorf("%v: no error", x)
		}
		fs.fault.Store(nil)
		if s, err = pebblestore.Open("db", pebblestore.Options{FS: fs}); err != nil {
			t.Errorf("%v: %v after it was mended", x, err)
			continue
		}
		makeQueues(t, s, 2)
		s.Close()
	}
}

// A nearly full disk is refused with nothing changed; what frees space still
// works, down to a quarter of the reserve.
func TestReserve(t *testing.T) {
	fs := &faultFS{FS: vfs.NewMem()}
	fs.free.Store(1 << 30)
	s, err := pebblestore.Open("db", pebblestore.Options{FS: fs, Reserve: 1000_000, ScrubEvery: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	l := makeQueues(t, s, 2)
	ctx := t.Context()
	put := func() error {
		_, err := s.Append(ctx, l[0].Queue, 1, 100, time.Now(), []byte("x"))
		return err
	}
	for range 3 {
		if err := put(); err != nil {
			t.Fatal(err)
		}
	}
	fs.free.Store(900_000)
	until(t, "Append is refused", func() bool { return errors.Is(put(), store.ErrNoSpace) })
	n, err := s.Len(ctx, l[0].Queue)
	if err != nil {
		t.Fatal(err)
	}
	if err := put(); !errors.Is(err, store.ErrNoSpace) {
		t.Error(err)
	}
	if err := s.Create(ctx, store.Queue{ID: store.ID{9}, Props: []byte("x")}); !errors.Is(err, store.ErrNoSpace) {
		t.Error(err)
	}
	if err := s.Update(ctx, store.Queue{ID: l[0].Queue, Version: 1, Props: []byte("x")}); !errors.Is(err, store.ErrNoSpace) {
		t.Error(err)
	}
	if err := s.Ack(ctx, l[0], 1); err != nil {
		t.Error(err)
	}
	if err := s.Update(ctx, store.Queue{ID: l[1].Queue, Version: 1}); err != nil {
		t.Error(err)
	}
	if k, err := s.Len(ctx, l[0].Queue); err != nil || k != n-1 {
		t.Errorf("%d messages, %v", k, err)
	}
	fs.free.Store(200_000)
	until(t, "Ack is refused", func() bool { return errors.Is(s.Ack(ctx, l[0], 99), store.ErrNoSpace) })
	if _, err := s.Sweep(ctx, time.Now(), time.Now(), 9); !errors.Is(err, store.ErrNoSpace) {
		t.Error(err)
	}
	if it, err := s.Head(ctx, l[0]); err != nil || it.Seq != 2 {
		t.Error(it, err)
	}
	fs.free.Store(1 << 30)
	until(t, "Append works again", func() bool { return put() == nil })
}
