package broker

import (
	"context"
	"errors"
	"time"

	"parley/broker/store"
)

// sweepBatch is how much one call of the store's Sweep may delete, so that none
// holds up others for long.
const sweepBatch = 1000

func (b *Broker) sweepLoop(ctx context.Context) {
	t := time.NewTicker(b.o.SweepEvery)
	defer t.Stop()
	for {
		b.sweep(ctx)
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// sweep deletes what has expired, answers the holds whose last messages that
// were, and tries again to read what could not be read.
func (b *Broker) sweep(ctx context.Context) {
	for ctx.Err() == nil {
		now := b.o.Now().UTC()
		n, err := b.st.Sweep(ctx, now, now.Add(-b.o.MessageTTL), sweepBatch)
		if err != nil {
			if ctx.Err() == nil && !errors.Is(err, store.ErrClosed) {
				b.o.Trouble("expired messages could not be deleted", err)
			}
			break
		}
		if n < sweepBatch {
			break
		}
	}
	b.readAgain()
	b.mu.Lock()
	held := make([]store.ID, 0, len(b.holds))
	for id := range b.holds {
		held = append(held, id)
	}
	b.mu.Unlock()
	for _, id := range held {
		if ctx.Err() != nil {
			return
		}
		b.drain(ctx, id)
	}
}

// staleRetry is how long a queue rests whose message could not be read: what
// ails the disk, or a lack of file descriptors, may be over by then.
const staleRetry = 2 * time.Second

// readAgain lets the queues be tried whose messages could not be read.
func (b *Broker) readAgain() {
	b.mu.Lock()
	defer b.mu.Unlock()
	stale := b.stale
	b.stale = nil
	for _, s := range stale {
		s.stale = false
		s.ready()
	}
}

// unread notes, with b.mu held, that a message of s could not be read.
func (b *Broker) unread(s *subscription) {
	if s.stale {
		return
	}
	s.stale = true
	b.stale = append(b.stale, s)
	if len(b.stale) == 1 && !b.closed {
		time.AfterFunc(staleRetry, b.readAgain)
	}
}

func errorIsGone(err error) bool { return errors.Is(err, store.ErrNotFound) }
