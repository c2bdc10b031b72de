package client

import (
	"context"
	"fmt"
	"time"

	"parley"
)

// A sender is the one connection over which packets go out to a broker. Its
// session ends with it: a packet that was not acknowledged is sent again by who
// wanted it sent.
type sender struct {
	conn *Conn
	key  string
	// of the client, under its mutex:
	busy int
	used time.Time
}

// Send publishes the packet and returns AtRelay once the broker has acknowledged
// it. What that is worth depends on the broker: one without persistence loses it
// when it crashes, and any drops it when nobody has claimed the topic.
// [parley.ErrOffline] after the packet went out may mean that the broker has it
// nevertheless: sent again, it arrives twice.
func (c *Client) Send(ctx context.Context, to parley.Endpoint, packet []byte) (parley.Reach, error) {
	s, a, err := readSecret(to)
	if err != nil {
		return 0, err
	}
	if len(packet) > s.most() {
		return 0, fmt.Errorf("%w: a packet of %d bytes; this mailbox takes %d", parley.ErrRefused, len(packet), s.most())
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	s.ID = ""
	o := c.options(s, a)
	x, err := c.sender(ctx, o)
	if err != nil {
		return 0, err
	}
	defer c.release(x)
	if err := x.conn.publish(ctx, Message{Topic: a.Topic, Payload: packet, QoS: c.o.QoS}, true); err != nil {
		return 0, fmt.Errorf("sending to a topic at %s: %w", a.Broker.Address(), err)
	}
	return parley.AtRelay, nil
}

// sender returns the connection for sending, which is made now or later.
func (c *Client) sender(ctx context.Context, o Options) (*sender, error) {
	key := o.Broker.String() + "\n" + o.Broker.Password
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil {
		return nil, ErrClosed
	}
	x := c.senders[key]
	if x == nil {
		o.Start = Background
		o.OnState = c.state(o.Broker.Address())
		conn, err := Dial(ctx, o)
		if err != nil {
			return nil, err
		}
		x = &sender{conn: conn, key: key, used: time.Now()}
		c.senders[key] = x
		c.wg.Go(func() { c.linger(x) })
	}
	x.busy++
	return x, nil
}

func (c *Client) release(x *sender) {
	c.mu.Lock()
	defer c.mu.Unlock()
	x.busy--
	x.used = time.Now()
}

// linger closes a connection for sending when it was not used for a while.
func (c *Client) linger(x *sender) {
	tick := time.NewTicker(c.o.Linger)
	defer tick.Stop()
	for used := true; used; {
		select {
		case <-tick.C:
			c.mu.Lock()
			if used = x.busy > 0 || time.Since(x.used) < c.o.Linger; !used {
				delete(c.senders, x.key)
			}
			c.mu.Unlock()
		case <-c.ctx.Done():
			c.mu.Lock()
			delete(c.senders, x.key)
			c.mu.Unlock()
			used = false
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), goodbye)
	defer cancel()
	x.conn.Close(ctx)
}

// goodbye is how long the end of a connection may take.
const goodbye = 2 * time.Second
