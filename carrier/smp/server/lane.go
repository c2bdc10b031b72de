package smpserver

import "parley/carrier/smp"

// Commands of different connection IDs are carried out at the same time, so that
// those which came together share one flush of the disk. Those of one ID are
// carried out one after the other, and answered in the order they came. Only
// CONN, which has no ID, is carried out at once, however many there are; the
// order of the answers is the same.
//
// HOLD is carried out in its turn and answered when the queue has been drained.
// What came after it is carried out meanwhile; the answers wait behind HOLD's.

// A lane is one connection ID with commands under way or answers that wait.
type lane struct {
	id      smp.ID
	busy    bool                  // a goroutine carries out commands
	waiting []work                // for it
	slots   []slot                // answers in the order of the commands
	first   uint64                // the number of slots[0]
	ids     map[uint64]*[2]smp.ID // what IDS says, by slot
}

// A slot keeps the place of one answer. It has three bytes, because very many
// may wait behind a HOLD.
type slot struct {
	done bool
	verb smp.Verb
	code smp.Code
}

type work struct {
	*command
	lane *lane
	slot uint64
}

// A reply is an answer that can be written.
type reply struct {
	id smp.ID
	slot
	ids *[2]smp.ID
}

func (r reply) transmission() smp.Transmission {
	t := smp.Transmission{ID: r.id, Verb: r.verb, Code: r.code}
	if r.ids != nil {
		t.Recipient, t.Sender = r.ids[0], r.ids[1]
	}
	return t
}

// enter waits until one more command may be taken, and gives its answer a place.
// It leaves c.mu locked if it returns a lane; nil means that the connection is
// at its end.
func (c *conn) enter(id smp.ID) (*lane, uint64) {
	c.mu.Lock()
	for !c.dead && (c.inFlight >= maxInFlight || len(c.out) >= maxOut) {
		c.room.Wait()
	}
	if c.dead || c.slots >= maxSlots {
		c.mu.Unlock()
		return nil, 0
	}
	l := c.lanes[id]
	if l == nil {
		if c.lanes == nil {
			c.lanes = make(map[smp.ID]*lane)
		}
		l = &lane{id: id}
		c.lanes[id] = l
	}
	l.slots = append(l.slots, slot{})
	c.slots++
	return l, l.first + uint64(len(l.slots)-1)
}

// reject answers a transmission that is no command. It reports whether the
// connection goes on.
func (c *conn) reject(id smp.ID, code smp.Code) bool {
	l, at := c.enter(id)
	if l == nil {
		return false
	}
	c.settle(l, at, slot{verb: smp.ERR, code: code})
	c.mu.Unlock()
	return true
}

// submit has a command carried out. It reports whether the connection goes on.
func (c *conn) submit(cmd *command) bool {
	c.s.memory.take(cmd.size())
	l, at := c.enter(cmd.id)
	if l == nil {
		c.s.memory.give(cmd.size())
		return false
	}
	w := work{cmd, l, at}
	c.inFlight++
	switch {
	case cmd.verb == smp.CONN:
		c.s.start(job{c, w})
	case l.busy:
		l.waiting = append(l.waiting, w)
	default:
		l.busy = true
		c.s.start(job{c, w})
	}
	c.mu.Unlock()
	return true
}

// carryOut carries out w and what comes to wait in its lane.
func (c *conn) carryOut(w work) {
	for {
		c.execute(w)
		c.s.memory.give(w.size())
		c.mu.Lock()
		c.inFlight--
		c.room.Signal()
		l := w.lane
		if w.verb == smp.CONN {
			c.mu.Unlock()
			return
		}
		if len(l.waiting) == 0 {
			l.busy, l.waiting = false, nil
			c.forget(l)
			c.mu.Unlock()
			return
		}
		w, l.waiting[0] = l.waiting[0], work{}
		l.waiting = l.waiting[1:]
		c.mu.Unlock()
	}
}

// answer settles a command; the broker may be locked.
func (c *conn) answer(w work, s slot) {
	c.mu.Lock()
	c.settle(w.lane, w.slot, s)
	c.mu.Unlock()
}

// answerIDs settles a CONN; the broker is locked.
func (c *conn) answerIDs(w work, rid, sid smp.ID) {
	c.mu.Lock()
	if w.lane.ids == nil {
		w.lane.ids = make(map[uint64]*[2]smp.ID)
	}
	w.lane.ids[w.slot] = &[2]smp.ID{rid, sid}
	c.settle(w.lane, w.slot, slot{verb: smp.IDS})
	c.mu.Unlock()
}

// settle fills a slot and hands on the answers that need not wait any longer.
func (c *conn) settle(l *lane, at uint64, s slot) {
	s.done = true
	l.slots[at-l.first] = s
	n := 0
	for n < len(l.slots) && l.slots[n].done {
		if !c.dead {
			c.out = append(c.out, reply{l.id, l.slots[n], l.ids[l.first+uint64(n)]})
		}
		delete(l.ids, l.first+uint64(n))
		n++
	}
	if n == 0 {
		return
	}
	l.slots = l.slots[n:]
	l.first += uint64(n)
	c.slots -= n
	c.forget(l)
	c.kick()
}

// forget drops a lane that has nothing left.
func (c *conn) forget(l *lane) {
	if l.busy || len(l.slots) > 0 {
		return
	}
	if c.lanes[l.id] == l {
		delete(c.lanes, l.id)
	}
	if len(c.lanes) == 0 {
		c.lanes = nil
	}
}
