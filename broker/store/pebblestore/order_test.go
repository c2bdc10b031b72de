package pebblestore_test

import (
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/broker/store/pebblestore"
)

// heldFS is a disk on which the syncs of logs wait while held is set.
type heldFS struct {
	vfs.FS
	held    atomic.Pointer[chan struct{}]
	waiting chan struct{} // gets one value for each sync that waits
}

func (f *heldFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.Create(name, c)
	if err != nil || filepath.Ext(name) != ".log" {
		return file, err
	}
	return &heldFile{file, f}, nil
}

type heldFile struct {
	vfs.File
	fs *heldFS
}

func (f *heldFile) Sync() error     { f.wait(); return f.File.Sync() }
func (f *heldFile) SyncData() error { f.wait(); return f.File.SyncData() }

func (f *heldFile) wait() {
	if c := f.fs.held.Load(); c != nil {
		select {
		case f.fs.waiting <- struct{}{}:
		default:
		}
		<-*c
	}
}

// TestHeadWaitsForTheAckBefore: a recipient writes its ACK and is gone before the
// answer; the next one must not get the message behind as long as a crash could
// bring the acknowledged one back.
func TestHeadWaitsForTheAckBefore(t *testing.T) {
	fs := &heldFS{FS: vfs.NewMem(), waiting: make(chan struct{}, 1)}
	s, err := pebblestore.Open("db", pebblestore.Options{FS: fs, ScrubEvery: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	l := makeQueues(t, s, 1)[0]
	for range 2 {
		if _, err := s.Append(t.Context(), l.Queue, 1, 10, time.Now(), []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	first, err := s.Head(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	free := make(chan struct{})
	fs.held.Store(&free)
	acked := make(chan error, 1)
	go func() { acked <- s.Ack(t.Context(), l, first.Seq) }()
	<-fs.waiting

	ctx, cancel := withTimeout(t)
	defer cancel()
	if it, err := s.Head(ctx, l); err == nil {
		t.Errorf("message %d came while the removal of %d was not on disk", it.Seq, first.Seq)
	}
	fs.held.Store(nil)
	close(free)
	if err := <-acked; err != nil {
		t.Fatal(err)
	}
	if it, err := s.Head(t.Context(), l); err != nil || it.Seq == first.Seq {
		t.Errorf("after the ACK: message %d, %v", it.Seq, err)
	}
}
