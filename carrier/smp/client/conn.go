package smpclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"parley"
	"parley/carrier/smp"
)

// A Reply is what a relay answers to one command.
type Reply struct {
	Verb              smp.Verb // OK, IDS or ERR
	Recipient, Sender smp.ID   // of IDS
	Code              smp.Code // of ERR
}

// Err returns the code of ERR, else nil.
func (r Reply) Err() error {
	if r.Verb == smp.ERR {
		return r.Code
	}
	return nil
}

// An Event is what a relay says unasked: MSG or END.
type Event struct {
	Verb smp.Verb
	ID   smp.ID // RID
	Time time.Time
	Body []byte // as it came, sealed
}

// A Conn is one connection to a relay, the layer below Claim, Send and Receive,
// for measurements and crash tests: commands out, replies matched to them in
// order for each connection ID, events in. It is safe for concurrent use.
type Conn struct {
	o      Options
	wire   *smp.Conn
	events func(Event)
	heard  atomic.Int64 // when something came last, Unix nanoseconds
	wake   chan struct{}
	done   chan struct{}

	mu      sync.Mutex
	err     error
	queue   [][]byte
	calls   map[smp.ID][]func(Reply, error)
	waiting int // calls in all
	probing bool
	timer   *time.Timer
	idle    sync.WaitGroup
}

// Dial connects and shakes hands. events is called from the goroutine that
// reads, so it must not wait for anything; nil throws them away. ctx is for
// connecting only.
func Dial(ctx context.Context, server smp.Server, o Options, events func(Event)) (*Conn, error) {
	if server.Plain && !server.Loopback() {
		return nil, ErrPlain
	}
	o = o.withDefaults()
	ctx, cancel := context.WithTimeout(ctx, o.DialTimeout)
	defer cancel()
	nc, err := o.Dial(ctx, "tcp", server.HostPort())
	if err != nil {
		return nil, err
	}
	wire, err := shake(ctx, nc, server)
	if err != nil {
		nc.Close()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		if errors.Is(err, smp.ErrServerKey) {
			return nil, &ServerKeyError{parley.Address(server.String())}
		}
		return nil, fmt.Errorf("connecting to %s: %w", server, err)
	}
	if events == nil {
		events = func(Event) {}
	}
	c := &Conn{o: o, wire: wire, events: events, wake: make(chan struct{}, 1), done: make(chan struct{}), calls: make(map[smp.ID][]func(Reply, error))}
	c.heard.Store(time.Now().UnixNano())
	c.mu.Lock()
	c.timer = time.AfterFunc(o.ProbeAfter, c.probe)
	c.mu.Unlock()
	c.idle.Go(c.read)
	c.idle.Go(c.write)
	return c, nil
}

// shake does the handshake until ctx is done.
func shake(ctx context.Context, nc net.Conn, server smp.Server) (*smp.Conn, error) {
	if server.Plain {
		return smp.Plain(nc, smp.ClientSide, 0), nil
	}
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	wire, err := smp.Connect(nc, server.KeyHash)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	return wire, err
}

// Close closes the connection; commands without a reply fail.
func (c *Conn) Close() error {
	c.fail(errClosed)
	c.idle.Wait()
	return nil
}

// Done is closed when the connection is of no more use; Err says why.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err returns why the connection ended, nil before.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Do sends a command, signed or not, and waits for its reply.
func (c *Conn) Do(ctx context.Context, t *smp.Transmission) (Reply, error) {
	return c.DoRaw(ctx, t.ID, t.Append(nil))
}

// DoRaw is Do for a command formatted before by [smp.Transmission.Append]. When
// ctx ends first, the command may have been done or may yet be.
func (c *Conn) DoRaw(ctx context.Context, id smp.ID, raw []byte) (Reply, error) {
	type result struct {
		Reply
		err error
	}
	if err := ctx.Err(); err != nil {
		return Reply{}, err
	}
	ch := make(chan result, 1)
	if err := c.Start(id, raw, func(r Reply, err error) { ch <- result{r, err} }); err != nil {
		return Reply{}, err
	}
	select {
	case r := <-ch:
		return r.Reply, r.err
	case <-ctx.Done():
		return Reply{}, ctx.Err()
	}
}

// Start queues a command and returns. When it returns nil, done will be called
// once: with the reply, from the goroutine that reads, or with why there will be
// none. It must not wait.
func (c *Conn) Start(id smp.ID, raw []byte, done func(Reply, error)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	if c.wire.Encrypted() && len(raw) > smp.ContentSize {
		return smp.ErrTooLarge
	}
	c.queue = append(c.queue, raw)
	c.calls[id] = append(c.calls[id], done)
	c.waiting++
	select {
	case c.wake <- struct{}{}:
	default:
	}
	return nil
}

// busy reports whether replies are missing that somebody waits for: a probe of ours
// does not make the connection one in use.
func (c *Conn) busy() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.waiting
	if c.probing {
		n--
	}
	return n > 0
}

// write sends what has come together since the last time, many in a block.
func (c *Conn) write() {
	var batch [][]byte
	for {
		select {
		case <-c.wake:
		case <-c.done:
			return
		}
		c.mu.Lock()
		batch, c.queue = c.queue, batch[:0]
		c.mu.Unlock()
		c.wire.NetConn().SetWriteDeadline(time.Now().Add(c.o.ReplyTimeout))
		if err := c.wire.SendRaw(batch...); err != nil {
			c.fail(err)
			return
		}
		clear(batch)
	}
}

func (c *Conn) read() {
	var t smp.Transmission
	for {
		if err := c.wire.Next(&t); err != nil {
			if err == io.EOF {
				err = errors.New("the relay has closed the connection")
			}
			c.fail(err)
			return
		}
		c.heard.Store(time.Now().UnixNano())
		if t.Verb == smp.MSG || t.Verb == smp.END {
			c.events(Event{t.Verb, t.ID, t.Time, append([]byte(nil), t.Body...)})
			continue
		}
		c.mu.Lock()
		calls := c.calls[t.ID]
		if len(calls) == 0 {
			c.mu.Unlock()
			c.fail(errReply)
			return
		}
		if c.waiting--; len(calls) == 1 {
			delete(c.calls, t.ID)
		} else {
			c.calls[t.ID] = calls[1:]
		}
		c.mu.Unlock()
		calls[0](Reply{t.Verb, t.Recipient, t.Sender, t.Code}, nil)
	}
}

// fail ends the connection, the first time.
func (c *Conn) fail(err error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = err
	calls := c.calls
	c.calls, c.queue, c.waiting = nil, nil, 0
	c.timer.Stop()
	c.mu.Unlock()
	c.wire.Close()
	close(c.done)
	for _, q := range calls {
		for _, done := range q {
			done(Reply{}, err)
		}
	}
}
