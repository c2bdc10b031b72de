package messenger

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"parley/parleytest"
	"parley/secure/nes"
)

func withUsers(t *testing.T, seed uint64, do func(w *world, b *bus, u *users)) {
	userKeys()
	inBubble(t, seed, func(w *world) { do(w, newBus(seed), newUsers()) })
}

// TestAccountsExactlyOnceInOrder: three users write to each other without having added
// anybody, crash at any commit, are away, and the server loses answers, repeats packets
// and is restarted, while the directory comes and goes; each message is in the other's
// timeline exactly once, in order.
func TestAccountsExactlyOnceInOrder(t *testing.T) {
	seeds := testSeeds(4)
	if testing.Short() {
		seeds = 1
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			withUsers(t, uint64(seed), func(w *world, b *bus, u *users) { accountChaos(w, b, u, uint64(seed)) })
		})
	}
}

func accountChaos(w *world, b *bus, u *users, seed uint64) {
	t, ctx := w.t, context.Background()
	r := rand.New(rand.NewPCG(seed, 7))
	all := []*person{w.user(b, u, "alice", 0), w.user(b, u, "bob", 1), w.user(b, u, "carol", 2)}
	sent := map[string][]string{} // by FROM/TO
	revive := func() {
		for _, p := range all {
			if p.dead() {
				p.crash()
				p.start()
			}
		}
	}
	for range 80 {
		p, q := all[r.IntN(3)], all[r.IntN(3)]
		switch r.IntN(10) {
		case 0, 1, 2, 3, 4, 5:
			if p == q {
				break
			}
			if _, err := p.m.Contact(ctx, q.name); errors.Is(err, ErrNoContact) {
				if _, err := p.m.AddPeer(ctx, PeerOptions{Kind: "users", User: q.name}); err != nil && !p.dead() {
					t.Fatal(err)
				}
			}
			if p.dead() {
				break
			}
			way := p.name + "/" + q.name
			text := fmt.Sprintf("%s %d", way, len(sent[way]))
			_, err := p.m.Send(ctx, q.name, text)
			switch {
			case err == nil:
				sent[way] = append(sent[way], text)
			case p.dead():
				sent[way] = append(sent[way], "?"+text) // committed, or not
			default:
				t.Fatal(err)
			}
		case 6:
			p.crashAfter(1 + r.IntN(20))
		case 7:
			b.misbehave(r)
		case 8:
			b.setDown(r.IntN(2) == 0)
			u.set(r.IntN(2) == 0, time.Duration(r.IntN(20))*time.Second)
		case 9:
			b.restart()
			<-time.After(time.Duration(r.IntN(60_000)) * time.Millisecond)
		}
		<-time.After(time.Duration(r.IntN(300)) * time.Millisecond)
		revive()
	}
	b.set(parleytest.Faults{})
	b.setDown(false)
	u.set(false, 0)
	for _, p := range all {
		p.stop()
		p.start()
	}
	for _, p := range all {
		for _, q := range all {
			if p == q || p.contact(q.name).Name == "" {
				continue
			}
			var mine []string
			h, err := p.m.History(ctx, q.name, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range h {
				if m.Direction == "out" {
					mine = append(mine, m.Text)
					p.wait(m.ID, AtRelay)
				}
			}
			for _, s := range sent[p.name+"/"+q.name] {
				if s[0] != '?' && !slices.Contains(mine, s) {
					t.Errorf("%s has lost %q of its own", p.name, s)
				}
			}
			w.until(fmt.Sprintf("%s has all of %s", q.name, p.name), func() bool {
				return len(mine) == 0 || q.contact(p.name).Name != "" && len(q.texts(p.name)) >= len(mine)
			})
			if len(mine) == 0 {
				continue
			}
			if got := q.texts(p.name); !slices.Equal(got, mine) {
				t.Errorf("%s has of %s %q, not %q", q.name, p.name, got, mine)
			}
		}
	}
}

// TestAccountPackets: what is sent to an account's mailbox by somebody without the
// keys is shown to nobody, pushes nobody out, and asks the directory for little.
func TestAccountPackets(t *testing.T) {
	withUsers(t, 1, func(w *world, b *bus, u *users) {
		t := w.t
		alice, bob := w.user(b, u, "alice", 0), w.user(b, u, "bob", 1)
		if _, err := alice.m.AddPeer(t.Context(), PeerOptions{Kind: "users", User: "bob"}); err != nil {
			t.Fatal(err)
		}
		if _, err := bob.m.AddPeer(t.Context(), PeerOptions{Kind: "users", User: "alice"}); err != nil {
			t.Fatal(err)
		}
		alice.send("bob", "1")
		w.until("bob hears", func() bool { return len(bob.texts("alice")) == 1 })
		asked := u.times("alice")
		k := userKeys()
		forge := func(from, to, text string, n int) []byte {
			e, _, err := nes.Seal(nes.Message{From: from, To: to, Time: time.Now().UnixMilli(), Text: text}, &k[2].PublicKey, k[2*n+1])
			if err != nil {
				t.Fatal(err)
			}
			return e
		}
		topic := "home/bob"
		recorded := slices.Clone(b.log[len(b.log)-1])
		for i := range many(40) {
			b.inject(topic, forge("alice", "bob", fmt.Sprint("forged ", i), 3), recorded, []byte("nonsense"), forge("alice", "carol", "for somebody else", 0))
		}
		for i := range many(100) { // strangers who do not exist, and one who does
			b.inject(topic, forge(fmt.Sprintf("nobody-%d", i), "bob", "from nobody", 3))
		}
		u.publish("dave", 3)
		b.inject(topic, forge("dave", "bob", "forged as dave", 2))
		<-time.After(time.Minute)
		alice.send("bob", "2")
		w.until("bob hears", func() bool { return len(bob.texts("alice")) == 2 })
		if n := u.times("alice") - asked; n > 8 {
			t.Errorf("the directory was asked %d times in a minute", n)
		}
		<-time.After(10 * time.Minute)
		if all, err := bob.m.Contacts(t.Context()); err != nil || len(all) != 1 {
			t.Errorf("%+v, %v", all, err)
		}
		if a, err := bob.m.Accounts(t.Context()); err != nil || a[0].Waiting != 0 {
			t.Errorf("%+v, %v", a, err)
		}
		if s, err := bob.m.Status(t.Context()); err != nil || s.Waiting != 0 || s.Dropped < many(160) {
			t.Errorf("%+v, %v", s, err)
		}
		if got := bob.texts("alice"); !slices.Equal(got, []string{"1", "2"}) {
			t.Errorf("%q", got)
		}
		b.inject(topic, forge("dave", "bob", "from dave", 3))
		w.until("dave is heard", func() bool {
			return bob.contact("dave").Name != "" && slices.Equal(bob.texts("dave"), []string{"from dave"})
		})
	})
}

// TestAccountKeysChange stops the conversation in both directions, across restarts,
// until the user has decided.
func TestAccountKeysChange(t *testing.T) {
	withUsers(t, 1, func(w *world, b *bus, u *users) {
		t := w.t
		alice := w.user(b, u, "alice", 0)
		u.publish("bob", 1)
		if _, err := alice.m.AddPeer(t.Context(), PeerOptions{Kind: "users", User: "bob"}); err != nil {
			t.Fatal(err)
		}
		w.until("keys", func() bool { return alice.contact("bob").State == connected })
		old := alice.contact("bob").Key
		u.publish("bob", 2)
		<-time.After(25 * time.Hour) // the daily look
		w.until("change", func() bool { return alice.contact("bob").KeyChanged })
		id, err := alice.m.Send(t.Context(), "bob", "held back")
		if err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Hour)
		alice.stop()
		alice.start()
		<-time.After(49 * time.Hour)
		c := alice.contact("bob")
		if !c.KeyChanged || !slices.Equal(c.Key, old) || len(c.NewKey) != 1 || len(b.log) != 0 {
			t.Errorf("%+v, %d packets", c, len(b.log))
		}
		h, err := alice.m.History(t.Context(), "bob", 0)
		if err != nil {
			t.Fatal(err)
		}
		told := 0
		for _, m := range h {
			if strings.Contains(m.Text, old[0]) && strings.Contains(m.Text, c.NewKey[0]) {
				told++
			}
		}
		if told != 1 {
			t.Errorf("told %d times", told)
		}
		// The directory changes its mind back: nothing has happened.
		u.publish("bob", 1)
		<-time.After(25 * time.Hour)
		if c := alice.contact("bob"); c.NewKey != nil {
			t.Errorf("%+v", c)
		}
		alice.wait(id.ID, AtRelay)
	})
}

