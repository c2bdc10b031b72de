package bench

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"parley/carrier/smp"
)

// A target is the relay under test, wherever it runs.
type target struct {
	what  string
	srv   smp.Server
	local bool   // on this machine: floors can be compared
	c     *child // nil unless a child process
	p     part   // nil unless in process
	pid   int    // 0 if unknown
}

// open starts a relay with a data directory of that name, or takes the one that
// runs already.
func (b *bench) open(ctx context.Context, name string) (*target, error) {
	t := &target{pid: b.PID}
	address := b.Address
	r := role{Role: "relay", Dir: filepath.Join(b.dir, name), Listen: "127.0.0.1:0"}
	var err error
	switch {
	case address != "":
		t.what = address
	case b.InProcess:
		t.what = inProcess
		if t.p, err = startRelay(r); err != nil {
			return nil, err
		}
		address = t.p.address()
	default:
		t.what = childProcess
		if t.c, err = b.Spawn.start(ctx, r); err != nil {
			return nil, err
		}
		address = t.c.address
	}
	if t.srv, err = smp.ParseServer(address); err != nil {
		return nil, errors.Join(err, t.close())
	}
	t.local = b.Address == "" || t.srv.Loopback() || t.pid != 0
	return t, nil
}

// usage is zero when it cannot be known.
func (t *target) usage() (usage, error) {
	switch {
	case t.c != nil:
		r, err := t.c.ask(request{Op: "usage"})
		return r.Usage, err
	case t.p != nil:
		return ownUsage()
	case t.pid != 0:
		return usageOf(t.pid)
	}
	return usage{}, nil
}

// collect is usage after the relay has let go of what memory it can.
func (t *target) collect(ctx context.Context) (usage, error) {
	if t.c != nil {
		r, err := t.c.ask(request{Op: "collect"})
		return r.Usage, err
	}
	r, err := common(ctx, t.p, request{Op: "collect"})
	return r.Usage, err
}

// profile starts the CPU profile of a child, or ends it when file is empty.
func (t *target) profile(file string) error {
	if t.c == nil {
		return nil
	}
	_, err := t.c.ask(request{Op: "profile", File: file})
	return err
}

func (t *target) close() error {
	switch {
	case t.c != nil:
		return t.c.stop()
	case t.p != nil:
		return t.p.Close()
	}
	return nil
}

// floors is the child that does bare work.
type floors struct{ c *child }

func (b *bench) openFloors(ctx context.Context, work Work) (*floors, error) {
	dir := filepath.Join(b.dir, "floor")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	c, err := b.Spawn.start(ctx, role{Role: "floor", Dir: dir, Work: work})
	if err != nil {
		return nil, err
	}
	return &floors{c}, nil
}

func (f *floors) bare(_ context.Context, n int, d time.Duration) (BareResult, error) {
	r, err := f.c.ask(request{Op: "bare", N: n, For: d})
	if err == nil && (r.Bare == nil || r.Bare.Messages == 0) {
		err = errors.New("the floor did nothing")
	}
	if err != nil {
		return BareResult{}, err
	}
	return *r.Bare, nil
}

func (f *floors) echo(ctx context.Context, n int, d time.Duration) (BareResult, error) {
	before, err := f.c.ask(request{Op: "usage"})
	if err != nil {
		return BareResult{}, err
	}
	r, err := loadEcho(ctx, f.c.address, n, d)
	if err != nil {
		return r, err
	}
	after, err := f.c.ask(request{Op: "usage"})
	r.CPU = after.Usage.CPU - before.Usage.CPU
	return r, err
}

func (f *floors) close() error { return f.c.stop() }
