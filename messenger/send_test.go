package messenger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"parley"
	"parley/parleytest"
)

// spy records what is handed over and when; answer decides what comes of it.
type spy struct {
	*parleytest.Faulty
	mu     sync.Mutex
	sent   []handed
	answer func(n int) error // nil: the network's
}

type handed struct {
	at     time.Time
	packet []byte
}

func (s *spy) Send(ctx context.Context, to parley.Endpoint, packet []byte) (parley.Reach, error) {
	s.mu.Lock()
	s.sent = append(s.sent, handed{time.Now(), bytes.Clone(packet)})
	n, f := len(s.sent), s.answer
	s.mu.Unlock()
	if f != nil {
		if err := f(n); err != nil {
			return 0, err
		}
	}
	return s.Faulty.Send(ctx, to, packet)
}

func (s *spy) set(answer func(n int) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent, s.answer = nil, answer
}

func (s *spy) all() []handed {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]handed(nil), s.sent...)
}

// spyOn lets alice send through a spy, without jitter.
func spyOn(w *world, more func(*Options)) (a, b *person, s *spy) {
	a, b = w.person("alice", "one"), w.person("bob", "two")
	w.connect(a, b)
	a.wait(a.send("bob", "settled").ID, AtDevice)
	<-time.After(time.Second)
	s = &spy{Faulty: w.net}
	a.stop()
	a.change = func(o *Options) {
		var r parley.Registry
		r.Carrier(parleytest.FaultyScheme, s)
		r.Transport(parley.Ratchet, o.Registry.Secure[parley.Ratchet])
		o.Registry = &r
		o.Jitter = func() float64 { return 0.5 }
		if more != nil {
			more(o)
		}
	}
	a.start()
	return a, b, s
}

func denied(int) error { return fmt.Errorf("not now: %w", parley.ErrDenied) }

// TestRetrySchedule: two resends at once, then 10, 15, 20, 30, 30 … seconds, with
// the same bytes each time, and never an end to it.
func TestRetrySchedule(t *testing.T) {
	inBubble(t, 1, func(w *world) {
		t := w.t
		a, b, s := spyOn(w, nil)
		s.set(denied)
		id := a.send("bob", "again and again").ID
		<-time.After(2 * time.Hour)
		got := s.all()
		if len(got) < 200 {
			t.Fatal(len(got), "tries in two hours")
		}
		for i, want := range []int{0, 0, 10, 15, 20, 30, 30, 30} {
			if d := got[i+1].at.Sub(got[i].at).Round(time.Second); d != time.Duration(want)*time.Second {
				t.Errorf("pause %d is %v, not %d s", i+1, d, want)
			}
		}
		for _, h := range got {
			if !bytes.Equal(h.packet, got[0].packet) {
				t.Fatal("a resend has other bytes")
			}
		}
		m, err := a.m.Message(t.Context(), id[:8])
		if err != nil || m.State != Queued || m.Tries != len(got) || m.NextTry.Before(time.Now()) {
			t.Fatalf("%+v %v", m, err)
		}
		q, err := a.m.Queue(t.Context())
		if err != nil || len(q) != 1 || q[0].Message != id || q[0].Contact != "bob" || q[0].Relay != "faulty://two" || q[0].State != "waiting" || q[0].Tries != len(got) || q[0].Why == "" {
			t.Fatalf("%+v %v", q, err)
		}
		// Resend tries at once, with the same bytes.
		<-time.After(time.Second)
		n := len(s.all())
		if _, err := a.m.Resend(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Millisecond)
		if now := s.all(); len(now) != n+1 || !bytes.Equal(now[n].packet, got[0].packet) {
			t.Fatal("Resend did not hand the packet over at once")
		}
		// So does a new start: what was handed over is unprocessed again.
		<-time.After(time.Second)
		a.stop()
		n = len(s.all())
		a.start()
		<-time.After(time.Millisecond)
		if now := s.all(); len(now) != n+1 || !bytes.Equal(now[n].packet, got[0].packet) {
			t.Fatal("a new start did not hand the packet over at once")
		}
		s.set(nil)
		a.wait(id, AtDevice)
		if got := b.texts("alice"); len(got) != 2 {
			t.Fatal(got)
		}
	})
}

