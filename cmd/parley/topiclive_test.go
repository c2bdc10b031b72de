package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"parley/carrier/mqtt"
	mqttclient "parley/carrier/mqtt/client"
	"parley/parleytest"
	"parley/secure/stringphone"
)

// The live commands run as processes of their own against brokers that are
// processes of their own: parleyd's, and Mosquitto where it is installed.

var programs struct {
	once sync.Once
	dir  string
	err  error
}

// program builds parley or parleyd once for all tests here.
func program(t *testing.T, name string) string {
	t.Helper()
	programs.once.Do(func() {
		if programs.dir, programs.err = os.MkdirTemp("", "parley-test-"); programs.err != nil {
			return
		}
		out, err := exec.Command("go", "build", "-o", programs.dir+"/", "parley/cmd/parley", "parley/cmd/parleyd").CombinedOutput()
		if err != nil {
			programs.err = fmt.Errorf("%w: %s", err, out)
		}
	})
	if programs.err != nil {
		t.Fatal(programs.err)
	}
	return filepath.Join(programs.dir, name)
}

// proc is a running program. Its output can be waited for.
type proc struct {
	t    *testing.T
	cmd  *exec.Cmd
	done chan error

	mu      sync.Mutex
	out     bytes.Buffer // both
	stdout  bytes.Buffer
	changed chan struct{}
}

func startProc(t *testing.T, name string, stdin string, args ...string) *proc {
	t.Helper()
	p := &proc{t: t, cmd: exec.Command(name, args...), done: make(chan error, 1), changed: make(chan struct{}, 1)}
	p.cmd.Stdin = strings.NewReader(stdin)
	p.cmd.Env = append(os.Environ(), "XDG_CONFIG_HOME="+t.TempDir())
	var pipes sync.WaitGroup
	for _, stream := range []struct {
		pipe func() (io.ReadCloser, error)
		also *bytes.Buffer
	}{{p.cmd.StdoutPipe, &p.stdout}, {p.cmd.StderrPipe, nil}} {
		r, err := stream.pipe()
		if err != nil {
			t.Fatal(err)
		}
		pipes.Go(func() { p.read(r, stream.also) })
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		pipes.Wait()
		p.done <- p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		<-p.done
	})
	return p
}

