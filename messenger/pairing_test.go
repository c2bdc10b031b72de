package messenger

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"parley"
)

// TestPairingCrashes lets either side die before or after each commit of a
// pairing, and each call of a carrier fail once: it always comes about, with one
// contact on each side, and without a mailbox left open.
func TestPairingCrashes(t *testing.T) {
	for _, who := range []string{"alice", "bob"} {
		steps := 0
		inBubble(t, 0, func(w *world) { steps = pairWithCrash(w, who, 0) })
		if steps < 20 {
			t.Fatalf("only %d steps", steps)
		}
		stride := testSeeds(4) // PARLEY_SEEDS=1: every step
		if testing.Short() {
			stride = 9
		}
		for n := 1; n <= steps; n += stride {
			t.Run(fmt.Sprintf("%s/%d of %d", who, n, steps), func(t *testing.T) {
				inBubble(t, uint64(n), func(w *world) { pairWithCrash(w, who, n) })
			})
		}
	}
}

// pairWithCrash pairs alice, who invites, and bob; who crashes at the n-th step.
// It returns how many steps who has made.
func pairWithCrash(w *world, who string, n int) (steps int) {
	ctx := context.Background()
	a, b := w.person("alice", "one", "two"), w.person("bob", "three")
	victim := a
	if who == "bob" {
		victim = b
	}
	victim.m.mu.Lock()
	victim.m.o.fault = func(step string) error {
		if strings.Contains(step, "look") || strings.HasPrefix(step, "contact:") {
			return nil
		}
		if steps++; steps == n {
			return errCrash
		}
		return nil
	}
	victim.m.mu.Unlock()
	revive := func(p *person) {
		if p.dead() {
			p.crash()
			p.start()
		}
	}
	var inv Invitation
	for {
		var err error
		if inv, err = a.m.Invite(ctx, InviteOptions{As: "bob"}); err == nil {
			break
		}
		if !a.dead() {
			w.t.Fatal(err)
		}
		revive(a)
	}
	for {
		c, err := b.m.Accept(ctx, AcceptOptions{Invitation: inv.Text, As: "alice"})
		if err == nil {
			if c.Name != "alice" {
				w.t.Fatalf("%+v", c)
			}
			break
		}
		if !b.dead() {
			// It may have come about before bob could say so.
			if errors.Is(err, ErrInvitation) && strings.Contains(err.Error(), "used it already") {
				break
			}
			w.t.Fatal(err)
		}
		revive(b)
	}
	w.until("they connect", func() bool {
		revive(a)
		revive(b)
		return a.contact("bob").State == connected && b.contact("alice").State == connected
	})
	id, back := "", ""
	for {
		if m, err := a.m.Send(ctx, "bob", "to bob"); err == nil {
			id = m.ID
			break
		}
		revive(a)
	}
	for {
		if m, err := b.m.Send(ctx, "alice", "to alice"); err == nil {
			back = m.ID
			break
		}
		revive(b)
	}
	done := func(p *person, id string) bool {
		revive(p)
		m, err := p.m.Message(ctx, id)
		return err == nil && rank(m.State) >= rank(AtDevice)
	}
	w.until("messages go both ways", func() bool {
		there, here := done(a, id), done(b, back)
		return there && here
	})
	w.until("every mailbox is closed", func() bool {
		open := 0
		for _, p := range []*person{a, b} {
			revive(p)
			var n int
			if err := p.p.DB().QueryRow("SELECT count(*) FROM paths WHERE dir = 'in' AND state <> 'closed'").Scan(&n); err != nil {
				w.t.Fatal(err)
			}
			open += n
		}
		return open == 0
	})
	for _, p := range []*person{a, b} {
		revive(p)
		all, err := p.m.Contacts(ctx)
		if p.dead() {
			revive(p)
			all, err = p.m.Contacts(ctx)
		}
		if err != nil || len(all) != 1 || all[0].KeyChanged {
			w.t.Fatalf("%s: %+v %v", p.name, all, err)
		}
	}
	return steps
}

