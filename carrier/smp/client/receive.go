package smpclient

import (
	"context"
	"fmt"
	"sync"

	"parley"
	"parley/carrier/smp"
)

// Receive subscribes to the mailboxes and calls keep with each packet until ctx
// is done, whatever the network does meanwhile. It calls keep for one packet of a
// mailbox at a time, but for several mailboxes at the same time. A packet is
// acknowledged after keep has returned nil; when keep fails, it is called again
// with the same packet, after a second, then less and less often, up to a minute.
// A packet that the relay delivers again, because its acknowledgement got lost,
// comes to keep again. It may be called for each mailbox apart: all share the
// relay's connection.
//
// It returns ctx's error, or at once if an endpoint is none of ours or is being
// received from already. When it has returned, keep is not called any more.
func (c *Client) Receive(ctx context.Context, at []parley.Endpoint, keep func(i int, d parley.Delivery) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	var wg sync.WaitGroup
	boxes := make([]*box, 0, len(at))
	defer wg.Wait()
	defer func() {
		cancel()
		for _, b := range boxes {
			b.stop()
			b.link.remove(b)
		}
	}()
	for i, e := range at {
		b, err := c.box(e)
		if err != nil {
			return fmt.Errorf("mailbox %d: %w", i, err)
		}
		b.ctx, b.wg = ctx, &wg
		b.keep = func(d parley.Delivery) error { return keep(i, d) }
		if err := b.link.add(b); err != nil {
			return fmt.Errorf("mailbox %d: %w", i, err)
		}
		boxes = append(boxes, b)
	}
	<-ctx.Done()
	if c.ctx.Err() != nil {
		return offline(errClosed)
	}
	return ctx.Err()
}

func (c *Client) box(e parley.Endpoint) (*box, error) {
	r, err := parseRecipient(e)
	if err != nil {
		return nil, err
	}
	b := &box{recipient: r, endpoint: e, link: c.link(r.server), poke: make(chan struct{}, 1)}
	b.sub, err = b.command(smp.SUB)
	return b, err
}
