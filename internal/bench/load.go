package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"parley/carrier/smp"
)

// A worker is one connection under load, sender and recipient of its queues.
type worker struct {
	l      *link
	queues []*queue
	turn   int

	whole, delivery Histogram
}

// message sends one message, waits for its delivery, acknowledges it, and waits
// for that to be answered. Latencies count from the given time.
func (w *worker) message(from time.Time) error {
	q := w.queues[w.turn%len(w.queues)]
	w.turn++
	if err := w.l.patience(); err != nil {
		return err
	}
	if err := w.l.SendRaw(q.send); err != nil {
		return err
	}
	for answered, delivered := false, false; !answered || !delivered; {
		t, err := w.l.next()
		switch {
		case err != nil:
			return err
		case t.Verb == smp.MSG && t.ID == q.recipient && !delivered:
			if len(t.Body) != q.size {
				return fmt.Errorf("a body of %d bytes came with %d", q.size, len(t.Body))
			}
			delivered = true
			w.delivery.Add(time.Since(from))
		case t.Verb == smp.OK && t.ID == q.sender && !answered:
			answered = true
		default:
			return unexpected("SEND", t)
		}
	}
	if err := w.l.SendRaw(q.ack); err != nil {
		return err
	}
	if t, err := w.l.next(); err != nil {
		return err
	} else if t.Verb != smp.OK || t.ID != q.recipient {
		return unexpected("ACK", t)
	}
	w.whole.Add(time.Since(from))
	return nil
}

// Load is what a relay did under load.
type Load struct {
	Messages        uint64
	Elapsed         time.Duration
	Whole, Delivery Histogram // SEND until ACK's OK; SEND until MSG
	BlocksIn        uint64    // that the relay got
	BlocksOut       uint64    // that the relay sent
}

// PerSecond is the rate of messages.
func (l *Load) PerSecond() float64 { return float64(l.Messages) / l.Elapsed.Seconds() }

func (l *Load) merge(o *Load) {
	l.Messages += o.Messages
	l.Elapsed += o.Elapsed
	l.Whole.Merge(&o.Whole)
	l.Delivery.Merge(&o.Delivery)
	l.BlocksIn += o.BlocksIn
	l.BlocksOut += o.BlocksOut
}

// closed runs all workers for d, each with the next message as soon as the last
// is done: what the relay can take.
func closed(ctx context.Context, workers []*worker, d time.Duration) (*Load, error) {
	return drive(ctx, workers, func(w *worker, _ int, begin time.Time) error {
		for time.Since(begin) < d {
			if err := w.message(time.Now()); err != nil {
				return err
			}
		}
		return nil
	})
}

// paced runs the workers for d at a rate of so many messages per second in all.
// Each draws its arrivals beforehand, at exponential distances, and a message
// that has to wait for the one before it has been waiting since its arrival: no
// stall of the relay can hide messages that should have come in it.
func paced(ctx context.Context, workers []*worker, d time.Duration, rate float64) (*Load, error) {
	return drive(ctx, workers, func(w *worker, i int, begin time.Time) error {
		rng := rand.New(rand.NewPCG(uint64(i), 1))
		gap := func() time.Duration {
			return time.Duration(rng.ExpFloat64() * float64(len(workers)) / rate * float64(time.Second))
		}
		timer := time.NewTimer(0)
		defer timer.Stop()
		for at := begin.Add(gap()); at.Sub(begin) < d; at = at.Add(gap()) {
			timer.Reset(time.Until(at))
			select {
			case <-timer.C:
			case <-ctx.Done():
				return ctx.Err()
			}
			if err := w.message(at); err != nil {
				return err
			}
		}
		return nil
	})
}

// drive runs every worker in a goroutine and adds up what they did.
func drive(ctx context.Context, workers []*worker, run func(w *worker, i int, begin time.Time) error) (*Load, error) {
	stop := context.AfterFunc(ctx, func() {
		for _, w := range workers {
			w.l.close()
		}
	})
	defer stop()
	var before, after traffic
	for _, w := range workers {
		w.whole, w.delivery = Histogram{}, Histogram{}
		before.add(w.l.traffic())
	}
	errs := make([]error, len(workers))
	begin := time.Now()
	var wg sync.WaitGroup
	for i, w := range workers {
		wg.Go(func() { errs[i] = run(w, i, begin) })
	}
	wg.Wait()
	sum := &Load{Elapsed: time.Since(begin)}
	for _, w := range workers {
		sum.Messages += w.whole.Count()
		sum.Whole.Merge(&w.whole)
		sum.Delivery.Merge(&w.delivery)
		after.add(w.l.traffic())
	}
	sum.BlocksIn = uint64(after.out-before.out) / blockSize
	sum.BlocksOut = uint64(after.in-before.in) / blockSize
	if err := context.Cause(ctx); err != nil {
		return sum, err
	}
	return sum, errors.Join(errs...)
}
