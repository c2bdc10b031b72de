package messenger

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"parley"
	"parley/parleytest"
	"parley/secure/otp"
)

// memPads implements [Pads] for one person.
type memPads struct {
	pad   *parleytest.Pad
	next  *parleytest.Pad // of the setup "next"
	mu    sync.Mutex
	again func()
}

func (p *memPads) Inspect(_ context.Context, setup []byte) (PadLine, error) {
	st, _ := p.of(setup).Status(context.Background(), "")
	l := PadLine{STP: parley.OneTimePadV2, ID: string(st.Self) + string(setup), Self: string(st.Self), Peer: string(st.Peer)}
	if st.Version == otp.V1 {
		l.STP, l.Bare = parley.OneTimePad, true
	}
	box := func(who parley.Name) func(parley.Address) (parley.Address, error) {
		return func(at parley.Address) (parley.Address, error) {
			if st.Version == otp.V1 {
				return at + "/" + parley.Address(who), nil
			}
			return at + "/" + parley.Address(who) + parley.Address(setup), nil
		}
	}
	l.Ours, l.Theirs = box(st.Self), box(st.Peer)
	return l, nil
}

func (p *memPads) SetUp(state parley.Bucket, setup []byte) error {
	state.Put("pad", setup)
	return nil
}
func (p *memPads) Keyring(state parley.Bucket) parley.Keyring {
	return parleytest.PadRing{Pad: p.of(state.Get("pad"))}
}
func (p *memPads) of(setup []byte) *parleytest.Pad {
	if string(setup) == "next" {
		return p.next
	}
	return p.pad
}
func (p *memPads) Look(state parley.Bucket) *Pad {
	st, _ := p.of(state.Get("pad")).Status(context.Background(), "")
	return &Pad{Version: int(st.Version), Size: st.Size, Left: st.Left, Largest: st.Largest, Source: st.Source}
}
func (p *memPads) Most(pad *Pad, _ parley.STP) int64 { return pad.Largest }

func (p *memPads) Grant(context.Context, *parley.Conversation, [16]byte, []byte) ([]byte, error) {
	return nil, parley.ErrRefused
}

func (p *memPads) Again(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.again = f
}

func (p *memPads) tell() {
	p.mu.Lock()
	f := p.again
	p.mu.Unlock()
	f()
}

// padOwner makes a person with one end of a pad.
func (w *world) padOwner(b *bus, pad *parleytest.Pad) (*person, *memPads) {
	w.t.Helper()
	st, _ := pad.Status(context.Background(), "")
	p := w.person(string(st.Self), "one")
	pads := &memPads{pad: pad}
	p.change = func(o *Options) {
		var r parley.Registry
		r.Carrier(parleytest.FaultyScheme, w.net)
		r.Carrier("bus", b)
		r.Transport(parley.OneTimePad, otp.New(otp.V1))
		r.Transport(parley.OneTimePadV2, otp.New(otp.V2))
		o.Registry, o.Pads = &r, pads
	}
	p.stop()
	p.start()
	c, err := p.m.AddPad(w.t.Context(), PadOptions{Relay: "bus://home", Setup: []byte("here")})
	if err != nil || c.Name != string(st.Peer) || c.State != connected {
		w.t.Fatalf("%+v, %v", c, err)
	}
	return p, pads
}

// TestPads: wherever either side crashes and whatever the network does, each message is
// shown exactly once and in order, and in the end the pad was told of every packet.
func TestPads(t *testing.T) {
	seeds := testSeeds(6)
	if testing.Short() {
		seeds = 1
	}
	for seed := range seeds {
		for _, v := range []otp.Version{otp.V1, otp.V2} {
			t.Run(fmt.Sprintf("version %d seed %d", v, seed), func(t *testing.T) {
				inBubble(t, uint64(seed), func(w *world) { padChaos(w, uint64(seed), v) })
			})
		}
	}
}

