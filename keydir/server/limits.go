package server

import (
	"net/http"
	"strconv"
	"time"

	"parley/internal/frontlimit"
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

// pageCost is how many requests a page of the log counts as.
const pageCost = 50

type limiters struct{ lookups, pages, registrations *frontlimit.Rate }

func newLimiters(l Limits) *limiters {
	return &limiters{
		lookups: frontlimit.NewRate(float64(l.LookupsPerSecond), l.LookupBurst),
		// A page of the log is what many look-ups are.
		pages:         frontlimit.NewRate(max(float64(l.LookupsPerSecond)/pageCost, 1), max(l.LookupBurst/pageCost, 20)),
		registrations: frontlimit.NewRate(float64(l.RegistrationsPerHour)/3600, l.RegistrationBurst),
	}
}

// limited answers 429 if a client asks too much.
func (d *Directory) limited(w http.ResponseWriter, r *http.Request, l *frontlimit.Rate) bool {
	wait, ok := l.Allow(frontlimit.Proxies(d.o.Proxies).Client(r), d.o.Now())
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
