package padstore

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"parley/internal/filelock"
)

// A disk is everything that a pad does to files. Tests put one in its place that
// loses power between any two calls.
type disk interface {
	// open opens a file to read and write; create makes it with mode 0600 if need be.
	open(path string, create bool) (file, error)
	rename(from, to string) error
	remove(path string) error
	// syncDir makes names in a folder last.
	syncDir(dir string) error
	mkdir(dir string) error // with its parents, mode 0700
	// real is where a path leads without links.
	real(path string) (string, error)
}

type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	truncate(size int64) error
	sync() error
	size() (int64, error)
	// is reports whether this is the file of that name: it may have been replaced.
	is(path string) (bool, error)
	// punch gives the blocks of a range back, which reads as zeros then, where the file
	// system can. It is no error that it can't.
	punch(at, n int64) error
	// hole and data return where the next hole or data begins, or the end of the file; ok is
	// false when the file system does not say.
	hole(at int64) (next int64, ok bool)
	data(at int64) (next int64, ok bool)
	links() (int, error) // how many names the file has
	lock() error
	unlock() error
}

// An osDisk is the real one. With readOnly nothing is changed, locked or synced.
type osDisk struct{ noSync, readOnly bool }

type osFile struct {
	*os.File
	osDisk
}

func (d osDisk) open(path string, create bool) (file, error) {
	flag := os.O_RDWR
	if create {
		flag |= os.O_CREATE
	}
	if d.readOnly {
		flag = os.O_RDONLY
	}
	f, err := os.OpenFile(path, flag, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f, d}, nil
}

func (d osDisk) real(path string) (string, error) { return filepath.EvalSymlinks(path) }

func (d osDisk) rename(from, to string) error { return os.Rename(from, to) }
func (d osDisk) remove(path string) error     { return os.Remove(path) }

func (d osDisk) syncDir(dir string) error {
	if d.noSync || d.readOnly || runtime.GOOS == "windows" {
		return nil
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (d osDisk) mkdir(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for up := filepath.Dir(dir); ; up = filepath.Dir(up) { // which of them are new is not known
		if err := d.syncDir(up); err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
		if up == filepath.Dir(up) {
			return nil
		}
	}
}

func (f osFile) truncate(size int64) error { return f.Truncate(size) }

func (f osFile) sync() error {
	if f.noSync || f.readOnly {
		return nil
	}
	return f.Sync()
}

func (f osFile) size() (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

func (f osFile) is(path string) (bool, error) {
	named, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	st, err := f.Stat()
	return err == nil && os.SameFile(named, st), err
}

func (f osFile) punch(at, n int64) error     { return punch(f.File, at, n) }
func (f osFile) hole(at int64) (int64, bool) { return seekHole(f.File, at) }
func (f osFile) data(at int64) (int64, bool) { return seekData(f.File, at) }

func (f osFile) links() (int, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return links(st), nil
}

func (f osFile) lock() error {
	if f.readOnly {
		return nil
	}
	return filelock.Lock(f.File)
}

func (f osFile) unlock() error {
	if f.readOnly {
		return nil
	}
	return filelock.Unlock(f.File)
}

// replace puts data into the place of a file, or makes it: after a crash there is the
// old one or the new one.
func replace(d disk, path string, data []byte) error {
	tmp := path + ".new"
	f, err := d.open(tmp, true)
	if err != nil {
		return err
	}
	err = f.truncate(0)
	if err == nil {
		_, err = f.WriteAt(data, 0)
	}
	if err == nil {
		err = f.sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		if err = d.rename(tmp, path); err == nil {
			return d.syncDir(filepath.Dir(path))
		}
	}
	_ = d.remove(tmp)
	return err
}

// readAll reads a whole file, which must not be longer than most bytes.
func readAll(f file, most int64) ([]byte, error) {
	n, err := f.size()
	if err != nil {
		return nil, err
	}
	if n > most {
		return nil, errTooLong
	}
	b := make([]byte, n)
	if _, err := f.ReadAt(b, 0); err != nil && !(n == 0 && errors.Is(err, io.EOF)) {
		return nil, err
	}
	return b, nil
}

var errTooLong = errors.New("the file is too long")