func padChaos(w *world, seed uint64, v otp.Version) {
	b := newBus(seed)
	one, two := parleytest.NewPads(w.t, v, 1<<21)
	x := &chaos{world: w, r: rand.New(rand.NewPCG(seed, 99)), sent: map[*person][]written{}}
	x.a, _ = w.padOwner(b, one)
	x.b, _ = w.padOwner(b, two)
	x.c = w.person("carol", "three")
	for range 60 {
		p, q := x.a, x.b
		if x.r.IntN(2) == 0 {
			p, q = q, p
		}
		switch x.r.IntN(9) {
		case 0, 1, 2, 3:
			text := fmt.Sprintf("%s %d", p.name, len(x.sent[p]))
			if x.r.IntN(8) == 0 {
				text += strings.Repeat(" and more", 500)
			}
			m, err := p.m.Send(context.Background(), q.name, text)
			x.sent[p] = append(x.sent[p], written{text: text, id: m.ID, sure: err == nil})
			if err != nil && !p.dead() {
				w.t.Fatal(err)
			}
		case 4, 5:
			p.crashAfter(1 + x.r.IntN(12))
		case 6:
			p.crash()
		case 7:
			b.misbehave(x.r)
			if v == otp.V1 { // what a relay repeats after a lost answer is a message again, and refused
				b.change(func() { b.faults.LoseAnswer = 0 })
			}
		case 8:
			b.setDown(x.r.IntN(2) == 0)
		}
		<-time.After(time.Duration(x.r.IntN(300)) * time.Millisecond)
		x.revive(false)
	}
	b.set(parleytest.Faults{})
	b.setDown(false)
	x.revive(true)
	for _, p := range []*person{x.a, x.b} {
		x.until(p.name+"'s messages leave", func() bool {
			var n int
			if err := p.p.DB().QueryRow("SELECT (SELECT count(*) FROM timeline WHERE author = 0 AND state = 'queued') + (SELECT count(*) FROM outbox) + (SELECT count(*) FROM intents)").Scan(&n); err != nil {
				w.t.Fatal(err)
			}
			return n == 0
		})
	}
	for from, to := range map[*person]*person{x.a: x.b, x.b: x.a} {
		var want []string
		for _, s := range x.sent[from] {
			h, err := from.m.History(context.Background(), to.name, 0)
			if err != nil {
				w.t.Fatal(err)
			}
			known := slices.ContainsFunc(h, func(m Message) bool { return m.Direction == "out" && m.Text == s.text })
			if s.sure && !known {
				w.t.Fatalf("%.20q was sent and is gone", s.text)
			}
			if known {
				want = append(want, s.text)
			}
		}
		x.until("what "+from.name+" wrote is there", func() bool { return len(to.texts(from.name)) >= len(want) })
		if got := to.texts(from.name); !slices.Equal(got, want) {
			w.t.Fatalf("%s has %d messages, not the %d that were sent in their order: %.30q, %.30q", to.name, len(got), len(want), got, want)
		}
	}
	// The next use of a line tells the pad what a crash has kept from it.
	last := []Message{x.a.send("bob", "the last"), x.b.send("alice", "the last")}
	x.a.wait(last[0].ID, AtRelay)
	x.b.wait(last[1].ID, AtRelay)
	x.until("the pads know what is safe", func() bool { return one.Pending() == 0 && two.Pending() == 0 })
}

// TestPadAsks: while a person at the device has not answered, nothing else waits; what is
// denied fails or stays, and uses no pad.
func TestPadAsks(t *testing.T) {
	inBubble(t, 1, func(w *world) {
		b := newBus(1)
		one, two := parleytest.NewPads(t, otp.V2, 1<<20)
		alice, ours := w.padOwner(b, one)
		bob, theirs := w.padOwner(b, two)
		say := func(pads *memPads, err error) {
			pads.pad.Ask(func(string, parley.Name) error { return err })
			pads.tell()
		}
		wait := &PadPending{Why: "a person is asked"}
		say(ours, wait)
		id := alice.send("bob", "first").ID
		<-time.After(time.Hour)
		q, err := alice.m.Queue(w.t.Context())
		if err != nil || len(q) != 1 || q[0].Why != "a person is asked" {
			t.Fatalf("%+v, %v", q, err)
		}
		if one.Used() != 0 {
			t.Error("pad was used before anybody allowed it")
		}
		say(theirs, wait)
		say(ours, nil)
		alice.wait(id, AtRelay)
		<-time.After(time.Hour)
		if got := bob.texts("alice"); len(got) != 0 {
			t.Errorf("shown before anybody allowed it: %q", got)
		}
		bob.stop() // what waits survives
		bob.start()
		say(theirs, nil)
		w.until("it is shown", func() bool { return slices.Equal(bob.texts("alice"), []string{"first"}) })

		pos := one.Used()
		say(ours, fmt.Errorf("%w: denied at the pad device", parley.ErrRefused))
		id = alice.send("bob", "second").ID
		w.until("it has failed", func() bool { m, err := alice.m.Message(w.t.Context(), id); return err == nil && m.State == Failed })
		if one.Used() != pos {
			t.Error("a denial has used pad")
		}
		say(ours, nil)
		if _, err := alice.m.Resend(w.t.Context(), id); err != nil {
			t.Fatal(err)
		}
		w.until("it is shown", func() bool { return slices.Equal(bob.texts("alice"), []string{"first", "second"}) })
	})
}

