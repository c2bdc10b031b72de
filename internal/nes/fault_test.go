package nes

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"parley"
	"parley/secure/nes"
)

// away takes the state file away, as a file system does that fails.
func away(t *testing.T, s *Settings) (back func()) {
	t.Helper()
	path := s.StatePath()
	if err := os.Rename(path, path+"-away"); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Rename(path+"-away", path); err != nil {
			t.Fatal(err)
		}
	}
}

func told(f *face, text string) (n int) {
	for _, r := range f.reports {
		n += strings.Count(r, text)
	}
	return n
}

// A state file that fails ends nothing: what comes is not acknowledged, it is said
// once, and taken when it works again.
func TestStateFails(t *testing.T) {
	s := testSettings(t, "bob")
	befriend(t, s, "alice")
	e := openTest(t, s)
	f := &face{}
	l := listener(t, e, f)
	var packets [3][]byte
	for i := range packets {
		packets[i] = seal(t, nes.Message{From: "alice", To: "bob", Time: int64(i), Text: "hello"}, "alice").Payload
	}
	unknown := seal(t, nes.Message{From: "carol", To: "bob", Time: 1, Text: "hello"}, "carol")
	m := seal(t, nes.Message{From: "alice", To: "bob", Time: 1, Text: "hello"}, "alice")
	back := away(t, s)
	for range 3 {
		if err := l.take(m); err == nil {
			t.Fatal("acknowledged")
		}
		if err := l.take(unknown); err == nil {
			t.Fatal("acknowledged")
		}
	}
	if l.ctx.Err() != nil {
		t.Fatalf("it ended: %v", context.Cause(l.ctx))
	}
	if n := told(f, "The state file cannot be used"); n != 1 || len(f.shown) != 0 {
		t.Errorf("said %d times; %q, %v", n, f.reports, f.shown)
	}
	back()
	for range 2 {
		if err := l.take(m); err != nil {
			t.Fatal(err)
		}
	}
	if len(f.shown) != 1 || told(f, "works again") != 1 {
		t.Errorf("%v, %q", f.shown, f.reports)
	}
	if err := l.take(unknown); err != nil {
		t.Fatal(err)
	}
	// What was shown and could not be deleted is, with the next commit.
	f.show = func(Message) error { back = away(t, s); f.show = nil; return nil }
	if err := l.take(seal(t, nes.Message{From: "alice", To: "bob", Time: 2, Text: "hello"}, "alice")); err != nil {
		t.Fatal(err)
	}
	back()
	if err := l.take(seal(t, nes.Message{From: "alice", To: "bob", Time: 3, Text: "hello"}, "alice")); err != nil {
		t.Fatal(err)
	}
	if len(f.shown) != 3 || told(f, "The state file cannot be used") != 2 {
		t.Errorf("%v, %q", f.shown, f.reports)
	}
	e.state.View(func(b parley.Bucket) error {
		if n := count(b, "show/"); n != 0 {
			t.Errorf("%d would be shown again", n)
		}
		return nil
	})
}

// What waits for keys while the state file fails is opened when it works again.
func TestStateFailsWhileWaiting(t *testing.T) {
	s := testSettings(t, "bob")
	e := openTest(t, s)
	f := &face{}
	l := listener(t, e, f)
	w := waiting{claimed: "alice", envelope: seal(t, nes.Message{From: "alice", To: "bob", Time: time.Now().UnixMilli(), Text: "hello"}, "alice").Payload}
	e.state.Update(func(b parley.Bucket) error { add(b, "wait/", w.value()); return nil })
	befriend(t, s, "alice")
	back := away(t, s)
	p := &peerState{}
	if over, _ := l.settle("alice", p, "wait/g", nil); over || !p.asking {
		t.Error("nobody goes on asking")
	}
	back()
	if over, _ := l.settle("alice", p, "wait/g", nil); !over || len(f.shown) != 1 {
		t.Errorf("%v, %q", f.shown, f.reports)
	}
	if l.ctx.Err() != nil {
		t.Error("it ended")
	}
}
