package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"parley/internal/bench"
)

// BenchCmd measures relays and crashes them. docs/benchmarks.md defines every
// number.
type BenchCmd struct {
	Relay benchRelayCmd `cmd:"" help:"Measure a relay under load, and the bare work that it cannot avoid."`
	Topic benchTopicCmd `cmd:"" help:"Measure sealed messages through MQTT brokers, beside the same texts unsealed."`
	Crash benchCrashCmd `cmd:"" help:"Kill relays or messengers at random moments, and see that nothing gets lost."`
	Child benchChildCmd `cmd:"" hidden:"" help:"A process under test; only the other commands call it."`
}

type benchRelayCmd struct {
	Address   string        `xor:"where" placeholder:"ADDR" help:"Measure this relay, which runs already. By default one is started as a process of its own."`
	InProcess bool          `xor:"where" help:"Start the relay in this process: CPU and memory are then those of both sides."`
	PID       int           `name:"pid" placeholder:"N" help:"With --address: the relay's process on this machine, to tell its CPU time."`
	Conns     int           `default:"64" help:"Connections under load, each with one message under way."`
	Queues    int           `default:"0" help:"Queues under load; by default one for each connection."`
	Size      int           `default:"1000" help:"Size of a body in bytes."`
	Duration  time.Duration `default:"10s" help:"Time under load; the floors and half load take as long again."`
	Idle      int           `default:"2000" help:"Idle connections whose memory is measured; 0 for none."`
	Resting   int           `default:"20000" help:"Queues whose memory is measured; 0 for none."`
	Dir       string        `type:"existingdir" help:"Where the data goes: the disk under test. By default the folder for temporary files."`
	Pprof     string        `type:"existingdir" help:"Write profiles of the relay's process to this folder."`
}

func (c *benchRelayCmd) Run(ctx context.Context, a *app) error {
	if c.Queues == 0 {
		c.Queues = c.Conns
	}
	if c.PID != 0 && c.Address == "" {
		return usage("--pid is for a relay at an --address")
	}
	r, err := bench.Relay(ctx, bench.RelayOptions{
		Address: c.Address, PID: c.PID, InProcess: c.InProcess,
		Conns: c.Conns, Queues: c.Queues, Size: c.Size, Duration: c.Duration,
		Idle: c.Idle, Resting: c.Resting, Dir: c.Dir, Profile: c.Pprof,
		Spawn: spawnBench, Progress: progress{a},
	})
	if err != nil {
		return ofBench(err)
	}
	return a.result(r, text(r.WriteText))
}

type benchCrashCmd struct {
	Rounds int    `default:"20" help:"How often something is killed."`
	Kill   string `default:"server" enum:"server,client,both" help:"What is killed: the relay (server), the messengers (client), or both."`
	Conns  int    `default:"8" help:"With --kill server: queues under load, each with a sender and a recipient."`
	Seed   uint64 `help:"Of the random moments, to try the same ones again."`
	Dir    string `type:"existingdir" help:"Where the data goes; it is kept when something was wrong. By default the folder for temporary files."`
}

func (c *benchCrashCmd) Run(ctx context.Context, a *app) error {
	r, err := bench.Crash(ctx, bench.CrashOptions{
		Rounds: c.Rounds, Kill: c.Kill, Conns: c.Conns, Seed: c.Seed, Dir: c.Dir,
		Spawn: spawnBench, Progress: progress{a},
	})
	if err != nil {
		return ofBench(err)
	}
	if err := a.result(r, text(r.WriteText)); err != nil {
		return err
	}
	if r.Anomalies > 0 {
		return fmt.Errorf("%d anomalies", r.Anomalies)
	}
	return nil
}

func ofBench(err error) error {
	if errors.Is(err, bench.ErrOptions) {
		return usage("%w", err)
	}
	return err
}

type benchChildCmd struct{}

func (*benchChildCmd) Run(ctx context.Context) error {
	return bench.Serve(ctx, os.Stdin, os.Stdout)
}

// spawnBench runs this program again, as a process under test.
func spawnBench(ctx context.Context) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	return exec.CommandContext(ctx, self, "bench", "child")
}

// text makes a string of what f writes; a bytes.Buffer takes everything.
func text(f func(io.Writer) error) func() string {
	return func() string {
		var b bytes.Buffer
		_ = f(&b)
		return b.String()
	}
}

// progress shows lines on standard error.
type progress struct{ a *app }

func (p progress) Write(b []byte) (int, error) {
	for line := range strings.Lines(string(b)) {
		p.a.note("%s", strings.TrimSuffix(line, "\n"))
	}
	return len(b), nil
}