// TestOfflineIsNoTry: nothing is counted, and it goes out when the relay is back.
func TestOfflineIsNoTry(t *testing.T) {
	inBubble(t, 2, func(w *world) {
		t := w.t
		a, b, _ := spyOn(w, nil)
		w.net.Down("two", true)
		var ids []string
		for i := range 3 {
			ids = append(ids, a.send("bob", fmt.Sprint(i)).ID)
		}
		<-time.After(10 * time.Hour)
		for _, id := range ids {
			if m, err := a.m.Message(t.Context(), id); err != nil || m.State != Queued || m.Tries != 0 {
				t.Fatalf("%+v %v", m, err)
			}
		}
		s, err := a.m.Status(t.Context())
		if err != nil || s.Queued != 3 || len(s.Relays) != 2 || s.Relays[1].Connected || s.Relays[1].Error == "" {
			t.Fatalf("%+v %v", s, err)
		}
		w.net.Down("two", false)
		before := time.Now()
		for _, id := range ids {
			if m := a.wait(id, AtDevice); m.Tries != 1 {
				t.Fatalf("%+v", m)
			}
		}
		if d := time.Since(before); d > 2*time.Minute {
			t.Fatal("it took", d)
		}
		if got := b.texts("alice"); strings.Join(got, "") != "settled012" {
			t.Fatal(got)
		}
	})
}

// TestRefused: what cannot succeed fails with its reason; sent again it has new
// bytes and the same ID.
func TestRefused(t *testing.T) {
	inBubble(t, 3, func(w *world) {
		t := w.t
		a, b, s := spyOn(w, nil)
		s.set(func(int) error { return fmt.Errorf("no such thing: %w", parley.ErrRefused) })
		id := a.send("bob", "refused").ID
		m := a.wait(id, AtDevice)
		if m.State != Failed || !strings.Contains(m.Error, "no such thing") {
			t.Fatalf("%+v", m)
		}
		if _, err := a.m.Cancel(t.Context(), id); !errors.Is(err, ErrState) {
			t.Fatal(err)
		}
		first := s.all()[0].packet
		s.set(nil)
		next := a.send("bob", "not refused").ID
		if m, err := a.m.Resend(t.Context(), id); err != nil || m.State != Queued || m.Error != "" || m.ID != id {
			t.Fatalf("%+v %v", m, err)
		}
		a.wait(id, AtDevice)
		a.wait(next, AtDevice)
		for _, h := range s.all() {
			if bytes.Equal(h.packet, first) {
				t.Fatal("the refused packet was sent again")
			}
		}
		if got := b.texts("alice"); strings.Join(got, ",") != "settled,not refused,refused" {
			t.Fatal(got)
		}
		if _, err := a.m.Resend(t.Context(), id); !errors.Is(err, ErrState) {
			t.Fatal(err)
		}
	})
}

// TestResendFromRelay: what the relay has lost is sealed anew under the same ID;
// what it has not lost is shown once.
func TestResendFromRelay(t *testing.T) {
	inBubble(t, 4, func(w *world) {
		t := w.t
		a, b, _ := spyOn(w, nil)
		b.stop()
		id := a.send("bob", "only once").ID
		a.wait(id, AtRelay)
		for range 3 {
			if m, err := a.m.Resend(t.Context(), id); err != nil || m.State != AtRelay {
				t.Fatalf("%+v %v", m, err)
			}
			<-time.After(time.Second)
		}
		if n, _ := w.net.Held("two"); n < 3 {
			t.Fatal(n, "packets at the relay")
		}
		b.start()
		a.wait(id, AtDevice)
		b.wait(b.send("alice", "got it").ID, AtDevice)
		<-time.After(time.Minute)
		if got := b.texts("alice"); strings.Join(got, ",") != "settled,only once" {
			t.Fatal(got)
		}
	})
}

