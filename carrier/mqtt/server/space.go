package server

import (
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// space watches how much of the disk is free, so that a full one is refused
// before it is reached. It asks again after 50 ms, or when an eighth of the
// reserve has been written since.
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

// room reports whether the reserve stays free after n more bytes.
func (s *space) room(n int) bool {
	spent := s.spent.Add(uint64(n))
	last, now := s.asked.Load(), int64(time.Since(s.start))
	if now-last > int64(looked) || spent > s.reserve/8 {
		if s.asked.CompareAndSwap(last, now) {
			s.ask()
		}
	}
	return s.free.Load() >= s.reserve+uint64(n)
}

// left is how many bytes are free besides the reserve, as far as was last asked.
func (s *space) left() int64 { return int64(min(s.free.Load(), 1<<62)) - int64(min(s.reserve, 1<<62)) }

func (s *space) ask() {
	s.spent.Store(0)
	u, err := s.fs.GetDiskUsage(s.dir)
	if err != nil { // a file system that doesn't tell is taken to have room
		s.free.Store(1 << 62)
		return
	}
	s.free.Store(u.AvailBytes)
}
