package pebblestore_test

import (
	"testing"

	"parley/broker/store"
	"parley/broker/store/pebblestore"
	"parley/parleytest"
)

func TestStore(t *testing.T) {
	parleytest.DurableStore(t, func(dir string) (store.Store, error) {
		return pebblestore.Open(dir, pebblestore.Options{ScrubEvery: -1})
	})
}

// With almost no cursors in memory, each call finds its queue on disk.
func TestStoreCold(t *testing.T) {
	parleytest.DurableStore(t, func(dir string) (store.Store, error) {
		return pebblestore.Open(dir, pebblestore.Options{ScrubEvery: -1, ActiveQueues: 1, MemTable: 64 << 10})
	})
}
