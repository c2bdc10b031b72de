package server

import (
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Limits bound what clients can make the directory do and hold. 0 stands for the
// default, which [DefaultLimits] shows.
type Limits struct {
	// Of one client address (an IPv4 address, or an IPv6 /64 network): registrations,
	// rotations and mails asked for together, and all other requests.
	RegistrationsPerHour, RegistrationBurst int
	LookupsPerSecond, LookupBurst           int
	MailsPerDay                             int // to one mailbox
	Connections, ConnectionsPerHost         int
	Answers                                 int // signed answers kept in memory, of about 4 KiB
	Header, Read, Write, Idle               time.Duration
}

// DefaultLimits returns the limits that a directory has unless told otherwise.
func DefaultLimits() Limits {
	return Limits{
		RegistrationsPerHour: 120, RegistrationBurst: 60, LookupsPerSecond: 1000, LookupBurst: 5000, MailsPerDay: 10,
		Connections: 4096, ConnectionsPerHost: 256, Answers: 8192,
		Header: 10 * time.Second, Read: 30 * time.Second, Write: 60 * time.Second, Idle: 2 * time.Minute,
	}
}

func (l Limits) withDefaults() Limits {
	d := DefaultLimits()
	for _, x := range []struct{ to, of *int }{
		{&l.RegistrationsPerHour, &d.RegistrationsPerHour}, {&l.RegistrationBurst, &d.RegistrationBurst},
		{&l.LookupsPerSecond, &d.LookupsPerSecond}, {&l.LookupBurst, &d.LookupBurst}, {&l.MailsPerDay, &d.MailsPerDay},
		{&l.Connections, &d.Connections}, {&l.ConnectionsPerHost, &d.ConnectionsPerHost}, {&l.Answers, &d.Answers},
	} {
		if *x.to == 0 {
			*x.to = *x.of
		}
	}
	for _, x := range []struct{ to, of *time.Duration }{
		{&l.Header, &d.Header}, {&l.Read, &d.Read}, {&l.Write, &d.Write}, {&l.Idle, &d.Idle},
	} {
		if *x.to == 0 {
			*x.to = *x.of
		}
	}
	return l
}

// hosts is how many client addresses are told apart; who was seen last counts.
const hosts = 16384

// pageCost is how many requests a page of the log counts as.
const pageCost = 50

type limiters struct{ lookups, pages, registrations *limiter }

func newLimiters(l Limits) *limiters {
	return &limiters{
		lookups: newLimiter(rate.Limit(l.LookupsPerSecond), l.LookupBurst),
		// A page of the log is what many look-ups are.
		pages:         newLimiter(max(rate.Limit(l.LookupsPerSecond)/pageCost, 1), max(l.LookupBurst/pageCost, 20)),
		registrations: newLimiter(rate.Limit(l.RegistrationsPerHour)/3600, l.RegistrationBurst),
	}
}

// A limiter is a token bucket for each client address.
type limiter struct {
	mu     sync.Mutex
	rate   rate.Limit
	burst  int
	byHost *lru[netip.Prefix, *rate.Limiter]
}

func newLimiter(r rate.Limit, burst int) *limiter {
	return &limiter{rate: r, burst: burst, byHost: newLRU[netip.Prefix, *rate.Limiter](hosts)}
}

// allow takes a token of a host, or says how long there will be none.
func (l *limiter) allow(host netip.Prefix, now time.Time) (wait time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, known := l.byHost.get(host)
	if !known {
		b = rate.NewLimiter(l.rate, l.burst)
		l.byHost.put(host, b)
	}
	if b.AllowN(now, 1) {
		return 0, true
	}
	r := b.ReserveN(now, 1)
	wait = r.DelayFrom(now)
	r.CancelAt(now)
	return wait, false
}

// limited answers 429 if a client asks too much.
func (d *Directory) limited(w http.ResponseWriter, r *http.Request, l *limiter) bool {
	wait, ok := l.allow(d.clientOf(r), d.o.Now())
	if !ok {
		d.tooMany(w, wait, "too many requests; try again later")
	}
	return !ok
}

func (d *Directory) tooMany(w http.ResponseWriter, wait time.Duration, said string) {
	d.counts.limited.Add(1)
	w.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)+1))
	http.Error(w, said, http.StatusTooManyRequests)
}

// clientOf returns the network that a request comes from: behind a proxy that we
// believe, what it says of who spoke to it.
func (d *Directory) clientOf(r *http.Request) netip.Prefix {
	ip := remoteIP(r.RemoteAddr)
	if d.isProxy(ip) {
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

func (d *Directory) isProxy(ip netip.Addr) bool {
	for _, p := range d.o.Proxies {
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
