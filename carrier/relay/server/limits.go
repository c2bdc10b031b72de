package server

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"parley/carrier/relay"
)

// Limits bound what clients can make the relay do and hold. 0 stands for the default,
// which [DefaultLimits] shows.
type Limits struct {
	Contents int   // bytes of one message's contents
	Bytes    int64 // of all messages, with what each counts beside its contents
	// Of one mailbox.
	MailboxMessages int
	MailboxBytes    int64
	Mailboxes       int
	// Of one client address (an IPv4 address, or an IPv6 /64 network).
	RequestsPerSecond, RequestBurst      int
	NewMailboxesPerHour, NewMailboxBurst int
	Connections, ConnectionsPerHost      int
	Waiting                              int // requests that wait for a message
	AnswerMessages, AnswerBytes          int // in one answer
	MessageTTL                           time.Duration
	MailboxTTL                           time.Duration // that a mailbox nobody looks into stays
	Header, Read, Write, Idle            time.Duration
}

// DefaultLimits returns the limits that a relay has unless told otherwise.
func DefaultLimits() Limits {
	return Limits{
		Contents: relay.MaxContents, Bytes: 4 << 30, MailboxMessages: 10_000, MailboxBytes: 64 << 20, Mailboxes: 100_000,
		RequestsPerSecond: 1000, RequestBurst: 5000, NewMailboxesPerHour: 600, NewMailboxBurst: 1000,
		Connections: 4096, ConnectionsPerHost: 256, Waiting: 4096, AnswerMessages: 1000, AnswerBytes: 8 << 20,
		MessageTTL: 21 * 24 * time.Hour, MailboxTTL: 365 * 24 * time.Hour,
		Header: 10 * time.Second, Read: 30 * time.Second, Write: 60 * time.Second, Idle: 2 * time.Minute,
	}
}

func (l Limits) withDefaults() Limits {
	d := DefaultLimits()
	set(&l.Contents, d.Contents)
	set(&l.Bytes, d.Bytes)
	set(&l.MailboxMessages, d.MailboxMessages)
	set(&l.MailboxBytes, d.MailboxBytes)
	set(&l.Mailboxes, d.Mailboxes)
	set(&l.RequestsPerSecond, d.RequestsPerSecond)
	set(&l.RequestBurst, d.RequestBurst)
	set(&l.NewMailboxesPerHour, d.NewMailboxesPerHour)
	set(&l.NewMailboxBurst, d.NewMailboxBurst)
	set(&l.Connections, d.Connections)
	set(&l.ConnectionsPerHost, d.ConnectionsPerHost)
	set(&l.Waiting, d.Waiting)
	set(&l.AnswerMessages, d.AnswerMessages)
	set(&l.AnswerBytes, d.AnswerBytes)
	set(&l.MessageTTL, d.MessageTTL)
	set(&l.MailboxTTL, d.MailboxTTL)
	set(&l.Header, d.Header)
	set(&l.Read, d.Read)
	set(&l.Write, d.Write)
	set(&l.Idle, d.Idle)
	return l
}

func set[T comparable](to *T, or T) {
	if *to == *new(T) {
		*to = or
	}
}

// hosts is how many client addresses are told apart.
const hosts = 16384

type limiters struct{ requests, mailboxes *limiter }

func newLimiters(l Limits) *limiters {
	return &limiters{
		requests:  newLimiter(rate.Limit(l.RequestsPerSecond), l.RequestBurst),
		mailboxes: newLimiter(rate.Limit(l.NewMailboxesPerHour)/3600, l.NewMailboxBurst),
	}
}

// A limiter is a token bucket for each client address.
type limiter struct {
	mu     sync.Mutex
	rate   rate.Limit
	burst  int
	byHost map[netip.Prefix]*rate.Limiter
}

func newLimiter(r rate.Limit, burst int) *limiter {
	return &limiter{rate: r, burst: burst, byHost: map[netip.Prefix]*rate.Limiter{}}
}

// allow takes a token of a host, or says how long there will be none.
func (l *limiter) allow(host netip.Prefix, now time.Time) (wait time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.byHost[host]
	if b == nil {
		if len(l.byHost) >= hosts {
			l.forget(now)
		}
		b = rate.NewLimiter(l.rate, l.burst)
		l.byHost[host] = b
	}
	if b.AllowN(now, 1) {
		return 0, true
	}
	r := b.ReserveN(now, 1)
	wait = r.DelayFrom(now)
	r.CancelAt(now)
	return wait, false
}

// forget drops full buckets, of which there is nothing to remember, and if that is not
// enough, others.
func (l *limiter) forget(now time.Time) {
	for host, b := range l.byHost {
		if b.TokensAt(now) >= float64(l.burst) {
			delete(l.byHost, host)
		}
	}
	for host := range l.byHost {
		if len(l.byHost) <= hosts*3/4 {
			return
		}
		delete(l.byHost, host)
	}
}

// clientOf returns the network that a request comes from: behind a proxy that we
// believe, what it says of who spoke to it.
func (s *Server) clientOf(r *http.Request) netip.Prefix {
	ip := remoteIP(r.RemoteAddr)
	if s.isProxy(ip) {
		if all := r.Header.Values("X-Forwarded-For"); len(all) > 0 {
			hops := strings.Split(all[len(all)-1], ",")
			if hop, err := netip.ParseAddr(strings.TrimSpace(hops[len(hops)-1])); err == nil {
				ip = hop
			}
		}
	}
	return network(ip)
}

func remoteIP(address string) netip.Addr {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr().Unmap()
}

func (s *Server) isProxy(ip netip.Addr) bool {
	for _, p := range s.o.Proxies {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// network is what counts as one client: an IPv4 address, or an IPv6 /64.
func network(ip netip.Addr) netip.Prefix {
	ip = ip.Unmap().WithZone("")
	bits := ip.BitLen()
	if ip.Is6() {
		bits = 64
	}
	p, _ := ip.Prefix(bits)
	return p
}

// A connLimit bounds the connections that are open at once: what is too much is closed
// when it comes, and the time-outs end the rest.
type connLimit struct {
	net.Listener
	s      *Server
	mu     sync.Mutex
	open   int
	byHost map[netip.Prefix]int
}

func (s *Server) limitConns(l net.Listener) net.Listener {
	return &connLimit{Listener: l, s: s, byHost: map[netip.Prefix]int{}}
}

func (l *connLimit) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		ip := remoteIP(c.RemoteAddr().String())
		host := network(ip)
		if l.s.isProxy(ip) {
			host = netip.Prefix{} // it speaks for many
		}
		if l.take(host) {
			return &limitedConn{Conn: c, end: sync.OnceFunc(func() { l.release(host) })}, nil
		}
		l.s.counts.limited.Add(1)
		c.Close()
	}
}

func (l *connLimit) take(host netip.Prefix) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open >= l.s.o.Limits.Connections || host.IsValid() && l.byHost[host] >= l.s.o.Limits.ConnectionsPerHost {
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
