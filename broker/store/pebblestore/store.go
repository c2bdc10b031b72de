package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/broker/store"
)

// A Store is a [store.Store] in one folder of this machine.
type Store struct {
	dir    string
	o      Options
	space  space
	lock   io.Closer
	cache  *pebble.Cache
	leases *store.Leases
	engine atomic.Pointer[engine]

	calls  sync.RWMutex // read-held by each call
	closed atomic.Bool
	stop   context.CancelFunc // ends what runs in the background
	ground sync.WaitGroup
	scrubs sync.Mutex // one scrub at a time
	sweeps sync.Mutex // and one sweep
}

var _ store.Store = (*Store)(nil)

// Open opens the store in dir, which it makes if need be (mode 0700) and holds
// until Close; a second process is refused. The end of a log that a crash has
// torn is dropped: nothing that was answered is in it. Damage elsewhere is an
// error.
func Open(dir string, o Options) (*Store, error) {
	o = o.withDefaults()
	if err := o.FS.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	if o.FS == vfs.Default {
		if err := os.Chmod(dir, 0o700); err != nil {
			return nil, fmt.Errorf("store: %w", err)
		}
	}
	lock, err := o.FS.Lock(o.FS.PathJoin(dir, "LOCK"))
	if err != nil {
		return nil, fmt.Errorf("store: cannot lock %s: is another relay using it? (%w)", dir, err)
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &Store{
		dir: dir, o: o, lock: lock, stop: stop,
		space:  space{fs: o.FS, dir: dir, reserve: o.Reserve, start: time.Now()},
		cache:  pebble.NewCache(o.Cache),
		leases: store.NewLeases(),
	}
	s.space.ask()
	e, err := openEngine(dir, o, s.cache, s.leases)
	for wait := retryMin; errors.Is(err, syscall.ENOSPC) && wait <= openPatience; wait *= 2 {
		// On a disk that is nearly full a compaction, which starts at once, can
		// take the last room from the log. The next open clears its remains away.
		_ = pause(ctx, wait)
		e, err = openEngine(dir, o, s.cache, s.leases)
	}
	if err != nil {
		stop()
		s.cache.Unref()
		return nil, errors.Join(fmt.Errorf("store: cannot open %s: %w", dir, err), lock.Close())
	}
	s.engine.Store(e)
	s.ground.Go(func() { s.watch(ctx) })
	if o.ScrubEvery > 0 {
		s.ground.Go(func() { s.scrubLoop(ctx) })
	}
	return s, nil
}

// enter begins a call; leave ends it unless there was an error.
func (s *Store) enter(ctx context.Context) (*engine, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if s.closed.Load() {
		return nil, store.ErrClosed
	}
	s.calls.RLock()
	if s.closed.Load() {
		s.calls.RUnlock()
		return nil, store.ErrClosed
	}
	e := s.engine.Load()
	select {
	case <-e.failed:
		s.calls.RUnlock()
		return nil, e.failure()
	default:
		return e, nil
	}
}

func (s *Store) leave() { s.calls.RUnlock() }

// Own is [store.Store.Own].
func (s *Store) Own(ctx context.Context, ids []store.ID) ([]store.Lease, error) {
	e, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer s.leave()
	there := make([]bool, len(ids))
	for i, id := range ids {
		if there[i], err = e.exists(id); err != nil {
			return nil, err
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	out := make([]store.Lease, len(ids))
	for i, id := range ids {
		if there[i] {
			out[i] = s.leases.Own(id)
		}
	}
	return out, nil
}

// Release is [store.Store.Release].
func (s *Store) Release(l store.Lease) { s.leases.Release(l) }

// Wake is [store.Store.Wake].
func (s *Store) Wake() iter.Seq[store.Lease] { return s.leases.Wake() }

// closeScrub is how long Close may take to erase what was deleted.
const closeScrub = 1500 * time.Millisecond

// Close is [store.Store.Close]. It scrubs first, for at most 1.5 s, unless
// scrubs are off.
func (s *Store) Close() error {
	if s.o.ScrubEvery > 0 && !s.closed.Load() {
		// Nobody erases anything while the relay stands still.
		ctx, cancel := context.WithTimeout(context.Background(), closeScrub)
		_ = s.scrub(ctx, false) // else the next start does
		cancel()
	}
	if s.closed.Swap(true) {
		return nil
	}
	s.stop()
	s.leases.Close()
	s.ground.Wait()
	s.calls.Lock() // waits for calls under way
	defer s.calls.Unlock()
	e := s.engine.Load()
	var err error
	select {
	case <-e.failed: // its files are as after a crash
	default:
		e.prune(context.Background(), false)
		err = e.close()
	}
	s.cache.Unref()
	if err = errors.Join(err, s.lock.Close()); err != nil {
		return fmt.Errorf("store: closing %s: %w", s.dir, err)
	}
	return nil
}
