package generate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"parley/internal/filelock"
)

var (
	// ErrUnfinished means that a run that was cut off has left its file, or that one is
	// under way.
	ErrUnfinished = errors.New("there is an unfinished pad")
	// ErrSpace means that the disk has too little room.
	ErrSpace = errors.New("the disk has too little room")
)

// freeSpace is a variable for the tests.
var freeSpace = diskFree

// room reports an error when dir is known to have less room than need bytes.
func room(dir string, need int64) error {
	if free, ok := freeSpace(dir); ok && free < need {
		return fmt.Errorf("%w: %s has %d bytes left, and %d are needed", ErrSpace, dir, free, need)
	}
	return nil
}

// A draft is a file under another name until it is whole. Its name is the final one with
// a dot before and ".part" behind it, and its lock is held while somebody works on it.
type draft struct {
	f      *os.File
	direct *os.File // the same file past the page cache, or nil
	part   string
	path   string // final; "" once the file is there, or gone
}

func newDraft(path string) (*draft, error) {
	if err := vacant(path); err != nil {
		return nil, err
	}
	part := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".part")
	f, err := os.OpenFile(part, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, unfinished(part)
	}
	if err != nil {
		return nil, err
	}
	// Another run may hold it for a moment, to see whether this one is at work.
	if err := filelock.Lock(f); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		f.Close()
		return nil, errors.Join(err, os.Remove(part))
	}
	d := &draft{f: f, part: part, path: path}
	if direct, err := openDirect(part); err == nil {
		d.direct = direct
	}
	return d, nil
}

// vacant is an error if there is something at path.
func vacant(path string) error {
	_, err := os.Lstat(path)
	switch {
	case err == nil:
		return &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	case errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return err
}

func unfinished(part string) error {
	f, err := os.Open(part)
	if err == nil {
		defer f.Close()
		if err := filelock.Try(f); errors.Is(err, filelock.ErrLocked) {
			return fmt.Errorf("%w: another process is just making %s", ErrUnfinished, part)
		}
	}
	return fmt.Errorf("%w: %s is what an interrupted run has left. Nobody can use it: remove it, and begin again", ErrUnfinished, part)
}

// append writes b at a position: its whole blocks directly, where that can be.
func (d *draft) append(b []byte, at int64) error {
	if n := len(b) / block * block; d.direct != nil && at%block == 0 && n > 0 {
		switch wrote, err := d.direct.WriteAt(b[:n], at); {
		case err == nil:
			b, at = b[n:], at+int64(n)
		case full(err):
			return diskError(err)
		default: // not on this file system
			d.direct.Close()
			d.direct = nil
			b, at = b[wrote:], at+int64(wrote)
		}
	}
	_, err := d.f.WriteAt(b, at)
	return diskError(err)
}

// publish gives a whole file its name, which nobody else must have taken meanwhile.
func (d *draft) publish() error {
	if err := d.f.Sync(); err != nil {
		return diskError(err)
	}
	if runtime.GOOS == "windows" { // where a file that is open keeps its name
		if err := d.close(); err != nil {
			return err
		}
	}
	err := os.Link(d.part, d.path)
	switch {
	case err == nil:
		err = os.Remove(d.part)
	case errors.Is(err, fs.ErrExist):
		return &fs.PathError{Op: "create", Path: d.path, Err: fs.ErrExist}
	default: // a file system without links, as on many USB sticks: our own empty file takes the name
		err = d.take()
	}
	if err != nil {
		return err
	}
	err = errors.Join(d.close(), syncDir(filepath.Dir(d.path)))
	d.path = ""
	return err
}

func (d *draft) take() error {
	own, err := os.OpenFile(d.path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	own.Close()
	if err = os.Rename(d.part, d.path); err != nil {
		os.Remove(d.path)
	}
	return err
}

func (d *draft) close() error {
	if d.direct != nil {
		d.direct.Close()
		d.direct = nil
	}
	if d.f == nil {
		return nil
	}
	err := d.f.Close()
	d.f = nil
	return err
}

// discard removes what was not published.
func (d *draft) discard() {
	if d.path == "" {
		return
	}
	if runtime.GOOS == "windows" {
		d.close()
	}
	os.Remove(d.part) // as long as it is ours
	d.close()
	d.path = ""
}

func diskError(err error) error {
	if full(err) {
		return fmt.Errorf("%w: %w; no pad was made", ErrSpace, err)
	}
	return err
}

// syncDir makes a new name last. Windows has no such call.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func removeAll(paths []string) {
	for _, path := range paths {
		os.Remove(path)
	}
}
