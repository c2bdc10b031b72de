package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"parley/carrier/smp"
)

// RelayOptions say what [Relay] measures. Spawn is needed unless InProcess.
type RelayOptions struct {
	Address   string        // a relay that runs already; empty: start one
	PID       int           // its process, when it is on this machine
	InProcess bool          // start it in this process
	Conns     int           // connections under load
	Queues    int           // at least one for each connection
	Size      int           // of a body in bytes, at most smp.MaxBody
	Duration  time.Duration // under load, without the floors
	Dir       string        // where data directories are made; empty: the system's for temporary files
	Idle      int           // idle connections to weigh; 0: none
	Resting   int           // queues to weigh; 0: none
	Profile   string        // folder for pprof files of the relay; empty: none
	Spawn     Spawn
	Progress  io.Writer // what is being done; may be nil
}

const (
	inProcess    = "in process"
	childProcess = "child process"
	// turns is how often relay and floors take turns: other load on the machine
	// then hits all of them, and the ratio is the median of the turns.
	turns = 5
)

// ErrOptions is at the root of errors that other options avoid.
var ErrOptions = errors.New("not possible")

func (o *RelayOptions) check() error {
	switch {
	case o.Address != "" && o.InProcess:
		return fmt.Errorf("%w: either an address or in process, not both", ErrOptions)
	case o.Conns < 1 || o.Conns > 10_000:
		return fmt.Errorf("%w: %d connections: 1 to 10000 can be measured", ErrOptions, o.Conns)
	case o.Queues < o.Conns || o.Queues > 1_000_000:
		return fmt.Errorf("%w: %d queues: there must be one for each connection, and at most 1000000", ErrOptions, o.Queues)
	case o.Size < 1 || o.Size > smp.MaxBody:
		return fmt.Errorf("%w: bodies of %d bytes: a block takes 1 to %d", ErrOptions, o.Size, smp.MaxBody)
	case o.Duration < turns*100*time.Millisecond:
		return fmt.Errorf("%w: %v is too short: at least %v", ErrOptions, o.Duration, turns*100*time.Millisecond)
	case o.Idle < 0 || o.Resting < 0 || o.Idle > 100_000 || o.Resting > 1_000_000:
		return fmt.Errorf("%w: %d idle connections and %d queues: at most 100000 and 1000000 can be weighed", ErrOptions, o.Idle, o.Resting)
	case o.Spawn == nil:
		return errors.New("no way to start a process")
	}
	if o.Address != "" {
		if _, err := smp.ParseServer(o.Address); err != nil {
			return fmt.Errorf("%w: %w", ErrOptions, err)
		}
	}
	return nil
}

// bench is one run of Relay.
type bench struct {
	RelayOptions
	dir     string
	relay   *target
	workers []*worker
	report  *RelayReport
}

// Relay measures a relay, and in turns with it the floors. The report is valid
// only when the error is nil; a bad option is [ErrOptions].
func Relay(ctx context.Context, o RelayOptions) (r *RelayReport, err error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	b := &bench{RelayOptions: o, report: &RelayReport{Conns: o.Conns, Queues: o.Queues, Size: o.Size}}
	if b.dir, err = os.MkdirTemp(o.Dir, "parley-bench-"); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	if o.Address == "" {
		if err := b.weigh(ctx); err != nil {
			return nil, fmt.Errorf("measure memory: %w", err)
		}
	}
	if err := b.load(ctx); err != nil {
		return nil, err
	}
	return b.report, nil
}

func (b *bench) say(format string, a ...any) { fmt.Fprintf(b.Progress, format+"\n", a...) }

// load measures rate, latency and CPU.
func (b *bench) load(ctx context.Context) (err error) {
	if b.relay, err = b.open(ctx, "relay"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.relay.close()) }()
	b.report.Relay = b.relay.what
	if err := b.connect(ctx); err != nil {
		return err
	}
	defer b.disconnect()

	b.say("warming up")
	warm, err := closed(ctx, b.workers, max(b.Duration/10, 200*time.Millisecond))
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	var floors *floors
	if b.relay.local {
		in, out := perMessage(warm.BlocksIn, warm), perMessage(warm.BlocksOut, warm)
		if b.relay.srv.Plain { // no blocks to count: the least there can be
			in, out = 2, 2
		}
		work := workFor(b.Size, in, out)
		b.report.Work = &work
		if floors, err = b.openFloors(ctx, work); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, floors.close()) }()
	}
	if err := b.takeTurns(ctx, floors); err != nil {
		return err
	}
	return b.halfLoad(ctx)
}

func perMessage(n uint64, l *Load) float64 { return float64(n) / float64(max(l.Messages, 1)) }

// connect opens the connections and creates the queues.
func (b *bench) connect(ctx context.Context) error {
	b.say("creating %d queues on %d connections", b.Queues, b.Conns)
	k, err := newKeys(2 * b.Queues)
	if err != nil {
		return err
	}
	body := make([]byte, b.Size) // zeros make it a binary body, as sealed ones are
	for i := range b.Conns {
		l, err := dial(ctx, b.relay.srv)
		if err != nil {
			return err
		}
		w := &worker{l: l}
		b.workers = append(b.workers, w)
		for n := i; n < b.Queues; n += b.Conns {
			r, s := k.pair(n)
			q, err := create(l, r, s, body)
			if err != nil {
				return err
			}
			w.queues = append(w.queues, q)
		}
	}
	return ctx.Err()
}

// disconnect deletes the queues of a relay that stays.
func (b *bench) disconnect() {
	for _, w := range b.workers {
		for _, q := range w.queues {
			if b.Address == "" || w.l.patience() != nil || w.l.ok(&q.del) != nil {
				break
			}
		}
		w.l.close()
	}
}
