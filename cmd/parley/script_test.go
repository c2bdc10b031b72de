package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"parley/messenger/profile"
)

// The scripts run this very program: testscript starts the test binary again
// under the name parley.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"parley": main})
}

func TestScripts(t *testing.T) {
	program := build(t.TempDir())
	dir, files := "testdata", []string(nil)
	if testing.Short() { // with the race detector: those in which processes do things at once
		dir = ""
		for _, name := range []string{"life", "chat", "listen", "owner"} {
			files = append(files, filepath.Join("testdata", name+".txt"))
		}
	}
	testscript.Run(t, testscript.Params{
		Dir: dir, Files: files,
		Setup: func(e *testscript.Env) error {
			w := &world{program: program, relays: make(map[string]*relay)}
			e.Values[worldKey{}] = w
			e.Defer(w.close)
			e.Setenv("PARLEY_PASSPHRASE", "correct horse")
			e.Setenv("XDG_CONFIG_HOME", filepath.Join(e.WorkDir, "config"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"relay": cmdRelay, "exits": cmdExits, "setenv": cmdSetenv, "lines": cmdLines, "hold": cmdHold, "until": cmdUntil, "codes": cmdCodes,
		},
	})
}

type worldKey struct{}

// world is what lives beside one script.
type world struct {
	program func() (string, error)
	relays  map[string]*relay
	locks   []*profile.Lock
}

func (w *world) close() {
	for _, r := range w.relays {
		r.stop(syscall.SIGKILL)
	}
	for _, l := range w.locks {
		l.Release()
	}
}

// relay is a parleyd of its own process.
type relay struct {
	program func() (string, error)
	cmd     *exec.Cmd
	addr    string
}

// build makes the relay's program, when the first script asks for it.
func build(dir string) func() (string, error) { return buildOf(dir, "parleyd") }

func buildOf(dir, name string) func() (string, error) {
	return sync.OnceValues(func() (string, error) {
		path := filepath.Join(dir, name)
		out, err := exec.Command("go", "build", "-o", path, "parley/cmd/"+name).CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("%w: %s", err, out)
		}
		return path, nil
	})
}

func (r *relay) start(dir, at string) error {
	path, err := r.program()
	if err != nil {
		return err
	}
	return r.run(path, "serve", "--data", dir, "--smp2020", at)
}

// startOTC starts a relay of One Time Chat.
func (r *relay) startOTC(dir string) error {
	path, err := r.program()
	if err != nil {
		return err
	}
	return r.run(path, "serve", "--data", dir, "--otc", "127.0.0.1:0")
}

func (r *relay) run(path string, args ...string) error {
	r.cmd = exec.Command(path, args...)
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	r.cmd.Stderr = os.Stderr
	if err := r.cmd.Start(); err != nil {
		return err
	}
	in := bufio.NewReader(out)
	line, err := in.ReadString('\n')
	if err != nil {
		return err
	}
	go io.Copy(io.Discard, in)
	r.addr = strings.TrimSpace(line)
	return nil
}

func (r *relay) stop(sig syscall.Signal) {
	if r.cmd != nil {
		r.cmd.Process.Signal(sig)
		r.cmd.Wait()
		r.cmd = nil
	}
}

// relay start|stop|kill|again NAME: NAME becomes a variable with its address.
func cmdRelay(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: relay start|stop|kill|again NAME")
	}
	w, name := ts.Value(worldKey{}).(*world), args[1]
	switch r := w.relays[name]; args[0] {
	case "start":
		r = &relay{program: w.program}
		w.relays[name] = r
		ts.Check(r.start(ts.MkAbs("relay-"+name), "127.0.0.1:0"))
		ts.Setenv(name, r.addr)
	case "again":
		ts.Check(r.start(ts.MkAbs("relay-"+name), strings.Split(r.addr, "@")[1]))
	case "stop":
		r.stop(syscall.SIGTERM)
	case "kill":
		r.stop(syscall.SIGKILL)
	}
}

