package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"parley/secure/stringphone"
)

// twoDevices are two identities of one topic, in a folder: alice seals, bob opens.
type twoDevices struct {
	dir   string
	alice *stringphone.Topic
	open  []string // bob's command line
}

func newDevices(t testing.TB) *twoDevices {
	t.Helper()
	d := &twoDevices{dir: t.TempDir()}
	key := stringphone.GenerateTopicKey()
	var err error
	if d.alice, err = stringphone.NewTopic(stringphone.Options{TopicKey: key}); err != nil {
		t.Fatal(err)
	}
	writeKey(t, d.dir, "topic", key)
	writeKey(t, d.dir, "bob", stringphone.GenerateSeed())
	d.open = []string{"topic", "open", "--topic", "topic", "--identity", "bob", "--trust", keyLine(d.alice.PublicKey()), "--hex"}
	return d
}

func (d *twoDevices) packet(t testing.TB, text string) []byte {
	t.Helper()
	p, err := d.alice.Encode([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return []byte(packetFormat{Hex: true}.text(p) + "\n")
}

// A line that never ends takes a bounded memory, and the next one is read.
func TestTopicHugeLine(t *testing.T) {
	d := newDevices(t)
	var in bytes.Buffer
	in.Write(d.packet(t, "before"))
	in.Write(bytes.Repeat([]byte("61"), maxLine/2+1))
	in.WriteByte('\n')
	in.Write(d.packet(t, strings.Repeat("x", 1<<20)))
	in.Write(d.packet(t, "after"))
	r := runParley(t, d.dir, in.Bytes(), append(d.open, "--lines")...)
	if r.code != 0 || r.out != "before\n"+strings.Repeat("x", 1<<20)+"\nafter\n" || !strings.Contains(r.errors, "line 2: not a String phone message: the line is too long") {
		t.Errorf("exit code %d, %d bytes, %s", r.code, len(r.out), r.errors)
	}
}

// A text of 16 MiB goes through in each form.
func TestTopicLargeText(t *testing.T) {
	d := newDevices(t)
	writeKey(t, d.dir, "alice", stringphone.GenerateSeed())
	id := runParley(t, d.dir, nil, "topic", "identity", "alice", "--json")
	var alice identityResult
	if err := json.Unmarshal([]byte(id.out), &alice); err != nil {
		t.Fatal(err)
	}
	text := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	for _, form := range []string{"--hex", "--base64"} {
		sealed := runParley(t, d.dir, text, "topic", "seal", "--topic", "topic", "--identity", "alice", form)
		r := runParley(t, d.dir, []byte(sealed.out), "topic", "open", "--topic", "topic", "--identity", "bob", form, "--lines", "--trust", alice.PublicKey)
		if r.code != 0 || r.out != string(text)+"\n" {
			t.Errorf("%s: exit code %d, %d bytes, %s", form, r.code, len(r.out), r.errors)
		}
	}
}

// Each line is shown when it has come, not when the stream ends.
func TestTopicLinesAreLive(t *testing.T) {
	d := newDevices(t)
	s := startStream(t, d, "--guard", "seen")
	for i := range 3 {
		s.write(t, d.packet(t, fmt.Sprint("text ", i)))
		if got := s.read(t); got != fmt.Sprintf("text %d\n", i) {
			t.Fatalf("%q", got)
		}
	}
	s.in.Close()
	if err := s.cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// SIGTERM ends a command that waits for input.
func TestTopicInterrupted(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("signals")
	}
	for _, more := range [][]string{{"--lines"}, nil} {
		d := newDevices(t)
		cmd := parleyCommand(append(d.open, more...)...)
		cmd.Dir = d.dir
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		errs, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stdout = &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if more != nil { // it has started when it tells about the first line
			io.WriteString(in, "garbage\n")
			if s, err := bufio.NewReader(errs).ReadString('\n'); !strings.HasPrefix(s, "line 1: ") {
				t.Fatal(s, err)
			}
		}
		cmd.Process.Signal(syscall.SIGTERM)
		err = cmd.Wait()
		// Without a line to see, the signal may come before the program catches it.
		if code := cmd.ProcessState.ExitCode(); code != exitInterrupted && (more != nil || code != -1) || err == nil || out.Len() > 0 {
			t.Errorf("%v: exit code %d, %v, %q", more, code, err, out.String())
		}
		in.Close()
	}
}

// stream is a running parley topic open --lines.
type stream struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func startStream(t testing.TB, d *twoDevices, more ...string) *stream {
	t.Helper()
	cmd := parleyCommand(append(append(d.open, "--lines"), more...)...)
	cmd.Dir = d.dir
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		cmd.Process.Kill()
		cmd.Wait()
	})
	return &stream{cmd, in, bufio.NewReader(out)}
}

func (s *stream) write(t testing.TB, b []byte) {
	t.Helper()
	if _, err := s.in.Write(b); err != nil {
		t.Fatal(err)
	}
}

func (s *stream) read(t testing.TB) string {
	t.Helper()
	line, err := s.out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return line
}