// letter seals a text with the keys of pair n, for who has pair 1.
func letter(t *testing.T, from, to, text string, n int, at time.Time) []byte {
	t.Helper()
	k := userKeys()
	e, _, err := nes.Seal(nes.Message{From: from, To: to, Time: at.UnixMilli(), Text: text}, &k[2].PublicKey, k[2*n+1])
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// bobAndAlice makes bob, who has pair 1, and adds alice, who is the test itself and
// has pair 0 at first.
func bobAndAlice(w *world, b *bus, u *users) *person {
	bob := w.user(b, u, "bob", 1)
	u.publish("alice", 0)
	if _, err := bob.m.AddPeer(w.t.Context(), PeerOptions{Kind: "users", User: "alice"}); err != nil {
		w.t.Fatal(err)
	}
	w.until("keys", func() bool { return bob.contact("alice").State == connected })
	return bob
}

// TestAccountUndecided: what is genuine under the known or the offered keys waits for
// the decision and is then shown, whatever else somebody sends meanwhile; the number
// that was compared is the one that counts.
func TestAccountUndecided(t *testing.T) {
	withUsers(t, 1, func(w *world, b *bus, u *users) {
		t := w.t
		bob := bobAndAlice(w, b, u)
		before, err := bob.m.SafetyNumber(t.Context(), "alice")
		if err != nil {
			t.Fatal(err)
		}
		u.publish("alice", 2)
		<-time.After(time.Minute)
		b.inject("home/bob", letter(t, "alice", "bob", "new key", 2, time.Now()))
		w.until("change", func() bool { return bob.contact("alice").KeyChanged })
		if err := bob.m.SetVerified(t.Context(), before, true); !errors.Is(err, ErrCompareAgain) {
			t.Errorf("the number of the old keys blesses the new ones: %v", err)
		}
		for i := range many(300) {
			b.inject("home/bob", letter(t, "alice", "bob", fmt.Sprint("forged ", i), 3, time.Now()))
			if i == many(100) {
				b.inject("home/bob", letter(t, "alice", "bob", "old key", 0, time.Now()))
			}
		}
		for i := range many(300) {
			b.inject("home/bob", letter(t, "alice", "bob", fmt.Sprint("new key ", i), 2, time.Now()))
		}
		<-time.After(time.Minute)
		if got := bob.texts("alice"); len(got) != 0 {
			t.Errorf("shown: %q", got)
		}
		if err := bob.verify("alice", true); err != nil {
			t.Fatal(err)
		}
		w.until("all", func() bool { return len(bob.texts("alice")) == many(300)+2 })
		// What comes after that with the old key is nothing any more.
		b.inject("home/bob", letter(t, "alice", "bob", "old key again", 0, time.Now()))
		<-time.After(time.Hour)
		if got := bob.texts("alice"); len(got) != many(300)+2 || slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, "forged") || strings.Contains(s, "again") }) {
			t.Errorf("%d texts", len(got))
		}
		h, err := bob.m.History(t.Context(), "alice", 0)
		if err != nil || !slices.ContainsFunc(h, func(m Message) bool {
			return strings.Contains(m.Text, "signed with the key that this contact had before")
		}) {
			t.Errorf("nothing tells of the old key: %v", err)
		}
	})
}

