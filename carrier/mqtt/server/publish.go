package server

// A target is a session that gets a message, once, however many of its
// subscriptions match (MQTT 5 §3.3.4).
type target struct {
	s      *session
	qos    byte
	retain bool
	subIDs []uint32
	e      *entry
}

// match collects who gets a message in h.found: from is who publishes it.
func (h *hub) match(topic string, qos byte, retain bool, from *session) []target {
	found := h.found[:0]
	h.subs.match(topic, func(s *session, sub *subscription) {
		if sub.noLocal && s == from {
			return
		}
		i := s.mark // where it was put, if it was
		if i >= len(found) || found[i].s != s {
			i = len(found)
		}
		if i == len(found) {
			found = append(found, target{s: s})
			s.mark = i
		}
		t := &found[i]
		t.qos = max(t.qos, min(qos, sub.qos))
		t.retain = t.retain || retain && sub.asPublished
		if sub.id != 0 {
			t.subIDs = append(t.subIDs, sub.id)
		}
	})
	h.found = found
	return found
}

// A publication is a message on its way in.
type publication struct {
	body    *body
	qos     byte
	retain  bool
	from    *session // nil: a will
	account *account // of who publishes it
	conn    *conn    // nil: nobody waits for an answer
	hold    uint16   // QoS 2: the packet ID to remember
	force   bool     // who has no room is left out
	done    func(code)
}

// publish accepts a message, or says why not; then nobody gets it. p.done runs
// when it is on the disk for all that are to have it.
func (h *hub) publish(p *publication) code {
	b := p.body
	found := h.match(b.topic, p.qos, p.retain, p.from)
	size := b.size()
	stored, waits := false, 0
	kept := found[:0]
	for _, t := range found {
		if t.qos == 0 {
			if t.s.conn != nil {
				kept = append(kept, t)
			}
			continue
		}
		if h.full(t.s, size) {
			h.purge(t.s)
		}
		short := !t.s.persistent() && !h.fitsMemory(t.s.account, &message{size: size})
		if short || h.full(t.s, size) || !h.fitsQueued(t.s.account, waits+1+len(t.subIDs)/16) || t.s.persistent() && !h.fitsDisk(t.s.account, size) {
			h.hurry(t.s)
			if short {
				h.hurryAll()
			}
			if p.force {
				h.stats.unwilled.Add(1)
				continue
			}
			h.stats.refused.Add(1)
			return quotaExceeded
		}
		waits += 1 + len(t.subIDs)/16
		stored = stored || t.s.persistent()
		kept = append(kept, t)
	}
	found = kept
	if p.hold != 0 && !h.fitsState(p.account, holdCost) {
		h.stats.refused.Add(1)
		return quotaExceeded
	}
	hold := p.hold != 0 && p.from.persistent()
	disk := p.retain || stored || hold
	room := !disk || h.disk.space.room(size)
	if !room && (stored || hold) || p.retain && p.qos > 0 && !p.force && (!room || !h.mayRetain(b, p.account)) {
		h.stats.refused.Add(1)
		return quotaExceeded
	}
	if p.retain && (!room || !h.mayRetain(b, p.account)) {
		h.stats.dropped.Add(1)
		p.retain = false // QoS 0 and wills: nobody can be told
	}
	disk = p.retain || stored || hold
	num := h.nextNumber()
	m := &message{num: num, size: size, stored: stored}
	if p.retain {
		h.retain(b, num, p.qos, p.account)
	}
	if stored {
		_ = h.batch().Set(numKey(kMessage, num), b.pack(make([]byte, 0, size)), nil)
	}
	if p.hold != 0 {
		h.hold(p.from, p.hold)
	}
	targets := make([]target, len(found))
	copy(targets, found)
	clear(found)
	for i := range targets {
		if t := &targets[i]; t.qos > 0 {
			t.e = &entry{m: m, num: num, expires: b.expires, size: size, qos: t.qos, retain: t.retain, subIDs: t.subIDs}
			h.enqueue(t.s, t.e)
		}
	}
	h.stats.published.Add(1)
	h.do(p.conn, disk, disk && p.qos > 0, func() {
		h.spread(m, b, targets)
		if p.done != nil {
			if len(targets) == 0 && !p.retain {
				p.done(noSubscribers)
			} else {
				p.done(success)
			}
		}
	})
	return success
}

// hurry ends the connection of a client that has answered nothing for as long as
// it may take to read something, while there is no room: it must not stand in the
// way of others for ever.
func (h *hub) hurry(s *session) {
	if s.conn != nil && s.ready && s.head != nil && nowMilli()-s.progress > h.o.Limits.Write.Milliseconds() {
		h.kick(s.conn, quotaExceeded)
	}
}

// hurryAll looks at all whose messages only memory has, once a second, when there is
// too little of it.
func (h *hub) hurryAll() {
	now := nowMilli()
	if now-h.hurried < 1000 {
		return
	}
	h.hurried = now
	for _, s := range h.sessions {
		if !s.persistent() {
			h.hurry(s)
		}
	}
}

// hold remembers that a QoS 2 message has come (MQTT 5 §4.3.3, method A).
func (h *hub) hold(s *session, id uint16) {
	if s.received == nil {
		s.received = make(map[uint16]struct{})
	}
	s.received[id] = struct{}{}
	h.charge(s.account, holdCost)
	if s.persistent() {
		_ = h.batch().Set(receivedKey(s.id, id), nil, nil)
	}
}

// spread makes a message visible to its targets.
func (h *hub) spread(m *message, b *body, targets []target) {
	h.keep(m, b)
	online := false
	for i := range targets {
		t := &targets[i]
		switch {
		case t.s.dead:
		case t.e != nil:
			online = online || t.s.conn != nil
			h.show(t.s, t.e)
		case t.s.conn != nil:
			h.pushZero(t.s, zeroItem{m: m, retain: t.retain, subIDs: t.subIDs})
		}
	}
	if m.pins == 0 && (!online || m.refs == 0 || h.cached > h.o.Limits.Memory) {
		h.lose(m) // it is on the disk if somebody needs it
	}
}

// pushZero queues a QoS 0 message, or drops it if the connection is behind.
func (h *hub) pushZero(s *session, z zeroItem) {
	l := &h.o.Limits
	size := z.m.size + int(z.extra())
	if len(s.zero) >= l.QoS0Messages || s.zeroBytes+size > l.QoS0Bytes || !h.fitsMemory(s.account, z.m) {
		h.stats.dropped.Add(1)
		return
	}
	h.pinZero(s, &z)
	s.zero = append(s.zero, z)
	s.zeroBytes += size
	s.wake()
}
