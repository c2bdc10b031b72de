package messenger

import (
	"context"
	"errors"
	"strings"
	"testing"
)

func TestConversation(t *testing.T) {
	inBubble(t, 1, func(w *world) {
		t := w.t
		a, b := w.person("alice", "one"), w.person("bob", "two")
		w.connect(a, b)
		id := a.send("bob", "hello").ID
		a.wait(id, AtDevice)
		ctx, cancel := context.WithCancel(t.Context())
		var got []Message
		err := b.m.Listen(ctx, "", func(m Message) error { got = append(got, m); cancel(); return nil })
		if !errors.Is(err, context.Canceled) || len(got) != 1 || got[0].Text != "hello" || got[0].ID != id || got[0].Contact != "alice" {
			t.Fatalf("%v %+v", err, got)
		}
		a.wait(id, Read)
		reply := b.send("alice", "and to you").ID
		b.wait(reply, AtDevice)
		if got := a.texts("bob"); len(got) != 1 || got[0] != "and to you" {
			t.Fatal(got)
		}
		// Nothing is left to be sent, and no mailbox can be written to by others.
		for _, p := range []*person{a, b} {
			w.until("all quiet", func() bool {
				var n int
				if err := p.p.DB().QueryRow("SELECT (SELECT count(*) FROM packets) + (SELECT count(*) FROM intents) + (SELECT count(*) FROM inbox) + (SELECT count(*) FROM paths WHERE dir = 'in' AND (state <> 'closed' OR address <> '' OR bind IS NOT NULL))").Scan(&n); err != nil {
					t.Fatal(err)
				}
				return n == 0
			})
		}
		na, err1 := a.m.SafetyNumber(t.Context(), "bob")
		nb, err2 := b.m.SafetyNumber(t.Context(), "alice")
		if err1 != nil || err2 != nil || na.Digits == "" || na.Digits != nb.Digits {
			t.Fatal(na, nb, err1, err2)
		}
	})
}

func TestLongTexts(t *testing.T) {
	inBubble(t, 2, func(w *world) {
		t := w.t
		a, b := w.person("alice", "one"), w.person("bob", "two")
		w.connect(a, b)
		long := strings.Repeat("Ÿ and so on; ", MaxText/14-1)
		w.net.Set(faultsMild)
		b.send("alice", "first")
		last := b.send("alice", long).ID
		b.wait(last, AtDevice)
		if got := a.texts("bob"); len(got) != 2 || got[1] != long {
			t.Fatal(len(got))
		}
		if _, err := a.m.Send(t.Context(), "bob", strings.Repeat("x", MaxText+1)); !errors.Is(err, ErrTooLong) {
			t.Fatal(err)
		}
	})
}