// TestAccountRefused: offered keys that the user refuses stop nothing any more.
func TestAccountRefused(t *testing.T) {
	withUsers(t, 1, func(w *world, b *bus, u *users) {
		t := w.t
		bob := bobAndAlice(w, b, u)
		u.publish("alice", 2)
		<-time.After(25 * time.Hour)
		w.until("change", func() bool { return bob.contact("alice").KeyChanged })
		b.inject("home/bob", letter(t, "alice", "bob", "known key", 0, time.Now()))
		<-time.After(time.Minute)
		if err := bob.verify("alice", false); err != nil {
			t.Fatal(err)
		}
		w.until("text", func() bool { return slices.Equal(bob.texts("alice"), []string{"known key"}) })
		<-time.After(50 * time.Hour)
		if c := bob.contact("alice"); c.KeyChanged || c.NewKey != nil || c.Verified {
			t.Errorf("%+v", c)
		}
		m, err := bob.m.Send(t.Context(), "alice", "goes on")
		if err != nil {
			t.Fatal(err)
		}
		bob.wait(m.ID, AtRelay)
		u.publish("alice", 3) // others again are an offer again
		<-time.After(25 * time.Hour)
		w.until("change", func() bool { return bob.contact("alice").KeyChanged })
	})
}

// TestAccountStrangers: genuine packets of people who are no contacts get through a
// flood of made-up ones, a directory that answers some names badly, and a change of
// keys; a name with an underscore is a name.
func TestAccountStrangers(t *testing.T) {
	withUsers(t, 1, func(w *world, b *bus, u *users) {
		t := w.t
		bob := w.user(b, u, "bob", 1)
		u.publish("friend", 2)
		u.publish("x_y", 2)
		u.set(true, 0)
		b.inject("home/bob", letter(t, "friend", "bob", "genuine", 2, time.Now()), letter(t, "x_y", "bob", "underscore", 2, time.Now()))
		for i := range 20 {
			u.lie(fmt.Sprint("evil-", i), true)
			for j := range many(20) {
				b.inject("home/bob", letter(t, fmt.Sprint("evil-", i), "bob", fmt.Sprint(j), 3, time.Now()), letter(t, "xay", "bob", fmt.Sprint(j), 3, time.Now()))
			}
		}
		// Behind the flood, of few names with many packets, one of a name with one.
		u.publish("late", 2)
		b.inject("home/bob", letter(t, "late", "bob", "behind the flood", 2, time.Now()))
		<-time.After(time.Minute)
		u.set(false, 0)
		w.until("late", func() bool { return bob.contact("late").Name != "" && len(bob.texts("late")) == 1 })
		w.until("both", func() bool {
			return bob.contact("friend").Name != "" && bob.contact("x_y").Name != "" && len(bob.texts("friend")) == 1 && len(bob.texts("x_y")) == 1
		})
		// Forged in a name, and later its owner writes, under new keys: no pin is in the way.
		u.publish("carol", 2)
		b.inject("home/bob", letter(t, "carol", "bob", "forged", 3, time.Now()))
		<-time.After(time.Hour)
		u.publish("carol", 3)
		b.inject("home/bob", letter(t, "carol", "bob", "genuine", 3, time.Now()))
		w.until("carol", func() bool {
			return bob.contact("carol").Name != "" && slices.Equal(bob.texts("carol"), []string{"genuine"})
		})
		// An unknown name costs few look-ups.
		for i := range many(60) {
			b.inject("home/bob", letter(t, "nobody", "bob", fmt.Sprint(i), 3, time.Now()))
			<-time.After(100 * time.Millisecond)
		}
		<-time.After(12 * time.Hour) // a bad answer is given several hours
		if n := u.times("nobody"); n > 4 {
			t.Errorf("%d look-ups of a name that nobody has", n)
		}
		if a, err := bob.m.Accounts(t.Context()); err != nil || a[0].Waiting != 0 {
			t.Errorf("%+v, %v", a, err)
		}
	})
}