// exits CODE PROGRAM ARGS...
func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if (got == want) == neg {
		ts.Fatalf("%s exits with %d, want %d\n%s%s", strings.Join(args[1:], " "), got, want, ts.ReadFile("stdout"), ts.ReadFile("stderr"))
	}
}

// setenv NAME FILE [FIELD]: what FILE holds, or the field of its first JSON line.
func cmdSetenv(ts *testscript.TestScript, _ bool, args []string) {
	text := strings.TrimSpace(ts.ReadFile(args[1]))
	if len(args) == 3 {
		text = fmt.Sprint(objects(ts, args[1])[0][args[2]])
	}
	ts.Setenv(args[0], text)
}

func objects(ts *testscript.TestScript, file string) []map[string]any {
	var all []map[string]any
	for l := range strings.Lines(ts.ReadFile(file)) {
		var o map[string]any
		if err := json.Unmarshal([]byte(l), &o); err != nil {
			ts.Fatalf("%s: %q: %v", file, l, err)
		}
		all = append(all, o)
	}
	return all
}

// lines FILE N|+ [KEY|KEY=VALUE]...: N lines of JSON, or some, each with these.
func cmdLines(ts *testscript.TestScript, _ bool, args []string) {
	all := objects(ts, args[0])
	n, err := strconv.Atoi(args[1])
	if args[1] == "+" && len(all) > 0 {
		n, err = len(all), nil
	}
	if err != nil || len(all) != n {
		ts.Fatalf("%s has %d lines, want %s\n%s", args[0], len(all), args[1], ts.ReadFile(args[0]))
	}
	for _, o := range all {
		for _, want := range args[2:] {
			key, value, given := strings.Cut(want, "=")
			got, ok := o[key]
			if !ok || given && fmt.Sprint(got) != value {
				ts.Fatalf("%s: %v lacks %s", args[0], o, want)
			}
		}
	}
}

// hold PROFILE: something that does not answer owns it.
func cmdHold(ts *testscript.TestScript, _ bool, args []string) {
	l, err := profile.TryLock(ts.MkAbs(args[0]))
	ts.Check(err)
	w := ts.Value(worldKey{}).(*world)
	w.locks = append(w.locks, l)
}

// until PROFILE: a process serves the profile.
func cmdUntil(ts *testscript.TestScript, _ bool, args []string) {
	path, err := profile.SocketPath(ts.MkAbs(args[0]))
	ts.Check(err)
	// Another process: there is nothing to wait for but the socket itself.
	again, limit := time.NewTicker(20*time.Millisecond), time.After(time.Minute)
	defer again.Stop()
	for {
		if c, err := net.Dial("unix", path); err == nil {
			c.Close()
			return
		}
		select {
		case <-again.C:
		case <-limit:
			ts.Fatalf("nobody serves %s", args[0])
		}
	}
}

// codes FILE: the codes of an invitation become CODE1, CODE2, ...
func cmdCodes(ts *testscript.TestScript, _ bool, args []string) {
	codes, _ := objects(ts, args[0])[0]["codes"].([]any)
	if len(codes) < 2 {
		ts.Fatalf("%d codes", len(codes))
	}
	for i, c := range codes {
		ts.Setenv(fmt.Sprintf("CODE%d", i+1), c.(string))
	}
}

func TestExitCodesAreDocumented(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", "cli.md"))
	if err != nil {
		t.Fatal(err)
	}
	var seen []int
	for _, c := range exitCodes {
		if row := fmt.Sprintf("| %d | %s |", c.Code, c.Meaning); !strings.Contains(string(b), row) {
			t.Errorf("docs/cli.md lacks %q", row)
		}
		if slices.Contains(seen, c.Code) {
			t.Errorf("%d is there twice", c.Code)
		}
		seen = append(seen, c.Code)
	}
}