// Two runs share a guard while both run: each box is shown by one of them.
func TestTopicGuardOfTwo(t *testing.T) {
	d := newDevices(t)
	const n = 40
	var in bytes.Buffer
	for i := range n {
		in.Write(d.packet(t, fmt.Sprint(i)))
	}
	var both sync.WaitGroup
	results := make([]ran, 2)
	for i := range results {
		both.Go(func() {
			results[i] = runParley(t, d.dir, in.Bytes(), append(d.open, "--lines", "--guard", "seen")...)
		})
	}
	both.Wait()
	seen := map[string]int{}
	for _, r := range results {
		if r.code != 0 {
			t.Fatalf("%+v", r)
		}
		for l := range strings.Lines(r.out) {
			seen[l]++
		}
	}
	if len(seen) != n {
		t.Errorf("%d of %d were shown", len(seen), n)
	}
	for l, times := range seen {
		if times != 1 {
			t.Errorf("%q was shown %d times", l, times)
		}
	}
}

// Whoever is killed between showing a text and remembering it shows it again:
// twice is better than never.
func TestTopicGuardAfterCrash(t *testing.T) {
	d := newDevices(t)
	path := filepath.Join(d.dir, "seen")
	packet, err := d.alice.Encode([]byte("once or twice"))
	if err != nil {
		t.Fatal(err)
	}
	open := func(show func([]byte) error) error {
		g, err := openGuard(context.Background(), path)
		if err != nil {
			t.Fatal(err)
		}
		defer g.close()
		topic, err := stringphone.NewTopic(stringphone.Options{TopicKey: d.alice.TopicKey(), Guard: g.guard})
		if err != nil {
			t.Fatal(err)
		}
		topic.AddParticipant(d.alice.PublicKey())
		return (&opener{topic: topic, guard: g}).open(context.Background(), packet, show)
	}
	crash := errors.New("crash")
	shown := 0
	if err := open(func([]byte) error { shown++; return crash }); !errors.Is(err, crash) {
		t.Fatal(err)
	}
	if err := open(func([]byte) error { shown++; return nil }); err != nil || shown != 2 {
		t.Fatalf("lost: shown %d times, %v", shown, err)
	}
	if err := open(func([]byte) error { shown++; return nil }); !errors.Is(err, stringphone.ErrReplay) || shown != 2 {
		t.Fatalf("shown %d times, %v", shown, err)
	}
}

// A guard's file stays bounded, and what is torn off its end is not its end.
func TestTopicGuardFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seen")
	small, err := stringphone.NewGuard(4).MarshalBinary()
	if err == nil {
		err = os.WriteFile(path, small, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	key := stringphone.GenerateTopicKey()
	alice, _ := stringphone.NewTopic(stringphone.Options{TopicKey: key})
	var packets [][]byte
	most := int64(0)
	for i := range 36 {
		packet, err := alice.Encode([]byte{byte(i)})
		if err != nil {
			t.Fatal(err)
		}
		packets = append(packets, packet)
		g, err := openGuard(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		bob, _ := stringphone.NewTopic(stringphone.Options{TopicKey: key, Guard: g.guard})
		bob.AddParticipant(alice.PublicKey())
		o := &opener{topic: bob, guard: g}
		if err := o.open(t.Context(), packet, func([]byte) error { return nil }); err != nil {
			t.Fatal(err)
		}
		// The last four are remembered, the same by whoever reads the file.
		for _, old := range packets[max(0, i-3):] {
			if err := o.open(t.Context(), old, nil); !errors.Is(err, stringphone.ErrReplay) {
				t.Fatalf("%d: %v", i, err)
			}
		}
		g.close()
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		most = max(most, st.Size())
		if i > 30 { // a crash in the middle of writing
			f, _ := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
			f.Write([]byte("torn"))
			f.Close()
		}
	}
	if most > guardHead+guardDigest*2*4 {
		t.Errorf("the file grew to %d bytes", most)
	}
}

// A guard that is in use is waited for, until the command is interrupted.
func TestTopicGuardInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seen")
	g, err := openGuard(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer g.close()
	if err := g.begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errInterrupted)
	if _, err := openGuard(ctx, path); !errors.Is(err, errInterrupted) {
		t.Fatal(err)
	}
	other := make(chan error, 1)
	go func() {
		o, err := openGuard(t.Context(), path)
		if err == nil {
			o.close()
		}
		other <- err
	}()
	g.end()
	if err := <-other; err != nil {
		t.Fatal(err)
	}
}

func TestApproveAt(t *testing.T) {
	for answer, want := range map[string]bool{"y\n": true, "YES\n": true, "yes": true, "\n": false, "": false, "n\n": false, "yy\n": false} {
		var out bytes.Buffer
		err := approveAt(t.Context(), strings.NewReader(answer), &out)
		if (err == nil) != want || err != nil && !errors.Is(err, errInterrupted) || !strings.Contains(out.String(), "[y/N]") {
			t.Errorf("%q: %v, %q", answer, err, out.String())
		}
	}
}
