package server

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// A hub is one life of the broker's state: from the opening of the disk to its
// close or failure. Everything in memory belongs to it, so that a fresh one
// starts from the disk.
//
// One lock guards it all. A change is accepted under the lock: memory is
// changed, what must last goes into the current group, and what the world sees of
// it waits in the group as an effect. The committer writes groups one after the
// other and then runs their effects in order. What needs no disk and comes from a
// connection with nothing under way takes effect at once.
type hub struct {
	o      *Options
	disk   *disk
	over   chan struct{} // closed when the committer has ended
	memory *budget       // packets under way
	bell   chan struct{} // an alarm comes earlier than the next one known

	mu       sync.Mutex
	work     sync.Cond
	group    *group
	closing  bool
	sessions map[string]*session // by ownerKey
	subs     subTree
	retained retainedTree
	order    uint64 // the last number given to a message or session
	queued   int    // entries of all sessions
	weighed  int    // the same, as weight counts them
	state    int64  // bytes of memory for what lasts, as charge counts them
	accounts map[string]*account
	unknown  account // of retained messages that were on the disk at the start
	hurried  int64   // when all were last looked at by hurryAll
	pinned   int64   // bytes of messages that only memory has
	cached   int64   // bytes of all messages in memory
	alarms   alarms
	dirt     dirt
	stats    *counters
	found    []target // scratch of match
}

// A group is what one write to the log carries. It is applied whole or not at all.
type group struct {
	batch   *pebble.Batch
	sync    bool // somebody waits until it is on the disk
	effects []func()
}

// counters are what [Server.Stats] reports of events.
type counters struct {
	published, delivered, dropped, expired, refused, oversize, unwilled atomic.Uint64
}

func newHub(o *Options, stats *counters) (*hub, error) {
	d, err := openDisk(o)
	if err != nil {
		return nil, err
	}
	h := &hub{
		o: o, disk: d, over: make(chan struct{}), bell: make(chan struct{}, 1), stats: stats, memory: newBudget(o.Limits.Memory),
		sessions: make(map[string]*session), accounts: make(map[string]*account),
	}
	h.work.L = &h.mu
	h.mu.Lock()
	err = h.load()
	h.mu.Unlock()
	if err != nil {
		return nil, errors.Join(err, d.close())
	}
	go h.commit()
	return h, nil
}

// batch is where changes go; it is written soon.
func (h *hub) batch() *pebble.Batch {
	g := h.current()
	if g.batch == nil {
		g.batch = h.disk.db.NewBatch()
	}
	return g.batch
}

func (h *hub) current() *group {
	if h.group == nil {
		h.group = new(group)
		h.work.Signal()
	}
	return h.group
}

// do runs an effect in its turn: after the current group if the change needs the
// disk (sync: and someone waits for it) or the connection, which may be nil, has
// something under way, else at once.
func (h *hub) do(c *conn, disk, sync bool, effect func()) {
	if !disk && (c == nil || c.pending == 0) {
		effect()
		return
	}
	g := h.current()
	g.sync = g.sync || sync
	if c == nil {
		g.effects = append(g.effects, effect)
		return
	}
	c.pending++
	g.effects = append(g.effects, func() {
		c.pending--
		effect()
		c.signalRoom()
	})
}

// effectsAtOnce is how many effects run before others get the lock.
const effectsAtOnce = 64

// commit writes groups until the hub is closing and nothing is left.
func (h *hub) commit() {
	defer close(h.over)
	defer h.disk.rescue()
	for {
		h.mu.Lock()
		for h.group == nil && !h.closing {
			h.work.Wait()
		}
		g := h.group
		h.group = nil
		h.mu.Unlock()
		if g == nil {
			return
		}
		if g.batch != nil {
			how := pebble.NoSync
			if g.sync {
				how = pebble.Sync
			}
			if err := g.batch.Commit(how); err != nil {
				h.disk.fail(err)
				return
			}
			g.batch.Close()
		}
		select {
		case <-h.disk.failed: // nothing of a failed disk is announced
			return
		default:
		}
		h.mu.Lock()
		for i, f := range g.effects {
			f()
			if i%effectsAtOnce == effectsAtOnce-1 {
				h.mu.Unlock()
				h.mu.Lock()
			}
		}
		h.mu.Unlock()
	}
}

// close ends a hub without connections: all that was accepted is on the disk.
func (h *hub) close() error {
	h.mu.Lock()
	_ = h.batch().Set([]byte{kFormat}, []byte(format), nil) // something to sync
	h.group.sync = true
	h.closing = true
	h.work.Signal()
	h.mu.Unlock()
	select {
	case <-h.over:
	case <-h.disk.failed:
	}
	return h.disk.close()
}

// nextNumber numbers a message or a session.
func (h *hub) nextNumber() uint64 {
	h.order++
	return h.order
}

func nowMilli() int64 { return time.Now().UnixMilli() }
