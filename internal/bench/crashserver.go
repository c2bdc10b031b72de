package bench

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"parley/carrier/smp"
)

// How the relay is killed, and what its clients do besides.
const (
	startShare  = 0.15                   // of the kills come while the relay starts
	startWithin = 150 * time.Millisecond // of the start
	loadMin     = 20 * time.Millisecond  // or so long after it was ready
	loadMax     = 350 * time.Millisecond
	burst       = 6    // SENDs under way at once, at most
	hangUp      = 0.02 // of the deliveries are left unacknowledged, or their ACK unanswered
	drainTime   = 60 * time.Second
)

// server kills the relay under load.
func (c *crash) server(ctx context.Context) error {
	r := role{Role: "relay", Dir: filepath.Join(c.dir, "relay"), Listen: "127.0.0.1:0"}
	relay, err := c.Spawn.start(ctx, r)
	if err != nil {
		return err
	}
	defer func() { relay.kill() }()
	srv, err := smp.ParseServer(relay.address)
	if err != nil {
		return err
	}
	r.Listen = srv.HostPort() // from now on

	var stop atomic.Bool
	all, err := c.travellers(ctx, srv, &stop)
	if err != nil {
		return err
	}
	running, cancel := context.WithCancel(ctx)
	var senders, recipients sync.WaitGroup
	for _, t := range all {
		senders.Go(func() { t.sendAll(running) })
		recipients.Go(func() { t.receiveAll(running) })
	}
	defer recipients.Wait()
	defer senders.Wait()
	defer cancel()

	for c.report.Rounds < c.Rounds && c.anomalies() == 0 {
		if err := pause(ctx, between(c.rng, loadMin, loadMax)); err != nil {
			return err
		}
		relay.kill()
		c.report.Kills++
		c.report.Rounds++
		if c.rng.Float64() < startShare && c.report.Rounds < c.Rounds {
			if err := c.killStarting(ctx, r, startWithin); err != nil {
				return fmt.Errorf("after %d kills: %w", c.report.Kills, err)
			}
			c.report.Rounds++
		}
		if relay, err = c.restart(ctx, r, relay); err != nil {
			return err
		}
		c.progress(all)
	}
	stop.Store(true)
	senders.Wait()
	// Twice, with a kill between: what was acknowledged before must not be there
	// after it.
	for i := range 2 {
		if i > 0 {
			relay.kill()
			if relay, err = c.restart(ctx, r, relay); err != nil {
				return err
			}
		}
		var flushes sync.WaitGroup
		for _, t := range all {
			flushes.Go(func() {
				if err := t.flush(ctx); err != nil {
					t.fault("%v", err)
				}
			})
		}
		flushes.Wait()
		if c.anomalies() > 0 {
			break // the rest would only repeat it
		}
	}
	cancel()
	recipients.Wait()
	for _, t := range all {
		t.finish()
		n := t.tally()
		c.report.Sent += n.Sent
		c.report.Stored += n.Stored
		c.report.Unanswered += n.Unanswered
		c.report.Delivered += n.Delivered
		c.report.Again += n.Again
	}
	return nil
}

// restart starts a relay on the data of one that was killed.
func (c *crash) restart(ctx context.Context, r role, dead *child) (*child, error) {
	alive, err := c.Spawn.start(ctx, r)
	if err != nil {
		return dead, fmt.Errorf("after %d kills the relay does not start: %w", c.report.Kills, err)
	}
	return alive, nil
}

func (c *crash) progress(all []*traveller) {
	if c.report.Rounds%10 != 0 && c.report.Rounds < c.Rounds {
		return
	}
	stored := 0
	for _, t := range all {
		stored += t.tally().Stored
	}
	c.say("round %d of %d: %d messages acknowledged, %d anomalies", c.report.Rounds, c.Rounds, stored, c.anomalies())
}

// travellers creates the queues, with keys of their own.
func (c *crash) travellers(ctx context.Context, srv smp.Server, stop *atomic.Bool) ([]*traveller, error) {
	c.say("creating %d queues", c.Conns)
	l, err := dial(ctx, srv)
	if err != nil {
		return nil, err
	}
	defer l.close()
	all := make([]*traveller, c.Conns)
	for i := range all {
		k, err := newKeys(2)
		if err != nil {
			return nil, err
		}
		q, err := create(l, k[0], k[1], []byte("never sent"))
		if err != nil {
			return nil, err
		}
		all[i] = &traveller{ledger: &ledger{run: c.Seed, queue: i, wrong: c.wrong}, queue: q, srv: srv, keys: k, stop: stop}
	}
	return all, nil
}
