package padstore

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

// A memDisk is a disk in memory that can lose power before any call that changes it, and
// then remembers what was synced, and as its mode says what was not.
type memDisk struct {
	mu      sync.Mutex
	names   map[string]*memFile // as processes see them
	durable map[string]*memFile // as they are after power was lost
	changes []func(map[string]*memFile)
	life    int // of the machine: files opened in an earlier one are dead

	step   int               // calls so far
	failAt int               // the call that fails, or 0
	fault  error             // how: errPower ends this life
	failed bool              // it has
	calls  map[string]int    // which calls there were
	onFail func(call string) // for messages
	onStep func()
	// burnFault is how writes of zeros fail, which is burning.
	burnFault error
}

type memFile struct {
	data    []byte // as processes see it
	synced  []byte
	pending []func([]byte) []byte // by sectors
}

var errPower = errors.New("power lost")

const sector = 64 // small, so that small records tear

func newMemDisk() *memDisk {
	return &memDisk{names: map[string]*memFile{}, durable: map[string]*memFile{}, calls: map[string]int{}}
}

// put places a file as if it had always been there.
func (d *memDisk) put(path string, data []byte) {
	f := &memFile{data: append([]byte(nil), data...), synced: append([]byte(nil), data...)}
	d.names[path], d.durable[path] = f, f
}

// call counts a call, and reports how it fails. partial says that what it does may be
// done nevertheless.
func (d *memDisk) call(what string, life int) (err error, partial bool) {
	if life != d.life {
		return errPower, false
	}
	d.step++
	d.calls[what]++
	if d.onStep != nil {
		d.onStep()
	}
	if d.step != d.failAt {
		return nil, false
	}
	d.failed = true
	if d.onFail != nil {
		d.onFail(what)
	}
	if errors.Is(d.fault, errPower) {
		d.life++
		return errPower, true
	}
	return d.fault, false
}

type lossMode int

const (
	lost lossMode = iota // nothing unsynced is there
	kept                 // all of it
	torn                 // some sectors, some names
	kill                 // only the process ended: all is there, and still not synced
)

// reboot starts the machine again.
func (d *memDisk) reboot(mode lossMode, rnd *rand.Rand) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.life++
	if mode == kill {
		return
	}
	n := 0
	switch mode {
	case kept:
		n = len(d.changes)
	case torn:
		n = rnd.IntN(len(d.changes) + 1)
	}
	seen := map[*memFile]bool{}
	for _, all := range []map[string]*memFile{d.names, d.durable} {
		for _, f := range all {
			seen[f] = true
		}
	}
	for _, change := range d.changes[:n] {
		change(d.durable)
	}
	d.changes = nil
	for f := range seen {
		for _, write := range f.pending {
			if mode == kept || mode == torn && rnd.IntN(2) == 0 {
				f.synced = write(f.synced)
			}
		}
		f.pending = nil
		f.data = append([]byte(nil), f.synced...)
	}
	d.names = maps.Clone(d.durable)
}

func (d *memDisk) change(c func(map[string]*memFile)) {
	c(d.names)
	d.changes = append(d.changes, c)
}

func (d *memDisk) open(path string, create bool) (file, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.names[path]
	if f == nil {
		if !create {
			return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
		}
		err, partial := d.call("create", d.life)
		if err == nil || partial {
			f = &memFile{}
			d.change(func(names map[string]*memFile) { names[path] = f })
		}
		if err != nil {
			return nil, err
		}
	}
	return &memHandle{d, f, d.life}, nil
}

func (d *memDisk) rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	err, partial := d.call("rename", d.life)
	if err == nil || partial {
		f := d.names[from]
		d.change(func(names map[string]*memFile) { names[to] = f; delete(names, from) })
	}
	return err
}

func (d *memDisk) remove(path string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	err, partial := d.call("remove", d.life)
	if err == nil || partial {
		d.change(func(names map[string]*memFile) { delete(names, path) })
	}
	return err
}

