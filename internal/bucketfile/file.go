package bucketfile

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"parley"
	"parley/internal/filelock"
	"parley/internal/keyfile"
)

var (
	// ErrDamaged means that the file is not what Update wrote.
	ErrDamaged = errors.New("the state file is damaged or of another kind")
	// ErrExposed means that others than the owner may read or change the file.
	ErrExposed = keyfile.ErrExposed
)

const (
	magic     = "parley state 1\n"
	headSize  = 4 + 8
	nameSize  = 16
	maxRecord = 256 << 20
	// slack is how many bytes a file may have beyond twice what it needs.
	slack = 64 << 10
)

// A File is one state file. It is safe for concurrent use.
type File struct {
	path string
	mu   sync.Mutex
	lock *os.File
	f    *os.File
	name []byte // of this file: another process may put a new one in its place
	next uint64 // number of the next record
	at   int64  // where it begins
	b    *bucket
}

// Open opens a state file. The errors are [fs.ErrNotExist], [ErrExposed] and
// [ErrDamaged].
func Open(path string) (*File, error) {
	f := &File{path: path}
	if err := f.openLock(false); err != nil {
		return nil, err
	}
	return f, f.closeOn(f.locked(f.load))
}

// Create makes a new, empty state file of mode 0600, and the folder it is in. If
// there is one, the error is [fs.ErrExist].
func Create(path string) (*File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	f := &File{path: path}
	if err := f.openLock(true); err != nil {
		return nil, err
	}
	return f, f.closeOn(f.locked(func() error {
		if err := keyfile.Create(path, emptyFile(nil)); err != nil {
			return err
		}
		return f.load()
	}))
}

// emptyFile returns a whole file with a new name that holds entries.
func emptyFile(entries []byte) []byte {
	name := make([]byte, nameSize)
	rand.Read(name)
	b := appendRecord([]byte(magic), nil, 0, name)
	if len(entries) > 0 {
		b = appendRecord(b, name, 1, entries)
	}
	return b
}

func (f *File) closeOn(err error) error {
	if err != nil {
		f.Close()
	}
	return err
}

