package server

import (
	"bufio"
	"crypto/tls"
	"net"
	"sync"
	"time"
)

// A conn is one client's connection. The fields of the second group are guarded
// by the hub's lock, once there is one.
type conn struct {
	srv  *Server
	nc   net.Conn
	r    *bufio.Reader
	host string
	wake chan struct{} // there may be something to write
	room chan struct{} // there may be room for what is read
	done chan struct{} // closed when the connection is

	version         byte
	user, client    string
	window          int // QoS 1 and 2 messages that the client takes at once
	maxPacket       int // bytes that the client takes
	keepAlive       time.Duration
	serverKeepAlive uint16
	noProblem       bool // wants no reason strings
	aliases         map[uint16]string
	aliased         int // bytes of topics in it

	h       *hub
	s       *session
	out     []byte // answers, encoded
	greeted bool   // CONNACK is in out
	ending  bool   // close when out is written
	pending int    // changes under way
	owed    int    // QoS 1 and 2 messages that the client may count as unanswered

	mu       sync.Mutex
	draining bool
	once     sync.Once
}

// owner is who shares the memory for packets under way: a user, or a host.
func (c *conn) owner() string {
	if c.user != "" {
		return "u" + c.user
	}
	return "h" + c.host
}

func newConn(s *Server, nc net.Conn, host string) *conn {
	return &conn{srv: s, nc: nc, host: host, r: bufio.NewReaderSize(nc, 4096),
		wake: make(chan struct{}, 1), room: make(chan struct{}, 1), done: make(chan struct{})}
}

// outMost is how many bytes of answers may wait before the client is not read
// from any more.
const outMost = 64 << 10

// send adds an answer.
func (c *conn) send(appendTo func([]byte) []byte) {
	if c.ending {
		return
	}
	c.greeted = true
	c.out = appendTo(c.out)
	c.signal()
}

func (c *conn) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *conn) signalRoom() {
	select {
	case c.room <- struct{}{}:
	default:
	}
}

// again wakes the writer in a while.
func (c *conn) again() { time.AfterFunc(time.Second, c.signal) }

// kick ends a connection with a reason, after the answers that are out.
func (h *hub) kick(c *conn, why code) {
	if c.ending {
		return
	}
	if c.version == v5 && c.greeted {
		c.out = appendDisconnect(c.out, why)
	}
	c.ending = true
	c.signal()
	c.signalRoom()
}

// close ends the connection at once.
func (c *conn) close() {
	c.once.Do(func() {
		close(c.done)
		c.nc.Close()
	})
}

// cut ends the connection at once, without a word even to the layer below.
func (c *conn) cut() {
	c.once.Do(func() { close(c.done) })
	nc := c.nc
	if t, ok := nc.(*tls.Conn); ok {
		nc = t.NetConn()
	}
	nc.Close()
}

// deadline sets when reading gives up, unless the server is stopping: then it has.
func (c *conn) deadline(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.draining {
		c.nc.SetReadDeadline(t)
	}
}

// drain lets the connection read nothing any more.
func (c *conn) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.draining = true
	c.nc.SetReadDeadline(time.Unix(1, 0))
}

func (c *conn) isDraining() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.draining
}

// serve runs the connection to its end.
func (c *conn) serve() {
	defer c.close()
	if !c.begin() {
		return
	}
	var writing sync.WaitGroup
	writing.Go(c.write)
	why := c.read()
	c.leave(why)
	writing.Wait()
}

// leave ends the connection after read has returned: what was received is
// answered first if the server is stopping.
func (c *conn) leave(why error) {
	h := c.h
	if c.isDraining() {
		c.settle()
		if why != errGoodbye {
			why = shuttingDown
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if c.s.conn == c {
		h.detach(c.s, why != errGoodbye, false)
	}
	if reason, ok := why.(code); ok {
		h.kick(c, reason)
		return
	}
	c.ending = true
	c.signal()
}

// settle waits until nothing of the connection is under way.
func (c *conn) settle() {
	for {
		c.h.mu.Lock()
		busy := c.pending > 0
		c.h.mu.Unlock()
		if !busy {
			return
		}
		select {
		case <-c.room:
		case <-c.done:
			return
		case <-c.h.disk.failed:
			return
		}
	}
}
