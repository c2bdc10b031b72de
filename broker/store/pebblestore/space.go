package pebblestore

import (
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/broker/store"
)

// space watches how much of the disk is free, so that a full one is refused
// before it is reached. It asks the disk again after looked, or when an eighth of
// the reserve has been written since.
type space struct {
	fs      vfs.FS
	dir     string
	reserve uint64
	start   time.Time
	asked   atomic.Int64 // nanoseconds after start
	spent   atomic.Uint64
	free    atomic.Uint64
}

const looked = 50 * time.Millisecond

// check returns [store.ErrNoSpace] if fewer than keep bytes would stay free after
// n more.
func (s *space) check(n int, keep uint64) error {
	spent := s.spent.Add(uint64(n))
	last, now := s.asked.Load(), int64(time.Since(s.start))
	if now-last > int64(looked) || spent > s.reserve/8 {
		if s.asked.CompareAndSwap(last, now) { // others go by the answer before
			s.ask()
		}
	}
	if s.free.Load() < keep+uint64(n) {
		return store.ErrNoSpace
	}
	return nil
}

func (s *space) ask() {
	s.spent.Store(0)
	u, err := s.fs.GetDiskUsage(s.dir)
	if err != nil { // a file system that doesn't tell is taken to have room
		s.free.Store(1 << 62)
		return
	}
	s.free.Store(u.AvailBytes)
}

// room is for what needs new space, relief for what frees some.
func (s *space) room(n int) error { return s.check(n, s.reserve) }
func (s *space) relief() error    { return s.check(0, s.reserve/4) }
