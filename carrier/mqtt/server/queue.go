package server

// full reports whether an entry of n bytes has no room.
func (h *hub) full(s *session, n int) bool {
	return len(s.byID) >= h.o.Limits.QueueMessages || s.bytes+int64(n) > h.o.Limits.QueueBytes
}

// enqueue accepts an entry; show makes it visible when it is on the disk.
func (h *hub) enqueue(s *session, e *entry) {
	for {
		if s.lastID++; s.lastID == 0 {
			continue
		}
		if _, used := s.byID[s.lastID]; !used {
			break
		}
	}
	e.pid = s.lastID
	if s.byID == nil {
		s.byID = make(map[uint16]*entry)
	}
	s.byID[e.pid] = e
	s.bytes += int64(e.size)
	e.m.refs++
	h.queued++
	h.weigh(s, e.weight())
	if s.id != 0 {
		s.account.stored += int64(e.size)
		_ = h.batch().Set(entryKey(s.id, e.num), e.pack(), nil)
	}
}

func (h *hub) weigh(s *session, n int) {
	h.weighed += n
	s.account.queued += n
}

func (h *hub) show(s *session, e *entry) {
	if e.gone {
		return
	}
	e.visible = true
	if s.id == 0 {
		h.pin(s, e.m)
	}
	s.link(e)
	s.wake()
}

func (s *session) link(e *entry) {
	if e.prev = s.tail; s.tail != nil {
		s.tail.next = e
	} else {
		s.head = e
		s.progress = nowMilli()
	}
	s.tail = e
	if s.next == nil {
		s.next = e
	}
}

// drop removes an entry: it is answered, expired or of no use any more.
func (h *hub) drop(s *session, e *entry) {
	if e.gone {
		return
	}
	e.gone = true
	delete(s.byID, e.pid)
	if len(s.byID) == 0 {
		s.byID = nil // maps don't shrink
	}
	s.bytes -= int64(e.size)
	h.queued--
	h.weigh(s, -e.weight())
	if e.visible {
		s.unlink(e)
		if s.id == 0 && !e.released {
			h.unpin(s, e.m)
		}
	}
	if s.id != 0 {
		s.account.stored -= int64(e.size)
	}
	if s.id != 0 && !s.dead {
		_ = h.batch().Delete(entryKey(s.id, e.num), nil)
		h.dirt.entry(s.id)
	}
	if !e.released {
		h.unref(e.m)
	}
}

func (s *session) unlink(e *entry) {
	if e.sent {
		s.inflight--
	}
	if s.next == e {
		s.next = e.next
	}
	if e.prev != nil {
		e.prev.next = e.next
	} else {
		s.head = e.next
	}
	if e.next != nil {
		e.next.prev = e.prev
	} else {
		s.tail = e.prev
	}
	e.prev, e.next = nil, nil
}

// release forgets the message of an entry whose PUBREC has come.
func (h *hub) release(s *session, e *entry) {
	e.released = true
	h.weigh(s, 1-e.weight())
	e.subIDs = nil
	s.bytes -= int64(e.size)
	if s.id != 0 {
		s.account.stored -= int64(e.size)
	}
	e.size = 0
	if s.id != 0 {
		_ = h.batch().Set(entryKey(s.id, e.num), e.pack(), nil)
	} else {
		h.unpin(s, e.m)
	}
	h.unref(e.m)
	e.m = nil
}

// unref lets a message go with its last entry.
func (h *hub) unref(m *message) {
	if m.refs--; m.refs > 0 {
		return
	}
	if m.stored {
		_ = h.batch().Delete(numKey(kMessage, m.num), nil)
		h.dirt.message(m.num)
	}
	if m.pins == 0 {
		h.lose(m)
	}
}

// keep has a message's body in memory, lose only on the disk, if at all.
func (h *hub) keep(m *message, b *body) {
	if m.body == nil {
		h.cached += int64(m.size)
	}
	m.body = b
}

func (h *hub) lose(m *message) {
	if m.body != nil {
		h.cached -= int64(m.size)
	}
	m.body = nil
}

// pin counts what only memory holds. Each of those who wait for a message is
// charged with it.
func (h *hub) pin(s *session, m *message) {
	s.account.pinned += int64(m.size)
	if m.pins++; m.pins == 1 {
		h.pinned += int64(m.size)
	}
}

// pinZero pins a QoS 0 message, with the identifiers that it has for this session.
func (h *hub) pinZero(s *session, z *zeroItem) {
	h.pin(s, z.m)
	s.account.pinned += z.extra()
	h.pinned += z.extra()
}

func (h *hub) unpinZero(s *session, z *zeroItem) {
	h.unpin(s, z.m)
	s.account.pinned -= z.extra()
	h.pinned -= z.extra()
}

func (z *zeroItem) extra() int64 { return 4 * int64(len(z.subIDs)) }

func (h *hub) unpin(s *session, m *message) {
	s.account.pinned -= int64(m.size)
	if m.pins--; m.pins == 0 {
		h.pinned -= int64(m.size)
		if m.stored || m.refs == 0 {
			h.lose(m)
		}
	}
}
