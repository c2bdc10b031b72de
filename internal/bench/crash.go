package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"time"
)

// Who is killed by [Crash].
const (
	KillServer = "server"
	KillClient = "client"
	KillBoth   = "both"
)

// CrashOptions say what [Crash] does.
type CrashOptions struct {
	Rounds   int    // kills
	Kill     string // KillServer, KillClient or KillBoth
	Conns    int    // queues under load when the server is killed, each with a sender and a recipient
	Dir      string // where the data goes; empty: a temporary folder, deleted when all was well
	Seed     uint64 // of the random moments; 0: any
	Spawn    Spawn
	Progress io.Writer // may be nil
}

// A CrashReport is what [Crash] found. The run was right if Anomalies is 0.
type CrashReport struct {
	Kill       string   `json:"kill"`
	Seed       uint64   `json:"seed"`
	Rounds     int      `json:"rounds"`
	Kills      int      `json:"kills"`
	AtStart    int      `json:"kills_during_start"`
	Sent       int      `json:"sent"`         // handed to the relay, or to the messenger
	Stored     int      `json:"acknowledged"` // answered OK, or Send returned
	Unanswered int      `json:"unanswered"`   // killed before the answer: may arrive or not
	Delivered  int      `json:"delivered"`
	Again      int      `json:"delivered_again"` // rightly: no ACK had been answered
	Anomalies  int      `json:"anomalies"`
	What       []string `json:"what,omitempty"` // the first of them
	Seconds    float64  `json:"seconds"`
	Dir        string   `json:"dir,omitempty"` // kept for a look, when something was wrong
}

const maxWhat = 20

// crash is one run of Crash.
type crash struct {
	CrashOptions
	dir    string
	rng    *rand.Rand
	report *CrashReport

	mu sync.Mutex // guards the report's anomalies
}

// Crash kills processes at random moments and judges what comes of it. The
// error is about trouble with the run itself; what the processes under test did
// wrong is in the report.
func Crash(ctx context.Context, o CrashOptions) (r *CrashReport, err error) {
	switch {
	case o.Rounds < 1 || o.Rounds > 1_000_000:
		return nil, fmt.Errorf("%w: %d rounds: 1 to 1000000 can be run", ErrOptions, o.Rounds)
	case o.Conns < 1 || o.Conns > 1000:
		return nil, fmt.Errorf("%w: %d connections: 1 to 1000 can be used", ErrOptions, o.Conns)
	case o.Kill != KillServer && o.Kill != KillClient && o.Kill != KillBoth:
		return nil, fmt.Errorf("%w: kill %q: %q, %q or %q can be killed", ErrOptions, o.Kill, KillServer, KillClient, KillBoth)
	case o.Spawn == nil:
		return nil, errors.New("no way to start a process")
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	if o.Seed == 0 {
		o.Seed = rand.Uint64()>>32 | 1
	}
	c := &crash{CrashOptions: o, rng: rand.New(rand.NewPCG(o.Seed, 0)), report: &CrashReport{Kill: o.Kill, Seed: o.Seed}}
	if c.dir, err = os.MkdirTemp(o.Dir, "parley-crash-"); err != nil {
		return nil, err
	}
	defer func() {
		if c.report.Anomalies == 0 && (err == nil || ctx.Err() != nil) {
			err = errors.Join(err, os.RemoveAll(c.dir))
		} else {
			c.report.Dir = c.dir
		}
	}()
	begin := time.Now()
	if o.Kill == KillServer {
		err = c.server(ctx)
	} else {
		err = c.messengers(ctx)
	}
	c.report.Seconds = time.Since(begin).Seconds()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("%w (data is in %s)", err, c.dir)
	}
	return c.report, nil
}

func (c *crash) say(format string, a ...any) { fmt.Fprintf(c.Progress, format+"\n", a...) }

// wrong notes an anomaly. Any goroutine may call it.
func (c *crash) wrong(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.report.Anomalies++
	if len(c.report.What) < maxWhat {
		c.report.What = append(c.report.What, what)
		c.say("WRONG: %s", what)
	}
}

func (c *crash) anomalies() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.report.Anomalies
}

// between returns a random time in [low, high).
func between(rng *rand.Rand, low, high time.Duration) time.Duration {
	return low + time.Duration(rng.Int64N(int64(high-low)))
}

// pause waits, or ends with ctx.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// killStarting starts a process and kills it before it is ready, at a moment
// within the given time.
func (c *crash) killStarting(ctx context.Context, r role, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, between(c.rng, 0, within))
	defer cancel()
	p, err := c.Spawn.start(ctx, r) // the end of ctx is SIGKILL
	if err == nil {
		p.kill()
	} else if ctx.Err() == nil {
		return err // it failed by itself
	}
	c.report.Kills++
	c.report.AtStart++
	return nil
}

// WriteText writes the report for people.
func (r *CrashReport) WriteText(w io.Writer) error {
	p := &printer{w: w}
	p.f("killed        %s, %d times in %d rounds, %d of them while it started; %.0f s, seed %d\n", r.Kill, r.Kills, r.Rounds, r.AtStart, r.Seconds, r.Seed)
	p.f("messages      %d sent, %d acknowledged, %d never answered\n", r.Sent, r.Stored, r.Unanswered)
	p.f("              %d delivered, %d of them again, as they were not acknowledged\n", r.Delivered, r.Again)
	p.f("anomalies     %d\n", r.Anomalies)
	for _, s := range r.What {
		p.f("              %s\n", strings.TrimSpace(s))
	}
	if r.Dir != "" {
		p.f("data kept in  %s\n", r.Dir)
	}
	return p.err
}
