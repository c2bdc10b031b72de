package server

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A gate stands between the database and the disk. The database has no way on
// when its log or manifest can't be written, and would end the process. So such
// an error never reaches it: the gate reports it and holds the goroutine for
// good. A later life works on the same files, so once the gate is shut every
// change of the old one is held too.
type gate struct {
	vfs.FS
	fail  func(error)
	armed atomic.Bool // open has succeeded; before, errors go to its caller
	dead  atomic.Bool
	busy  sync.RWMutex // read-held by each change under way
}

// fullPause is how long a background write waits before it reports a full disk,
// so that the database, which tries again at once, doesn't spin.
const fullPause = 200 * time.Millisecond

// shut holds all later changes and waits for those under way.
func (g *gate) shut() {
	g.dead.Store(true)
	g.busy.Lock()
	g.busy.Unlock() //lint:ignore SA2001 waiting is all it is for
}

// do runs a change. Critical are those whose failure the database can't bear.
func (g *gate) do(critical bool, change func() error) error {
	g.busy.RLock()
	if g.dead.Load() {
		g.busy.RUnlock()
		select {}
	}
	err := change()
	g.busy.RUnlock()
	switch {
	case err == nil || !g.armed.Load():
	case critical:
		g.fail(err)
		select {}
	case errors.Is(err, syscall.ENOSPC):
		time.Sleep(fullPause)
	}
	return err
}

// critical tells tables, which can be given up and written again, from the log,
// the manifest and their markers.
func critical(name string) bool { return filepath.Ext(name) != ".sst" }

func (g *gate) file(name string, open func() (vfs.File, error)) (vfs.File, error) {
	c := critical(name)
	var f vfs.File
	err := g.do(c, func() (err error) {
		f, err = open()
		return err
	})
	if err != nil {
		return nil, err
	}
	return &gateFile{File: f, g: g, critical: c}, nil
}

func (g *gate) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return g.file(name, func() (vfs.File, error) { return g.FS.Create(name, c) })
}

func (g *gate) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return g.file(name, func() (vfs.File, error) { return g.FS.OpenReadWrite(name, c, o...) })
}

// ReuseForWrite never reuses: the old content would show through.
func (g *gate) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return g.file(name, func() (vfs.File, error) {
		if err := g.FS.Remove(old); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		return g.FS.Create(name, c)
	})
}

func (g *gate) OpenDir(name string) (vfs.File, error) {
	return g.file(name, func() (vfs.File, error) { return g.FS.OpenDir(name) })
}

func (g *gate) Link(old, name string) error {
	return g.do(critical(name), func() error { return g.FS.Link(old, name) })
}

func (g *gate) Rename(old, name string) error {
	return g.do(critical(name), func() error { return g.FS.Rename(old, name) })
}

func (g *gate) Remove(name string) error {
	return g.do(false, func() error { return g.FS.Remove(name) })
}

func (g *gate) RemoveAll(name string) error {
	return g.do(false, func() error { return g.FS.RemoveAll(name) })
}

// Lock does nothing: the server holds the lock, over all lives of the database.
func (g *gate) Lock(string) (io.Closer, error) { return unlocked{}, nil }

func (g *gate) Unwrap() vfs.FS { return g.FS }

type unlocked struct{}

func (unlocked) Close() error { return nil }

// A gateFile is a file open for writing.
type gateFile struct {
	vfs.File
	g        *gate
	critical bool
}

func (f *gateFile) Write(p []byte) (n int, err error) {
	err = f.g.do(f.critical, func() error { n, err = f.File.Write(p); return err })
	return n, err
}

func (f *gateFile) WriteAt(p []byte, off int64) (n int, err error) {
	err = f.g.do(f.critical, func() error { n, err = f.File.WriteAt(p, off); return err })
	return n, err
}

func (f *gateFile) Sync() error     { return f.g.do(f.critical, f.File.Sync) }
func (f *gateFile) SyncData() error { return f.g.do(f.critical, f.File.SyncData) }
func (f *gateFile) Close() error    { return f.g.do(f.critical, f.File.Close) }

func (f *gateFile) SyncTo(n int64) (full bool, err error) {
	err = f.g.do(f.critical, func() error { full, err = f.File.SyncTo(n); return err })
	return full, err
}

// Preallocate may fail: it only spares the disk some work.
func (f *gateFile) Preallocate(off, n int64) error {
	return f.g.do(false, func() error {
		if err := f.File.Preallocate(off, n); !errors.Is(err, syscall.ENOSPC) {
			return err
		}
		return nil
	})
}
