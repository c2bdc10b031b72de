package smpserver

import (
	"crypto/rsa"
	"time"
)

// Options of a server; a zero field means its default.
type Options struct {
	// Creators, if not empty, are the keys that may create queues: CONN must be
	// signed by one of them. At most MaxCreators.
	Creators []*rsa.PublicKey

	MaxConns  int // connections open at once, handshakes included: 20,000
	MaxPlain  int // plain ones among them: 256
	HostConns int // encrypted ones of one host (IPv4 address or IPv6 /64): three quarters of MaxConns, which is also the most

	MaxHandshakes  int // unfinished handshakes at once: 1,024; the oldest gives way
	HostHandshakes int // of them from one host: 128; the same

	HandshakeTimeout time.Duration // for the whole handshake: 10 s
	IdleTimeout      time.Duration // without a byte and without a subscription: 10 min
	BlockTimeout     time.Duration // from the first byte of a block to its last: 30 s
	PlainTimeout     time.Duration // the same for a plain transmission, typed by hand: 5 min
	WriteTimeout     time.Duration // for the peer to take one block: 30 s

	// Memory bounds the commands under way on all connections together, in bytes
	// as received: 64 MiB.
	Memory int64

	// Trouble is told of faults of the server itself (a disk, a full table). What
	// it is told names no queue, no address and no command. It may be called by
	// several goroutines at once.
	Trouble func(what string, err error)
}

// Bounds of one connection. What waits for them waits in the peer's socket.
const (
	maxInFlight = 64   // commands being executed or waiting their turn
	maxChecks   = 2    // signatures being checked at once
	maxOut      = 128  // responses not yet written; then no command is read
	maxSlots    = 8192 // responses that wait behind a HOLD; then the connection is closed
)

// MaxCreators bounds Options.Creators: a CONN is verified against each.
const MaxCreators = 256

func (o *Options) fill() {
	number := func(n *int, def int) {
		if *n <= 0 {
			*n = def
		}
	}
	duration := func(d *time.Duration, def time.Duration) {
		if *d <= 0 {
			*d = def
		}
	}
	number(&o.MaxConns, 20_000)
	number(&o.MaxPlain, 256)
	number(&o.MaxHandshakes, 1024)
	number(&o.HostConns, max(1, o.MaxConns*3/4))
	o.HostConns = min(o.HostConns, max(1, o.MaxConns*3/4)) // others get in, whatever one host does
	number(&o.HostHandshakes, 128)
	duration(&o.HandshakeTimeout, 10*time.Second)
	duration(&o.IdleTimeout, 10*time.Minute)
	duration(&o.BlockTimeout, 30*time.Second)
	duration(&o.PlainTimeout, 5*time.Minute)
	duration(&o.WriteTimeout, 30*time.Second)
	if o.Memory <= 0 {
		o.Memory = 64 << 20
	}
	if o.Trouble == nil {
		o.Trouble = func(string, error) {}
	}
}
