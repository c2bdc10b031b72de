package smpserver

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"parley/broker"
	"parley/carrier/smp"
)

// A conn is one transport connection. At rest it is one goroutine that waits for
// the first bytes of a block, and this struct.
type conn struct {
	s    *Server
	nc   *timed
	wire *smp.Conn
	hub  *broker.Conn

	checks chan struct{} // signatures being checked

	mu       sync.Mutex // taken while the broker's is held: call no broker under it
	room     sync.Cond  // something below has become less
	lanes    map[smp.ID]*lane
	slots    int // responses that are not in out yet
	inFlight int // commands not yet carried out
	out      []reply
	more     bool // hub.Next may have something
	writing  bool // a goroutine runs write
	ending   bool // nothing is read any more, and nothing delivered
	dead     bool // closed
}

func newConn(s *Server, nc *timed, wire *smp.Conn) *conn {
	c := &conn{s: s, nc: nc, wire: wire, checks: make(chan struct{}, maxChecks)}
	if wire == nil {
		c.wire = smp.Plain(nc, smp.ServerSide, 0)
	}
	c.room.L = &c.mu
	c.hub = s.b.Connect(c.notify)
	nc.hub = c.hub
	return c
}

// maxBody is the longest message that this connection can deliver.
func (c *conn) maxBody() int {
	if c.nc.plain {
		return smp.MaxBodyPlain
	}
	return smp.MaxBodyBlock
}

// read reads commands until the peer closes, misbehaves or the server drains.
// Then it has what was received answered, and ends the connection.
func (c *conn) read() {
	defer c.end()
	var t smp.Transmission
	c.nc.fresh = true
	for {
		c.nc.fresh = c.nc.fresh || c.nc.plain
		err := c.wire.Next(&t)
		if err == nil {
			if !c.submit(newCommand(&t)) {
				return
			}
			continue
		}
		bad, ok := err.(*smp.SyntaxError)
		if !ok || !c.reject(bad.ID, bad.Code) {
			return
		}
	}
}

// end lets commands under way finish and their responses be written, both within
// the limits of time, and closes the connection.
func (c *conn) end() {
	c.mu.Lock()
	c.ending = true
	for !c.dead && (c.inFlight > 0 || len(c.out) > 0 || c.writing) {
		c.room.Wait()
	}
	c.mu.Unlock()
	c.kill()
	c.hub.Close()
	c.s.mu.Lock()
	delete(c.s.conns, c)
	c.s.mu.Unlock()
	c.s.gone(c.nc)
}

// kill closes the transport; whoever reads or writes finds out.
func (c *conn) kill() {
	c.mu.Lock()
	c.dead = true
	c.out = nil
	c.mu.Unlock()
	c.room.Broadcast()
	c.nc.Close()
}

// A timed is a net.Conn with the deadlines of a connection after its handshake.
type timed struct {
	net.Conn
	s         *Server
	hub       *broker.Conn
	host      netip.Prefix
	plain     bool
	handshake bool // the caller has set deadlines
	inBlock   int  // bytes read of the block that is coming
	fresh     bool // no byte of the next block or transmission has come
	awake     atomic.Bool
}

var past = time.Unix(1, 0)

// wakeReader ends the Read under way and all later ones.
func (t *timed) wakeReader() {
	t.awake.Store(true)
	t.Conn.SetReadDeadline(past)
}

func (t *timed) limit(d time.Duration) {
	t.Conn.SetReadDeadline(time.Now().Add(d))
	if t.awake.Load() {
		t.Conn.SetReadDeadline(past)
	}
}

func (t *timed) Read(p []byte) (int, error) {
	if t.handshake {
		return t.Conn.Read(p)
	}
	fresh := t.fresh
	if fresh {
		t.limit(t.s.o.IdleTimeout)
	}
	n, err := t.Conn.Read(p)
	for fresh && n == 0 && errors.Is(err, os.ErrDeadlineExceeded) && !t.awake.Load() && !t.hub.Idle() {
		// Whoever waits for messages may wait in silence: TCP's keep-alive finds
		// out when he is gone.
		t.limit(t.s.o.IdleTimeout)
		n, err = t.Conn.Read(p)
	}
	if n == 0 {
		return n, err
	}
	t.fresh = false
	whole := t.s.o.PlainTimeout
	if !t.plain {
		// Blocks are read to their end and no further. One may be all padding.
		whole = t.s.o.BlockTimeout
		if t.inBlock += n; t.inBlock >= smp.BlockSize {
			t.inBlock, t.fresh = 0, true
		}
	}
	if fresh && !t.fresh && err == nil {
		t.limit(whole)
	}
	return n, err
}

func (t *timed) Write(p []byte) (int, error) {
	if !t.handshake {
		t.Conn.SetWriteDeadline(time.Now().Add(t.s.o.WriteTimeout))
	}
	return t.Conn.Write(p)
}