func TestInvitationWorksOnce(t *testing.T) {
	inBubble(t, 3, func(w *world) {
		t := w.t
		a, b, c := w.person("alice", "one"), w.person("bob", "two"), w.person("carol", "three")
		inv, err := a.m.Invite(t.Context(), InviteOptions{})
		if err != nil || inv.Contact != "contact-1" {
			t.Fatal(inv, err)
		}
		if _, err := a.m.Accept(t.Context(), AcceptOptions{Invitation: inv.Text}); !errors.Is(err, ErrInvitation) || !strings.Contains(err.Error(), "your own") {
			t.Fatal(err)
		}
		// Both answers reach the mailbox while alice is away.
		a.stop()
		for _, p := range []*person{b, c} {
			if _, err := p.m.Accept(t.Context(), AcceptOptions{Invitation: inv.Text}); err != nil {
				t.Fatal(err)
			}
			w.until("the answer is there", func() bool {
				q, err := p.m.Queue(t.Context())
				return err == nil && len(q) == 0
			})
		}
		a.start()
		w.connected(a, b)
		if got := b.contact("alice"); got.Name != "alice" {
			t.Fatal(got)
		}
		w.until("the second one is noticed", func() bool { return len(a.notices("bob")) == 1 })
		if got := a.notices("bob")[0]; !strings.Contains(got, "second time") {
			t.Fatal(got)
		}
		if got := c.contact("alice").State; got != connecting {
			t.Fatal(got)
		}
		if _, err := b.m.Accept(t.Context(), AcceptOptions{Invitation: inv.Text}); !errors.Is(err, ErrInvitation) || !strings.Contains(err.Error(), `"alice"`) {
			t.Fatal(err)
		}
		b.wait(b.send("alice", "it is me").ID, AtDevice)
		all, _ := a.m.Contacts(t.Context())
		if len(all) != 1 {
			t.Fatal(all)
		}
	})
}

// TestStrangers: what others put into a mailbox that is still open disturbs
// nothing.
func TestStrangers(t *testing.T) {
	inBubble(t, 4, func(w *world) {
		t := w.t
		a, b := w.person("alice", "one"), w.person("bob", "two")
		inv, err := a.m.Invite(t.Context(), InviteOptions{As: "bob"})
		if err != nil {
			t.Fatal(err)
		}
		off, err := a.m.parseInvitation(inv.Text)
		if err != nil {
			t.Fatal(err)
		}
		for i, junk := range [][]byte{nil, {0}, []byte("GET / HTTP/1.1"), make([]byte, 3000), off.offer,
			{0x08, 67, 0x10, 1, 0x22, 3, 0x12, 1, 2}, {0x08, 68, 0x10, 1, 0x22, 1, 1}, {0x08, 69, 0x10, 1, 0x22, 1, 1}} {
			if err := w.net.Inject(off.mailboxes[0], junk); err != nil {
				t.Fatal(i, err)
			}
		}
		if _, err := b.m.Accept(t.Context(), AcceptOptions{Invitation: inv.Text, As: "alice"}); err != nil {
			t.Fatal(err)
		}
		w.connected(a, b)
		b.wait(b.send("alice", "hello").ID, AtDevice)
		s, err := a.m.Status(t.Context())
		if err != nil || s.Dropped != 8 || s.Waiting != 0 {
			t.Fatal(s, err)
		}
		if err := w.net.Inject(off.mailboxes[0], []byte("late")); !errors.Is(err, parley.ErrDenied) {
			t.Fatal("the mailbox is still open to strangers", err)
		}
	})
}