func (d *memDisk) syncDir(dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	err, _ := d.call("fsync of a folder", d.life)
	if err == nil { // more than the one folder, which only the names in it would show
		for _, c := range d.changes {
			c(d.durable)
		}
		d.changes = nil
	}
	return err
}

func (d *memDisk) mkdir(string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	err, _ := d.call("mkdir", d.life)
	return err
}

func (d *memDisk) real(path string) (string, error) { return path, nil }

type memHandle struct {
	d    *memDisk
	f    *memFile
	life int
}

func writeAt(b, p []byte, at int64) []byte {
	if n := at + int64(len(p)); n > int64(len(b)) {
		b = append(b, make([]byte, n-int64(len(b)))...)
	}
	copy(b[at:], p)
	return b
}

func (h *memHandle) write(p []byte, at int64) {
	p = append([]byte(nil), p...)
	h.f.data = writeAt(h.f.data, p, at)
	for len(p) > 0 { // a sector is written or not
		n := min(int64(len(p)), sector-at%sector)
		part, where := p[:n], at
		h.f.pending = append(h.f.pending, func(b []byte) []byte { return writeAt(b, part, where) })
		p, at = p[n:], at+n
	}
}

func (h *memHandle) ReadAt(p []byte, at int64) (int, error) {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	if h.life != h.d.life {
		return 0, errPower
	}
	if at >= int64(len(h.f.data)) {
		return 0, io.EOF
	}
	n := copy(p, h.f.data[at:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (h *memHandle) WriteAt(p []byte, at int64) (int, error) {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	if h.d.burnFault != nil && len(p) > 0 && allZero(p) {
		h.d.failAt, h.d.fault = h.d.step+1, h.d.burnFault
	}
	err, partial := h.d.call("write", h.life)
	switch {
	case err == nil || partial:
		h.write(p, at)
	case errors.Is(err, syscall.ENOSPC): // as much as there was room for
		h.write(p[:len(p)/2], at)
	}
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

func (h *memHandle) truncate(size int64) error {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	err, partial := h.d.call("truncate", h.life)
	if err == nil || partial {
		cut := func(b []byte) []byte {
			if size <= int64(len(b)) {
				return b[:size:size]
			}
			return append(b, make([]byte, size-int64(len(b)))...)
		}
		h.f.data = cut(h.f.data)
		h.f.pending = append(h.f.pending, cut)
	}
	return err
}

func (h *memHandle) sync() error {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	err, _ := h.d.call("fsync", h.life)
	switch {
	case err == nil:
		for _, write := range h.f.pending {
			h.f.synced = write(h.f.synced)
		}
		h.f.pending = nil
	case !errors.Is(err, errPower): // as Linux does: never written, and no longer dirty
		h.f.pending = nil
	}
	return err
}

func (h *memHandle) size() (int64, error) {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	if h.life != h.d.life {
		return 0, errPower
	}
	return int64(len(h.f.data)), nil
}

func (h *memHandle) is(path string) (bool, error) {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	return h.d.names[path] == h.f, nil
}

func (h *memHandle) punch(at, n int64) error {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	err, partial := h.d.call("punch", h.life)
	if err == nil || partial {
		h.write(make([]byte, n), at)
	}
	return err
}

func (h *memHandle) hole(int64) (int64, bool) { return 0, false }
func (h *memHandle) data(int64) (int64, bool) { return 0, false }
func (h *memHandle) links() (int, error)      { return 1, nil }

func (h *memHandle) lock() error {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	err, _ := h.d.call("lock", h.life)
	return err
}

func (h *memHandle) unlock() error {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	err, _ := h.d.call("unlock", h.life)
	return err
}

func (h *memHandle) Close() error { return nil }

// clone returns a disk with the same files, all synced.
func (d *memDisk) clone(prefix string) map[string][]byte {
	all := map[string][]byte{}
	for path, f := range d.names {
		if strings.HasPrefix(path, filepath.Clean(prefix)+string(filepath.Separator)) {
			all[path] = append([]byte(nil), f.data...)
		}
	}
	return all
}