// TestPadNotices: gaps, repetitions and forgeries are told, and the user is warned before
// the pad runs out; what no longer fits is refused.
func TestPadNotices(t *testing.T) {
	inBubble(t, 1, func(w *world) {
		b := newBus(1)
		one, two := parleytest.NewPads(t, otp.V2, 4096)
		alice, _ := w.padOwner(b, one)
		bob, _ := w.padOwner(b, two)
		for i := range 2 { // which never arrive
			if _, err := one.Package(w.t.Context(), [16]byte{byte(i), 99}, "bob", []byte("lost")); err != nil {
				t.Fatal(err)
			}
		}
		alice.send("bob", "after the gap")
		w.until("it is shown", func() bool { return len(bob.texts("alice")) == 1 })
		told := func(part string) bool {
			return slices.ContainsFunc(bob.notices("alice"), func(s string) bool { return strings.Contains(s, part) })
		}
		h, err := bob.m.History(w.t.Context(), "alice", 0)
		if err != nil || len(h) != 2 || !strings.HasPrefix(h[0].Text, "2 messages from before") {
			t.Fatalf("%+v, %v", h, err)
		}
		b.mu.Lock()
		packet := slices.Clone(b.log[len(b.log)-1])
		b.mu.Unlock()
		packet[len(packet)-1] ^= 1
		b.inject("home/bobhere", packet)
		w.until("the forgery is told", func() bool { return told("was not made with this pad") })

		for i := 0; ; i++ {
			_, err := alice.m.Send(w.t.Context(), "bob", "spending")
			if errors.Is(err, ErrTooLong) {
				break
			}
			if err != nil || i > 40 {
				t.Fatalf("%d: %v", i, err)
			}
			<-time.After(time.Minute)
		}
		if all := alice.notices("bob"); len(all) < 2 || !strings.Contains(all[0], "running out") {
			t.Errorf("%q", all)
		}
		c := alice.contact("bob")
		if c.Protocol != "one-time-pad" || c.Pad == nil || !slices.ContainsFunc(c.Lacks, func(s string) bool { return strings.Contains(s, "everlasting only as far as") }) {
			t.Errorf("%+v", c)
		}
	})
}

// TestPadRepeated: with the original's format a packet that a relay repeats is told of.
func TestPadRepeated(t *testing.T) {
	inBubble(t, 1, func(w *world) {
		b := newBus(1)
		one, two := parleytest.NewPads(t, otp.V1, 4096)
		alice, _ := w.padOwner(b, one)
		bob, _ := w.padOwner(b, two)
		alice.send("bob", "once")
		w.until("it is shown", func() bool { return len(bob.texts("alice")) == 1 })
		b.inject("home/bob", b.log[0])
		w.until("the repetition is told", func() bool { return len(bob.notices("alice")) == 1 })
		if got := bob.texts("alice"); len(got) != 1 {
			t.Errorf("%q", got)
		}
		if err := alice.m.SetReceipts(w.t.Context(), "bob", "read"); !errors.Is(err, ErrState) {
			t.Errorf("receipts without a way for them: %v", err)
		}
		if err := alice.m.GrantPad(w.t.Context(), "bob", 10); !errors.Is(err, ErrState) {
			t.Errorf("a grant without a way for it: %v", err)
		}
		if _, err := alice.m.AddPad(w.t.Context(), PadOptions{Relay: "bus://home", As: "robert", Setup: []byte("here")}); !errors.Is(err, ErrTaken) {
			t.Errorf("one pad for two contacts: %v", err)
		}
	})
}

