package pebblestore_test

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"parley/broker/store"
	"parley/broker/store/pebblestore"
	"parley/parleytest"
)

func TestStore(t *testing.T) {
	parleytest.DurableStore(t, func(dir string) (store.Store, error) {
		return pebblestore.Open(dir, pebblestore.Options{ScrubEvery: -1})
	})
}

// With almost no cursors in memory, each call finds its queue on disk (which is
// one in memory here, for speed).
func TestStoreCold(t *testing.T) {
	disk := vfs.NewMem()
	parleytest.DurableStore(t, func(dir string) (store.Store, error) {
		return pebblestore.Open(dir, pebblestore.Options{FS: disk, ScrubEvery: -1, ActiveQueues: 1, MemTable: 64 << 10})
	})
}

// A store leaves nothing running behind.
func TestCloseEndsAll(t *testing.T) {
	before := goleak.IgnoreCurrent()
	s, err := pebblestore.Open(t.TempDir(), pebblestore.Options{ScrubEvery: time.Millisecond, MemTable: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	l := makeQueues(t, s, 20)
	spread(400, 4, func(i int) {
		if _, err := s.Append(t.Context(), l[i%20].Queue, 1, 1e6, time.Now(), make([]byte, 1000)); err != nil {
			t.Error(err)
		}
		if err := s.Ack(t.Context(), l[i%20], uint64(i/20)); err != nil {
			t.Error(err)
		}
	})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	goleak.VerifyNone(t, before)
}
