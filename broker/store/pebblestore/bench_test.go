package pebblestore_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"parley/broker/store"
	"parley/broker/store/pebblestore"
)

const (
	benchQueues = 10_000
	benchBody   = 1024
)

// BenchmarkAppendAck measures the cycle of one message: durable append, read of
// the head, durable removal, by 1 and by 64 writers on queues of their own, and
// in the same run the floor: the same writes to a bare log with one fsync for
// all callers of the moment. The metric "of-floor" is the ratio.
func BenchmarkAppendAck(b *testing.B) {
	for _, c := range []struct {
		writers int
		scrub   time.Duration
	}{{1, 0}, {64, 0}, {64, time.Second}} { // the last scrubs 300 times as often as it would
		b.Run(fmt.Sprintf("writers=%d,scrub=%v", c.writers, c.scrub), func(b *testing.B) {
			writers := c.writers
			s, err := pebblestore.Open(b.TempDir(), pebblestore.Options{ScrubEvery: c.scrub})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			leases := makeQueues(b, s, benchQueues)
			floor, err := newBareLog(b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			defer floor.close()

			body := make([]byte, benchBody)
			ctx := context.Background()
			b.ResetTimer()
			began := time.Now()
			spread(b.N, writers, func(i int) {
				l := leases[i%len(leases)]
				if _, err := s.Append(ctx, l.Queue, 1, 128, began, body); err != nil {
					b.Error(err)
					return
				}
				it, err := s.Head(ctx, l)
				if err != nil {
					b.Error(err)
					return
				}
				if err := s.Ack(ctx, l, it.Seq); err != nil {
					b.Error(err)
				}
			})
			ours := time.Since(began)
			b.StopTimer()

			mark := make([]byte, 40)
			began = time.Now()
			spread(b.N, writers, func(i int) {
				if floor.write(body) != nil || floor.read(body) != nil || floor.write(mark) != nil {
					b.Error("bare log")
				}
			})
			bare := time.Since(began)
			b.ReportMetric(float64(b.N)/ours.Seconds(), "cycles/s")
			b.ReportMetric(float64(b.N)/bare.Seconds(), "floor-cycles/s")
			b.ReportMetric(bare.Seconds()/ours.Seconds(), "of-floor")
		})
	}
}

func makeQueues(b testing.TB, s store.Store, n int) []store.Lease {
	ids := make([]store.ID, n)
	spread(n, 64, func(i int) {
		binary.BigEndian.PutUint64(ids[i][:], uint64(i+1)*0x9e3779b97f4a7c15)
		if err := s.Create(b.Context(), store.Queue{ID: ids[i], Props: make([]byte, 700)}); err != nil {
			b.Error(err)
		}
	})
	leases, err := s.Own(b.Context(), ids)
	if err != nil {
		b.Fatal(err)
	}
	return leases
}

// spread calls f(0) … f(n-1) from so many goroutines.
func spread(n, goroutines int, f func(i int)) {
	var next atomic.Int64
	var all sync.WaitGroup
	for range goroutines {
		all.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				f(int(i - 1))
			}
		})
	}
	all.Wait()
}

// A bareLog is the least that a durable answer costs: append, fsync shared by
// all who wait.
type bareLog struct {
	f    *os.File
	mu   sync.Mutex
	some sync.Cond
	buf  []byte
	done chan error // of those in buf
	off  atomic.Int64
	end  bool
	over chan struct{}
}

func newBareLog(dir string) (*bareLog, error) {
	f, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	l := &bareLog{f: f, done: make(chan error), over: make(chan struct{})}
	l.some.L = &l.mu
	go l.run()
	return l, nil
}

func (l *bareLog) run() {
	defer close(l.over)
	var spare []byte
	for {
		l.mu.Lock()
		for len(l.buf) == 0 && !l.end {
			l.some.Wait()
		}
		buf, done := l.buf, l.done
		l.buf, l.done = spare[:0], make(chan error)
		l.mu.Unlock()
		if len(buf) == 0 {
			return
		}
		_, err := l.f.Write(buf)
		if err == nil {
			err = l.f.Sync()
		}
		if err == nil {
			l.off.Add(int64(len(buf)))
			close(done)
		}
		spare = buf
	}
}

func (l *bareLog) write(p []byte) error {
	l.mu.Lock()
	l.buf = append(l.buf, p...)
	done := l.done
	l.some.Signal()
	l.mu.Unlock()
	return <-done
}

func (l *bareLog) read(p []byte) error {
	_, err := l.f.ReadAt(p, l.off.Load()-int64(len(p)))
	return err
}

func (l *bareLog) close() {
	l.mu.Lock()
	l.end = true
	l.some.Signal()
	l.mu.Unlock()
	<-l.over
	l.f.Close()
}
