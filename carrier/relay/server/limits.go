package server

import (
	"net/http"
	"net/netip"
	"time"

	"parley/carrier/relay"
	"parley/internal/frontlimit"
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

type limiters struct{ requests, mailboxes *frontlimit.Rate }

func newLimiters(l Limits) *limiters {
	return &limiters{
		requests:  frontlimit.NewRate(float64(l.RequestsPerSecond), l.RequestBurst),
		mailboxes: frontlimit.NewRate(float64(l.NewMailboxesPerHour)/3600, l.NewMailboxBurst),
	}
}

func (s *Server) clientOf(r *http.Request) netip.Prefix {
	return frontlimit.Proxies(s.o.Proxies).Client(r)
}
