package client

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"parley"
)

// Receive goes on with the sessions of the mailboxes and calls keep with each
// packet until ctx is done, whatever the network does meanwhile. It calls keep for
// one packet of a mailbox at a time, but for several mailboxes at the same time. A
// packet is acknowledged after keep has returned nil; when keep fails, it is called
// again with the same packet, after a second, then less and less often, up to a
// minute. A packet whose acknowledgement got lost comes to keep again.
//
// Everything that is published to the topic comes, also what we send ourselves and
// what the broker has retained. A message larger than the mailbox's Max is let go.
//
// It returns ctx's error, or at once if an endpoint is none of ours or is being
// received from already. When it has returned, keep is not called any more.
func (c *Client) Receive(ctx context.Context, at []parley.Endpoint, keep func(i int, d parley.Delivery) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	boxes := make([]box, 0, len(at))
	defer func() {
		var wg sync.WaitGroup
		for _, b := range boxes {
			wg.Go(b.close)
		}
		wg.Wait()
	}()
	for i, e := range at {
		b, err := c.box(ctx, e, func(d parley.Delivery) error { return keep(i, d) })
		if err != nil {
			return fmt.Errorf("mailbox %d: %w", i, err)
		}
		boxes = append(boxes, b)
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-c.ctx.Done():
		return ErrClosed
	}
}

// A box is a mailbox that is being received from.
type box struct {
	conn  *Conn
	close func()
}

// box begins to receive from a mailbox.
func (c *Client) box(ctx context.Context, e parley.Endpoint, keep func(parley.Delivery) error) (box, error) {
	s, a, err := readSecret(e)
	if err != nil {
		return box{}, err
	}
	if s.ID == "" {
		return box{}, fmt.Errorf("%w: this end is for sending", errSecret)
	}
	most := s.most()
	sub := &subscription{filter: a.Topic, qos: c.o.QoS, kept: true, fresh: true, handle: func(m Message) error {
		if len(m.Payload) > most {
			c.o.Log.Warn("mqtt: a packet is larger than its mailbox allows and was let go", "broker", a.Broker.Address(), "limit", most)
			return nil
		}
		return keep(parley.Delivery{Packet: m.Payload})
	}}
	o := c.options(s, a)
	o.Start = Background
	// What the session has for topics that are not this mailbox is nobody's.
	o.Rest = func(Message) error { return nil }
	tell := c.state(a.Broker.Address())
	o.OnState = func(connected bool, err error) {
		tell(connected, err)
		if errors.Is(err, ErrTakenOver) || errors.Is(err, parley.ErrDenied) {
			c.trouble(e, err)
		}
	}
	o.OnSession = func(present bool) {
		if !present {
			c.trouble(e, ErrSessionLost)
		}
	}
	o.onLoss = func(err error) { c.trouble(e, err) }

	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil {
		return box{}, ErrClosed
	}
	if c.reading[s.ID] {
		return box{}, ErrReceiving
	}
	conn, err := dial(ctx, o, []*subscription{sub})
	if err != nil {
		return box{}, err
	}
	c.reading[s.ID] = true
	c.wg.Add(1)
	return box{conn, func() {
		defer c.wg.Done()
		ctx, cancel := context.WithTimeout(context.Background(), goodbye)
		defer cancel()
		conn.Close(ctx)
		c.mu.Lock()
		delete(c.reading, s.ID)
		c.mu.Unlock()
	}}, nil
}

func (c *Client) trouble(at parley.Endpoint, err error) {
	if c.o.OnMailbox != nil {
		c.o.OnMailbox(at, err)
	}
}