func TestUserLimit(t *testing.T) {
	inBubble(t, 5, func(w *world) {
		a, _, s := spyOn(w, func(o *Options) { o.MaxTries = 4 })
		s.set(denied)
		m := a.wait(a.send("bob", "four times").ID, AtRelay)
		if m.State != Failed || !strings.Contains(m.Error, "given up after 4 tries") || len(s.all()) != 4 {
			w.t.Fatalf("%+v after %d", m, len(s.all()))
		}
	})
}

// TestCancel: a message leaves the queue in any place; while it is on its way,
// what comes of that decides.
func TestCancel(t *testing.T) {
	inBubble(t, 6, func(w *world) {
		t := w.t
		a, b, s := spyOn(w, nil)
		s.set(denied)
		var ids []string
		for i := range window + 4 {
			ids = append(ids, a.send("bob", fmt.Sprint(i, " ")).ID)
		}
		<-time.After(5 * time.Minute)
		var sealed, intents int
		if err := a.p.DB().QueryRow("SELECT (SELECT count(*) FROM packets), (SELECT count(*) FROM intents)").Scan(&sealed, &intents); err != nil || sealed != window || intents != 4 {
			t.Fatal(sealed, intents, err)
		}
		// The head, one that is sealed, one that is not.
		for _, i := range []int{0, 5, window + 1} {
			if m, err := a.m.Cancel(t.Context(), ids[i]); err != nil || m.State != Canceled {
				t.Fatalf("%+v %v", m, err)
			}
			if _, err := a.m.Cancel(t.Context(), ids[i]); !errors.Is(err, ErrState) {
				t.Fatal(err)
			}
		}
		if m := a.wait(ids[0], AtRelay); m.State != Canceled {
			t.Fatalf("%+v", m)
		}
		s.set(nil)
		a.wait(ids[len(ids)-1], AtDevice)
		want := "settled"
		for i := range ids {
			if i != 0 && i != 5 && i != window+1 {
				want += fmt.Sprint(i, " ")
			}
		}
		if got := strings.Join(b.texts("alice"), ""); got != want {
			t.Fatalf("%q, not %q", got, want)
		}
		if _, err := a.m.Cancel(t.Context(), ids[1]); !errors.Is(err, ErrState) || !strings.Contains(err.Error(), "relay has") {
			t.Fatal(err)
		}
		// On its way: the call is interrupted.
		hang := make(chan struct{})
		s.set(func(int) error { <-hang; return nil })
		id := a.send("bob", "too late").ID
		<-time.After(time.Second)
		go func() { <-time.After(time.Second); close(hang) }()
		_, err := a.m.Cancel(t.Context(), id)
		m := a.wait(id, AtRelay)
		if errors.Is(err, ErrState) != (m.State == AtRelay || m.State == AtDevice) {
			t.Fatalf("%v and %+v", err, m)
		}
	})
}

// TestNobodyWaitsForAnother: one contact's full mailbox and another's dead relay
// delay no third.
func TestNobodyWaitsForAnother(t *testing.T) {
	inBubble(t, 7, func(w *world) {
		a := w.person("alice", "one")
		for _, n := range []string{"bob", "carol", "dave"} {
			w.connect(a, w.person(n, n+"-relay"))
		}
		w.net.Down("bob-relay", true)
		w.net.Fault = func(op string, at parley.Address) error {
			if op == "send" && strings.Contains(string(at), "carol-relay") {
				return parley.ErrFull
			}
			return nil
		}
		for i := range 40 {
			a.send("bob", fmt.Sprint(i))
			a.send("carol", fmt.Sprint(i))
		}
		before := time.Now()
		a.wait(a.send("dave", "quick").ID, AtDevice)
		if d := time.Since(before); d > time.Second {
			w.t.Fatal("it took", d)
		}
	})
}

