package messenger

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"parley/messenger/profile"
	"parley/parleytest"
	"parley/secure/stringphone"
)

// TestGroupExactlyOnceInOrder: three members write at once, crash at any commit,
// are away, and the broker loses answers, repeats packets and is restarted; each
// message is in both others' timelines exactly once, in its sender's order.
func TestGroupExactlyOnceInOrder(t *testing.T) {
	seeds := testSeeds(6)
	if testing.Short() {
		seeds = 3
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			inTopic(t, uint64(seed), func(w *world, b *bus) { groupChaos(w, b, uint64(seed)) })
		})
	}
}

func groupChaos(w *world, b *bus, seed uint64) {
	t, ctx := w.t, context.Background()
	r := rand.New(rand.NewPCG(seed, 5))
	all := []*person{w.phone(b, "alice"), w.phone(b, "bob"), w.phone(b, "carol")}
	modes := []stringphone.Mode{stringphone.Plain, stringphone.Headed, stringphone.ForwardSecret}
	mode := modes[seed%3]
	all[0].enter(stringphone.Setup{Found: true, Mode: mode})
	for _, p := range all[1:] {
		p.enter(stringphone.Setup{})
		all[0].admits(p)
	}
	if mode == stringphone.Plain {
		for i, p := range all[1:] {
			if _, err := p.m.Admit(ctx, "lamps", all[2-i].self().Key); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.until("all know all", func() bool {
		return !slices.ContainsFunc(all, func(p *person) bool { return p.contact("lamps").Members != 3 })
	})
	sent := map[*person][]string{}
	for range 60 {
		p := all[r.IntN(3)]
		switch r.IntN(10) {
		case 0, 1, 2, 3, 4:
			text := fmt.Sprintf("%s %d", p.name, len(sent[p]))
			if _, err := p.m.Send(ctx, "lamps", text); err == nil {
				sent[p] = append(sent[p], text)
			} else if !p.dead() {
				t.Fatal(err)
			} else {
				sent[p] = append(sent[p], "?"+text) // committed, or not
			}
		case 5, 6:
			p.crashAfter(1 + r.IntN(20))
		case 7:
			b.misbehave(r)
		case 8:
			b.setDown(r.IntN(2) == 0)
		case 9:
			b.restart()
			<-time.After(time.Duration(r.IntN(60_000)) * time.Millisecond)
		}
		<-time.After(time.Duration(r.IntN(300)) * time.Millisecond)
		for _, p := range all {
			if p.dead() {
				p.crash()
				p.start()
			}
		}
	}
	b.set(parleytest.Faults{})
	b.setDown(false)
	for _, p := range all {
		p.stop()
		p.start()
	}
	for _, p := range all {
		var mine []string
		h, err := p.m.History(ctx, "lamps", 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range h {
			if m.Direction == "out" {
				mine = append(mine, m.Text)
				p.wait(m.ID, AtRelay)
			}
		}
		for _, s := range sent[p] {
			if s[0] != '?' && !slices.Contains(mine, s) {
				t.Errorf("%s has lost %q of its own", p.name, s)
			}
		}
		for _, q := range all {
			if q == p {
				continue
			}
			id := p.self().ID[:8]
			from := func() (got []string) {
				h, err := q.m.History(ctx, "lamps", 0)
				if err != nil {
					t.Fatal(err)
				}
				for _, m := range h {
					if m.Direction == "in" && m.Kind == "text" && m.From == id {
						got = append(got, m.Text)
					}
				}
				return got
			}
			w.until(fmt.Sprintf("%s has all of %s", q.name, p.name), func() bool { return len(from()) >= len(mine) })
			if got := from(); !slices.Equal(got, mine) {
				t.Errorf("%s has of %s %q, not %q", q.name, p.name, got, mine)
			}
		}
	}
}

// TestGroupCrashes: making a conversation, being let in and letting in survive a
// crash at each commit of either side.
func TestGroupCrashes(t *testing.T) {
	step := 7
	if testing.Short() {
		step = 19
	}
	if os.Getenv("PARLEY_SEEDS") != "" {
		step = 1
	}
	for _, mode := range []stringphone.Mode{stringphone.Headed, stringphone.ForwardSecret} {
		for n := 1; n < 60; n += step {
			for _, who := range []string{"member", "joiner"} {
				t.Run(fmt.Sprintf("%s %s %d", mode, who, n), func(t *testing.T) {
					inTopic(t, uint64(n), func(w *world, b *bus) { groupCrash(w, b, mode, who, n) })
				})
			}
		}
	}
}

func groupCrash(w *world, b *bus, mode stringphone.Mode, who string, n int) {
	ctx := context.Background()
	alice, bob := w.phone(b, "alice"), w.phone(b, "bob")
	alice.enter(stringphone.Setup{Found: true, Mode: mode})
	victim := alice
	if who == "joiner" {
		victim = bob
	}
	victim.m.mu.Lock()
	victim.m.o.fault = func(string) error {
		if n--; n == 0 {
			return errCrash
		}
		return nil
	}
	victim.m.mu.Unlock()
	revive := func() {
		for _, p := range []*person{alice, bob} {
			if p.dead() {
				p.crash()
				p.start()
			}
		}
	}
	o := topicOptions("lamps", stringphone.Setup{})
	w.until("bob has made it", func() bool {
		revive()
		_, err := bob.m.Contact(ctx, "lamps")
		if err != nil && !bob.dead() {
			_, err = bob.m.AddConversation(ctx, o)
		}
		return err == nil
	})
	w.until("alice has let bob in", func() bool {
		revive()
		all, err := alice.m.People(ctx, "lamps")
		if err != nil {
			return false
		}
		for _, p := range all[1:] {
			if p.State == "asks" {
				_, err = alice.m.Admit(ctx, "lamps", p.ID)
				return err == nil
			}
		}
		return len(all) == 2 && all[1].State == "member"
	})
	w.until("bob is in", func() bool { revive(); return bob.contact("lamps").State == connected })
	send := func(p, q *person, text string) {
		id := ""
		w.until(p.name+" sends", func() bool {
			revive()
			m, err := p.m.Send(ctx, "lamps", text)
			if err != nil && !p.dead() {
				w.t.Fatal(err)
			}
			id = m.ID
			return err == nil
		})
		w.until(q.name+" hears", func() bool {
			revive()
			h, err := q.m.History(ctx, "lamps", 0)
			return err == nil && slices.ContainsFunc(h, func(m Message) bool { return m.ID == id && m.Direction == "in" })
		})
	}
	send(bob, alice, "in")
	send(alice, bob, "welcome")
	if got := alice.texts("lamps"); !slices.Contains(got, "in") || len(bob.texts("lamps")) == 0 {
		w.t.Error(got)
	}
}

// TestGroupsAreMigratedTo: a profile of the first version goes on with what it has.
func TestGroupsAreMigratedTo(t *testing.T) {
	o := profileOptions()
	o.Migrations = Migrations[:1]
	dir := filepath.Join(t.TempDir(), "old")
	p, err := profile.Create(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := SaveSettings(t.Context(), p, Settings{Name: "old"}); err != nil {
		t.Fatal(err)
	}
	err = p.Tx(t.Context(), func(pt *profile.Tx) error {
		for _, q := range []string{
			"INSERT INTO contacts (name, named, receipts, created) VALUES ('bob', 1, 'read', 1)",
			"INSERT INTO conversations (contact) VALUES (1)",
			"INSERT INTO devices (contact) VALUES (1)",
			"INSERT INTO lines (device, stp_type, stp_version, bare, role, state, invitation, created) VALUES (1, 67, 1, 0, 'inviter', 'invited', X'', 1)",
			"INSERT INTO timeline (conversation, author, id, kind, text, hash, sent, state) VALUES (1, 1, X'00112233445566778899aabbccddeeff', 'text', 'from before', X'', 1, 'received')",
		} {
			if _, err := pt.ExecContext(t.Context(), q); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
	if p, err = profile.Open(dir, profileOptions()); err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	w := &world{t: t, net: parleytest.NewFaulty(1, 0)}
	m, err := Open(t.Context(), Options{Profile: p, Registry: w.registry()})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	h, err := m.History(t.Context(), "bob", 0)
	if err != nil || len(h) != 1 || h[0].Text != "from before" || h[0].From != "" || h[0].Direction != "in" {
		t.Fatalf("%+v %v", h, err)
	}
}
