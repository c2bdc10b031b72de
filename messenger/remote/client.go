package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
)

// A Client is the messenger of another process. It implements messenger.API.
type Client struct {
	wire  *wire
	owner Hello
	more  Sentinels

	mu      sync.Mutex
	next    uint64
	pending map[uint64]*pending
	err     error // why the connection ended
	ended   chan struct{}
}

// pending is a request under way. on, if set, gets what belongs to it, in order;
// it runs on the reading goroutine and must not block.
type pending struct {
	answer chan *frame
	on     func(*frame)
}

// NewClient says hello on conn and owns it from then on.
func NewClient(ctx context.Context, conn net.Conn, more Sentinels) (*Client, error) {
	c := &Client{wire: newWire(conn), more: more, pending: make(map[uint64]*pending), ended: make(chan struct{})}
	go c.read()
	err := c.call(ctx, "hello", Hello{Version: Version, PID: os.Getpid()}, &c.owner)
	switch {
	case err == nil && c.owner.Version == Version:
		return c, nil
	case err == nil || errors.Is(err, ErrVersion):
		err = ErrVersion
	case errors.Is(err, ErrClosing):
		err = ErrGone
	default:
		err = fmt.Errorf("%w: %w", ErrNoAnswer, err)
	}
	c.Close()
	return nil, err
}

// Owner tells what the owner said of itself.
func (c *Client) Owner() Hello { return c.owner }

// Close ends the connection, not the owner.
func (c *Client) Close() error {
	err := c.wire.conn.Close()
	<-c.ended
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Ended is closed when the connection has ended.
func (c *Client) Ended() <-chan struct{} { return c.ended }

func (c *Client) read() {
	defer close(c.ended)
	defer c.wire.conn.Close()
	for {
		f, err := c.wire.read()
		if err == nil {
			err = c.got(f)
		}
		if err != nil {
			c.mu.Lock()
			if c.err = err; err != ErrClosing {
				c.err = fmt.Errorf("%w: %w", ErrGone, err)
			}
			c.mu.Unlock()
			return
		}
	}
}

// got gives a frame to the request it belongs to. What belongs to none came
// after its request was cancelled.
func (c *Client) got(f *frame) error {
	if f.Method == "bye" {
		return ErrClosing
	}
	if f.Method == "" && f.ID == nil {
		return f.Error // the server's last word before it hangs up
	}
	if f.Method == "" {
		c.mu.Lock()
		p := c.pending[*f.ID]
		delete(c.pending, *f.ID)
		c.mu.Unlock()
		if p != nil {
			p.answer <- f // has room for one
		}
		return nil
	}
	var s streamed
	if err := decode(f.Params, &s); err != nil {
		return fmt.Errorf("%s: %w", f.Method, err)
	}
	c.mu.Lock()
	p := c.pending[s.Stream]
	c.mu.Unlock()
	if p != nil && p.on != nil {
		f.Params = s.Value
		p.on(f)
	}
	return nil
}

// call makes a request and waits for its result, or until ctx ends; then the
// other side is told, and may or may not have carried the request out.
func (c *Client) call(ctx context.Context, method string, params, result any) error {
	return c.stream(ctx, method, params, result, nil)
}

func (c *Client) stream(ctx context.Context, method string, params, result any, on func(*frame)) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	p := &pending{answer: make(chan *frame, 1), on: on}
	c.mu.Lock()
	c.next++
	id := c.next
	c.pending[id] = p
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.pending, id)
		c.mu.Unlock()
	}()
	if err := c.wire.write(&frame{ID: &id, Method: method, Params: encode(params)}); err != nil {
		if errors.Is(err, errLong) {
			return err
		}
		return c.gone()
	}
	var f *frame
	select {
	case f = <-p.answer:
	case <-ctx.Done():
		c.wire.write(&frame{Method: "cancel", Params: encode(streamed{Stream: id})})
		return context.Cause(ctx)
	case <-c.ended:
		select {
		case f = <-p.answer: // it was the last thing said
		default:
			return c.gone()
		}
	}
	if f.Error != nil {
		f.Error.more = c.more
		return f.Error
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(f.Result, result); err != nil {
		return fmt.Errorf("the owner's answer to %s: %w", method, err)
	}
	return nil
}

func (c *Client) gone() error {
	c.wire.conn.Close()
	<-c.ended
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}
