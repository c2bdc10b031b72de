package server

import (
	"container/list"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// hostCount is what one host has open.
type hostCount struct{ open, connecting int }

// Serve accepts connections from l until it fails or Shutdown closes it; then it
// returns ErrShutdown. A listener of TLS is one that crypto/tls made. Without
// users it is [ErrPublic] if l is no loopback address.
func (s *Server) Serve(l net.Listener) error {
	if s.o.Users == nil && !s.o.Anonymous && !isLoopback(l.Addr()) {
		return fmt.Errorf("%w (not %s)", ErrPublic, l.Addr())
	}
	s.mu.Lock()
	if s.draining {
		s.mu.Unlock()
		l.Close()
		return ErrShutdown
	}
	s.listeners[l] = struct{}{}
	s.serving.Add(1)
	s.mu.Unlock()
	defer s.serving.Done()
	defer func() {
		s.mu.Lock()
		delete(s.listeners, l)
		s.mu.Unlock()
		l.Close()
	}()
	for wait := time.Duration(0); ; {
		nc, err := l.Accept()
		if err == nil {
			wait = 0
			s.accept(nc)
			continue
		}
		if s.isDraining() {
			return ErrShutdown
		}
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		// No file descriptors left, or the like: others will end.
		wait = min(max(2*wait, 5*time.Millisecond), time.Second)
		s.o.Trouble("a connection could not be accepted", err)
		time.Sleep(wait)
	}
}

// isLoopback reports whether only this machine reaches an address; what is no
// address of the network is one of the process's own.
func isLoopback(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return !ok || tcp.IP.IsLoopback()
}

func (s *Server) isDraining() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.draining
}

// accept starts a connection, or closes it if there are too many.
func (s *Server) accept(nc net.Conn) {
	c := newConn(s, nc, hostOf(nc.RemoteAddr()))
	l := &s.o.Limits
	s.mu.Lock()
	n := s.hosts[c.host]
	if s.draining || len(s.conns) >= l.Connections || c.host != "" && (n.open >= l.ConnectionsPerHost || n.connecting >= max(1, l.Connecting/2)) {
		s.mu.Unlock()
		nc.Close()
		return
	}
	if s.connecting.Len() >= l.Connecting {
		s.connecting.Front().Value.(*conn).cut() // it has had the most time
	}
	s.conns[c] = s.connecting.PushBack(c)
	s.hosts[c.host] = hostCount{n.open + 1, n.connecting + 1}
	s.serving.Add(1)
	s.mu.Unlock()
	go func() {
		defer s.serving.Done()
		defer s.ended(c)
		c.serve()
	}()
}

// connected says that a connection's CONNECT has been dealt with.
func (s *Server) connected(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count(c, s.conns[c], 0)
}

// count takes c out of those that are connecting, if e says that it is there, and
// takes gone from its host's open ones.
func (s *Server) count(c *conn, e *list.Element, gone int) {
	n := s.hosts[c.host]
	n.open -= gone
	if e != nil {
		s.connecting.Remove(e)
		s.conns[c] = nil
		n.connecting--
	}
	if s.hosts[c.host] = n; n.open == 0 {
		delete(s.hosts, c.host)
	}
}

func (s *Server) ended(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count(c, s.conns[c], 1)
	delete(s.conns, c)
}

// hostOf names a host for counting: an IPv4 address or an IPv6 /64 network.
func hostOf(a net.Addr) string {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return ""
	}
	ip, ok := netip.AddrFromSlice(tcp.IP)
	if !ok {
		return ""
	}
	if ip = ip.Unmap(); ip.Is4() {
		return ip.String()
	}
	p, err := ip.Prefix(64)
	if err != nil {
		return ""
	}
	return p.String()
}
