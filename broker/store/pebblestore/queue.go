package pebblestore

import (
	"errors"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"parley/broker/store"
)

// A queue is the cursor of a queue in use. Messages lie between head and tail;
// without the cursor a read would have to step over the tombstones of all that
// have been acknowledged.
type queue struct {
	id store.ID

	mu      sync.Mutex
	loaded  bool
	gone    bool // deleted, or never there
	version uint64
	expires int64
	head    uint64 // no message is older
	tail    uint64 // the last number given out
	durable uint64 // the last one on disk
	n       int    // messages between head and tail
	indexed int64
	// The last groups with any change of this queue, and with the removal of a
	// message, until they are on disk.
	pending, dropping *group

	refs int  // under the lock of the shard
	hot  bool // likewise: used since the last look for room
}

// gapless says that every number from head to tail is a message.
func (q *queue) gapless() bool { return q.tail+1-q.head == uint64(q.n) }

func (q *queue) counts() counts {
	return counts{floor: q.head - 1, tail: q.tail, indexed: q.indexed}
}

// A queueCache holds cursors, and lets go of unused ones when it is full.
type queueCache struct {
	most   int // in each shard; with 0, only while a call uses them
	shards [64]shard
}

type shard struct {
	mu     sync.Mutex
	queues map[store.ID]*queue
	// dropped says that a cursor went whose queue may stand in the index by age
	// for nothing; the next scrub looks through all of it.
	dropped bool
}

func (c *queueCache) init(most int) {
	c.most = most / len(c.shards)
	for i := range c.shards {
		c.shards[i].queues = make(map[store.ID]*queue)
	}
}

func (c *queueCache) shard(id store.ID) *shard {
	return &c.shards[(id[0]^id[7]^id[13])%byte(len(c.shards))]
}

// locked returns the cursor of a queue, locked and referenced. Either unlock or
// submit ends that.
func (e *engine) locked(id store.ID) (*queue, error) {
	s := e.cache.shard(id)
	for {
		s.mu.Lock()
		q := s.queues[id]
		if q == nil {
			s.makeRoom(e.cache.most)
			q = &queue{id: id}
			s.queues[id] = q
		}
		q.refs++
		q.hot = true
		s.mu.Unlock()

		q.mu.Lock()
		if q.gone && !q.loaded { // another call found nothing; since then it may have been created
			e.unlock(q)
			continue
		}
		if err := e.load(q); err != nil {
			if !q.loaded {
				e.forget(q)
			}
			e.unlock(q)
			return nil, err
		}
		return q, nil
	}
}

// makeRoom drops a cursor that nobody uses if there are most; s.mu is held.
func (s *shard) makeRoom(most int) {
	if len(s.queues) < most {
		return
	}
	looks := 0
	for _, q := range s.queues {
		if looks++; looks > 64 {
			return // all in use: then a few more, which their users bound
		}
		if q.refs == 0 && (!q.hot || looks > 16) {
			s.evict(q)
			return
		}
		q.hot = false
	}
}

func (s *shard) evict(q *queue) {
	s.dropped = s.dropped || q.n == 0 && q.indexed != none
	delete(s.queues, q.id)
}

func (e *engine) unlock(q *queue) {
	q.mu.Unlock()
	e.release(q)
}

func (e *engine) release(q *queue) {
	s := e.cache.shard(q.id)
	s.mu.Lock()
	if q.refs--; q.refs == 0 && e.cache.most == 0 && s.queues[q.id] == q {
		s.evict(q)
	}
	s.mu.Unlock()
}

// forget takes a queue that is gone out of the cache.
func (e *engine) forget(q *queue) {
	s := e.cache.shard(q.id)
	s.mu.Lock()
	if s.queues[q.id] == q {
		delete(s.queues, q.id)
	}
	s.mu.Unlock()
}

// submit adds a change of q, which is locked, and unlocks it. The reference goes
// over to the effect.
func (e *engine) submit(q *queue, f effect, fill func(*pebble.Batch)) *group {
	f.q = q
	g := e.committer.add(e.db, fill, f)
	q.pending = g
	if f.drop {
		q.dropping = g
	}
	q.mu.Unlock()
	return g
}

// load fills q from disk; q.mu is held.
func (e *engine) load(q *queue) error {
	if q.gone {
		return store.ErrNotFound
	}
	if q.loaded {
		return nil
	}
	// It stays marked as gone if the disk doesn't show it.
	q.gone = true
	err := e.get(idKey(kRecord, q.id), func(v []byte) error {
		h, _, err := splitHead(v)
		q.version, q.expires = h.version, h.expires
		return err
	})
	if errors.Is(err, pebble.ErrNotFound) {
		return store.ErrNotFound
	}
	if err != nil {
		return err
	}
	c := counts{indexed: none}
	err = e.get(idKey(kCount, q.id), func(v []byte) (err error) {
		c, err = splitCounts(v)
		return err
	})
	if err != nil && !errors.Is(err, pebble.ErrNotFound) {
		return err
	}
	q.indexed, q.n = c.indexed, 0
	first, last := c.tail+1, c.tail
	err = e.items(q.id, c.floor+1, func(seq uint64, _ *pebble.Iterator) (bool, error) {
		if q.n == 0 {
			first = seq
		}
		last = max(last, seq)
		q.n++
		return true, nil
	})
	if err != nil {
		return err
	}
	q.head, q.tail, q.durable = first, last, last
	q.loaded, q.gone = true, false
	return nil
}

// get calls use with the value of key, which is only valid within.
func (e *engine) get(key []byte, use func([]byte) error) error {
	v, closer, err := e.db.Get(key)
	if err != nil {
		return err
	}
	return errors.Join(use(v), closer.Close())
}

// items calls use for each message from a number on, until it returns false.
func (e *engine) items(id store.ID, from uint64, use func(seq uint64, it *pebble.Iterator) (bool, error)) error {
	it, err := e.db.NewIter(&pebble.IterOptions{LowerBound: itemKey(id, from), UpperBound: itemEnd(id)})
	if err != nil {
		return err
	}
	for ok := it.First(); ok; ok = it.Next() {
		seq, err := itemSeq(it.Key())
		if err != nil {
			return errors.Join(err, it.Close())
		}
		if more, err := use(seq, it); err != nil || !more {
			return errors.Join(err, it.Close())
		}
	}
	return it.Close()
}
