package bench

import (
	"errors"
	"fmt"
	"os"
	"sync"
)

// logSize is how much of its file a commitLog uses before it begins again at
// the start. The file is written once in full beforehand, so that a sync has
// data to flush and no file sizes.
const logSize = 16 << 20

// A commitLog is the bare form of a grouped fsync: records of concurrent
// writers go to disk with one write and one fdatasync, and then all of them are
// told. It keeps nothing one could read back; it is the floor of a relay's store.
type commitLog struct {
	f    *os.File
	off  int64
	done chan struct{} // closed when the committing goroutine has ended

	mu    sync.Mutex
	wake  sync.Cond
	open  *batch
	spare []byte
	stop  bool
}

type batch struct {
	buf  []byte
	done chan struct{}
	err  error
}

var errLogClosed = errors.New("the log is closed")

// openLog makes a log in dir; its file goes away with Close.
func openLog(dir string) (*commitLog, error) {
	f, err := os.CreateTemp(dir, "floor-*.log")
	if err != nil {
		return nil, err
	}
	l := &commitLog{f: f, open: newBatch(nil), done: make(chan struct{})}
	l.wake.L = &l.mu
	if _, err = f.Write(make([]byte, logSize)); err == nil {
		err = f.Sync()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", f.Name(), err), f.Close(), os.Remove(f.Name()))
	}
	go l.commit()
	return l, nil
}

func newBatch(buf []byte) *batch { return &batch{buf: buf[:0], done: make(chan struct{})} }

// Append returns when the record is on disk.
func (l *commitLog) Append(record []byte) error {
	l.mu.Lock()
	if l.stop {
		l.mu.Unlock()
		return errLogClosed
	}
	b := l.open
	b.buf = append(b.buf, record...)
	l.wake.Signal()
	l.mu.Unlock()
	<-b.done
	return b.err
}

// commit writes one batch after the other. While it syncs one, the next gathers.
func (l *commitLog) commit() {
	defer close(l.done)
	for {
		l.mu.Lock()
		for len(l.open.buf) == 0 && !l.stop {
			l.wake.Wait()
		}
		b := l.open
		if len(b.buf) == 0 {
			l.mu.Unlock()
			return
		}
		l.open = newBatch(l.spare)
		l.mu.Unlock()

		if l.off+int64(len(b.buf)) > logSize {
			l.off = 0
		}
		_, b.err = l.f.WriteAt(b.buf, l.off)
		if b.err == nil {
			b.err = datasync(l.f)
		}
		l.off += int64(len(b.buf))
		l.spare = b.buf // only this goroutine touches spare
		close(b.done)
	}
}

// Close syncs what has come, and removes the file.
func (l *commitLog) Close() error {
	l.mu.Lock()
	l.stop = true
	l.wake.Signal()
	l.mu.Unlock()
	<-l.done
	return errors.Join(l.f.Close(), os.Remove(l.f.Name()))
}
