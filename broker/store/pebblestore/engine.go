package pebblestore

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"parley/broker/store"
)

// An engine is one life of the database: from an open to its close or failure.
// Whatever is in memory belongs to it, so that a fresh one starts from the disk.
type engine struct {
	dir       string
	db        *pebble.DB
	gate      *gate
	leases    *store.Leases
	committer committer
	cache     queueCache
	reserved  reserved
	dirt      dirt
	horizon   horizon

	once   sync.Once
	failed chan struct{} // closed after cause is set
	cause  error
}

// errHeld says that an engine broke down so that it can't be cleared away.
var errHeld = errors.New("the database broke down")

// openEngine opens the database in dir.
func openEngine(dir string, o Options, cache *pebble.Cache, leases *store.Leases) (*engine, error) {
	e := &engine{dir: dir, leases: leases, failed: make(chan struct{}), horizon: newHorizon()}
	e.gate = &gate{FS: o.FS, fail: e.fail}
	e.committer.init()
	e.cache.init(o.ActiveQueues)

	// In a goroutine of its own, because a fatal error within holds it for good.
	opened := make(chan error, 1)
	go func() {
		defer e.rescue()
		var err error
		if e.db, err = pebble.Open(dir, o.pebble(e.gate, cache, quiet{e})); err == nil {
			e.gate.armed.Store(true)
			if err = errors.Join(e.checkFormat(), e.loadDirt()); err != nil {
				err = errors.Join(err, e.db.Close())
			}
		}
		opened <- err
	}()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for short := 0; ; {
		select {
		case err := <-opened:
			if err != nil {
				return nil, err
			}
			go e.commit()
			return e, nil
		case <-e.failed:
			e.gate.shut()
			return nil, fmt.Errorf("%w: %w", errHeld, e.cause)
		case <-tick.C:
			// Without room for its buffers the engine waits, and says nothing.
			if u, err := o.FS.GetDiskUsage(dir); err != nil || u.AvailBytes >= openRoom {
				short = 0
			} else if short++; short == openTicks {
				e.fail(fmt.Errorf("%w: only %d KiB of the disk are free", store.ErrNoSpace, u.AvailBytes>>10))
			}
		}
	}
}

// An open that takes longer than openTicks seconds with less than openRoom bytes
// free has failed.
const (
	openRoom  = 16 << 20
	openTicks = 4
)

// checkFormat refuses folders of another layout and marks new ones.
func (e *engine) checkFormat() error {
	v, closer, err := e.db.Get([]byte{kFormat})
	if errors.Is(err, pebble.ErrNotFound) {
		// The first log of a new database is of an older form, in which damage
		// can't be told from a torn end. The flush begins another.
		return errors.Join(
			e.db.Set([]byte{kFormat}, []byte(format), nil),
			e.db.Set([]byte{kDirt}, new(dirt).pack(), pebble.Sync),
			e.db.Flush(),
		)
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

// loadDirt takes over what the life before has deleted and not erased. If it
// crashed, that is not known and may be anything.
func (e *engine) loadDirt() error {
	err := e.get([]byte{kDirt}, func(v []byte) error {
		if !e.dirt.unpack(v) {
			e.dirt.all()
		}
		return nil
	})
	if errors.Is(err, pebble.ErrNotFound) {
		e.dirt.all()
		return nil
	}
	if err != nil {
		return err
	}
	return e.db.Delete([]byte{kDirt}, pebble.Sync)
}

// fail marks the engine as failed, once, and releases all who wait for it.
func (e *engine) fail(err error) {
	e.once.Do(func() {
		e.gate.dead.Store(true)
		e.cause = err
		close(e.failed)
	})
}

// rescue is deferred in each goroutine of ours that calls into the database.
func (e *engine) rescue() {
	if p := recover(); p != nil {
		e.fail(fmt.Errorf("panic: %v", p))
	}
}

// close ends a sound engine: every group that was added is on disk.
func (e *engine) close() error {
	e.committer.close()
	closed := make(chan error, 1)
	go func() {
		defer e.rescue()
		<-e.committer.over
		closed <- errors.Join(e.db.Set([]byte{kDirt}, e.dirt.pack(), pebble.Sync), e.db.Close())
	}()
	select {
	case err := <-closed:
		return err
	case <-e.failed:
		e.gate.shut()
		return e.failure()
	}
}

// quiet is the database's logger. It says nothing, and turns what would end the
// process into a failed engine.
type quiet struct{ e *engine }

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}

// Fatalf must not return. A failed commit is reported on the committer's own
// goroutine, with no lock held, and can be unwound; others hold locks.
func (l quiet) Fatalf(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	l.e.fail(err)
	if strings.HasPrefix(format, "pebble: fatal commit error") {
		panic(err)
	}
	select {}
}
