package client

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"parley"
	"parley/carrier/mqtt"
)

// ClientOptions say how a [Client] behaves. The zero value is good.
type ClientOptions struct {
	// Credentials returns who we are to a broker; nil or "" mean what it returned
	// when the mailbox was claimed or joined, and then nobody in particular.
	Credentials func(broker mqtt.Broker) (user, password string)
	TLS         *tls.Config // see [Options]
	// OnState is told when a broker is connected, and when it is not and why (nil:
	// nobody needs it). It has a broker's address without topic. OnState and
	// OnMailbox must return soon and not call the client.
	OnState func(broker parley.Address, connected bool, err error)
	// OnMailbox is told of trouble with one mailbox: [ErrTakenOver],
	// [ErrSessionLost], or [parley.ErrDenied] when the broker lets us read no more.
	OnMailbox func(at parley.Endpoint, err error)
	Dial      func(ctx context.Context, network, address string) (net.Conn, error) // nil: TCP
	Log       *slog.Logger                                                         // nil: none

	QoS           byte          // of packets: 1, or 2 for exactly once; 0 means 1
	Version       int           // see [Options]
	Max           int           // largest packet in bytes; 64 KiB. Both ends need the same, and the broker must take it
	SessionExpiry time.Duration // how long a broker keeps packets for a mailbox that nobody reads; 30 days. Never none
	Linger        time.Duration // that an unused connection for sending stays; 2 min

	KeepAlive, DialTimeout, ReplyTimeout time.Duration // see [Options]
	BackoffMin, BackoffMax, Displaced    time.Duration
	RetryMin, RetryMax                   time.Duration
	Jitter                               func() float64
}

// DefaultMax is the largest packet in bytes of a mailbox unless the options say
// otherwise.
const DefaultMax = 64 << 10

func (o ClientOptions) withDefaults() ClientOptions {
	if o.QoS != 2 {
		o.QoS = 1
	}
	if o.Max <= 0 {
		o.Max = DefaultMax
	}
	o.Max = min(o.Max, maxRemaining-mqtt.MaxTopic-16)
	if o.SessionExpiry <= 0 {
		o.SessionExpiry = 30 * 24 * time.Hour
	}
	if o.Linger <= 0 {
		o.Linger = 2 * time.Minute
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// A Client is the carrier over topics of MQTT brokers: a [parley.Carrier] for the
// schemes mqtt and mqtts. A mailbox is a topic, so what anybody publishes there
// comes to everybody who has claimed it, ourselves included: it is for the layers
// above to know their own messages and those of strangers.
//
// Each mailbox has a session of its own at the broker, which collects packets from
// Claim on, whether anybody receives or not. All that is sent to a broker goes over
// one connection. It is safe for concurrent use; Close ends it.
type Client struct {
	o     ClientOptions
	ctx   context.Context
	close context.CancelFunc
	wg    sync.WaitGroup

	mu      sync.Mutex
	senders map[string]*sender
	reading map[string]bool // client IDs of mailboxes that are being received from
	up      map[string]int  // connections by broker
}

var _ parley.Carrier = (*Client)(nil)

// New makes a client. It connects when it has to.
func New(o ClientOptions) *Client {
	c := &Client{o: o.withDefaults(), senders: make(map[string]*sender), reading: make(map[string]bool), up: make(map[string]int)}
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

// Claim subscribes to the topic with a new session, which collects packets from
// then on, and returns once the broker has agreed. [parley.ErrDenied] says that the
// broker refuses us or the topic.
func (c *Client) Claim(ctx context.Context, at parley.Address) (parley.Endpoint, error) {
	a, err := mqtt.ParseAddress(at)
	if err != nil {
		return parley.Endpoint{}, fmt.Errorf("%w: %w", parley.ErrRefused, err)
	}
	s := c.secret(a)
	s.ID = newClientID()
	e, err := c.endpoint(a, s)
	if err != nil {
		return parley.Endpoint{}, err
	}
	ctx, cancel := c.while(ctx)
	defer cancel()
	conn, err := Dial(ctx, c.options(s, a))
	if err != nil {
		return parley.Endpoint{}, err
	}
	err = conn.Subscribe(ctx, a.Topic, c.o.QoS, func(Message) error { return errLater })
	if bye := conn.Close(ctx); err == nil {
		err = bye
	}
	if err != nil {
		return parley.Endpoint{}, fmt.Errorf("claiming %s: %w", a, err)
	}
	return e, nil
}

// Join makes the end that publishes to the topic. It asks nobody.
func (c *Client) Join(ctx context.Context, mailbox parley.Address) (parley.Endpoint, error) {
	a, err := mqtt.ParseAddress(mailbox)
	if err != nil {
		return parley.Endpoint{}, fmt.Errorf("%w: %w", parley.ErrRefused, err)
	}
	if err := ctx.Err(); err != nil {
		return parley.Endpoint{}, err
	}
	return c.endpoint(a, c.secret(a))
}

// Delete makes the broker forget the session of a mailbox, and what waits in it.
// It may be repeated. An end for sending has nothing to delete.
func (c *Client) Delete(ctx context.Context, at parley.Endpoint) error {
	s, a, err := readSecret(at)
	if err != nil || s.ID == "" {
		return err
	}
	ctx, cancel := c.while(ctx)
	defer cancel()
	if err := Forget(ctx, c.options(s, a)); err != nil {
		return fmt.Errorf("deleting the mailbox at %s: %w", a.Broker.Address(), err)
	}
	return nil
}

// while is ctx until the client is closed.
func (c *Client) while(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(c.ctx, func() { cancel(ErrClosed) })
	return ctx, func() { stop(); cancel(nil) }
}

// options returns how to connect for an endpoint.
func (c *Client) options(s secret, a mqtt.Address) Options {
	b := a.Broker
	b.User, b.Password = s.User, s.Password
	if c.o.Credentials != nil {
		if user, password := c.o.Credentials(a.Broker); user != "" {
			b.User, b.Password = user, password
		}
	}
	return Options{
		Broker: b, ClientID: s.ID, Version: c.o.Version, SessionExpiry: c.o.SessionExpiry,
		TLS: c.o.TLS, MaxPacket: max(s.most()+len(a.Topic)+16, defaultPacket), Dial: c.o.Dial, Jitter: c.o.Jitter, Log: c.o.Log,
		KeepAlive: c.o.KeepAlive, DialTimeout: c.o.DialTimeout, ReplyTimeout: c.o.ReplyTimeout,
		BackoffMin: c.o.BackoffMin, BackoffMax: c.o.BackoffMax, Displaced: c.o.Displaced,
		RetryMin: c.o.RetryMin, RetryMax: c.o.RetryMax,
	}
}

// state counts the connections to a broker, of which there is one for sending and
// one for each mailbox: it is connected as long as one of them is.
func (c *Client) state(broker string) func(bool, error) {
	was := false
	return func(connected bool, err error) {
		c.mu.Lock()
		before := c.up[broker]
		if connected != was {
			was = connected
			if connected {
				c.up[broker]++
			} else {
				c.up[broker]--
			}
		}
		now := c.up[broker]
		if now == 0 {
			delete(c.up, broker)
		}
		c.mu.Unlock()
		if c.o.OnState != nil && (now == 0 || before == 0) {
			c.o.OnState(parley.Address(broker), now > 0, err)
		}
	}
}
