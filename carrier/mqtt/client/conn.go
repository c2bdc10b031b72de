package client

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"parley/carrier/mqtt"
)

// A Conn is a session with a broker that lives as long as the Conn does, over as
// many connections as it takes: each that ends is made again after a pause that
// doubles and is drawn by lot. It is safe for concurrent use; Close ends it.
type Conn struct {
	o      Options
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	poke   chan struct{} // the handler has something to look at
	idle   chan struct{} // closed when no handler will run any more
	cut    chan struct{} // closed when the end must not wait any longer

	cutOnce sync.Once

	mu      sync.Mutex
	link    *link         // nil when not connected
	changed chan struct{} // closed when link, err or trying change
	err     error         // why not connected
	trying  bool          // an attempt is under way
	version int           // that the broker spoke; 0 before
	forget  bool          // at the end

	subs  []*subscription
	asked map[uint16]func(*packet, error) // SUBSCRIBE and UNSUBSCRIBE under way

	out     map[uint16]*outgoing // published, not acknowledged
	waiting []*outgoing          // not published yet
	order   []*outgoing          // those of out, in order
	lastID  uint16

	inbox   []*incoming     // to be handled, in order
	parked  []*incoming     // that nobody wants yet
	held    int             // bytes in both
	handled map[uint16]bool // QoS 2, handled; PUBREL has not come
	gone    map[string]bool // filters unsubscribed from
}

// Dial connects to a broker. What it waits for is o.Start's to say; ctx is for
// that only. Errors are [parley.ErrDenied] when the broker refuses user, password
// or rights, [parley.ErrRefused] when it will not have us or the options are
// wrong, and [parley.ErrOffline] for the rest, a [*CertificateError] among them.
func Dial(ctx context.Context, o Options) (*Conn, error) { return dial(ctx, o, nil) }

// dial is Dial with subscriptions that are there before the first message.
func dial(ctx context.Context, o Options, subs []*subscription) (*Conn, error) {
	o = o.withDefaults()
	if err := o.check(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c := &Conn{
		o: o, version: o.Version, subs: subs,
		poke: make(chan struct{}, 1), idle: make(chan struct{}), cut: make(chan struct{}), changed: make(chan struct{}),
		asked: make(map[uint16]func(*packet, error)), out: make(map[uint16]*outgoing), handled: make(map[uint16]bool), gone: make(map[string]bool),
	}
	if o.Broker.User != "" && !o.Broker.TLS && !o.Broker.Loopback() {
		o.Log.Warn("mqtt: without TLS the password travels for all to read; use mqtts://", "broker", o.Broker.Address())
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.wg.Go(c.run)
	c.wg.Go(c.handle)
	if o.Start == Background {
		return c, nil
	}
	if err := c.await(ctx, o.Start); err != nil {
		c.cutOnce.Do(func() { close(c.cut) })
		c.close(ctx, false)
		return nil, err
	}
	return c, nil
}

// await waits for a connection, or for the reason why there will be none.
func (c *Conn) await(ctx context.Context, s Start) error {
	for {
		c.mu.Lock()
		link, err, changed := c.link, c.err, c.changed
		c.mu.Unlock()
		switch {
		case link != nil:
			return nil
		case err != nil && (s == Once || hopeless(err) || errors.Is(err, ErrTakenOver)):
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}

// Connected reports whether the broker is connected now and, if not, why.
func (c *Conn) Connected() (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.link != nil, c.err
}

// Version returns the version that the broker speaks, 0 before the first connection.
func (c *Conn) Version() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.version
}

// ClientID returns what the broker knows the session by.
func (c *Conn) ClientID() string { return c.o.ClientID }

// Close ends the Conn: it waits for the handler that is running, acknowledges what
// was handled, and tells the broker, which keeps the session if it may. When ctx
// ends first, the connection is cut. No handler runs after it; do not call it from
// one. Publish and Subscribe return [ErrClosed].
func (c *Conn) Close(ctx context.Context) error {
	_, err := c.close(ctx, false)
	return err
}

// Forget is Close, and the broker forgets the session and what waits in it. For
// this 3.1.1 takes a connection of its own.
func (c *Conn) Forget(ctx context.Context) error {
	if told, err := c.close(ctx, true); told && err == nil && c.Version() == mqtt.V5 {
		return nil
	}
	return Forget(ctx, c.o)
}

// close reports whether the broker was connected.
func (c *Conn) close(ctx context.Context, forget bool) (connected bool, err error) {
	c.mu.Lock()
	connected = c.link != nil
	c.forget = c.forget || forget
	c.mu.Unlock()
	c.cancel()
	quiet := make(chan struct{})
	go func() {
		defer close(quiet)
		c.wg.Wait()
	}()
	select {
	case <-quiet:
		return connected, nil
	case <-ctx.Done():
	}
	c.cutOnce.Do(func() { close(c.cut) })
	<-quiet
	return connected, ctx.Err()
}

// Forget makes a broker forget the session of o.ClientID, and what waits in it.
func Forget(ctx context.Context, o Options) error {
	o.SessionExpiry, o.Will = -1, nil
	o = o.withDefaults()
	if err := o.check(); err != nil {
		return err
	}
	n, err := attempt(ctx, &o, o.Version, true)
	if err != nil {
		return err
	}
	return n.leave(&o)
}

// leave says good-bye, waits a moment for the broker to hang up, and closes.
func (n *connected) leave(o *Options) error {
	defer n.nc.Close()
	bye, err := n.codec.encode(&packet{kind: kDisconnect})
	if err != nil {
		return err
	}
	n.nc.SetWriteDeadline(time.Now().Add(o.ReplyTimeout))
	if _, err = n.nc.Write(bye); err != nil {
		return offline(err)
	}
	n.nc.SetReadDeadline(time.Now().Add(parting))
	io.Copy(io.Discard, n.r)
	return nil
}