// TestBothRelays: a message is at the relay as soon as one has it, is shown
// once, and a dead relay's copies go when the device has the message.
func TestBothRelays(t *testing.T) {
	inBubble(t, 8, func(w *world) {
		t := w.t
		a, b := w.person("alice", "one", "two"), w.person("bob", "three", "four")
		w.connect(a, b)
		a.wait(a.send("bob", "both").ID, AtDevice)
		w.net.Kill("three")
		w.net.Down("one", true)
		for i := range 30 {
			a.wait(a.send("bob", fmt.Sprint("a", i)).ID, AtDevice)
			b.wait(b.send("alice", fmt.Sprint("b", i)).ID, AtDevice)
		}
		w.net.Down("one", false)
		<-time.After(time.Hour)
		if got := b.texts("alice"); len(got) != 31 {
			t.Fatal(got)
		}
		if got := a.texts("bob"); len(got) != 30 {
			t.Fatal(got)
		}
		q, err := a.m.Queue(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range q {
			if e.Message != "" || e.Relay != "faulty://three" {
				t.Fatalf("%+v", e) // receipts only, for the relay that is dead
			}
		}
	})
}

func TestSendRefusals(t *testing.T) {
	inBubble(t, 9, func(w *world) {
		t := w.t
		a, b := w.person("alice", "one"), w.person("bob", "two")
		w.connect(a, b)
		for _, c := range []struct {
			to, text string
			want     error
		}{
			{"nobody", "x", ErrNoContact}, {"bob", "", ErrState}, {"bob", "\xff", ErrState},
			{"bob", strings.Repeat("x", MaxText+1), ErrTooLong},
		} {
			if _, err := a.m.Send(t.Context(), c.to, c.text); !errors.Is(err, c.want) {
				t.Errorf("%q %.10q: %v", c.to, c.text, err)
			}
		}
		id := a.send("BOB", "any case").ID
		for _, bad := range []string{"", "12", "xyzt", id + "00", "ffffffffffffffffffffffffffffffff"} {
			if _, err := a.m.Message(t.Context(), bad); !errors.Is(err, ErrNoMessage) {
				t.Errorf("%q: %v", bad, err)
			}
		}
		if m, err := a.m.Message(t.Context(), strings.ToUpper(id[:4])); err != nil || m.ID != id {
			t.Fatal(m, err)
		}
		if _, err := a.m.Wait(t.Context(), id, Received); !errors.Is(err, ErrState) {
			t.Fatal(err)
		}
		theirs := b.send("alice", "theirs").ID
		b.wait(theirs, AtDevice)
		for _, f := range []func(context.Context, string) (Message, error){a.m.Resend, a.m.Cancel} {
			if _, err := f(t.Context(), theirs); !errors.Is(err, ErrState) {
				t.Error(err)
			}
		}
	})
}

// TestResendKeepsPlaces: what waits for another relay is not moved behind later
// messages by Resend.
func TestResendKeepsPlaces(t *testing.T) {
	inBubble(t, 10, func(w *world) {
		t := w.t
		a, b := w.person("alice", "one"), w.person("bob", "three", "four")
		w.connect(a, b)
		a.wait(a.send("bob", "0").ID, AtDevice)
		<-time.After(time.Minute)
		b.stop()
		w.net.Down("four", true)
		first, second := a.send("bob", "1").ID, a.send("bob", "2").ID
		a.wait(second, AtRelay)
		if _, err := a.m.Resend(t.Context(), first); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Minute)
		w.net.Kill("three")
		w.net.Down("four", false)
		b.start()
		a.wait(first, AtDevice)
		a.wait(second, AtDevice)
		if got := strings.Join(b.texts("alice"), ""); got != "012" {
			t.Fatal(got)
		}
	})
}
