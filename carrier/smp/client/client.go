// Package smpclient is the carrier over relays that speak SMP of October 2020
// (seeds/smp-2020-10): a [parley.Carrier] and [parley.Binder] for the schemes
// smp2020 and smp2020-plain. It owns the keys of that protocol: RK, SK and EK are
// made fresh for each mailbox, live in [parley.Endpoint.Secret], and only here is
// a body opened.
//
// All endpoints at one relay share one connection, which is made again with
// jittered back-off for as long as anybody needs it. docs/smp2020.md has the
// formats. The way of a packet: send.go seals and signs, link.go finds the
// connection, conn.go correlates; the other way conn.go, boxes.go, and keep.go.
package smpclient

import (
	"context"
	"crypto"
	"errors"
	"net"
	"sync"
	"time"

	"parley"
	"parley/carrier/smp"
)

// Options say how a client behaves. The zero value is good.
type Options struct {
	// Dial connects to HOST:PORT; nil means TCP. Proxies and faults go in here.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// OnState is told when a relay is connected, and when it is not and why (nil:
	// nobody needs it). [ServerKeyError] is the one to show at once. OnState and
	// OnMailbox must return soon and not call the client.
	OnState func(server parley.Address, connected bool, err error)
	// OnMailbox is told of trouble with one mailbox: [ErrTakenOver], or
	// [parley.ErrDenied] when the relay knows it no more.
	OnMailbox func(at parley.Endpoint, err error)
	// Creator returns the key that the relay lets its creators claim mailboxes
	// with, or nil. It is asked at each Claim.
	Creator func(server parley.Address) crypto.Signer

	DialTimeout  time.Duration // until the handshake is done; 20 s
	ReplyTimeout time.Duration // until a relay that does not answer counts as dead; 30 s
	ProbeAfter   time.Duration // of silence; 60 s
	BackoffMin   time.Duration // before the first new attempt to connect; 250 ms
	BackoffMax   time.Duration // before any; 60 s. At once after a wrong key
	Displaced    time.Duration // before a mailbox that another took over is subscribed again; 5 min
	Linger       time.Duration // that an unused connection stays; 2 min
}

func (o Options) withDefaults() Options {
	for _, d := range []struct {
		p *time.Duration
		v time.Duration
	}{
		{&o.DialTimeout, 20 * time.Second}, {&o.ReplyTimeout, 30 * time.Second}, {&o.ProbeAfter, time.Minute},
		{&o.BackoffMin, 250 * time.Millisecond}, {&o.BackoffMax, time.Minute},
		{&o.Displaced, 5 * time.Minute}, {&o.Linger, 2 * time.Minute},
	} {
		if *d.p <= 0 {
			*d.p = d.v
		}
	}
	if o.Dial == nil {
		d := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 6}}
		o.Dial = d.DialContext
	}
	return o
}

// A Client is the carrier. It is safe for concurrent use; Close ends it.
type Client struct {
	o     Options
	ctx   context.Context
	close context.CancelFunc
	wg    sync.WaitGroup

	mu      sync.Mutex
	links   map[smp.Server]*link
	senders map[string]*sender // parsed secrets, by secret
}

var _ parley.Binder = (*Client)(nil)

// New makes a client. It connects when it has to.
func New(o Options) *Client {
	c := &Client{o: o.withDefaults(), links: make(map[smp.Server]*link), senders: make(map[string]*sender)}
	c.ctx, c.close = context.WithCancel(context.Background())
	return c
}

// Close ends all connections; Receive returns, and nothing is acknowledged after it.
func (c *Client) Close() error {
	c.mu.Lock()
	c.close()
	c.mu.Unlock()
	c.wg.Wait()
	return nil
}

// link returns the link to a relay.
func (c *Client) link(s smp.Server) *link {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.links[s]
	if l == nil {
		l = &link{c: c, server: s, boxes: make(map[smp.ID]*box), kick: make(chan struct{}, 1)}
		c.links[s] = l
	}
	return l
}

// start runs f in a goroutine that Close waits for; not after Close.
func (c *Client) start(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil {
		return false
	}
	c.wg.Go(f)
	return true
}

var errClosed = errors.New("the client is closed")