// TestAccountLateAnswer: the directory computes its answer, and before that arrives a
// message comes under newer keys. It is asked again, and the message waits.
func TestAccountLateAnswer(t *testing.T) {
	withUsers(t, 1, func(w *world, b *bus, u *users) {
		t := w.t
		bob := bobAndAlice(w, b, u)
		<-time.After(time.Minute)
		u.mu.Lock()
		u.late = 4 * time.Second
		u.mu.Unlock()
		b.inject("home/bob", letter(t, "alice", "bob", "forged", 3, time.Now()))
		<-time.After(time.Second)
		u.publish("alice", 2)
		b.inject("home/bob", letter(t, "alice", "bob", "under the new key", 2, time.Now()))
		w.until("change", func() bool { return bob.contact("alice").KeyChanged })
		if err := bob.verify("alice", true); err != nil {
			t.Fatal(err)
		}
		w.until("text", func() bool { return slices.Equal(bob.texts("alice"), []string{"under the new key"}) })
	})
}

// TestAccountReplay: what was shown once is not shown again, also when the contact was
// removed since.
func TestAccountReplay(t *testing.T) {
	withUsers(t, 1, func(w *world, b *bus, u *users) {
		t := w.t
		bob := bobAndAlice(w, b, u)
		old := letter(t, "alice", "bob", "meet at 5", 0, time.Now())
		b.inject("home/bob", old)
		w.until("text", func() bool { return len(bob.texts("alice")) == 1 })
		if err := bob.m.Remove(t.Context(), "alice"); err != nil {
			t.Fatal(err)
		}
		b.inject("home/bob", old)
		<-time.After(time.Hour)
		if bob.contact("alice").Name != "" && len(bob.texts("alice")) != 0 {
			t.Error("shown again to who removed the contact")
		}
		if _, err := bob.m.AddPeer(t.Context(), PeerOptions{Kind: "users", User: "alice"}); err != nil {
			t.Fatal(err)
		}
		b.inject("home/bob", old, letter(t, "alice", "bob", "new", 0, time.Now()))
		w.until("text", func() bool { return slices.Equal(bob.texts("alice"), []string{"new"}) })
	})
}

