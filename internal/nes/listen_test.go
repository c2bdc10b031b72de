package nes

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"parley"
	mqttclient "parley/carrier/mqtt/client"
	"parley/internal/rsakey"
	"parley/secure/nes"
)

// A face notes what a listener tells it.
type face struct {
	shown   []Message
	reports []string
	show    func(Message) error
}

func (f *face) sink() Sink {
	return Sink{
		Ready: func() {},
		Show: func(m Message) error {
			if f.show != nil {
				if err := f.show(m); err != nil {
					return err
				}
			}
			f.shown = append(f.shown, m)
			return nil
		},
		Report:  func(s string) { f.reports = append(f.reports, s) },
		Changed: func(_, s string) { f.reports = append(f.reports, s) },
		State:   func(bool, error) {},
	}
}

func openTest(t *testing.T, s *Settings) *Engine {
	t.Helper()
	e, err := Open(s, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

// listener makes a listener without a broker.
func listener(t *testing.T, e *Engine, f *face) *Listener {
	t.Helper()
	own, err := e.keys()
	if err != nil {
		t.Fatal(err)
	}
	ctx, fail := context.WithCancelCause(context.Background())
	l := &Listener{e: e, own: own, sink: f.sink(), ctx: ctx, fail: fail, peers: map[string]*peerState{}, lookups: newTurns(), ready: make(chan struct{})}
	close(l.ready)
	t.Cleanup(func() { fail(nil); l.wg.Wait() })
	return l
}

func private(t testing.TB, user, kind string) *rsa.PrivateKey {
	t.Helper()
	u := vectorKeys(t)[user]
	text := u.Message.Private
	if kind == "sign" {
		text = u.Sign.Private
	}
	k, err := rsakey.ParsePrivate([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// seal makes a message to bob, signed with somebody's key.
func seal(t testing.TB, m nes.Message, signer string) mqttclient.Message {
	t.Helper()
	env, _, err := nes.Seal(m, &private(t, "bob", "message").PublicKey, private(t, signer, "sign"))
	if err != nil {
		t.Fatal(err)
	}
	return mqttclient.Message{Topic: nes.Topic("bob"), Payload: env, QoS: 2}
}

func TestTake(t *testing.T) {
	s := testSettings(t, "bob")
	befriend(t, s, "alice")
	f := &face{}
	l := listener(t, openTest(t, s), f)
	now := time.Now().UnixMilli()
	hello := seal(t, nes.Message{From: "alice", To: "bob", Time: now, Text: "hello"}, "alice")
	for _, c := range []struct {
		m      mqttclient.Message
		shown  int
		report string
	}{
		{hello, 1, ""},
		{hello, 1, "came before"},
		{seal(t, nes.Message{From: "alice", To: "bob", Time: now, Text: "hello"}, "alice"), 1, "came before"}, // the same, sealed anew
		{seal(t, nes.Message{From: "alice", To: "bob", Time: now + 1, Text: "hello"}, "alice"), 2, ""},
		{seal(t, nes.Message{From: "alice", To: "carol", Time: now, Text: "hello"}, "alice"), 2, "written to somebody else"},
		{seal(t, nes.Message{From: "alice", To: "bob", Time: now, Text: "forged"}, "carol"), 2, "is forged"},
		{mqttclient.Message{Payload: nil}, 2, "no NES message"},
		{mqttclient.Message{Payload: []byte("\x1b[31m{}")}, 2, "no NES message"},
		{seal(t, nes.Message{From: "alice", To: "bob", Time: now, Presence: []byte("here")}, "alice"), 2, ""},
	} {
		before := len(f.reports)
		if err := l.take(c.m); err != nil {
			t.Fatal(err)
		}
		if len(f.shown) != c.shown {
			t.Errorf("%d shown, want %d", len(f.shown), c.shown)
		}
		if got := strings.Join(f.reports[before:], " "); (got == "") != (c.report == "") || !strings.Contains(got, c.report) {
			t.Errorf("report %q, want %q", got, c.report)
		}
	}
	for _, r := range f.reports {
		if strings.ContainsAny(r, "\x1b\n") {
			t.Errorf("%q", r)
		}
	}
}

// What could not be shown is shown by the next listener, and nothing twice.
func TestShowThatFails(t *testing.T) {
	s := testSettings(t, "bob")
	befriend(t, s, "alice")
	e := openTest(t, s)
	broken := errors.New("broken pipe")
	f := &face{show: func(m Message) error {
		if m.Text == "later" {
			return ErrLater
		}
		return broken
	}}
	l := listener(t, e, f)
	m := nes.Message{From: "alice", To: "bob", Time: 1, Text: "later"}
	if err := l.take(seal(t, m, "alice")); err != nil {
		t.Fatal(err)
	}
	m.Text = "now"
	if err := l.take(seal(t, m, "alice")); !errors.Is(err, broken) {
		t.Fatalf("%v", err)
	}
	if !errors.Is(context.Cause(l.ctx), broken) {
		t.Errorf("the listener goes on")
	}
	f = &face{}
	if err := listener(t, e, f).showWaiting(); err != nil || len(f.shown) != 2 || f.shown[0].Text != "later" || f.shown[1].Text != "now" {
		t.Errorf("%v, %+v", err, f.shown)
	}
	f = &face{}
	if err := listener(t, e, f).showWaiting(); err != nil || len(f.shown) != 0 {
		t.Errorf("%v, %+v", err, f.shown)
	}
}

// The waiting room: full, the loudest pays; and it survives the process.
func TestDefect7WaitingRoom(t *testing.T) {
	s := testSettings(t, "bob")
	e := openTest(t, s)
	f := &face{}
	l := listener(t, e, f)
	l.fail(nil) // nobody asks: what waits, waits
	quiet := seal(t, nes.Message{From: "alice", To: "bob", Time: 1, Text: "quiet"}, "alice")
	// Straight into the room: a state commit and an RSA operation each would take long.
	l.mu.Lock()
	if err := l.wait(waiting{claimed: "alice", envelope: quiet.Payload}); err != nil {
		t.Fatal(err)
	}
	for i := range maxWaiting + 10 {
		if err := l.wait(waiting{claimed: "flood", envelope: fmt.Appendf(nil, "envelope %d", i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.wait(waiting{claimed: "alice", envelope: quiet.Payload}); err != nil { // a copy takes no place
		t.Fatal(err)
	}
	l.mu.Unlock()
	if n := len(l.of("flood")); n != maxWaiting-1 || len(l.of("alice")) != 1 {
		t.Errorf("%d of the flood, %d of alice", n, len(l.of("alice")))
	}
	if !slices.ContainsFunc(f.reports, func(s string) bool { return strings.Contains(s, "from flood was dropped") }) {
		t.Errorf("%q", f.reports)
	}
	l.mu.Lock()
	for i := range 40 {
		if err := l.wait(waiting{claimed: "big-flood", envelope: append(make([]byte, 1<<20), byte(i))}); err != nil {
			t.Fatal(err)
		}
	}
	l.mu.Unlock()
	if n := len(l.of("big-flood")); n < 1 || n > maxWaitingBytes>>20 || len(l.of("alice")) != 1 {
		t.Errorf("%d, %d", n, len(l.of("alice")))
	}
	// The keys come as files; a later run shows what waited.
	befriend(t, s, "alice")
	f = &face{}
	l = listener(t, e, f)
	l.resumeWaiting()
	l.fail(nil)
	l.wg.Wait()
	l = listener(t, e, f)
	l.mu.Lock()
	for _, w := range l.of("alice") {
		if left, err := l.openWaiting(w, true); err != nil || left {
			t.Fatal(left, err)
		}
	}
	l.mu.Unlock()
	if len(f.shown) != 1 || f.shown[0].Text != "quiet" || len(l.of("alice")) != 0 {
		t.Errorf("%+v, %q", f.shown, f.reports)
	}
}

func TestQueue(t *testing.T) {
	s := testSettings(t, "alice")
	befriend(t, s, "bob")
	e := openTest(t, s)
	at := time.UnixMilli(1_000_000)
	e.now = func() time.Time { return at }
	ctx := context.Background()
	for range 3 {
		if err := e.Queue(ctx, "bob", "same"); err != nil {
			t.Fatal(err)
		}
	}
	bob := private(t, "bob", "message")
	times := map[int64]bool{}
	e.state.View(func(b parley.Bucket) error {
		for _, o := range outbox(b) {
			sealed, err := nes.Decrypt(o.Envelope, bob)
			if err != nil {
				t.Fatal(err)
			}
			m, err := sealed.Open("bob", &private(t, "alice", "sign").PublicKey)
			if err != nil || m.Text != "same" {
				t.Fatalf("%+v, %v", m, err)
			}
			times[m.Time] = true
		}
		return nil
	})
	if len(times) != 3 || !times[1_000_000] {
		t.Errorf("times %v", times)
	}
	if here, elsewhere := e.Waiting(); here != 3 || elsewhere != 0 {
		t.Errorf("%d, %d", here, elsewhere)
	}
	for text, want := range map[string]Code{strings.Repeat("x", nes.MaxText+1): Usage, "\xff": Usage} {
		if err := e.Queue(ctx, "bob", text); CodeOf(err) != want {
			t.Errorf("%v", err)
		}
	}
	for peer, want := range map[string]Code{"../bob": Usage, "carol": Provider} {
		if err := e.Queue(ctx, peer, "x"); CodeOf(err) != want {
			t.Errorf("%s: %v", peer, err)
		}
	}
	// Another process of this user finds the same outbox; another broker has none of it.
	s.Values[Broker] = Value{"tcp://127.0.0.1:1", "flag"}
	if here, elsewhere := openTest(t, s).Waiting(); here != 0 || elsewhere != 3 {
		t.Errorf("%d, %d", here, elsewhere)
	}
}

// FuzzTake: whatever is published ends no listener and shows nothing.
func FuzzTake(f *testing.F) {
	s := testSettings(f, "bob")
	e, err := Open(s, func(string) {})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { e.Close() })
	own, err := e.keys()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seal(f, nes.Message{From: "alice", To: "bob", Time: 1, Text: "x"}, "alice").Payload)
	f.Add([]byte(`{"cipherkey":"","ciphertext":"","signature":""}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		ctx, fail := context.WithCancelCause(context.Background())
		fail(nil) // nobody is asked for keys
		l := &Listener{
			e: e, own: own, ctx: ctx, fail: func(err error) { t.Errorf("it ends: %v", err) }, peers: map[string]*peerState{}, ready: make(chan struct{}),
			sink: Sink{Report: func(string) {}, Show: func(Message) error { t.Error("shown"); return nil }},
		}
		l.mu.Lock()
		sealed, err := nes.Decrypt(payload, own.Open...)
		if err == nil {
			if err = l.open(sealed, "", true); err != nil && !errors.Is(err, parley.ErrNoKey) {
				t.Errorf("%v", err)
			}
		}
		l.mu.Unlock()
	})
}
