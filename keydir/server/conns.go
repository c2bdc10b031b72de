package server

import (
	"net"
	"net/netip"
	"sync"
)

// connLimit bounds the connections that are open at once, so that clients who hold
// them and say nothing cannot keep others out: what is too much is closed when it
// comes, and the time-outs end the rest.
type connLimit struct {
	net.Listener
	d      *Directory
	mu     sync.Mutex
	open   int
	byHost map[netip.Prefix]int
}

func (d *Directory) limitConns(l net.Listener) net.Listener {
	return &connLimit{Listener: l, d: d, byHost: map[netip.Prefix]int{}}
}

func (l *connLimit) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		ip := remoteIP(c.RemoteAddr().String())
		host := network(ip)
		if l.d.isProxy(ip) {
			host = netip.Prefix{} // it speaks for many
		}
		if l.take(host) {
			return &limitedConn{Conn: c, end: sync.OnceFunc(func() { l.release(host) })}, nil
		}
		l.d.counts.limited.Add(1)
		c.Close()
	}
}

func (l *connLimit) take(host netip.Prefix) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open >= l.d.o.Limits.Connections || (host.IsValid() && l.byHost[host] >= l.d.o.Limits.ConnectionsPerHost) {
		return false
	}
	l.open++
	l.byHost[host]++
	return true
}

func (l *connLimit) release(host netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	if l.byHost[host]--; l.byHost[host] == 0 {
		delete(l.byHost, host)
	}
}

type limitedConn struct {
	net.Conn
	end func()
}

func (c *limitedConn) Close() error {
	c.end()
	return c.Conn.Close()
}
