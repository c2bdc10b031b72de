package smpserver

import (
	"context"
	"sync"

	"parley/broker"
	"parley/carrier/smp"
)

// notify is called by the broker, locked, when there is something to deliver.
func (c *conn) notify() {
	c.mu.Lock()
	c.more = true
	c.kick()
	c.mu.Unlock()
}

// kick makes sure that somebody writes; c.mu is held.
func (c *conn) kick() {
	if !c.writing && !c.dead {
		c.writing = true
		c.s.start(job{conn: c})
	}
}

// plainFlush is how much is gathered for one write on a plain connection.
const plainFlush = 16 << 10

// A packer gathers transmissions until a block is full or nothing else is there.
type packer struct {
	wire  *smp.Conn
	limit int
	buf   []byte
}

var scratch = sync.Pool{New: func() any {
	b := make([]byte, 0, smp.ContentSize+256)
	return &b
}}

// add takes a transmission in. Afterwards nothing refers to its body.
func (p *packer) add(t *smp.Transmission) error {
	before := len(p.buf)
	p.buf = t.Append(p.buf)
	if len(p.buf) <= p.limit || before == 0 {
		return nil
	}
	last := p.buf[before:]
	p.buf = p.buf[:before]
	if err := p.flush(); err != nil {
		return err
	}
	p.buf = append(p.buf, last...)
	return nil
}

func (p *packer) flush() error {
	if len(p.buf) == 0 {
		return nil
	}
	err := p.wire.SendRaw(p.buf)
	p.buf = p.buf[:0]
	return err
}

// write writes responses and messages until there are none left. It reads a
// message from the store when it is about to write it, one at a time.
func (c *conn) write() {
	space := scratch.Get().(*[]byte)
	p := packer{wire: c.wire, limit: smp.ContentSize, buf: (*space)[:0]}
	if c.nc.plain {
		p.limit = plainFlush
	}
	defer func() {
		if cap(p.buf) <= 2*smp.BlockSize {
			*space = p.buf
		}
		scratch.Put(space)
	}()
	for {
		replies, more, done := c.takeOut(len(p.buf) == 0)
		if done {
			return
		}
		err := p.addAll(replies)
		if err == nil && more {
			err = c.deliver(&p)
		}
		if err == nil && len(replies) == 0 && !more {
			err = p.flush()
		}
		if err != nil {
			c.kill()
			c.mu.Lock()
			c.writing = false
			c.mu.Unlock()
			c.room.Broadcast()
			return
		}
	}
}

// takeOut takes what is to be written. done means that there is nothing and the
// goroutine ends: whatever comes then starts another one.
func (c *conn) takeOut(flushed bool) (replies []reply, more, done bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	replies, more = c.out, c.more && !c.ending
	c.out, c.more = nil, false
	if len(replies) == 0 && !more && flushed || c.dead {
		c.writing = false
		done = true
	}
	c.room.Broadcast()
	return replies, more, done
}

func (p *packer) addAll(replies []reply) error {
	for _, r := range replies {
		t := r.transmission()
		if err := p.add(&t); err != nil {
			return err
		}
	}
	return nil
}

// deliver adds what the broker has, until a block is full. Responses are older
// than what they allow to be delivered, so they go first.
func (c *conn) deliver(p *packer) error {
	for range 64 {
		e, ok := c.hub.Next(context.Background())
		if !ok {
			return nil
		}
		replies, _, dead := c.takeOut(false)
		if dead {
			return nil
		}
		if err := p.addAll(replies); err != nil {
			return err
		}
		t := event(e)
		if !c.nc.plain && len(e.Item.Body) > smp.MaxBodyBlock {
			// Made by a plain connection, for a plain connection.
			c.hub.Evict(e.Queue)
			continue
		}
		if err := p.add(&t); err != nil {
			return err
		}
	}
	c.mu.Lock()
	c.more = true
	c.mu.Unlock()
	return nil
}

func event(e broker.Event) smp.Transmission {
	id, _ := smp.MakeID(e.Queue[:smp.IDSize])
	if e.End {
		return smp.Transmission{ID: id, Verb: smp.END}
	}
	return smp.Transmission{ID: id, Verb: smp.MSG, Time: e.Item.At, Body: e.Item.Body}
}
