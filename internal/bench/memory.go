package bench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"parley/carrier/smp"
)

// openers is how many connections are opened at once.
const openers = 16

// weigh measures what connections and queues cost in memory, on a relay of their
// own: growth of resident memory after garbage collection.
func (b *bench) weigh(ctx context.Context) (err error) {
	if b.Idle == 0 && b.Resting == 0 {
		return nil
	}
	t, err := b.open(ctx, "memory")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	fresh, err := t.collect(ctx)
	if err != nil {
		return err
	}
	m := &Memory{Empty: fresh.RSS, Conns: b.Idle, Queues: b.Resting, BothSides: b.InProcess}
	b.report.Memory = m
	if b.Idle > 0 {
		if err := b.weighConns(ctx, t, m); err != nil {
			return err
		}
	}
	if b.Resting == 0 {
		return nil
	}
	if err := b.weighQueues(ctx, t, m); err != nil || b.InProcess { // which has no fresh process to weigh in
		return err
	}
	if err := t.close(); err != nil {
		return err
	}
	again, err := b.open(ctx, "memory")
	if err != nil {
		t = &target{} // nothing to close
		return err
	}
	t = again
	rest, err := t.collect(ctx)
	m.PerQueueAtRest = (rest.RSS - fresh.RSS) / int64(b.Resting)
	return err
}

func (b *bench) weighConns(ctx context.Context, t *target, m *Memory) error {
	b.say("opening %d idle connections", b.Idle)
	// What the first connections cost once and for all is not counted.
	if err := b.idle(ctx, t, 4*openers, func() error { return nil }); err != nil {
		return err
	}
	empty, err := t.collect(ctx)
	if err != nil {
		return err
	}
	return b.idle(ctx, t, b.Idle, func() error {
		full, err := t.collect(ctx)
		m.PerConn = (full.RSS - empty.RSS) / int64(b.Idle)
		if b.Profile != "" && err == nil && t.c != nil {
			_, err = t.c.ask(request{Op: "heap", File: filepath.Join(b.Profile, "relay.idle.pprof")})
		}
		return err
	})
}

// idle opens n connections, calls then, and closes them. Each has asked once for
// a queue that does not exist, so that what a first command makes the relay
// allocate is there.
func (b *bench) idle(ctx context.Context, t *target, n int, then func() error) error {
	k, err := newKeys(1)
	if err != nil {
		return err
	}
	id, err := smp.MakeID(make([]byte, smp.IDSize))
	if err != nil {
		return err
	}
	nobody := smp.Transmission{ID: id, Verb: smp.SUB}
	if err := nobody.Sign(k[0]); err != nil {
		return err
	}
	links := make([]*link, n)
	defer func() {
		for _, l := range links {
			if l != nil {
				l.close()
			}
		}
	}()
	errs := make([]error, openers)
	var wg sync.WaitGroup
	for o := range openers {
		wg.Go(func() {
			for i := o; i < n && errs[o] == nil; i += openers {
				if links[i], errs[o] = dial(ctx, t.srv); errs[o] != nil {
					return
				}
				ask := nobody // call writes into nothing that others share
				if _, err := links[i].call(&ask); !errors.Is(err, smp.CodeAuth) {
					errs[o] = fmt.Errorf("a queue that does not exist: %w", errors.Join(errUnexpected, err))
				}
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return then()
}

// weighQueues creates queues on one connection, which is subscribed to them.
func (b *bench) weighQueues(ctx context.Context, t *target, m *Memory) error {
	b.say("creating %d queues", b.Resting)
	k, err := newKeys(2)
	if err != nil {
		return err
	}
	l, err := dial(ctx, t.srv)
	if err != nil {
		return err
	}
	defer l.close()
	if err := fill(l, k, openers); err != nil { // not counted, as above
		return err
	}
	empty, err := t.collect(ctx)
	if err != nil {
		return err
	}
	if err := fill(l, k, b.Resting); err != nil {
		return err
	}
	full, err := t.collect(ctx)
	if err != nil {
		return err
	}
	m.PerQueue = (full.RSS - empty.RSS) / int64(b.Resting)
	return nil
}

// fill creates n queues, a window of commands at a time.
func fill(l *link, k keys, n int) error {
	const window = 64
	var create []*smp.Transmission
	for _, key := range k {
		der, err := smp.MarshalKey(&key.PublicKey)
		if err != nil {
			return err
		}
		create = append(create, &smp.Transmission{Verb: smp.CONN, Key: der})
	}
	for done := 0; done < n; done += window {
		if err := l.patience(); err != nil {
			return err
		}
		part := min(window, n-done)
		for i := range part {
			if err := l.send(create[i%len(create)]); err != nil {
				return err
			}
		}
		for range part {
			if t, err := l.next(); err != nil {
				return err
			} else if t.Verb != smp.IDS {
				return unexpected("CONN", t)
			}
		}
	}
	return nil
}
