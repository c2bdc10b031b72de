package main

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

// A script learns by the exit code that a message was not sent; who sits at a terminal
// has read it.
func TestOTCExitCodes(t *testing.T) {
	w := newOTCWorld(t)
	deny := func() { w.device.mu.Lock(); w.device.deny = true; w.device.mu.Unlock() }
	for what, x := range map[string]struct {
		in   []any
		want int
		said string
	}{
		"nothing":        {[]any{"quit"}, exitOK, "Bye."},
		"sent":           {[]any{"send bob x", "quit"}, exitOK, "Message sent."},
		"no pad":         {[]any{"send zed x", "send bob y"}, exitFailed, "Shared pad not found"},
		"one of two":     {[]any{"ms bob,zed x", "quit"}, exitFailed, "Message sent."},
		"no name":        {[]any{"send ", "quit"}, exitFailed, "Not sent"},
		"no text":        {[]any{"send bob", "quit"}, exitFailed, "Not sent"},
		"no group":       {[]any{"gs nobody x", "quit"}, exitFailed, "There is no group"},
		"too long":       {[]any{"send bob " + strings.Repeat("x", otcLongest+1), "quit"}, exitFailed, "bytes; a relay takes"},
		"waits":          {[]any{w.set(false, true), "send bob x", "quit"}, exitQueued, "NOT SENT YET"},
		"waits, no pad":  {[]any{w.set(false, true), "send bob x", "send zed x", "quit"}, exitFailed, "NOT SENT YET"},
		"denied":         {[]any{deny, "send bob x"}, exitFailed, "User rejected"},
		"receive denied": {[]any{"send bob x", deny, "", "quit"}, exitOK, "Message sent."},
		"unknown":        {[]any{"sned bob x", "quit"}, exitOK, "There is no command"},
	} {
		w.state = t.TempDir()
		for _, w.tty = range []bool{false, true} {
			want := x.want
			if w.tty && want == exitFailed {
				want = exitOK
				if what == "waits, no pad" {
					want = exitQueued
				}
			}
			out, err := w.run("alice", x.in...)
			if exitCode(err) != want || !strings.Contains(out, x.said) {
				t.Errorf("%s, at a terminal %v: %v\n%.300s", what, w.tty, err, out)
			}
			w.set(false, false)()
			w.device.deny = false
			if what == "waits, no pad" && !w.tty && (!errors.Is(err, errFailed) || !strings.Contains(err.Error(), "packages that wait for the relay: 1")) {
				t.Error(err)
			}
			w.tty = true
			w.run("alice", "quit") // what waits goes out
		}
	}
}

// A line that is not UTF-8 would come out as another text: nothing is made of it.
func TestOTCNotUTF8(t *testing.T) {
	w := newOTCWorld(t)
	out, err := w.run("alice", "send bob caf\xe9", "ms bob \xff", "\xffx", "send bob café", "quit")
	if exitCode(err) != exitFailed || strings.Count(out, "the line is not UTF-8. No pad was used.") != 3 || strings.Count(out, "Message sent.") != 1 {
		t.Errorf("%v\n%q", err, out)
	}
	if w.device.next["alice"] != 1 || w.kept() != 0 {
		t.Errorf("%d packages were made, %d are kept", w.device.next["alice"], w.kept())
	}
	if out, _ := w.run("bob", "", "quit"); !strings.Contains(out, "alice: café\n") || strings.Count(out, "alice:") != 1 {
		t.Errorf("%q", out)
	}
	if _, err := w.run("alice", "\xff", "quit"); err != nil {
		t.Errorf("no message was to be sent: %v", err)
	}
}

// With --json each failure is an object of its own.
func TestOTCFailuresAsJSON(t *testing.T) {
	w := newOTCWorld(t)
	w.json = true
	out, err := w.run("alice", "send zed x", "send bob", "gs nobody x", "send bob \xff", "sned", w.set(false, true), "send bob x", "quit")
	if exitCode(err) != exitFailed {
		t.Error(err)
	}
	var got []string
	for l := range strings.Lines(out) {
		var o struct{ Error, To, Kept, Warning string }
		if err := json.Unmarshal([]byte(l), &o); err != nil {
			t.Errorf("%s: %v", l, err)
		}
		switch {
		case o.Kept != "":
			got = append(got, "kept "+o.Kept)
		case o.Error != "":
			got = append(got, strings.TrimSpace(o.To+" "+o.Error))
		case o.Warning != "":
			got = append(got, "warning "+o.Warning)
		}
	}
	want := "zed Shared pad not found.\nusage: send USER MESSAGE\nno such group\nthe line is not UTF-8\nunknown command\nkept bob\nwarning not sent yet"
	if s := strings.Join(got, "\n"); s != want {
		t.Errorf("%s", s)
	}
}
