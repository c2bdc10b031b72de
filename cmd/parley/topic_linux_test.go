package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"parley/parleytest"
)

// A full disk: no half of a key file, no text that is neither shown nor told of.
func TestTopicFullDisk(t *testing.T) {
	d := newDevices(t)
	disk := filepath.Join(d.dir, "disk")
	if err := os.Mkdir(disk, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("parley", disk, "tmpfs", 0, "mode=0700,size=64k"); err != nil {
		parleytest.Missing(t, "a small disk cannot be mounted here ("+err.Error()+")")
	}
	t.Cleanup(func() { syscall.Unmount(disk, syscall.MNT_DETACH) })
	// The guard was made while there was room.
	guarded := append(d.open, "--lines", "--guard", "disk/seen")
	if r := runParley(t, d.dir, d.packet(t, "first"), guarded...); r.code != 0 || r.out != "first\n" {
		t.Fatalf("%+v", r)
	}
	f, err := os.Create(filepath.Join(disk, "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	for n, err := 1, error(nil); n > 0 && err == nil; {
		n, err = f.Write(make([]byte, 1024))
	}
	f.Close()
	intro := runParley(t, d.dir, nil, "topic", "intro", "--identity", "bob", "--hex")
	reply, err := d.alice.ConstructReply(unhex(t, intro.out))
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"topic", "new", "disk/t"},
		{"topic", "identity", "disk/i"},
		{"topic", "intro", "--identity", "bob", "--pending", "disk/p", "--hex"},
		{"topic", "accept-reply", "--identity", "bob", "--topic", "disk/got"},
		append(d.open, "--guard", "disk/new"),
	} {
		r := runParley(t, d.dir, reply, args...)
		if r.code != exitUnexpected || r.out != "" || !strings.Contains(r.errors, "no space left") {
			t.Errorf("%v: %+v", args, r)
		}
	}
	if _, err := os.Stat(filepath.Join(d.dir, "bob.pending")); err != nil {
		t.Error("the pending introduction is gone and no topic key is there")
	}
	left, _ := filepath.Glob(filepath.Join(disk, "*"))
	hidden, _ := filepath.Glob(filepath.Join(disk, ".*"))
	for _, name := range append(left, hidden...) {
		if b := filepath.Base(name); b != "ballast" && b != "seen" && !strings.HasSuffix(b, ".lock") {
			t.Errorf("left behind: %s", b)
		}
	}
	// The guard's page has room for this one still; when it has not, the text is
	// shown, and that it was not remembered is said.
	var in bytes.Buffer
	for i := range 300 {
		in.Write(d.packet(t, fmt.Sprint(i)))
	}
	r := runParley(t, d.dir, in.Bytes(), guarded...)
	if n := strings.Count(r.out, "\n"); r.code != exitUnexpected || n < 100 || n > 299 || !strings.Contains(r.errors, "could not be remembered") {
		t.Errorf("exit code %d, %d lines, %s", r.code, n, r.errors)
	}
	// With room again, nothing of what was not shown is missing.
	if err := os.Remove(f.Name()); err != nil {
		t.Fatal(err)
	}
	again := runParley(t, d.dir, in.Bytes(), guarded...)
	if n := strings.Count(r.out, "\n") + strings.Count(again.out, "\n"); again.code != 0 || n != 300 && n != 301 {
		t.Errorf("%d of 300 lines, exit code %d, %s", n, again.code, again.errors)
	}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := packetFormat{Hex: true}.read([]byte(s))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// On a terminal: no secrets, no raw packets, and texts without escape sequences.
func TestTopicTerminal(t *testing.T) {
	script := parleytest.Need(t, "script")
	d := newDevices(t)
	writeKey(t, d.dir, "alice", make([]byte, 32))
	if err := os.WriteFile(filepath.Join(d.dir, "packet"), d.packet(t, "red \x1b[31mtext\x07"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d.dir, "intro"), []byte(runParley(t, d.dir, nil, "topic", "intro", "--identity", "alice", "--hex").out), 0o600); err != nil {
		t.Fatal(err)
	}
	onTerminal := func(keys, command string) (string, int) {
		t.Helper()
		cmd := exec.Command(script, "-qec", command, os.DevNull)
		cmd.Dir, cmd.Stdin, cmd.Env = d.dir, strings.NewReader(keys), parleyCommand().Env
		out, _ := cmd.CombinedOutput()
		return string(out), cmd.ProcessState.ExitCode()
	}
	open := "parley " + strings.Join(d.open, " ")
	for _, c := range []struct {
		command, want string
		code          int
	}{
		{"parley topic new", "a topic key does not belong on a screen", exitUsage},
		{"parley topic seal --topic topic --identity alice <packet", "add --hex or --base64", exitUsage},
		{"parley topic intro --identity alice", "add --hex or --base64", exitUsage},
		{open + " <packet", "red text", 0},
		{open + " --lines <packet", "red text", 0},
		{open + " --lines --json <packet", `red \u001b[31mtext\u0007`, 0},
	} {
		out, code := onTerminal("", c.command)
		if code != c.code || !strings.Contains(out, c.want) || strings.ContainsAny(out, "\x07\x1b") {
			t.Errorf("%s: exit code %d, %q", c.command, code, out)
		}
	}
	// Somebody at the terminal is asked before the topic key is given away.
	reply := "parley topic reply --topic topic --identity bob --hex <intro"
	for keys, code := range map[string]int{"y\n": 0, "n\n": exitInterrupted} {
		out, got := onTerminal(keys, reply)
		if got != code || !strings.Contains(out, "Give them the topic key?") || strings.Contains(out, "72139e3940e64b5491722088d9a0d74162") != (code == 0) {
			t.Errorf("%q: exit code %d, %q", keys, got, out)
		}
	}
	if out, code := onTerminal("", reply+" --yes"); code != 0 || strings.Contains(out, "[y/N]") {
		t.Errorf("--yes: exit code %d, %q", code, out)
	}
}

// The pipe of the manual: mosquitto_sub | parley topic open --lines, with a real
// broker, garbage between the messages, and a retained one.
func TestTopicMosquitto(t *testing.T) {
	broker, pub, sub := parleytest.Need(t, "mosquitto"), parleytest.Need(t, "mosquitto_pub"), parleytest.Need(t, "mosquitto_sub")
	d := newDevices(t)
	port := startMosquitto(t, broker, d.dir)
	publish := func(payload string, more ...string) {
		t.Helper()
		cmd := exec.Command(pub, append([]string{"-h", "127.0.0.1", "-p", port, "-q", "1", "-t", "home"}, more...)...)
		if cmd.Stdin = strings.NewReader(payload); payload == "" {
			cmd.Args = append(cmd.Args, "-n")
		} else {
			cmd.Args = append(cmd.Args, "-s")
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	hex := func(text string) string { return strings.TrimSpace(string(d.packet(t, text))) }
	publish(hex("retained"), "-r")
	writeKey(t, d.dir, "alice", make([]byte, 32))
	source := exec.Command(sub, "-h", "127.0.0.1", "-p", port, "-q", "1", "-t", "home")
	pipe, err := source.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := source.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { source.Process.Kill(); source.Wait() })
	s := startStream(t, d, "--guard", "seen")
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := pipe.Read(buf)
			if _, werr := s.in.Write(buf[:n]); err != nil || werr != nil {
				return
			}
		}
	}()
	if got := s.read(t); got != "retained\n" {
		t.Fatalf("%q", got)
	}
	again := hex("once")
	for _, payload := range []string{"", "garbage", "69", "\x00\xff", again, again, hex("two\nlines")} {
		publish(payload)
	}
	for _, want := range []string{"once\n", `two\nlines` + "\n"} {
		if got := s.read(t); got != want {
			t.Fatalf("%q, want %q", got, want)
		}
	}
	// And the other way: seal --lines | mosquitto_pub -l, read by the same reader.
	sealed := runParley(t, d.dir, []byte("21.5\n22\n"), "topic", "seal", "--lines", "--topic", "topic", "--identity", "alice")
	out := exec.Command(pub, "-h", "127.0.0.1", "-p", port, "-q", "1", "-t", "home", "-l")
	out.Stdin = strings.NewReader(sealed.out)
	if b, err := out.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	publish(hex("last")) // what alice wrote is of nobody who is trusted, and ends nothing
	if got := s.read(t); got != "last\n" {
		t.Fatalf("%q", got)
	}
}

