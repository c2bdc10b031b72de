package server

import (
	"errors"
	"io"
	"os"
	"time"
)

// errGoodbye ends a connection whose client has said so: no will.
var errGoodbye = errors.New("the client disconnects")

// errRefused ends a connection of MQTT 3.1.1 whose PUBLISH is not taken: without
// an answer, so that the client sends it again.
var errRefused = errors.New("a message is refused")

// smallPacket is up to which length a packet needs no share of the memory.
const smallPacket = 4096

// read handles packets until the connection ends, and says why it does.
func (c *conn) read() error {
	for {
		if err := c.waitForRoom(); err != nil {
			return err
		}
		if c.keepAlive > 0 {
			c.deadline(time.Now().Add(c.keepAlive * 3 / 2))
		} else {
			c.deadline(time.Time{})
		}
		if _, err := c.r.Peek(1); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return keepAliveTimeout
			}
			return err
		}
		c.deadline(time.Now().Add(c.srv.o.Limits.PacketTime))
		if err := c.packet(); err != nil {
			return err
		}
	}
}

// waitForRoom waits while too much of the client's is under way, or waits to be
// read by it.
func (c *conn) waitForRoom() error {
	for {
		c.h.mu.Lock()
		wait := c.pending >= c.srv.o.Limits.Inflight || len(c.out) > outMost
		ending := c.ending
		c.h.mu.Unlock()
		if ending {
			return io.EOF
		}
		if !wait {
			return nil
		}
		select {
		case <-c.room:
		case <-c.done:
			return io.EOF
		}
	}
}

// packet reads and handles one packet.
func (c *conn) packet() error {
	first, n, err := readHeader(c.r)
	if err != nil {
		return err
	}
	if n > c.srv.o.Limits.Packet {
		return tooLarge
	}
	share := 0
	if n > smallPacket {
		share = n
		if !c.h.memory.take(c.owner(), share, c.srv.o.Limits.PacketTime, c.done) {
			return serverBusy
		}
		defer func() { c.h.memory.give(c.owner(), share) }()
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(c.r, b); err != nil {
		return err
	}
	kind := first >> 4
	if want := flagsOf(kind); kind != pPublish && first&15 != want {
		return malformed
	}
	switch kind {
	case pPublish:
		p, err := parsePublish(first, b, c.version)
		if err != nil {
			return err
		}
		held := share
		share = 0 // publish gives it back
		return c.publish(&p, held)
	case pPuback, pPubrec, pPubrel, pPubcomp:
		a, err := parseAnswer(kind, b, c.version)
		if err != nil {
			return err
		}
		return c.answer(kind, a)
	case pSubscribe, pUnsubscribe:
		p, err := parseSubscribe(kind, b, c.version)
		if err != nil {
			return err
		}
		return c.locked(func() {
			if kind == pSubscribe {
				c.h.subscribe(c, &p)
			} else {
				c.h.unsubscribe(c, &p)
			}
		})
	case pPingreq:
		if n != 0 {
			return malformed
		}
		return c.locked(func() { c.send(func(b []byte) []byte { return append(b, pPingresp<<4, 0) }) })
	case pDisconnect:
		return c.goodbye(b)
	}
	return protocolError // a second CONNECT, AUTH without a method, or a server's packet
}

// flagsOf is what the low bits of a packet's first byte must be (MQTT 5 §2.1.3).
func flagsOf(kind byte) byte {
	switch kind {
	case pPubrel, pSubscribe, pUnsubscribe:
		return 2
	}
	return 0
}

// locked runs f under the hub's lock if the session is still the connection's.
func (c *conn) locked(f func()) error {
	c.h.mu.Lock()
	defer c.h.mu.Unlock()
	if c.s.conn != c {
		return io.EOF
	}
	f()
	return nil
}

// goodbye handles DISCONNECT.
func (c *conn) goodbye(b []byte) error {
	why, p, err := parseDisconnect(b, c.version)
	if err != nil {
		return err
	}
	fromNothing := false
	err = c.locked(func() {
		if p.has(propSessionExpiry) {
			if fromNothing = c.s.expiry == 0 && p.sessionExpiry != 0; !fromNothing {
				c.s.expiry = min(p.sessionExpiry, seconds(c.srv.o.Limits.SessionExpiry))
			}
		}
	})
	switch {
	case err != nil:
		return err
	case fromNothing: // MQTT 5 §3.14.2.2.2
		return protocolError
	case why != success:
		return io.EOF // with the will
	}
	return errGoodbye
}