// TestAccountOddTimes are told beside the message.
func TestAccountOddTimes(t *testing.T) {
	withUsers(t, 1, func(w *world, b *bus, u *users) {
		t := w.t
		bob := bobAndAlice(w, b, u)
		odd := []time.Time{time.UnixMilli(-5), time.UnixMilli(0), time.UnixMilli(-1 << 63), time.UnixMilli(1<<63 - 1), time.Now().Add(-25 * time.Hour), time.Now().Add(6 * time.Minute)}
		for i, at := range append(odd, time.Now(), time.Now().Add(-23*time.Hour)) {
			b.inject("home/bob", letter(t, "alice", "bob", fmt.Sprint(i), 0, at))
		}
		w.until("all", func() bool { return len(bob.texts("alice")) == len(odd)+2 })
		h, err := bob.m.History(t.Context(), "alice", 0)
		if err != nil {
			t.Fatal(err)
		}
		told := 0
		for i, m := range h {
			if strings.HasPrefix(m.Text, "The message before ") {
				told++
				if h[i-1].Text != fmt.Sprint(told-1) {
					t.Errorf("%q stands behind %q", m.Text, h[i-1].Text)
				}
			}
		}
		if told != len(odd) {
			t.Errorf("%d of %d", told, len(odd))
		}
	})
}

