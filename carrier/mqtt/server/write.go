package server

import (
	"time"
)

// An outgoing is one message that write has taken to send.
type outgoing struct {
	e       *entry // nil: QoS 0
	m       *message
	num     uint64
	body    *body
	d       delivery
	release bool
}

// writeAtOnce is about how many bytes are encoded before they are written.
const writeAtOnce = 64 << 10

// write sends answers and messages until the connection ends.
func (c *conn) write() {
	defer c.close()
	var buf []byte
	var list []outgoing
	for {
		var feeding bool
		buf, list, feeding = c.h.take(c, buf[:0], list[:0])
		for i := range list {
			if buf = c.encode(buf, &list[i]); len(buf) >= writeAtOnce && !c.flush(&buf) {
				return
			}
		}
		clear(list)
		if len(buf) > 0 {
			if !c.flush(&buf) {
				return
			}
			if feeding {
				c.h.feedOne(c)
			}
			continue
		}
		if c.h.finished(c) {
			return
		}
		if c.h.feedOne(c) {
			continue
		}
		select {
		case <-c.wake:
		case <-c.done:
			return
		case <-c.h.disk.failed:
			return
		}
	}
}

// finished reports whether all that was to be written before the end is.
func (h *hub) finished(c *conn) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return c.ending && len(c.out) == 0
}

func (c *conn) flush(buf *[]byte) bool {
	c.nc.SetWriteDeadline(time.Now().Add(c.srv.o.Limits.Write))
	_, err := c.nc.Write(*buf)
	if cap(*buf) > 4*writeAtOnce {
		*buf = nil
	}
	*buf = (*buf)[:0]
	return err == nil
}

// take takes what is to be sent next: answers, then messages in their order, as
// many as fit the client's window and about writeAtOnce bytes. Feeding says that
// retained messages wait to be fetched.
func (h *hub) take(c *conn, buf []byte, list []outgoing) (_ []byte, _ []outgoing, feeding bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(c.out) > 0 {
		buf = append(buf, c.out...)
		c.out = c.out[:0]
		if cap(c.out) > 4*outMost {
			c.out = nil
		}
		c.signalRoom()
	}
	s := c.s
	if s.conn != c || !s.ready {
		return buf, list, false
	}
	now := nowMilli()
	for size := len(buf); size < writeAtOnce; {
		var e *entry
		if s.inflight < c.window {
			e = s.next
		}
		if len(s.zero) > 0 && (e == nil || s.zero[0].m.num < e.num) {
			z := s.zero[0]
			s.zero[0] = zeroItem{}
			if s.zero = s.zero[1:]; len(s.zero) == 0 {
				s.zero = nil
			}
			s.zeroBytes -= z.m.size + int(z.extra())
			o := outgoing{m: z.m, body: z.m.body, d: delivery{retain: z.retain, subIDs: z.subIDs}}
			h.unpinZero(s, &z)
			if o.expire(now) {
				h.stats.expired.Add(1)
				continue
			}
			size += z.m.size
			h.stats.delivered.Add(1)
			list = append(list, o)
			continue
		}
		if e == nil {
			break
		}
		s.next = e.next
		if !e.dup && !e.released && e.expires != 0 && e.expires <= now {
			h.stats.expired.Add(1)
			s.next = e // unlink moves it on
			h.drop(s, e)
			continue
		}
		e.sent = true
		s.inflight++
		o := outgoing{e: e, m: e.m, num: e.num, release: e.released,
			d: delivery{qos: e.qos, dup: e.dup, retain: e.retain, id: e.pid, subIDs: e.subIDs}}
		if e.m != nil {
			o.body = e.m.body
		}
		o.left(e.expires, now)
		size += e.size
		list = append(list, o)
	}
	return buf, list, len(s.feeds) > 0
}

// expire reports whether a QoS 0 message is too old, else says how old it may get.
func (o *outgoing) expire(now int64) bool {
	if o.body.expires != 0 && o.body.expires <= now {
		return true
	}
	o.left(o.body.expires, now)
	return false
}

func (o *outgoing) left(expires, now int64) {
	if expires != 0 {
		o.d.left = uint32(max(0, expires-now) / 1000)
	}
}

// encode appends a message, which it reads from the disk if it must.
func (c *conn) encode(buf []byte, o *outgoing) []byte {
	if o.release {
		return appendAnswer(buf, pPubrel, c.version, o.d.id, success, "")
	}
	if o.body == nil {
		v, err := c.h.disk.get(numKey(kMessage, o.num))
		if err == nil && v != nil {
			o.body, err = unpackBody(v)
		}
		if o.body == nil {
			if err != nil {
				c.srv.o.Trouble("a stored message cannot be read", err)
			}
			return buf // answered meanwhile, or it stays for the next connection
		}
	}
	if publishLen(c.version, o.body, &o.d) > c.maxPacket {
		// MQTT 5 §3.1.2.11.4: as if it had been sent and acknowledged.
		c.h.stats.oversize.Add(1)
		if o.e != nil {
			c.h.mu.Lock()
			if c.s.byID[o.e.pid] == o.e {
				c.h.drop(c.s, o.e)
			}
			c.h.mu.Unlock()
		}
		return buf
	}
	return appendPublish(buf, c.version, o.body, &o.d)
}
