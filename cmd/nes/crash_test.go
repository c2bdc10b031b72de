package main

import (
	"fmt"
	"net"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// A listener that is killed at any moment loses nothing: what it has not shown, the
// next one shows.
func TestDefect6KilledListener(t *testing.T) {
	t.Parallel()
	const n = 16
	eachBroker(t, func(t *testing.T, b *broker) {
		v := loadVectors(t)
		url, key := v.original(t, "", nil)
		alice, bob := v.person(t, "alice", b, url, key), v.person(t, "bob", b, url, key)
		shown := map[string]int{}
		note := func(out string) {
			for _, text := range regexp.MustCompile(`message \d+`).FindAllString(out, -1) {
				shown[text]++
			}
		}
		bob.listen().enter() // from now on the broker keeps
		l := bob.listen()
		for i := range n {
			alice.send("bob", fmt.Sprintf("message %d.", i))
			if i%8 == 5 {
				l.await(fmt.Sprintf(`message %d\.`, i-2))
				l.kill()
				out, _, _ := l.texts()
				note(out)
				l = bob.listen()
			}
		}
		l.await(fmt.Sprintf(`message %d\.`, n-1))
		note(l.enter())
		for i := range n {
			// Killed between showing and noting that: once more.
			if c := shown[fmt.Sprintf("message %d", i)]; c < 1 || c > 2 {
				t.Errorf("message %d was shown %d times", i, c)
			}
		}
	}, "embedded", "mosquitto")
}

// With --follow, an end of standard input is none, and a signal is a good one.
func TestFollow(t *testing.T) {
	t.Parallel()
	b := newBroker(t, "embedded")
	v := loadVectors(t)
	url, key := v.original(t, "", nil)
	alice, bob := v.person(t, "alice", b, url, key), v.person(t, "bob", b, url, key)
	l := bob.run("listen", "-f")
	l.await("Listening.")
	l.in.Close()
	alice.send("bob", "on and on")
	l.await("on and on")
	l.cmd.Process.Signal(syscall.SIGTERM)
	l.must()
}

// Servers that accept and stay silent: everything ends in time, with its exit code,
// and what was to be sent is kept.
func TestSilentServers(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	v, b := loadVectors(t), newBroker(t, "embedded")
	url, key := v.original(t, "", nil)
	alice, bob := v.person(t, "alice", b, url, key), v.person(t, "bob", b, url, key)
	deaf := *alice
	deaf.flags = []string{"-u", "alice", "-b", "tcp://" + silent.Addr().String(), "-p", url, "-P", key}
	lost := *alice
	lost.flags = []string{"-u", "alice", "-b", "tcp://" + b.at(), "-p", "http://" + silent.Addr().String(), "-P", key}
	send := deaf.run("send", "-t", "bob", "-m", "kept")
	listen := (&person{t, "bob", bob.home, []string{"-u", "bob", "-b", "tcp://" + silent.Addr().String(), "-p", url, "-P", key}}).run("listen")
	asked := lost.run("send", "-t", "carol", "-m", "x")
	for p, want := range map[*proc]int{send: 4, listen: 4, asked: 5} {
		if code, out, errs := p.end(); code != want || out != "" {
			t.Errorf("%v: exit code %d, want %d\n%s%s", p.cmd.Args, code, want, out, errs)
		}
	}
	// It was for that broker, and no other gets it.
	l := bob.listen()
	p := alice.run("send", "-t", "bob", "-m", "through")
	p.must()
	if _, errs, _ := p.texts(); !strings.Contains(errs, "The outbox keeps 1 for other brokers.") {
		t.Errorf("%q", errs)
	}
	l.await("through")
	if out := l.enter(); strings.Contains(out, "kept") {
		t.Errorf("%s", out)
	}
}
