package frontlimit

import (
	"net"
	"net/netip"
	"sync"
)

// Conns says how many connections may be open at once.
type Conns struct {
	All, PerNetwork int
	Proxies         Proxies // who speak for many: only All bounds them
	Refused         func()  // called for each connection that is too much; nil: nobody is told
}

// A listener bounds the connections that are open at once, so that clients who hold
// them and say nothing cannot keep others out: what is too much is closed when it
// comes, and the server's time-outs end the rest.
type listener struct {
	net.Listener
	conns     Conns
	mu        sync.Mutex
	open      int
	byNetwork map[netip.Prefix]int
}

// Listen bounds the connections that come from a listener.
func Listen(l net.Listener, c Conns) net.Listener {
	if c.Refused == nil {
		c.Refused = func() {}
	}
	return &listener{Listener: l, conns: c, byNetwork: map[netip.Prefix]int{}}
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		ip := RemoteIP(c.RemoteAddr().String())
		network := Network(ip)
		if l.conns.Proxies.Contains(ip) {
			network = netip.Prefix{}
		}
		if l.take(network) {
			return &conn{Conn: c, end: sync.OnceFunc(func() { l.release(network) })}, nil
		}
		l.conns.Refused()
		c.Close()
	}
}

func (l *listener) take(network netip.Prefix) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open >= l.conns.All || network.IsValid() && l.byNetwork[network] >= l.conns.PerNetwork {
		return false
	}
	l.open++
	l.byNetwork[network]++
	return true
}

func (l *listener) release(network netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	if l.byNetwork[network]--; l.byNetwork[network] == 0 {
		delete(l.byNetwork, network)
	}
}

type conn struct {
	net.Conn
	end func()
}

func (c *conn) Close() error {
	c.end()
	return c.Conn.Close()
}
