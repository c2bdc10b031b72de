package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Our own fingerprint is told, and our own keys are those on this device.
func TestOwnKeys(t *testing.T) {
	t.Parallel()
	b, d := newBroker(t, "embedded"), newDirectory(t)
	alice, bob := d.member("alice", b), d.member("bob", b)
	ours := func(p *proc, out string) string {
		t.Helper()
		code, stdout, errs := p.end()
		m := regexp.MustCompile(`(?m)^Fingerprint of your keys: (([0-9a-f]{4} ){15}[0-9a-f]{4})$`).FindStringSubmatch(errs)
		if code != 0 || stdout != out || m == nil {
			t.Fatalf("%d, %q, %q", code, stdout, errs)
		}
		return m[1]
	}
	first := regexp.MustCompile(`Fingerprint of your keys: (.*)`).FindStringSubmatch(alice.run("config", "-s").must())
	if known := bob.run("trust", "alice").must(); first == nil || !strings.Contains(known, "offered: "+first[1]+"\n") {
		t.Errorf("%q, %s", first, known)
	}
	if out := alice.run("trust", "alice").must(); strings.Count(out, first[1]) != 2 || !strings.Contains(out, "the provider offers the same ones") {
		t.Errorf("%s", out)
	}
	alice.send("alice", "before the rotation")
	second := ours(alice.run("rotate"), "Keys rotated successfully. Those who know the old ones will be asked to accept the new.\n")
	alice.send("alice", "after the rotation")
	l := alice.listen()
	l.await("after the rotation")
	out := l.enter()
	if _, errs, _ := l.texts(); !strings.Contains(out, "before the rotation") || strings.Contains(errs, "CHANGED") || second == first[1] {
		t.Errorf("%s%s", out, errs)
	}
	if out := alice.run("trust", "alice").must(); strings.Count(out, second) != 2 {
		t.Errorf("%s", out)
	}
	// Other keys than the provider has.
	third := ours(alice.run("generate", "--force"), "Keys generated successfully.\n")
	code, out, errs := alice.run("trust", "alice").end()
	if code != 6 || !strings.Contains(out, "here:    "+third) || !strings.Contains(out, "offered: "+second) || !strings.Contains(errs, "than those on this device") || strings.Contains(errs, "changed") {
		t.Errorf("%d, %s%s", code, out, errs)
	}
	alice.fails(2, "trust", "alice", "--new", strings.Repeat("0", 64))
	// register tells it, too.
	dave := newPerson(t, "dave", b, d.url)
	fourth := ours(dave.run("generate"), "Keys generated successfully.\n")
	if got := ours(dave.run("register", "-e", "dave@example.test"), "Username registered. Check email for activation.\n"); got != fourth {
		t.Errorf("%s, %s", got, fourth)
	}
}

// A text is sent as it is, whatever it looks like; bytes that are no text are not.
func TestTexts(t *testing.T) {
	t.Parallel()
	b := newBroker(t, "embedded")
	v := loadVectors(t)
	url, key := v.original(t, "", nil)
	alice, bob := v.person(t, "alice", b, url, key), v.person(t, "bob", b, url, key)
	l := bob.listen()
	for _, args := range [][]string{{"-m", "-hello"}, {"-m", "--help"}, {"-m", "-m"}, {"--message", "-x"}, {"-m", "--"}, {"--message=--yes"}, {"-mtogether"}} {
		if out := alice.run(append([]string{"send", "-t", "bob"}, args...)...).must(); out != "Message sended successfully.\n" {
			t.Errorf("%q: %s", args, out)
		}
	}
	l.await("together")
	out := regexp.MustCompile(`(?m)^.*alice > `).ReplaceAllString(l.enter(), "")
	if out != "Press the Enter Key to exit.\n-hello\n--help\n-m\n-x\n--\n--yes\ntogether\n" {
		t.Errorf("%q", out)
	}
	if errs := alice.fails(2, "send", "-t", "bob", "-m", "a\xff"); !strings.Contains(errs, "the text is not UTF-8") {
		t.Errorf("%q", errs)
	}
}

// A state file that fails for a while ends no listener, and loses nothing.
func TestListenWithoutState(t *testing.T) {
	t.Parallel()
	b := newBroker(t, "embedded")
	v := loadVectors(t)
	url, key := v.original(t, "", nil)
	alice, bob := v.person(t, "alice", b, url, key), v.person(t, "bob", b, url, key)
	alice.send("bob", "first") // bob has no session yet
	l := bob.listen()
	alice.send("bob", "second")
	l.await("second")
	state := filepath.Join(bob.home, ".nes", "bob-state")
	if err := os.Rename(state, state+"-away"); err != nil {
		t.Fatal(err)
	}
	alice.send("bob", "third")
	l.await("The state file cannot be used")
	alice.send("bob", "fourth")
	if err := os.Rename(state+"-away", state); err != nil {
		t.Fatal(err)
	}
	l.await("(?s)third.*fourth")
	out := l.enter()
	if _, errs, _ := l.texts(); strings.Count(errs, "cannot be used") != 1 || strings.Count(out, "third") != 1 {
		t.Errorf("%s%s", out, errs)
	}
}