// TestPadReplaced: a new pad takes the place of one that runs out, in the same
// conversation; what was sent with the old one still comes, and with version 1 it is no
// alarm that the old one's packets are in the same mailbox.
func TestPadReplaced(t *testing.T) {
	for _, v := range []otp.Version{otp.V1, otp.V2} {
		inBubble(t, 1, func(w *world) {
			b := newBus(1)
			one, two := parleytest.NewPads(t, v, 4096)
			alice, ours := w.padOwner(b, one)
			bob, theirs := w.padOwner(b, two)
			ours.next, theirs.next = parleytest.NewPads(t, v, 1<<16)
			add := func(p *person, as string) error {
				_, err := p.m.AddPad(w.t.Context(), PadOptions{Relay: "bus://home", As: as, Setup: []byte("next")})
				return err
			}
			alice.send("bob", "with the old one")
			w.until("it is shown", func() bool { return len(bob.texts("alice")) == 1 })
			if err := add(alice, ""); !errors.Is(err, ErrTaken) || !strings.Contains(err.Error(), "--as bob") {
				t.Errorf("a namesake: %v", err)
			}
			if err := add(alice, "bob"); err != nil {
				t.Fatal(err)
			}
			if c := alice.contact("bob"); c.Pad.Size != 1<<16 || c.State != connected {
				t.Errorf("%+v", c)
			}
			bob.send("alice", "still with the old one")
			w.until("it is shown", func() bool { return len(alice.texts("bob")) == 1 })
			if err := add(bob, "alice"); err != nil {
				t.Fatal(err)
			}
			alice.send("bob", "with the new one")
			bob.send("alice", "me too")
			w.until("they are shown", func() bool { return len(alice.texts("bob")) == 2 && len(bob.texts("alice")) == 2 })
			if err := add(bob, "alice"); !errors.Is(err, ErrTaken) {
				t.Errorf("the same pad twice: %v", err)
			}
			if ours.next.Used() == 0 || theirs.next.Used() == 0 {
				t.Error("the new pad was not used")
			}
			for _, all := range [][]string{alice.notices("bob"), bob.notices("alice")} {
				if slices.ContainsFunc(all, func(s string) bool { return strings.Contains(s, "not made with this pad") }) {
					t.Errorf("%q", all)
				}
			}
		})
	}
}

// TestCircle: one message for each member, or for none.
func TestCircle(t *testing.T) {
	inBubble(t, 1, func(w *world) {
		a, b, c := w.person("alice", "one"), w.person("bob", "one"), w.person("carol", "one")
		w.connect(a, b)
		w.connect(a, c)
		ctx := w.t.Context()
		if got, err := a.m.SetCircle(ctx, "friends", []string{"bob", "CAROL", "bob"}); err != nil || !slices.Equal(got.Members, []string{"bob", "carol"}) {
			t.Fatalf("%+v, %v", got, err)
		}
		all, err := a.m.SendAll(ctx, "Friends", "hello")
		if err != nil || len(all) != 2 || all[0].ID == all[1].ID {
			t.Fatalf("%+v, %v", all, err)
		}
		w.until("all have it", func() bool {
			return slices.Equal(b.texts("alice"), []string{"hello"}) && slices.Equal(c.texts("alice"), []string{"hello"})
		})
		for name, f := range map[string]func() error{
			"taken":    func() error { _, err := a.m.SetCircle(ctx, "bob", []string{"carol"}); return err },
			"nobody":   func() error { _, err := a.m.SetCircle(ctx, "others", []string{"dave"}); return err },
			"unknown":  func() error { _, err := a.m.SendAll(ctx, "others", "hello"); return err },
			"no text":  func() error { _, err := a.m.SendAll(ctx, "friends", ""); return err },
			"forget":   func() error { _, err := a.m.SetCircle(ctx, "others", nil); return err },
			"as a one": func() error { _, err := a.m.Send(ctx, "friends", "hello"); return err },
		} {
			if err := f(); err == nil {
				t.Errorf("%s: no error", name)
			}
		}
		if err := a.m.Remove(ctx, "bob"); err != nil {
			t.Fatal(err)
		}
		a.stop()
		a.start()
		list, err := a.m.Circles(ctx)
		if err != nil || len(list) != 1 || !slices.Equal(list[0].Members, []string{"carol"}) {
			t.Fatalf("%+v, %v", list, err)
		}
		if _, err := a.m.SetCircle(ctx, "FRIENDS", nil); err != nil {
			t.Fatal(err)
		}
		if list, err := a.m.Circles(ctx); err != nil || len(list) != 0 {
			t.Fatalf("%+v, %v", list, err)
		}
	})
}
