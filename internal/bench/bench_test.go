package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// childEnv makes the test binary play a child.
const childEnv = "PARLEY_BENCH_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(childEnv) {
	case "":
		os.Exit(m.Run())
	case "mute": // a child that says nothing and waits
		select {}
	case "chatter":
		fmt.Println("hello, I am no child")
		os.Exit(0)
	case "broken":
		fmt.Fprintln(os.Stderr, "boom: no disk")
		os.Exit(3)
	}
	if err := Serve(context.Background(), os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func spawnAs(what string) Spawn {
	return func(ctx context.Context) *exec.Cmd {
		cmd := exec.CommandContext(ctx, os.Args[0])
		cmd.Env = append(os.Environ(), childEnv+"="+what)
		return cmd
	}
}

var spawn = spawnAs("1")

func TestRelayReport(t *testing.T) {
	for _, inside := range []bool{false, true} {
		if inside && testing.Short() {
			break
		}
		var progress bytes.Buffer
		r, err := Relay(t.Context(), RelayOptions{
			InProcess: inside, Conns: 2, Queues: 3, Size: 500, Duration: 600 * time.Millisecond,
			Idle: 20, Resting: 200, Dir: t.TempDir(), Profile: t.TempDir(), Spawn: spawn, Progress: &progress,
		})
		if err != nil {
			t.Fatalf("in process %v: %v\n%s", inside, err, &progress)
		}
		switch {
		case r.Messages == 0 || r.PerSecond <= 0 || r.P50 <= 0 || r.P99 < r.P50 || r.DeliveryP50 > r.P50*1.1:
			t.Errorf("load: %+v", r)
		case r.CPU <= 0 || r.Floor == nil || r.Floor.Ratio <= 0 || r.Floor.EchoRatio <= 0 || r.Floor.CPU <= 0 || r.Floor.EchoCPU <= 0:
			t.Errorf("floor: %+v", r.Floor)
		case r.Work == nil || r.Work.BlocksIn != 2 || r.Work.BlocksOut < 2 || r.Work.BlocksOut > 3:
			t.Errorf("work: %+v", r.Work)
		case r.HalfLoad == nil || r.HalfLoad.Messages == 0:
			t.Errorf("half load: %+v", r.HalfLoad)
		case r.Memory == nil || r.Memory.Empty <= 0 || r.Memory.BothSides != inside:
			t.Errorf("memory: %+v", r.Memory)
		case progress.Len() == 0:
			t.Error("no progress was shown")
		}
		var text bytes.Buffer
		if err := r.WriteText(&text); err != nil {
			t.Error(err)
		}
		for _, want := range []string{"of the floor", "half load", "per idle connection", "█", "p99"} {
			if !strings.Contains(text.String(), want) {
				t.Errorf("the text lacks %q:\n%s", want, &text)
			}
		}
		if b, err := json.Marshal(r); err != nil || !bytes.Contains(b, []byte(`"ratio"`)) {
			t.Errorf("%s, %v", b, err)
		}
	}
}

func TestRelayAtAnAddress(t *testing.T) {
	p, err := startRelay(role{Dir: filepath.Join(t.TempDir(), "relay"), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	o := RelayOptions{Address: p.address(), PID: os.Getpid(), Conns: 1, Queues: 2, Size: 100, Duration: 500 * time.Millisecond, Dir: t.TempDir(), Spawn: spawn}
	r, err := Relay(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if r.Relay != p.address() || r.Messages == 0 || r.Memory != nil {
		t.Errorf("%+v", r)
	}
	o.Address = "smp2020://" + strings.Repeat("A", 43) + "@" + strings.SplitN(p.address(), "@", 2)[1]
	if _, err := Relay(t.Context(), o); err == nil {
		t.Error("a relay with another key was measured")
	}
}

func TestRelayOptions(t *testing.T) {
	good := RelayOptions{Conns: 1, Queues: 1, Size: 1, Duration: time.Second, Spawn: spawn}
	if err := good.check(); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*RelayOptions){
		"two places":         func(o *RelayOptions) { o.Address, o.InProcess = "x", true },
		"no connection":      func(o *RelayOptions) { o.Conns = 0 },
		"fewer queues":       func(o *RelayOptions) { o.Conns = 2 },
		"too large":          func(o *RelayOptions) { o.Size = 4000 },
		"empty":              func(o *RelayOptions) { o.Size = 0 },
		"no time":            func(o *RelayOptions) { o.Duration = time.Millisecond },
		"negative idle":      func(o *RelayOptions) { o.Idle = -1 },
		"nothing to spawn":   func(o *RelayOptions) { o.Spawn = nil },
		"too many to create": func(o *RelayOptions) { o.Resting = 1 << 30 },
	} {
		o := good
		change(&o)
		if _, err := Relay(t.Context(), o); err == nil || !errors.Is(err, ErrOptions) && o.Spawn != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	o := good
	o.Address = "http://localhost"
	if _, err := Relay(t.Context(), o); err == nil {
		t.Error("an address of something else was measured")
	}
}

func TestChildrenThatFail(t *testing.T) {
	for what, want := range map[string]string{"broken": "boom: no disk", "chatter": "reply"} {
		_, err := spawnAs(what).start(t.Context(), role{Role: "floor", Dir: t.TempDir()})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", what, err, want)
		}
	}
	if _, err := spawn.start(t.Context(), role{Role: "king"}); err == nil || !strings.Contains(err.Error(), "no such role") {
		t.Errorf("an unknown role: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := spawnAs("mute").start(ctx, role{Role: "floor"}); err == nil {
		t.Error("a silent child is ready")
	}
	none := func(ctx context.Context) *exec.Cmd { return exec.CommandContext(ctx, "/nonexistent/parley") }
	if _, err := Spawn(none).start(t.Context(), role{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a program that is not there: %v", err)
	}

	c, err := spawn.start(t.Context(), role{Role: "floor", Dir: t.TempDir(), Work: workFor(100, 2, 2)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.ask(request{Op: "dance"}); err == nil {
		t.Error("the floor dances")
	}
	if r, err := c.ask(request{Op: "collect"}); err != nil || r.Usage.RSS == 0 || r.Usage.CPU == 0 {
		t.Errorf("%+v, %v", r, err)
	}
	if u, err := usageOf(c.cmd.Process.Pid); err != nil || u.RSS == 0 {
		t.Errorf("%+v, %v", u, err)
	}
	if err := c.stop(); err != nil {
		t.Error(err)
	}
	if _, err := c.ask(request{Op: "usage"}); err == nil {
		t.Error("a child that has ended answers")
	}
}

// A child must not outlive who started it.
func TestServeEndsWithItsInput(t *testing.T) {
	in := strings.NewReader(`{"role":"floor","dir":` + fmt.Sprintf("%q", t.TempDir()) + `,"work":{"signed":10,"signed_ack":10}}` + "\n")
	var out bytes.Buffer
	if err := Serve(t.Context(), in, &out); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"", "parley", `{"role":"floor","dir":"/nonexistent/x"}`} {
		if err := Serve(t.Context(), strings.NewReader(bad), &out); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

// BenchmarkRelay reports the ratio of the relay and the bare work.
func BenchmarkRelay(b *testing.B) {
	for _, conns := range []int{1, 64} {
		b.Run(fmt.Sprintf("conns=%d", conns), func(b *testing.B) {
			for b.Loop() {
				r, err := Relay(b.Context(), RelayOptions{Conns: conns, Queues: conns, Size: 1000, Duration: 2 * time.Second, Dir: b.TempDir(), Spawn: spawn})
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(r.PerSecond, "messages/s")
				b.ReportMetric(r.Floor.Ratio, "ratio")
				b.ReportMetric(r.Floor.EchoRatio, "echo-ratio")
				b.ReportMetric(r.CPU, "cpu-µs/message")
				b.ReportMetric(r.HalfLoad.P99, "half-load-p99-ms")
			}
		})
	}
}
