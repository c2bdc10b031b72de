// Package client is the carrier over mailboxes of One Time Chat's relay: a
// [parley.Carrier] for the schemes otc and otcs, for our relay and for the original's.
package client

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"time"

	"parley"
	"parley/carrier/relay"
)

// Options say how a [Client] behaves. The zero value is good.
type Options struct {
	// Self is the name under which packets go to mailboxes whose address says none; ""
	// is "-".
	Self string
	TLS  *tls.Config // of otcs; nil: the system's certificates
	// OnState is told when a relay answers again, and when it does not and why (nil:
	// nobody needs it). It must return soon and not call the client.
	OnState func(relay parley.Address, connected bool, err error)
	// OnMailbox is told why one mailbox cannot be received from, though its relay answers:
	// [parley.ErrDenied] when its token is not right any more.
	OnMailbox func(at parley.Endpoint, err error)
	// OnSkipped is told of each message that is no packet, nor ever can be, and was passed
	// over: anybody may send to an open mailbox.
	OnSkipped func(at parley.Endpoint, ref int64)

	Max     int           // largest packet in bytes; 1 MiB
	Wait    time.Duration // that a relay waits with its answer for a message; 55 s, at most 60 s
	Poll    time.Duration // between questions to a relay that does not wait; 2 s
	Timeout time.Duration // of one request, beside its waiting; 30 s
	// After trouble, the next try comes in BackoffMin (1 s), then less and less often, up
	// to BackoffMax (1 min).
	BackoffMin, BackoffMax time.Duration
}

// DefaultMax is the largest packet in bytes unless the options say otherwise.
const DefaultMax = 1 << 20

// noName stands where a sender has no name.
const noName = "-"

func (o Options) withDefaults() Options {
	if o.Self == "" || relay.CheckUID(o.Self) != nil {
		o.Self = noName
	}
	if o.Max <= 0 {
		o.Max = DefaultMax
	}
	o.Max = min(o.Max, relay.MaxContents/4*3)
	o.Wait = min(orTime(o.Wait, 55*time.Second), relay.MaxWait*time.Second)
	o.Poll = orTime(o.Poll, 2*time.Second)
	o.Timeout = orTime(o.Timeout, 30*time.Second)
	o.BackoffMin = orTime(o.BackoffMin, time.Second)
	o.BackoffMax = max(orTime(o.BackoffMax, time.Minute), o.BackoffMin)
	return o
}

func orTime(d, or time.Duration) time.Duration {
	if d <= 0 {
		return or
	}
	return d
}

func newHTTP(ctx context.Context, o Options) *http.Client {
	dialer := &net.Dialer{Timeout: min(o.Timeout, 10*time.Second)}
	// A connection ends with the client, also one that was made for a request which is over.
	dial := func(c context.Context, network, address string) (net.Conn, error) {
		nc, err := dialer.DialContext(c, network, address)
		if err != nil {
			return nil, err
		}
		return &conn{nc, context.AfterFunc(ctx, func() { nc.Close() })}, nil
	}
	return &http.Client{
		Transport: &http.Transport{
			DialContext: dial, TLSClientConfig: o.TLS, TLSHandshakeTimeout: min(o.Timeout, 10*time.Second),
			IdleConnTimeout: time.Minute, MaxIdleConnsPerHost: 8, MaxResponseHeaderBytes: 64 << 10, DisableCompression: true,
		},
		// A token goes to the relay of the address and nowhere else.
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return fmt.Errorf("%w: the relay sends us elsewhere", parley.ErrRefused)
		},
	}
}

type conn struct {
	net.Conn
	stop func() bool
}

func (c *conn) Close() error {
	c.stop()
	return c.Conn.Close()
}