// openLock opens the lock, which is a file of its own since the state file itself
// is replaced now and then.
func (f *File) openLock(create bool) (err error) {
	if !create {
		if _, err := os.Stat(f.path); err != nil {
			return err
		}
	}
	f.lock, err = os.OpenFile(f.path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	return err
}

// locked runs do while no other process commits.
func (f *File) locked(do func() error) error {
	if err := filelock.Lock(f.lock); err != nil {
		return fmt.Errorf("%s.lock: %w", f.path, err)
	}
	return errors.Join(do(), filelock.Unlock(f.lock))
}

// Update runs do in one commit: when it returns nil, everything that do wrote is
// on disk; if do or the disk fails, nothing of it is. do must not use the File.
func (f *File) Update(do func(parley.Bucket) error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.locked(func() error {
		if err := f.refresh(); err != nil {
			return err
		}
		f.b.begin()
		if err := do(f.b); err != nil {
			f.b.rollback()
			return err
		}
		if len(f.b.entries) == 0 {
			return nil
		}
		if err := f.append(f.b.entries); err != nil {
			f.b.rollback()
			return fmt.Errorf("%s: nothing was saved: %w", f.path, err)
		}
		f.b.begin()
		if f.at > 2*int64(f.b.size)+slack {
			f.rewrite()
		}
		return nil
	})
}

// View runs do on what is there now. What do writes is forgotten.
func (f *File) View(do func(parley.Bucket) error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.locked(func() error {
		if err := f.refresh(); err != nil {
			return err
		}
		f.b.begin()
		defer f.b.rollback()
		return do(f.b)
	})
}

// append writes one record and has it on disk. What a failed write leaves behind
// is cut off, at once or before the next record is written.
func (f *File) append(entries []byte) error {
	rec := appendRecord(nil, f.name, f.next, entries)
	if _, err := f.f.WriteAt(rec, f.at); err != nil {
		return errors.Join(err, f.f.Truncate(f.at))
	}
	if err := f.f.Sync(); err != nil {
		return errors.Join(err, f.f.Truncate(f.at))
	}
	f.at += int64(len(rec))
	f.next++
	return nil
}

// rewrite puts a file with only what counts into the place of this one. If it
// cannot, the old one is as good, and if the new one cannot be read now, the next
// commit tries again: what was committed is on disk either way.
func (f *File) rewrite() {
	if keyfile.Replace(f.path, emptyFile(f.b.all())) == nil {
		_ = f.load()
	}
}

// refresh reads what other processes have written.
func (f *File) refresh() error {
	is, err := os.Stat(f.path)
	if err != nil {
		return err
	}
	was, err := f.f.Stat()
	if err != nil {
		return err
	}
	if !os.SameFile(is, was) || is.Size() < f.at { // replaced, or put back
		return f.load()
	}
	if is.Size() == f.at {
		return nil
	}
	return f.read()
}

// load opens the file anew and reads all of it.
func (f *File) load() error {
	file, err := os.OpenFile(f.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if f.f != nil {
		f.f.Close()
	}
	f.f, f.name, f.next, f.at, f.b = file, nil, 0, int64(len(magic)), newBucket()
	st, err := file.Stat()
	if err != nil {
		return err
	}
	if perm := st.Mode().Perm(); perm&0o077 != 0 && runtime.GOOS != "windows" {
		return fmt.Errorf("%s: %w (mode %04o): if nobody has copied it, run: chmod 600 %s", f.path, ErrExposed, perm, f.path)
	}
	head := make([]byte, len(magic))
	if _, err := io.ReadFull(file, head); err != nil || string(head) != magic {
		return fmt.Errorf("%s: %w", f.path, ErrDamaged)
	}
	return f.read()
}

// read reads the records from f.at on, and cuts off one that a crash has left
// unfinished at the end.
func (f *File) read() error {
	st, err := f.f.Stat()
	if err != nil {
		return err
	}
	rest := make([]byte, max(st.Size()-f.at, 0))
	if _, err := f.f.ReadAt(rest, f.at); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	for len(rest) > 0 {
		body, size, ok := cutRecord(rest, f.name, f.next)
		if !ok {
			if f.name == nil || followed(rest, f.name, f.next) {
				return fmt.Errorf("%s: %w: record %d", f.path, ErrDamaged, f.next)
			}
			return f.f.Truncate(f.at)
		}
		if f.name == nil {
			f.name = body
		} else if err := f.b.apply(body); err != nil {
			return fmt.Errorf("%s: record %d: %w", f.path, f.next, err)
		}
		f.next++
		f.at += int64(size)
		rest = rest[size:]
	}
	if f.name == nil {
		return fmt.Errorf("%s: %w", f.path, ErrDamaged)
	}
	return nil
}

// followed reports whether the next record stands somewhere behind one that is
// not whole: then it was not a crash that cut that one, and nothing may be cut off.
func followed(rest, name []byte, number uint64) bool {
	for i := range rest {
		if _, _, ok := cutRecord(rest[i:], name, number+1); ok {
			return true
		}
	}
	return false
}

func appendRecord(b, name []byte, number uint64, body []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	b = append(b, recordSum(name, number, body)...)
	return append(b, body...)
}

func cutRecord(b, name []byte, number uint64) (body []byte, size int, ok bool) {
	if len(b) < headSize {
		return nil, 0, false
	}
	n := binary.BigEndian.Uint32(b)
	if n > maxRecord || uint64(n)+headSize > uint64(len(b)) || name == nil && n != nameSize {
		return nil, 0, false
	}
	body = b[headSize : headSize+n]
	return body, headSize + int(n), string(b[4:headSize]) == string(recordSum(name, number, body))
}

func recordSum(name []byte, number uint64, body []byte) []byte {
	h := sha256.New()
	h.Write(name)
	h.Write(binary.BigEndian.AppendUint64(nil, number))
	h.Write(body)
	return h.Sum(nil)[:8]
}

// Path returns where the file is.
func (f *File) Path() string { return f.path }

// Close closes the file.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	for _, x := range []*os.File{f.f, f.lock} {
		if x != nil {
			errs = append(errs, x.Close())
		}
	}
	f.f, f.lock = nil, nil
	return errors.Join(errs...)
}