// TestAccountKeysByHand: who was added with keys from files gets others the same way,
// and is told when that is needed.
func TestAccountKeysByHand(t *testing.T) {
	withUsers(t, 1, func(w *world, b *bus, u *users) {
		t := w.t
		bob := w.user(b, u, "bob", 1)
		k := userKeys()
		pair := func(n int) []byte { return writePair([2]*rsa.PublicKey{&k[2*n].PublicKey, &k[2*n+1].PublicKey}) }
		add := func(n int) {
			if _, err := bob.m.AddPeer(t.Context(), PeerOptions{Kind: "users", User: "alice", Keys: pair(n)}); err != nil {
				t.Fatal(err)
			}
		}
		add(0)
		if err := bob.verify("alice", true); err != nil {
			t.Fatal(err)
		}
		b.inject("home/bob", letter(t, "alice", "bob", "new key", 2, time.Now()))
		told := func() bool {
			h, err := bob.m.History(t.Context(), "alice", 0)
			return err == nil && slices.ContainsFunc(h, func(m Message) bool { return strings.Contains(m.Text, "does not verify with the keys that you gave") })
		}
		w.until("notice", told)
		add(2)
		w.until("text", func() bool { return slices.Equal(bob.texts("alice"), []string{"new key"}) })
		if c := bob.contact("alice"); c.Verified {
			t.Errorf("%+v", c)
		}
	})
}

// TestAccountPresence is told while somebody listens, to contacts, and only when it is
// switched on.
func TestAccountPresence(t *testing.T) {
	withUsers(t, 1, func(w *world, b *bus, u *users) {
		t := w.t
		alice, bob := w.user(b, u, "alice", 0), w.user(b, u, "bob", 1)
		for _, p := range []*person{alice, bob} {
			other := map[*person]string{alice: "bob", bob: "alice"}[p]
			if _, err := p.m.AddPeer(t.Context(), PeerOptions{Kind: "users", User: other}); err != nil {
				t.Fatal(err)
			}
			w.until("keys", func() bool { return p.contact(other).State == connected })
		}
		listen := func(p *person) {
			ctx, cancel := context.WithCancel(context.Background())
			ended := make(chan struct{})
			go func() { defer close(ended); p.m.Listen(ctx, "", func(Message) error { return nil }) }()
			<-time.After(time.Second)
			cancel()
			<-ended
		}
		listen(alice)
		<-time.After(10 * time.Minute)
		if u.word("alice/bob") != nil || u.word("bob/alice") != nil {
			t.Fatal("told without being asked to")
		}
		for _, p := range []*person{alice, bob} {
			if _, err := p.m.SetPresence(t.Context(), "users", p.name, true); err != nil {
				t.Fatal(err)
			}
		}
		listen(bob)
		w.until("presence", func() bool {
			return bob.contact("alice").Presence == "online" && alice.contact("bob").Presence == "online"
		})
		for range 20 { // for as long as it lasts
			<-time.After(time.Minute)
			if c := bob.contact("alice"); c.Presence != "online" {
				t.Fatalf("%+v", c)
			}
		}
		alice.crash()
		<-time.After(presenceHolds + time.Minute)
		if c := bob.contact("alice"); c.Presence != "unknown" {
			t.Errorf("%+v", c)
		}
		alice.start()
		listen(alice)
		w.until("presence", func() bool { return bob.contact("alice").Presence == "online" })
		alice.stop()
		w.until("absence", func() bool { return bob.contact("alice").Presence == "offline" })
		// An old word, played again, says nothing.
		old := u.word("bob/alice")
		u.mu.Lock()
		hear := u.hears["bob"]
		u.mu.Unlock()
		alice.start()
		listen(alice)
		w.until("presence", func() bool { return bob.contact("alice").Presence == "online" })
		hear(old)
		if c := bob.contact("alice"); c.Presence != "online" {
			t.Errorf("%+v", c)
		}
		if _, err := alice.m.SetPresence(t.Context(), "users", "alice", false); err != nil {
			t.Fatal(err)
		}
		if u.word("bob/alice") != nil {
			t.Error("the server has not forgotten")
		}
		// Nobody listens at bob's when he switches it off.
		bob.stop()
		bob.start()
		if u.word("alice/bob") == nil {
			t.Error("nothing was told")
		}
		if _, err := bob.m.SetPresence(t.Context(), "users", "bob", false); err != nil || u.word("alice/bob") != nil {
			t.Errorf("the server has not forgotten: %v", err)
		}
		if got := append(bob.texts("alice"), alice.texts("bob")...); len(got) != 0 {
			t.Errorf("presence in the timeline: %q", got)
		}
	})
}
