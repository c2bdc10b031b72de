package server

import (
	"io"
	"strings"
)

// publish handles PUBLISH; share is what it holds of the memory.
func (c *conn) publish(p *publish, share int) error {
	why := c.resolve(p)
	if why == success {
		why = c.mayPublish(p.topic)
	}
	h := c.h
	h.mu.Lock()
	defer h.mu.Unlock()
	give := func() { c.h.memory.give(c.owner(), share) }
	if c.s.conn != c {
		give()
		return io.EOF
	}
	if p.qos > 0 {
		if c.owed++; c.version == v5 && c.owed > c.srv.o.Limits.Inflight {
			give()
			return tooManyUnanswered
		}
	}
	if why == badAlias {
		give()
		return why
	}
	if _, again := c.s.received[p.id]; again && p.qos == 2 {
		// In turn: the first one may not be on the disk yet.
		h.do(c, true, true, func() { give(); c.acknowledge(p, success) })
		return nil
	}
	if why == success {
		x := &publication{body: newBody(p, nowMilli()), qos: p.qos, retain: p.retain, from: c.s, conn: c, account: c.s.account,
			done: func(code code) { give(); c.acknowledge(p, code) }}
		if p.qos == 2 {
			x.hold = p.id
		}
		if why = h.publish(x); why == success {
			return nil
		}
	}
	switch {
	case c.version != v5:
		give()
		return errRefused
	case p.qos == 0: // nothing else would tell
		give()
		return why
	}
	h.do(c, false, false, func() { give(); c.acknowledge(p, why) })
	return nil
}

// aliasMost is how many bytes of topics one connection may have aliases for.
const aliasMost = 32 << 10

// resolve puts the topic in the place of its alias (MQTT 5 §3.3.2.3.4).
func (c *conn) resolve(p *publish) code {
	a := p.props.alias
	if a == 0 {
		return success
	}
	if int(a) > c.srv.o.Limits.Aliases {
		return badAlias
	}
	if p.topic == "" {
		if p.topic = c.aliases[a]; p.topic == "" {
			return badAlias
		}
		return success
	}
	if c.aliases == nil {
		c.aliases = make(map[uint16]string)
	}
	if c.aliased += len(p.topic) - len(c.aliases[a]); c.aliased > aliasMost {
		return badAlias
	}
	c.aliases[a] = strings.Clone(p.topic)
	return success
}

// fullReason tells people what 0x97 means here.
const fullReason = "a subscriber's queue, the retained messages or the disk are full; try again later"

// acknowledge answers a PUBLISH.
func (c *conn) acknowledge(p *publish, why code) {
	kind := byte(pPuback)
	switch p.qos {
	case 0:
		return
	case 2:
		kind = pPubrec
	}
	if p.qos == 1 || why >= unspecified {
		c.owed = max(0, c.owed-1)
	}
	reason := ""
	if why == quotaExceeded && !c.noProblem {
		reason = fullReason
	}
	c.send(func(b []byte) []byte { return appendAnswer(b, kind, c.version, p.id, why, reason) })
}

// answer handles PUBACK, PUBREC, PUBREL and PUBCOMP.
func (c *conn) answer(kind byte, a answer) error {
	var err error
	gone := c.locked(func() { err = c.h.answer(c, kind, a) })
	if gone != nil {
		return gone
	}
	return err
}

func (h *hub) answer(c *conn, kind byte, a answer) error {
	s := c.s
	reply := func(kind byte, why code) func() {
		return func() {
			c.send(func(b []byte) []byte { return appendAnswer(b, kind, c.version, a.id, why, "") })
		}
	}
	if kind == pPubrel {
		if _, there := s.received[a.id]; !there {
			h.do(c, true, true, reply(pPubcomp, idNotFound)) // in turn: it may just have been there
			return nil
		}
		delete(s.received, a.id)
		h.charge(s.account, -holdCost)
		if s.persistent() {
			_ = h.batch().Delete(receivedKey(s.id, a.id), nil)
			h.dirt.entry(s.id)
		}
		// If a crash forgot that the identifier is free, the next message with it
		// would be taken for the old one, and lost.
		h.do(c, s.persistent(), true, func() {
			c.owed = max(0, c.owed-1)
			reply(pPubcomp, success)()
		})
		return nil
	}
	e := s.byID[a.id]
	switch {
	case e == nil || !e.sent:
		if kind == pPubrec {
			h.do(c, false, false, reply(pPubrel, idNotFound))
		}
		return nil
	case (kind == pPuback) != (e.qos == 1), kind == pPubcomp && !e.released:
		return protocolError
	case kind == pPubrec && a.code < unspecified:
		s.progress = nowMilli()
		if !e.released {
			h.release(s, e)
		}
		// The client forgets the identifier at PUBREL; so the message must not be
		// sent once more after a crash.
		h.do(c, s.persistent(), true, reply(pPubrel, success))
		return nil
	}
	s.progress = nowMilli()
	h.drop(s, e)
	h.stats.delivered.Add(1)
	c.signal() // the window is wider
	return nil
}
