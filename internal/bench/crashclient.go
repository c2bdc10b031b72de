package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"parley/carrier/smp"
)

// How the messengers are killed. They need longer than a relay to get going: a
// profile's passphrase takes its time by design.
const (
	pairStartShare  = 0.3
	pairStartWithin = 1200 * time.Millisecond
	pairMin         = 50 * time.Millisecond
	pairMax         = 1200 * time.Millisecond
	relayMin        = 100 * time.Millisecond // and the relay, when both are killed
	relayMax        = 1500 * time.Millisecond
	pairTalk        = 30 * time.Second // at the end, until each has sent something
	pairDrain       = 120 * time.Second
)

// messengers kills two messengers in one process while they talk, and their
// relay too if asked for.
func (c *crash) messengers(ctx context.Context) (err error) {
	relay := &flickering{c: c, role: role{Role: "relay", Dir: filepath.Join(c.dir, "relay"), Listen: "127.0.0.1:0"}}
	if err := relay.start(ctx); err != nil {
		return err
	}
	defer relay.kill()

	r := role{Role: "messenger", Dir: filepath.Join(c.dir, "profiles"), Pair: &pairConfig{Relay: relay.child.address}}
	if err := os.MkdirAll(r.Dir, 0o700); err != nil {
		return err
	}
	stopFlicker := func() error { return nil }
	if c.Kill == KillBoth {
		stopFlicker = relay.flicker(ctx)
	}
	for c.report.Rounds < c.Rounds && c.anomalies() == 0 {
		if c.rng.Float64() < pairStartShare {
			err = c.killStarting(ctx, r, pairStartWithin)
		} else {
			err = c.killTalking(ctx, r)
		}
		if err != nil {
			_ = stopFlicker() // the first error is the one to know
			return fmt.Errorf("after %d kills the messengers do not start: %w", c.report.Kills, err)
		}
		if c.report.Rounds++; c.report.Rounds%10 == 0 || c.report.Rounds == c.Rounds {
			c.say("round %d of %d: %d anomalies", c.report.Rounds, c.Rounds, c.anomalies())
		}
	}
	if err := stopFlicker(); err != nil {
		return err
	}
	return c.compare(ctx, r)
}

// killTalking lets the messengers start and talk for a while.
func (c *crash) killTalking(ctx context.Context, r role) error {
	p, err := c.Spawn.start(ctx, r)
	if err != nil {
		return err
	}
	defer p.kill()
	c.report.Kills++
	return pause(ctx, between(c.rng, pairMin, pairMax))
}

// compare starts the messengers once more, lets everything arrive, and judges.
func (c *crash) compare(ctx context.Context, r role) error {
	c.say("waiting for everything to arrive")
	p, err := c.Spawn.start(ctx, r)
	if err != nil {
		return err
	}
	defer p.kill()
	// Every start may have been killed early: now they get to talk.
	for end := time.Now().Add(pairTalk); !haveTalked(r.Dir) && time.Now().Before(end); {
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	a, err := p.ask(request{Op: "drain", For: pairDrain})
	if err != nil {
		return err
	}
	if a.Got == nil {
		return fmt.Errorf("drain: %w", errUnexpected)
	}
	for name, got := range map[string][]int{aliceName: a.Got.Bob, bobName: a.Got.Alice} {
		tried, sent, err := readJournal(journalPath(r.Dir, name))
		if err != nil {
			return err
		}
		c.report.Sent += tried
		c.report.Stored += len(sent)
		c.report.Unanswered += tried - len(sent)
		c.report.Delivered += len(got)
		for _, w := range judge(name, tried, sent, got) {
			c.wrong(w)
		}
	}
	if c.report.Delivered == 0 {
		c.wrong("no message came at all")
	}
	return p.stop()
}

// haveTalked reports whether a Send of each side has returned.
func haveTalked(dir string) bool {
	for _, name := range []string{aliceName, bobName} {
		if _, sent, err := readJournal(journalPath(dir, name)); err != nil || len(sent) == 0 {
			return false
		}
	}
	return true
}

// flickering is a relay that is killed and started again and again.
type flickering struct {
	c     *crash
	role  role
	child *child
}

func (f *flickering) start(ctx context.Context) (err error) {
	if f.child, err = f.c.Spawn.start(ctx, f.role); err != nil {
		return err
	}
	srv, err := smp.ParseServer(f.child.address)
	f.role.Listen = srv.HostPort() // from now on
	return err
}

func (f *flickering) kill() {
	if f.child != nil {
		f.child.kill()
	}
}

// flicker kills the relay at random moments until the returned function is
// called; then it runs.
func (f *flickering) flicker(ctx context.Context) (stop func() error) {
	rng := rand.New(rand.NewPCG(f.c.Seed, 1)) // the rounds draw from another one
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	var failed error
	kills := 0
	wg.Go(func() {
		for pause(ctx, between(rng, relayMin, relayMax)) == nil {
			f.child.kill()
			kills++
			// Not ctx: the relay must be there when flickering ends.
			if failed = f.start(context.WithoutCancel(ctx)); failed != nil {
				return
			}
		}
	})
	return func() error {
		cancel()
		wg.Wait()
		f.c.report.Kills += kills
		if failed != nil {
			return fmt.Errorf("after %d kills the relay does not start: %w", kills, failed)
		}
		return nil
	}
}
