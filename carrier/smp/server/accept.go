package smpserver

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"parley/carrier/smp"
)

// ErrNotLoopback refuses a plain listener that others could reach.
var ErrNotLoopback = errors.New("plain connections are for this machine only: listen on 127.0.0.1 or [::1]")

// Serve accepts encrypted connections from l until it fails or Shutdown closes
// it; then it returns ErrShutdown.
func (s *Server) Serve(l net.Listener) error { return s.serve(l, false) }

// ServePlain accepts plain connections (lines in clear, for telnet). l must
// listen on a loopback address, else it is [ErrNotLoopback].
func (s *Server) ServePlain(l net.Listener) error {
	if !isLoopback(l.Addr()) {
		return fmt.Errorf("%w, not %s", ErrNotLoopback, l.Addr())
	}
	return s.serve(l, true)
}

func isLoopback(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

func (s *Server) serve(l net.Listener, plain bool) error {
	s.mu.Lock()
	if s.draining {
		s.mu.Unlock()
		l.Close()
		return ErrShutdown
	}
	s.listeners[l] = struct{}{}
	s.running.Add(1)
	s.mu.Unlock()
	defer s.running.Done()
	defer l.Close()
	for wait := time.Duration(0); ; {
		nc, err := l.Accept()
		if err == nil {
			wait = 0
			if plain && !isLoopback(nc.RemoteAddr()) {
				nc.Close()
				continue
			}
			s.accept(nc, plain)
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

// accept starts a connection, or closes it if there are too many.
func (s *Server) accept(nc net.Conn, plain bool) {
	t := &timed{Conn: nc, s: s, plain: plain, handshake: !plain, host: hostOf(nc.RemoteAddr())}
	s.mu.Lock()
	if !s.admit(t) {
		s.mu.Unlock()
		nc.Close()
		return
	}
	s.running.Add(1)
	if plain {
		s.mu.Unlock()
		s.begin(t, nil)
		return
	}
	h := s.opening.add(nc, t.host, s.o.MaxHandshakes, s.o.HostHandshakes)
	s.mu.Unlock()
	go s.handshake(t, h)
}

// admit counts a connection in if there is room for it.
func (s *Server) admit(t *timed) bool {
	switch {
	case s.draining || s.open >= s.o.MaxConns:
		return false
	case t.plain:
		if s.plain >= s.o.MaxPlain {
			return false
		}
		s.plain++
	default:
		if s.hosts[t.host] >= s.o.HostConns {
			return false
		}
		s.hosts[t.host]++
	}
	s.open++
	return true
}

// handshake runs in a goroutine that ends with it, so that an idle connection
// doesn't keep the stack that the cryptography made large.
func (s *Server) handshake(t *timed, h *half) {
	nc := t.Conn
	nc.SetDeadline(time.Now().Add(s.o.HandshakeTimeout))
	wire, err := s.id.Accept(t)
	s.mu.Lock()
	s.opening.remove(h)
	s.mu.Unlock()
	if err != nil {
		nc.Close()
		s.gone(t)
		return
	}
	nc.SetDeadline(time.Time{})
	t.handshake = false
	s.begin(t, wire)
}

// begin starts reading; wire is nil for a plain connection.
func (s *Server) begin(t *timed, wire *smp.Conn) {
	c := newConn(s, t, wire)
	s.mu.Lock()
	s.conns[c] = struct{}{}
	if s.draining {
		t.wakeReader()
	}
	s.mu.Unlock()
	go c.read()
}

// gone ends what accept began; the address is forgotten with the connection.
func (s *Server) gone(t *timed) {
	s.mu.Lock()
	s.open--
	if t.plain {
		s.plain--
	} else if s.hosts[t.host]--; s.hosts[t.host] == 0 {
		delete(s.hosts, t.host)
	}
	s.mu.Unlock()
	s.running.Done()
}

// hostOf returns what counts as one host: an IPv4 address or an IPv6 /64.
func hostOf(a net.Addr) netip.Prefix {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip, _ := netip.AddrFromSlice(tcp.IP)
	ip = ip.Unmap()
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	p, _ := ip.Prefix(bits)
	return p
}
