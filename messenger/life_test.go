package messenger

import (
	"errors"
	"strings"
	"testing"
	"time"

	"parley"
)

// TestTamperedPin: whoever can write to the file, but has no passphrase, cannot
// make a contact look verified.
func TestTamperedPin(t *testing.T) {
	for _, change := range []string{
		"UPDATE lines SET verified = 1",
		"UPDATE lines SET number = zeroblob(32)",
		"UPDATE lines SET mac = zeroblob(32)",
		"UPDATE lines SET number = NULL, mac = NULL",
	} {
		inBubble(t, 1, func(w *world) {
			t := w.t
			a, b := w.person("alice", "one"), w.person("bob", "two")
			w.connect(a, b)
			if err := a.m.tx(t.Context(), "test", func(tx *tx) error { return tx.exec(change) }); err != nil {
				t.Fatal(err)
			}
			if c := a.contact("bob"); c.Verified {
				t.Fatalf("%s: %+v", change, c)
			}
			a.stop()
			a.start()
			if c := a.contact("bob"); !c.KeyChanged || c.Verified || len(a.notices("bob")) != 1 {
				t.Fatalf("%s: %+v %q", change, c, a.notices("bob"))
			}
			na, _ := a.m.SafetyNumber(t.Context(), "bob")
			nb, _ := b.m.SafetyNumber(t.Context(), "alice")
			if na.Digits != nb.Digits {
				t.Fatal("the pin was not put right")
			}
			a.stop()
			a.start()
			if len(a.notices("bob")) != 1 {
				t.Fatal("said twice")
			}
		})
	}
}

// TestTamperedState: a line whose keys were changed is not used, and says so.
func TestTamperedState(t *testing.T) {
	inBubble(t, 2, func(w *world) {
		t := w.t
		a, b, c := w.person("alice", "one"), w.person("bob", "two"), w.person("carol", "three")
		w.connect(a, b)
		w.connect(a, c)
		err := a.m.tx(t.Context(), "test", func(tx *tx) error {
			return tx.exec("UPDATE line_state SET value = zeroblob(length(value)) WHERE line = 1")
		})
		if err != nil {
			t.Fatal(err)
		}
		id := a.send("bob", "not with these keys").ID
		b.send("alice", "kept")
		a.wait(a.send("carol", "works").ID, AtDevice)
		a.stop()
		a.start()
		a.wait(a.send("carol", "still works").ID, AtDevice)
		if m, err := a.m.Message(t.Context(), id); err != nil || m.State != Queued {
			t.Fatalf("%+v %v", m, err)
		}
		if s, err := a.m.Status(t.Context()); err != nil || s.Waiting == 0 {
			t.Fatalf("%+v %v", s, err)
		}
		if n := a.notices("bob"); len(n) != 1 || !strings.Contains(n[0], "changed from outside") {
			t.Fatal(n)
		}
	})
}

// TestClose lets what is on its way finish, ends everything, and is quick.
func TestClose(t *testing.T) {
	inBubble(t, 3, func(w *world) {
		t := w.t
		a, b := w.person("alice", "one"), w.person("bob", "two")
		w.connect(a, b)
		id := a.send("bob", "just before").ID
		before := time.Now()
		if err := a.m.Close(); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(before); d > time.Second {
			t.Fatal("it took", d)
		}
		if err := a.m.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := a.m.Send(t.Context(), "bob", "after"); err == nil {
			// The profile is still open: the message is on disk for the next time.
			if err := a.m.Watch(t.Context(), nil); !errors.Is(err, ErrClosed) {
				t.Fatal(err)
			}
		}
		a.m = nil
		a.start()
		if m, err := a.m.Message(t.Context(), id); err != nil || rank(m.State) < rank(AtRelay) {
			t.Fatalf("%+v %v", m, err)
		}
		// With a relay that is down there is nothing to wait for.
		w.net.Down("two", true)
		a.send("bob", "no relay")
		<-time.After(time.Minute)
		before = time.Now()
		a.m.Close()
		if d := time.Since(before); d > time.Second {
			t.Fatal("it took", d)
		}
	})
}

func TestOpenRefusals(t *testing.T) {
	inBubble(t, 4, func(w *world) {
		t := w.t
		a := w.person("alice", "one")
		a.m.Close()
		a.m = nil
		if _, err := Open(t.Context(), Options{}); err == nil {
			t.Fatal("no profile")
		}
		if _, err := a.p.DB().Exec("DELETE FROM settings"); err == nil {
			t.Fatal("a reader can write")
		}
		for _, s := range []Settings{{}, {Name: "a\nb"}, {Name: "a", Receipts: "all"}, {Name: "a", Device: "\x00"}, {Name: "a", Number: []byte{1}}} {
			if err := SaveSettings(t.Context(), a.p, s); !errors.Is(err, ErrState) && len(s.Number) == 0 || err == nil {
				t.Errorf("%+v: %v", s, err)
			}
		}
	})
}

func TestPauses(t *testing.T) {
	for i, want := range []time.Duration{0, 0, 10, 15, 20, 30, 30, 30} {
		want *= time.Second
		low, high := pause(i+1, 0), pause(i+1, 0.999)
		if low > want || high < want || low < want*8/10 || high > want*12/10 {
			t.Errorf("after %d tries: %v to %v", i+1, low, high)
		}
	}
	for n := 1; n < 100; n++ {
		if d := offlinePause(n, 1); d > time.Minute || d < 500*time.Millisecond {
			t.Error(n, d)
		}
	}
}

func TestPromises(t *testing.T) {
	m := &Messenger{o: Options{Registry: (&world{}).registry()}}
	var c Contact
	p, err := m.transport(parley.Ratchet)
	if err != nil {
		t.Fatal(err)
	}
	g := p.Guarantees()
	for _, w := range promises {
		if g&w.bit != 0 {
			c.Promises = append(c.Promises, w.has)
		}
	}
	if len(c.Promises) < 5 {
		t.Fatal(c.Promises)
	}
}
