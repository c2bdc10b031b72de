package server

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// A disk is one life of the database: from an open to its close or failure.
type disk struct {
	db    *pebble.DB
	gate  *gate
	cache *pebble.Cache
	space space

	once   sync.Once
	failed chan struct{} // closed after cause is set
	cause  error
}

// openDisk opens the database in dir. What a crash has torn off the end of its log
// was answered to nobody.
func openDisk(o *Options) (*disk, error) {
	d := &disk{failed: make(chan struct{}), cache: pebble.NewCache(o.Cache)}
	d.gate = &gate{FS: o.FS, fail: d.fail}
	d.space = space{fs: o.FS, dir: o.Dir, reserve: o.Reserve, start: time.Now()}
	d.space.ask()
	opened := make(chan error, 1) // a fatal error within holds the goroutine for good
	go func() {
		defer d.rescue()
		var err error
		if d.db, err = pebble.Open(o.Dir, d.options(o)); err == nil {
			d.gate.armed.Store(true)
			if err = d.checkFormat(); err != nil {
				err = errors.Join(err, d.db.Close())
			}
		}
		opened <- err
	}()
	select {
	case err := <-opened:
		if err != nil {
			d.cache.Unref()
			return nil, err
		}
		return d, nil
	case <-d.failed:
		d.gate.shut()
		return nil, d.cause
	}
}

func (d *disk) options(o *Options) *pebble.Options {
	p := &pebble.Options{
		FS:                          d.gate,
		Cache:                       d.cache,
		Cleaner:                     erase{},
		Logger:                      quiet{d},
		FormatMajorVersion:          pebble.FormatNewest,
		MemTableSize:                uint64(o.MemTable),
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       2,
		L0StopWritesThreshold:       24,
		LBaseMaxBytes:               64 << 20,
		MaxOpenFiles:                128,
		MaxManifestFileSize:         1 << 20,
		BytesPerSync:                512 << 10,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 2 },
	}
	// Small files let a scrub rewrite little more than it must.
	for i := range p.TargetFileSizes {
		p.TargetFileSizes[i] = 4 << 20
	}
	p.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionNone })
	return p
}

// checkFormat refuses folders of another layout and marks new ones.
func (d *disk) checkFormat() error {
	v, closer, err := d.db.Get([]byte{kFormat})
	if errors.Is(err, pebble.ErrNotFound) {
		// The first log of a new database is of an older form, in which damage
		// can't be told from a torn end. The flush begins another.
		return errors.Join(d.db.Set([]byte{kFormat}, []byte(format), pebble.Sync), d.db.Flush())
	}
	if err != nil {
		return err
	}
	defer closer.Close()
	if string(v) != format {
		return fmt.Errorf("the folder holds %.40q, this program reads and writes %q", v, format)
	}
	return nil
}

// fail marks this life as over, once, and releases all who wait for it.
func (d *disk) fail(err error) {
	d.once.Do(func() {
		d.gate.dead.Store(true)
		d.cause = err
		close(d.failed)
	})
}

// rescue is deferred in each goroutine that calls into the database.
func (d *disk) rescue() {
	if p := recover(); p != nil {
		d.fail(fmt.Errorf("panic: %v", p))
	}
}

// guard runs a step that a failing database may hold for good.
func (d *disk) guard(step func() error) error {
	done := make(chan error, 1)
	go func() {
		defer d.rescue()
		done <- step()
	}()
	select {
	case err := <-done:
		return err
	case <-d.failed:
		return d.cause
	}
}

// get reads one value, a copy, or nil if it isn't there.
func (d *disk) get(key []byte) ([]byte, error) {
	var v []byte
	err := d.guard(func() error {
		b, closer, err := d.db.Get(key)
		if errors.Is(err, pebble.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		v = append(make([]byte, 0, len(b)), b...)
		return closer.Close()
	})
	if err != nil {
		return nil, err
	}
	return v, nil
}

// each calls f with every key, without its first byte, and value of a kind.
func (d *disk) each(kind byte, f func(key, value []byte) error) error {
	it, err := d.db.NewIter(&pebble.IterOptions{LowerBound: []byte{kind}, UpperBound: []byte{kind + 1}})
	if err != nil {
		return err
	}
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err == nil {
			err = f(it.Key()[1:], v)
		}
		if err != nil {
			return errors.Join(err, it.Close())
		}
	}
	return it.Close()
}

func (d *disk) close() error {
	defer d.cache.Unref()
	select {
	case <-d.failed: // its files are as after a crash
		d.gate.shut()
		return nil
	default:
	}
	err := d.guard(d.db.Close)
	select {
	case <-d.failed:
		d.gate.shut()
	default:
	}
	return err
}

// quiet is the database's logger. It says nothing, and turns what would end the
// process into a failed life.
type quiet struct{ d *disk }

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}

// Fatalf must not return. A failed commit is reported on our own goroutine, with
// no lock held, and can be unwound; others hold locks.
func (l quiet) Fatalf(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	l.d.fail(err)
	if strings.HasPrefix(format, "pebble: fatal commit error") {
		panic(err)
	}
	select {}
}

// erase removes files that the database no longer needs. It also counts as a
// cleaner that wants a file's content, and for such a one the database does not
// recycle its logs: delivered messages would stay in them.
type erase struct {
	pebble.DeleteCleaner
	unrecycled
}

type unrecycled struct{ pebble.ArchiveCleaner }