// TestPairedAnew: a contact that is paired again has another key, loudly; what
// was queued goes to the new line.
func TestPairedAnew(t *testing.T) {
	inBubble(t, 5, func(w *world) {
		t := w.t
		a, b := w.person("alice", "one"), w.person("bob", "two")
		w.connect(a, b)
		a.wait(a.send("bob", "before").ID, AtDevice)
		if err := a.verify("bob", true); err != nil {
			t.Fatal(err)
		}
		if c := a.contact("bob"); !c.Verified {
			t.Fatal(c)
		}
		first, _ := a.m.SafetyNumber(t.Context(), "bob")
		// bob's relay goes down for good, with messages on the way to it.
		w.net.Kill("two")
		var ids []string
		for i := range 20 { // more than are sealed ahead
			ids = append(ids, a.send("bob", fmt.Sprint("waiting ", i)).ID)
		}
		<-time.After(time.Minute)
		inv, err := b.m.Invite(t.Context(), InviteOptions{As: "alice", Relays: []string{"faulty://three"}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.m.Accept(t.Context(), AcceptOptions{Invitation: inv.Text, As: "bob"}); err != nil {
			t.Fatal(err)
		}
		for _, id := range ids {
			a.wait(id, AtDevice)
		}
		got := b.texts("alice")
		if len(got) != 21 {
			t.Fatal(got)
		}
		for i, s := range got[1:] {
			if s != fmt.Sprint("waiting ", i) {
				t.Fatal(got)
			}
		}
		for _, p := range []struct {
			*person
			peer string
		}{{a, "bob"}, {b, "alice"}} {
			c := p.contact(p.peer)
			if c.Verified || !c.KeyChanged || len(p.notices(p.peer)) != 1 {
				t.Fatalf("%+v %q", c, p.notices(p.peer))
			}
		}
		second, _ := a.m.SafetyNumber(t.Context(), "bob")
		if first.Digits == second.Digits {
			t.Fatal("the same number")
		}
		if err := a.verify("bob", true); err != nil {
			t.Fatal(err)
		}
		if c := a.contact("bob"); !c.Verified || c.KeyChanged {
			t.Fatal(c)
		}
		b.wait(b.send("alice", "after").ID, AtDevice)
		// The old line goes when nothing can come over it any more.
		a.stop()
		<-time.After(retireAfter + time.Hour)
		a.start()
		w.until("the old line is forgotten", func() bool {
			var n int
			return a.p.DB().QueryRow("SELECT count(*) FROM lines").Scan(&n) == nil && n == 1
		})
		w.until("its mailbox is deleted", func() bool { _, n := w.net.Held("one"); return n == 1 })
	})
}

// TestAcceptWithoutRelay: the acceptance is on disk and goes on by itself.
func TestAcceptWithoutRelay(t *testing.T) {
	inBubble(t, 6, func(w *world) {
		t := w.t
		a, b := w.person("alice", "one"), w.person("bob", "two")
		inv, err := a.m.Invite(t.Context(), InviteOptions{})
		if err != nil {
			t.Fatal(err)
		}
		w.net.Down("two", true)
		c, err := b.m.Accept(t.Context(), AcceptOptions{Invitation: inv.Text})
		if err != nil || c.State != connecting || c.Name != "alice" {
			t.Fatal(c, err)
		}
		again, err := b.m.Accept(t.Context(), AcceptOptions{Invitation: inv.Text})
		if err != nil || again.Name != "alice" {
			t.Fatal(again, err)
		}
		early := b.send("alice", "written before anything was agreed").ID
		b.stop()
		b.start()
		w.net.Down("two", false)
		w.connected(a, b)
		b.wait(early, AtDevice)
		// A relay that refuses is an error, and leaves nothing behind.
		inv, _ = a.m.Invite(t.Context(), InviteOptions{As: "dave"})
		w.net.Fault = func(op string, at parley.Address) error {
			if op == "claim" {
				return fmt.Errorf("creators only: %w", parley.ErrRefused)
			}
			return nil
		}
		if _, err := b.m.Accept(t.Context(), AcceptOptions{Invitation: inv.Text, As: "dora"}); !errors.Is(err, parley.ErrRefused) {
			t.Fatal(err)
		}
		if _, err := b.m.Contact(t.Context(), "dora"); !errors.Is(err, ErrNoContact) {
			t.Fatal(err)
		}
		w.net.Fault = nil
	})
}

func TestRemove(t *testing.T) {
	inBubble(t, 7, func(w *world) {
		t := w.t
		a, b := w.person("alice", "one"), w.person("bob", "two")
		w.connect(a, b)
		a.wait(a.send("bob", "hello").ID, AtDevice)
		w.net.Down("one", true)
		if err := a.m.Remove(t.Context(), "bob"); err != nil {
			t.Fatal(err)
		}
		a.stop()
		a.start()
		w.net.Down("one", false)
		w.until("the mailbox is deleted", func() bool { _, n := w.net.Held("one"); return n == 0 })
		for _, table := range []string{"contacts", "devices", "lines", "conversations", "timeline", "intents", "packets", "outbox", "inbox", "seen", "once", "line_state"} {
			var n int
			if err := a.p.DB().QueryRow("SELECT count(*) FROM " + table).Scan(&n); err != nil || n != 0 {
				t.Error(table, n, err)
			}
		}
		w.until("the path is forgotten", func() bool {
			var n int
			return a.p.DB().QueryRow("SELECT count(*) FROM paths").Scan(&n) == nil && n == 0
		})
		// bob is told that the mailbox is gone, and keeps trying.
		m := b.send("alice", "are you there?")
		<-time.After(time.Hour)
		q, err := b.m.Queue(t.Context())
		if err != nil || len(q) != 1 || q[0].Message != m.ID || !strings.Contains(q[0].Why, "let us in") || q[0].Tries < 50 {
			t.Fatalf("%+v %v", q, err)
		}
	})
}
