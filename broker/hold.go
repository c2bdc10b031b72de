package broker

import (
	"context"

	"parley/broker/store"
)

// A hold is a front that waits until a suspended queue has been drained.
type hold struct {
	conn    *Conn
	drained func(error)
}

// Hold suspends the queue, durably: from now on it refuses messages, and it
// expires. drained is called once: with nil when all its messages have been
// acknowledged or have expired, at once if there are none; with
// [store.ErrNotFound] when the queue was deleted before; never after Close of
// this connection, nor when Hold returns an error. It may be repeated.
func (c *Conn) Hold(ctx context.Context, id store.ID, drained func(error)) error {
	b := c.b
	if err := b.suspend(ctx, id); err != nil {
		return err
	}
	b.mu.Lock()
	if c.closed {
		b.mu.Unlock()
		return store.ErrClosed
	}
	b.holds[id] = append(b.holds[id], hold{c, drained})
	if c.holding == nil {
		c.holding = make(map[store.ID]struct{})
	}
	c.holding[id] = struct{}{}
	b.mu.Unlock()
	// No message can be added any more, so the count only falls: looking after
	// the hold was noted misses nothing.
	b.drain(ctx, id)
	return nil
}

// drain answers the holds of a queue if it is empty or gone.
func (b *Broker) drain(ctx context.Context, id store.ID) {
	n, err := b.st.Len(ctx, id)
	switch {
	case err == nil && n == 0:
	case err != nil && errorIsGone(err):
		err = store.ErrNotFound
	case err != nil:
		b.o.Trouble("a queue could not be counted", err)
		return // the sweep looks again
	default:
		return
	}
	b.mu.Lock()
	b.release(id, err)
	b.mu.Unlock()
}

// release ends all holds of a queue.
func (b *Broker) release(id store.ID, err error) {
	hs := b.holds[id]
	delete(b.holds, id)
	for _, h := range hs {
		delete(h.conn.holding, id)
		h.drained(err)
	}
}

// dropHolds forgets a connection's holds of a queue.
func (b *Broker) dropHolds(c *Conn, id store.ID) {
	var rest []hold
	for _, h := range b.holds[id] {
		if h.conn != c {
			rest = append(rest, h)
		}
	}
	if rest == nil {
		delete(b.holds, id)
	} else {
		b.holds[id] = rest
	}
}