// startMosquitto runs a broker on a free port of 127.0.0.1 until the test ends.
func startMosquitto(t *testing.T, path, dir string) (port string) {
	t.Helper()
	for range 10 { // the port may be taken between our two calls
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_, port, _ = net.SplitHostPort(l.Addr().String())
		l.Close()
		conf := filepath.Join(dir, "mosquitto.conf")
		if err := os.WriteFile(conf, []byte("listener "+port+" 127.0.0.1\nallow_anonymous true\npersistence false\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(path, "-c", conf)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() { cmd.Wait(); close(ended) }()
		if listens(t.Context(), port, ended) {
			t.Cleanup(func() { cmd.Process.Kill(); <-ended })
			return port
		}
		cmd.Process.Kill()
		<-ended
	}
	t.Fatal("no broker")
	return ""
}

// listens waits until somebody listens on the port, or the process has ended.
func listens(ctx context.Context, port string, ended <-chan struct{}) bool {
	again, limit := time.NewTicker(20*time.Millisecond), time.After(20*time.Second)
	defer again.Stop()
	for {
		if c, err := new(net.Dialer).DialContext(ctx, "tcp", "127.0.0.1:"+port); err == nil {
			c.Close()
			return true
		}
		select {
		case <-again.C:
		case <-ended:
			return false
		case <-limit:
			return false
		}
	}
}