func (p *proc) read(r io.Reader, also *bytes.Buffer) {
	lines := bufio.NewReader(r)
	for {
		l, err := lines.ReadString('\n')
		p.mu.Lock()
		p.out.WriteString(l)
		if also != nil {
			also.WriteString(l)
		}
		p.mu.Unlock()
		select {
		case p.changed <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

func (p *proc) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// await waits until the output matches.
func (p *proc) await(pattern string) {
	p.t.Helper()
	re, limit := regexp.MustCompile(pattern), time.After(time.Minute)
	for !re.MatchString(p.text()) {
		select {
		case <-p.changed:
		case err := <-p.done:
			if !re.MatchString(p.text()) {
				p.t.Fatalf("%v ended (%v) without %q:\n%s", p.cmd.Args, err, pattern, p.text())
			}
			return
		case <-limit:
			p.t.Fatalf("%v did not say %q within a minute:\n%s", p.cmd.Args, pattern, p.text())
		}
	}
}

// end waits for the end and returns the exit code and standard output.
func (p *proc) end() (int, string) {
	p.t.Helper()
	select {
	case err := <-p.done:
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			p.t.Fatal(err)
		}
	case <-time.After(time.Minute):
		p.t.Fatalf("%v did not end within a minute:\n%s", p.cmd.Args, p.text())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd.ProcessState.ExitCode(), p.stdout.String()
}

func (p *proc) interrupt() { p.cmd.Process.Signal(syscall.SIGINT) }

// must waits for a good end.
func (p *proc) must() string {
	p.t.Helper()
	code, out := p.end()
	if code != 0 {
		p.t.Fatalf("%v ended with %d:\n%s", p.cmd.Args, code, p.text())
	}
	return out
}

// testBroker is a broker that can be killed and started again on its port.
type testBroker struct {
	t    *testing.T
	kind string
	dir  string
	port int
	p    *proc
}

// eachBroker runs a test with the embedded broker and with Mosquitto.
func eachBroker(t *testing.T, test func(t *testing.T, kind string)) {
	for _, kind := range []string{"embedded", "mosquitto"} {
		t.Run(kind, func(t *testing.T) { test(t, kind) })
	}
}

func (b *testBroker) start() {
	b.t.Helper()
	if b.kind == "embedded" {
		b.p = startProc(b.t, program(b.t, "parleyd"), "", "serve", "--data", filepath.Join(b.dir, "data"), "--mqtt", b.at())
		b.p.await("mqtt://")
		return
	}
	path, err := findMosquitto()
	if err != nil {
		path = parleytest.Need(b.t, "mosquitto")
	}
	conf := filepath.Join(b.dir, "mosquitto.conf")
	text := fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\n", b.port)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
	b.p = startProc(b.t, path, "", "-c", conf, "-v")
	b.p.await("running")
}

func (b *testBroker) at() string  { return fmt.Sprintf("127.0.0.1:%d", b.port) }
func (b *testBroker) url() string { return "mqtt://" + b.at() }

func (b *testBroker) kill() {
	b.p.cmd.Process.Kill()
	<-b.p.done
}

// device is one participant.
type device struct {
	t     *testing.T
	b     *testBroker
	dir   string
	key   string // public, in base64
	id    string
	flags []string
}

func newDevice(t *testing.T, b *testBroker, flags ...string) *device {
	t.Helper()
	d := &device{t: t, b: b, dir: t.TempDir(), flags: flags}
	out := startProc(t, program(t, "parley"), "", "--json", "topic", "identity", filepath.Join(d.dir, "key")).must()
	var who struct {
		ID        string `json:"id"`
		PublicKey string `json:"public_key"`
	}
	if err := json.Unmarshal([]byte(out), &who); err != nil {
		t.Fatal(err)
	}
	d.key, d.id = who.PublicKey, who.ID
	return d
}

func (d *device) run(command string, args ...string) *proc {
	d.t.Helper()
	return d.in(command, "", args...)
}

func (d *device) in(command, stdin string, args ...string) *proc {
	d.t.Helper()
	all := append([]string{"topic", command, "-b", d.b.url(), "-t", "home", "--state", filepath.Join(d.dir, "state")}, d.flags...)
	if command == "join" || command == "sub" {
		all = append(all, "--identity", filepath.Join(d.dir, "key"))
	}
	return startProc(d.t, program(d.t, "parley"), stdin, append(all, args...)...)
}

// joined makes devices of which the first has founded the topic and let the others in
// by pairing windows.
func joined(t *testing.T, b *testBroker, n int) (all []*device) {
	t.Helper()
	for range n {
		all = append(all, newDevice(t, b))
	}
	letting := all[0].letIn("--new")
	for _, d := range all[1:] {
		d.run("join", "--pair", "30s", "--timeout", "1m").must()
	}
	letting.stop()
	return all
}

// hears runs sub until these texts have come, in their order.
func (d *device) hears(want ...string) {
	d.t.Helper()
	got := texts(d.t, d.run("sub", "--json", "--count", fmt.Sprint(len(want)), "--timeout", "30s").must())
	if !slices.Equal(got, want) {
		d.t.Errorf("heard %q, want %q", got, want)
	}
}

// letIn opens a pairing window, until it is stopped.
func (d *device) letIn(args ...string) *proc {
	d.t.Helper()
	p := d.run("join", append(args, "--pair", "1m", "--stay")...)
	p.await("You have the topic key")
	return p
}

// stop interrupts a command and waits for its end.
func (p *proc) stop() {
	p.interrupt()
	p.end()
}

// texts are the texts that sub --json printed.
func texts(t *testing.T, out string) (all []string) {
	t.Helper()
	for l := range strings.Lines(out) {
		var m topicMessage
		if err := json.Unmarshal([]byte(l), &m); err != nil {
			t.Fatalf("%q: %v", l, err)
		}
		all = append(all, m.Text)
	}
	return all
}

// free makes a broker of that kind on a free port and starts it.
func free(t *testing.T, kind string) *testBroker {
	t.Helper()
	b := &testBroker{t: t, kind: kind, dir: t.TempDir()}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.port = l.Addr().(*net.TCPAddr).Port
	l.Close()
	b.start()
	return b
}

// garbage publishes what is not of this protocol, and leaves some retained.
func garbage(t *testing.T, b *testBroker) {
	t.Helper()
	broker, err := mqtt.ParseBroker(b.url())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := mqttclient.Dial(ctx, mqttclient.Options{Broker: broker})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(ctx)
	for _, payload := range []string{"i", "r", "s", "zz", "\x00\xff\x1b[2J", strings.Repeat("x", 5000)} {
		if err := c.Publish(ctx, mqttclient.Message{Topic: "home", Payload: []byte(payload), QoS: 1, Retain: true}); err != nil {
			t.Fatal(err)
		}
	}
}

// A conversation of two over each broker, in each mode and QoS: the joiner starts
// first, garbage is retained, the broker is killed in the middle and comes back.
func TestTopicLiveBrokerRestart(t *testing.T) {
	eachBroker(t, func(t *testing.T, kind string) {
		modes := []string{"plain", "headed", "forward-secret"}
		for i, qos := range []string{"1", "2"} {
			mode := modes[i+1]
			if kind == "embedded" {
				mode = modes[i]
			}
			t.Run("qos "+qos+" "+mode, func(t *testing.T) {
				t.Parallel()
				b := free(t, kind)
				alice, bob := newDevice(t, b, "--qos", qos), newDevice(t, b, "--qos", qos)
				garbage(t, b)

				joining := bob.run("join", "--pin", alice.key, "--timeout", "1m")
				joining.await("Asking for the topic key")
				letting := alice.run("join", "--new", "--mode", mode, "--allow", bob.key)
				joining.must()
				letting.await(bob.id[:8] + " has been given the topic key")
				letting.interrupt()
				letting.end()

				sub := bob.run("sub", "--json", "--count", "4", "--timeout", "1m")
				alice.run("pub", "one").must()
				sub.await(`"text":"one"`)
				b.kill()
				sub.await("The broker is away")
				if code, _ := alice.run("pub", "--timeout", "300ms", "two").end(); code != exitQueued {
					t.Errorf("pub without a broker ends with %d", code)
				}
				b.start()
				sub.await("The broker is back")
				if b.kind == "mosquitto" { // it has forgotten the session
					b.p.await("Sending SUBACK")
				}
				alice.in("pub", "three\nfour\n", "--lines").must()
				if got := texts(t, sub.must()); fmt.Sprint(got) != "[one two three four]" {
					t.Errorf("bob heard %q", got)
				}
			})
		}
	})
}

// The default, by hand: two pairing windows and nothing else.
func TestTopicLivePairing(t *testing.T) {
	eachBroker(t, func(t *testing.T, kind string) {
		t.Parallel()
		b := free(t, kind)
		alice, bob, carol := newDevice(t, b), newDevice(t, b), newDevice(t, b)
		letting := alice.run("join", "--new", "--pair", "30s", "--stay")
		letting.await("You have the topic key")
		if out := bob.run("join", "--pair", "30s", "--timeout", "1m").must(); !strings.Contains(out, bob.id) || !strings.Contains(out, alice.id) {
			t.Errorf("bob is told %q", out)
		}
		carol.run("join", "--pair", "30s", "--timeout", "1m").must()
		letting.interrupt()
		if code, _ := letting.end(); code != exitInterrupted {
			t.Errorf("an interrupted join ends with %d", code)
		}
		carol.run("pub", "who is there?").must()
		for _, d := range []*device{alice, bob} { // the broker has kept it for their first sub
			d.hears("who is there?")
		}
		// Carol is removed: she is told, and hears nothing newer.
		alice.run("remove", carol.id[:8]).must()
		alice.run("pub", "between us").must()
		bob.hears("between us")
		sub := carol.run("sub", "--json", "--timeout", "3s")
		if out := sub.must(); strings.Contains(out, "between us") {
			t.Errorf("carol, removed, heard %q", out)
		}
		if !strings.Contains(sub.text(), "removed from this topic") {
			t.Errorf("carol is told nothing: %s", sub.text())
		}
		var st topicStatus
		if err := json.Unmarshal([]byte(bob.run("members", "--json").must()), &st); err != nil || len(st.Members) != 2 || st.Epoch == 0 {
			t.Errorf("bob's members: %+v, %v", st, err)
		}
	})
}

// In hex and plain we speak with devices of the original's kind, for which the
// commands over key files stand here.
func TestTopicLiveHexWithTheOriginal(t *testing.T) {
	b := free(t, "embedded")
	alice := newDevice(t, b)
	dir := t.TempDir()
	key, seed := filepath.Join(dir, "topic"), filepath.Join(dir, "seed")
	parley := func(stdin string, args ...string) string {
		t.Helper()
		return strings.TrimSpace(startProc(t, program(t, "parley"), stdin, append([]string{"topic"}, args...)...).must())
	}
	parley("", "identity", seed)
	c, got := listen(t, b)
	intro := parley("", "intro", "--identity", seed, "--hex")
	holder := alice.run("join", "--new", "--hex", "--pair", "1m", "--stay")
	holder.await("You have the topic key")
	if first := <-got; !strings.HasPrefix(first, "69") || len(first) != 2*stringphone.IntroSize {
		t.Fatalf("alice does not introduce herself: %s", first)
	}
	c.say(intro)
	var reply string
	for reply = <-got; !strings.HasPrefix(reply, "72"); reply = <-got {
	}
	parley(reply, "accept-reply", "--identity", seed, "--topic", key, "--hex", "--pin", alice.key)
	c.say(parley("hello from a device", "seal", "--topic", key, "--identity", seed, "--hex"))
	holder.interrupt()
	holder.end()
	sub := alice.run("sub", "--hex", "--json", "--count", "1", "--timeout", "30s")
	c.say(parley("hello again", "seal", "--topic", key, "--identity", seed, "--hex"))
	if texts := texts(t, sub.must()); len(texts) != 1 || !strings.HasPrefix(texts[0], "hello") {
		t.Errorf("alice heard %q", texts)
	}
	alice.run("pub", "--hex", "and back").must()
	for m := range got {
		if strings.HasPrefix(m, "73") && len(m) == 2*(stringphone.Overhead+len("and back")) {
			if text := parley(m, "open", "--topic", key, "--identity", seed, "--hex", "--trust", alice.key); text != "and back" {
				t.Errorf("the device heard %q", text)
			}
			return
		}
	}
}

// ear is a plain MQTT client.
type ear struct {
	t *testing.T
	c *mqttclient.Conn
}

func listen(t *testing.T, b *testBroker) (*ear, <-chan string) {
	t.Helper()
	broker, err := mqtt.ParseBroker(b.url())
	if err != nil {
		t.Fatal(err)
	}
	c, err := mqttclient.Dial(t.Context(), mqttclient.Options{Broker: broker})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(context.Background()) })
	got := make(chan string, 100)
	err = c.Subscribe(t.Context(), "home", 1, func(m mqttclient.Message) error { got <- string(m.Payload); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return &ear{t, c}, got
}

func (e *ear) say(payload string) {
	e.t.Helper()
	if err := e.c.Publish(e.t.Context(), mqttclient.Message{Topic: "home", Payload: []byte(payload), QoS: 1}); err != nil {
		e.t.Fatal(err)
	}
}

func TestTopicLiveErrors(t *testing.T) {
	b := free(t, "embedded")
	d := newDevice(t, b)
	for _, x := range []struct {
		code int
		say  string
		run  func() *proc
	}{
		{exitNotFound, "join it first", func() *proc { return d.run("members") }},
		{exitNotFound, "join it first", func() *proc { return d.run("pub", "hi") }},
		{exitQueued, "nobody has given us", func() *proc { return d.run("join", "--timeout", "1s") }},
		{exitNotFound, "not known yet", func() *proc { return d.run("pub", "hi") }},
		{exitUsage, "choose", func() *proc { return d.run("join", "--new", "--topic", "x") }},
		{exitUsage, "known already", func() *proc { return d.run("join", "--new") }},
		{exitUsage, "plain topics only", func() *proc {
			return newDevice(t, b).run("join", "--new", "--hex", "--mode", "headed")
		}},
	} {
		p := x.run()
		if code, out := p.end(); code != x.code || !strings.Contains(p.text(), x.say) || out != "" {
			t.Errorf("%v: %d, %s", p.cmd.Args, code, p.text())
		}
	}
	for _, args := range [][]string{{"-b", "http://x", "-t", "home"}, {"-b", b.url(), "-t", "a/#"}, {"-b", "mqtt://127.0.0.1:1/topic", "-t", "home"}} {
		p := startProc(t, program(t, "parley"), "", append([]string{"topic", "sub"}, args...)...)
		if code, _ := p.end(); code != exitUsage {
			t.Errorf("%v: %d, %s", args, code, p.text())
		}
	}
}
