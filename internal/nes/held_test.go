package nes

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"parley"
	"parley/keydir/client"
	"parley/secure/nes"
)

// While a sender's keys have changed, only what fits the known or the offered ones
// waits; the rest is dropped at once, and pushes nothing out.
func TestHeldBack(t *testing.T) {
	s := testSettings(t, "bob")
	e := openTest(t, s)
	f := &face{}
	l := listener(t, e, f)
	pinTest(t, e, "alice", "alice")
	changed := &client.ChangedError{User: "alice", Old: keysOfTest(t, "alice"), New: keysOfTest(t, "carol")}
	l.locked(func() { p := l.peer("alice"); p.held, p.asking = changed, true }) // nobody asks
	n := int64(0)
	take := func(to, signer string) {
		t.Helper()
		n++
		if err := l.take(seal(t, nes.Message{From: "alice", To: to, Time: n, Text: fmt.Sprint(signer, n)}, signer)); err != nil {
			t.Fatal(err)
		}
	}
	take("bob", "alice")
	take("bob", "carol")
	for range 5 {
		take("bob", "bob")
	}
	take("dave", "carol")
	if got := len(l.of("alice")); got != 2 {
		t.Errorf("%d wait", got)
	}
	if told(f, "is forged") != 5 || told(f, "somebody else") != 1 {
		t.Errorf("%q", f.reports)
	}
	// Unverified envelopes in the same name and in others, from before the change was
	// known or in its next moment, do not push out those.
	l.mu.Lock()
	for i := range 2 * maxWaiting {
		if err := l.wait(waiting{claimed: []string{"alice", fmt.Sprintf("made-up-%d", i)}[i%2], envelope: fmt.Append(nil, i)}); err != nil {
			t.Fatal(err)
		}
		l.peer(fmt.Sprintf("made-up-%d", i+1)).asking = true
	}
	l.mu.Unlock()
	verified := func() (n int) {
		for _, w := range l.of("alice") {
			if w.verified {
				n++
			}
		}
		return n
	}
	if verified() != 2 {
		t.Errorf("%d of 2 are left", verified())
	}
	// Somebody has decided: they are shown in their order, with the next message.
	pinTest(t, e, "alice", "carol")
	l.mu.Lock()
	for _, w := range l.of("alice") { // what was put there above is no envelope
		if !w.verified {
			l.done(w.key)
		}
	}
	l.mu.Unlock()
	f.reports = nil
	take("bob", "carol")
	if len(f.shown) != 2 || f.shown[0].Text != "carol2" || !strings.HasPrefix(f.shown[1].Text, "carol") {
		t.Errorf("%+v, %q", f.shown, f.reports)
	}
}

// What came before the change was known is looked through once it is.
func TestSift(t *testing.T) {
	s := testSettings(t, "bob")
	e := openTest(t, s)
	f := &face{}
	l := listener(t, e, f)
	pinTest(t, e, "alice", "alice")
	changed := &client.ChangedError{User: "alice", Old: keysOfTest(t, "alice"), New: keysOfTest(t, "carol")}
	put := func(signer string) {
		w := waiting{claimed: "alice", envelope: seal(t, nes.Message{From: "alice", To: "bob", Time: time.Now().UnixMilli(), Text: signer}, signer).Payload}
		e.state.Update(func(b parley.Bucket) error { add(b, "wait/", w.value()); return nil })
	}
	for _, signer := range []string{"bob", "alice", "bob", "carol", "bob"} {
		put(signer)
	}
	e.state.Update(func(b parley.Bucket) error { add(b, "wait/", []byte("alice\ngarbage")); return nil })
	end := l.roomEnd()
	put("bob") // after the provider was asked: it may be signed with newer keys
	l.settle("alice", l.peer("alice"), end, changed)
	var left []bool
	for _, w := range l.of("alice") {
		left = append(left, w.verified)
	}
	if len(left) != 3 || !left[0] || !left[1] || left[2] {
		t.Errorf("%v, %q", left, f.reports)
	}
	if told(f, "is forged") != 3 || told(f, "no NES message") != 1 || told(f, "HAVE CHANGED") != 1 {
		t.Errorf("%q", f.reports)
	}
	l.settle("alice", l.peer("alice"), l.roomEnd(), changed)
	if n := len(l.of("alice")); n != 2 || told(f, "is forged") != 4 {
		t.Errorf("%d left, %q", n, f.reports)
	}
}

// What was verified has half of the room, and no more.
func TestLoudest(t *testing.T) {
	var all []waiting
	for i := range maxWaiting {
		all = append(all, waiting{claimed: "mallory", verified: true, envelope: fmt.Append(nil, i)})
	}
	if i := loudest(all); i != 0 {
		t.Error(i)
	}
	all = append(all, waiting{claimed: "alice", envelope: []byte("x")})
	if i := loudest(all); i != 0 {
		t.Error(i)
	}
	if i := loudest(all[maxWaiting/2+1:]); i != maxWaiting/2-1 {
		t.Error(i)
	}
}

// Messages to ourselves are verified with the keys that are here, whatever is pinned.
func TestToOurselves(t *testing.T) {
	s := testSettings(t, "bob")
	e := openTest(t, s)
	pinTest(t, e, "bob", "carol") // as before a rotation
	if err := e.Queue(t.Context(), "bob", "note"); err != nil {
		t.Fatal(err)
	}
	f := &face{}
	l := listener(t, e, f)
	var env []byte
	e.state.View(func(b parley.Bucket) error { env = outbox(b)[0].Envelope; return nil })
	m := seal(t, nes.Message{From: "bob", To: "bob", Time: 1, Text: "forged"}, "carol")
	if err := l.take(m); err != nil {
		t.Fatal(err)
	}
	m.Payload = env
	if err := l.take(m); err != nil {
		t.Fatal(err)
	}
	if len(f.shown) != 1 || f.shown[0].Text != "note" || told(f, "forged") != 1 {
		t.Errorf("%+v, %q", f.shown, f.reports)
	}
	// Written before a rotation.
	own, err := s.LoadKeys()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.writeKeys("", own.Message, private(t, "carol", "sign"), true); err != nil {
		t.Fatal(err)
	}
	l.own, err = s.LoadKeys()
	if err != nil {
		t.Fatal(err)
	}
	for _, signer := range []string{"bob", "carol", "alice"} {
		if err := l.take(seal(t, nes.Message{From: "bob", To: "bob", Time: 2, Text: signer}, signer)); err != nil {
			t.Fatal(err)
		}
	}
	if len(f.shown) != 3 || told(f, "forged") != 2 {
		t.Errorf("%+v, %q", f.shown, f.reports)
	}
}
