package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
)

// A part is what a child plays.
type part interface {
	address() string
	// do answers the requests that only this part knows.
	do(ctx context.Context, q request) (reply, error)
	io.Closer
}

// Serve is a child process: it reads its role and then requests, one JSON object
// on each line of in, and answers each with one line on out. It ends when told
// to, or when in ends because the process that started it is gone.
func Serve(ctx context.Context, in io.Reader, out io.Writer) error {
	lines := json.NewDecoder(bufio.NewReader(in))
	answers := json.NewEncoder(out)
	var r role
	if err := lines.Decode(&r); err != nil {
		return fmt.Errorf("this command is for parley's own use: it expects its role on standard input: %w", err)
	}
	p, err := play(ctx, r)
	if err != nil {
		return errors.Join(answers.Encode(reply{Error: err.Error()}), err)
	}
	if err := answers.Encode(reply{Address: p.address()}); err != nil {
		return errors.Join(err, p.Close())
	}
	for {
		var q request
		if err := lines.Decode(&q); errors.Is(err, io.EOF) {
			return p.Close()
		} else if err != nil {
			return errors.Join(err, p.Close())
		}
		if q.Op == "stop" {
			err := p.Close()
			return errors.Join(err, answers.Encode(reply{Error: text(err)}))
		}
		a, err := common(ctx, p, q)
		a.Error = text(err)
		if err := answers.Encode(a); err != nil {
			return errors.Join(err, p.Close())
		}
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func play(ctx context.Context, r role) (part, error) {
	switch r.Role {
	case "relay":
		return startRelay(r)
	case "floor":
		return startFloor(r)
	case "messenger":
		return startPair(ctx, r)
	}
	return nil, fmt.Errorf("no such role: %q", r.Role)
}

// common answers what every part is asked.
func common(ctx context.Context, p part, q request) (reply, error) {
	switch q.Op {
	case "collect": // as little memory as the process can do with
		runtime.GC()
		runtime.GC() // what the first one finalized or took from pools
		debug.FreeOSMemory()
		fallthrough
	case "usage":
		u, err := ownUsage()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return reply{Usage: u, Heap: m.HeapAlloc, Stacks: m.StackInuse, Threads: runtime.NumGoroutine()}, err
	case "profile":
		return reply{}, profileCPU(q.File)
	case "heap":
		return reply{}, writeHeap(q.File)
	}
	return p.do(ctx, q)
}

// profiling is where the CPU profile under way goes. Only Serve's loop uses it.
var profiling *os.File

// profileCPU starts a CPU profile, or ends the one under way.
func profileCPU(file string) error {
	if profiling != nil {
		pprof.StopCPUProfile()
		err := profiling.Close()
		profiling = nil
		return err
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return errors.Join(err, f.Close())
	}
	profiling = f
	return nil
}

func writeHeap(file string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	return errors.Join(pprof.Lookup("heap").WriteTo(f, 0), f.Close())
}

// floorPart is the floor as a child.
type floorPart struct {
	*floor
	l     net.Listener
	ended chan error
}

func startFloor(r role) (part, error) {
	f, err := newFloor(r.Dir, r.Work)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	p := &floorPart{f, l, make(chan error, 1)}
	go func() { p.ended <- f.listenEcho(l) }()
	return p, nil
}

func (p *floorPart) address() string { return p.l.Addr().String() }

func (p *floorPart) do(_ context.Context, q request) (reply, error) {
	if q.Op != "bare" {
		return reply{}, fmt.Errorf("the floor does not know %q", q.Op)
	}
	r, err := p.bare(q.N, q.For)
	return reply{Bare: &r}, err
}

// Close waits for the clients to hang up.
func (p *floorPart) Close() error {
	return errors.Join(p.l.Close(), <-p.ended, p.floor.Close())
}
