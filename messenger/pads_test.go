package messenger

import (
	"bytes"
	"context"
	"crypto"
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

// A memPad is one end of a pad in memory, which outlives its owner's crashes. It keeps
// the promises of [otp.Pad] and notes whoever makes it break one.
type memPad struct {
	t          *testing.T
	mu         sync.Mutex
	self, peer parley.Name
	version    otp.Version
	lane       int
	bytes      []byte
	pos        int64
	seq        uint64
	packs      map[[16]byte][]byte // by id, until done
	texts      map[[16]byte][]byte
	made       map[[32]byte][16]byte
	opened     map[[32]byte]*otp.Opened // until done
	seen       map[int64]bool
	highest    uint64
	done       int
	asks       func(what string, peer parley.Name) error // a person; nil: always yes
}

func padPair(t *testing.T, v otp.Version, size int64) (a, b *memPad) {
	bits := make([]byte, size)
	r := rand.NewChaCha8([32]byte{1})
	r.Read(bits)
	make := func(self, peer parley.Name, lane int) *memPad {
		return &memPad{t: t, self: self, peer: peer, version: v, lane: lane, bytes: bits, packs: map[[16]byte][]byte{}, texts: map[[16]byte][]byte{},
			made: map[[32]byte][16]byte{}, opened: map[[32]byte]*otp.Opened{}, seen: map[int64]bool{}}
	}
	return make("alice", "bob", 0), make("bob", "alice", 1)
}

func (p *memPad) use(m int) int64 {
	if p.version == otp.V1 {
		return otp.UseV1(m)
	}
	return otp.Use(m)
}

func (p *memPad) Package(_ context.Context, id [16]byte, peer parley.Name, msg []byte) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if packet := p.packs[id]; packet != nil {
		if !bytes.Equal(p.texts[id], msg) {
			p.t.Errorf("%s: one id for two messages", p.self)
			return nil, parley.ErrRefused
		}
		return packet, nil
	}
	if p.asks != nil {
		if err := p.asks("package", peer); err != nil {
			return nil, err
		}
	}
	use := p.use(len(msg))
	if p.pos+use > int64(len(p.bytes))/2 {
		return nil, fmt.Errorf("%w: %w", parley.ErrRefused, otp.ErrDepleted)
	}
	at := p.pos + int64(p.lane)*int64(len(p.bytes))/2
	p.pos += use
	p.seq++
	var packet []byte
	var err error
	if p.version == otp.V1 {
		packet, err = otp.SealV1(at, msg, p.bytes[at:at+use])
	} else {
		packet, err = otp.Seal(otp.Header{Lane: uint8(p.lane), Offset: uint64(at), Seq: p.seq}, otp.Inner{Kind: otp.KindMessage, Body: msg}, p.bytes[at:at+use])
	}
	if err != nil {
		return nil, err
	}
	p.packs[id], p.texts[id], p.made[otp.Digest(packet)] = packet, slices.Clone(msg), id
	return packet, nil
}

func (p *memPad) Unpackage(_ context.Context, peer parley.Name, packet []byte) (*otp.Opened, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	digest := otp.Digest(packet)
	if o := p.opened[digest]; o != nil {
		return o, nil
	}
	var at, use int64
	var seq uint64
	var err error
	if p.version == otp.V1 {
		var m int
		if at, m, err = otp.ParseV1(packet); err == nil {
			use = otp.UseV1(m)
		}
	} else {
		var h otp.Header
		h, use, err = otp.Parse(packet)
		at, seq = int64(h.Offset), h.Seq
	}
	if err != nil {
		return nil, err
	}
	if at < 0 || at+use > int64(len(p.bytes)) {
		return nil, parley.ErrForged
	}
	o := &otp.Opened{Offset: at, Seq: seq}
	if p.version == otp.V1 {
		o.Message, err = otp.OpenV1(packet, p.bytes[at:at+use])
	} else {
		var in otp.Inner
		if in, err = otp.Open(packet, p.bytes[at:at+use]); err == nil {
			o.Message = in.Body
		}
	}
	if err != nil {
		return nil, err
	}
	if p.seen[at] {
		return nil, parley.ErrSeen
	}
	if p.asks != nil {
		if err := p.asks("unpackage", peer); err != nil {
			return nil, err
		}
	}
	p.seen[at] = true
	if seq > p.highest+1 {
		o.Missing, o.Skipped = seq-p.highest-1, true
	}
	p.highest = max(p.highest, seq)
	p.opened[digest] = o
	return o, nil
}

func (p *memPad) Done(_ context.Context, peer parley.Name, digest [32]byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if id, ok := p.made[digest]; ok {
		delete(p.packs, id)
		delete(p.texts, id)
		delete(p.made, digest)
		p.done++
	}
	if p.opened[digest] != nil {
		delete(p.opened, digest)
		p.done++
	}
	return nil
}

func (p *memPad) Status(context.Context, parley.Name) (otp.Status, error) {
	panic("the messenger does not ask")
}

// pendingCount is how many packets the pad was not told to be safe.
func (p *memPad) pendingCount() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.packs) + len(p.opened)
}

// memPads implements [Pads] for one person.
type memPads struct {
	pad   *memPad
	mu    sync.Mutex
	again func()
}

func (p *memPads) Inspect(context.Context, []byte) (PadLine, error) {
	l := PadLine{STP: parley.OneTimePadV2, Self: string(p.pad.self), Peer: string(p.pad.peer)}
	if p.pad.version == otp.V1 {
		l.STP, l.Bare = parley.OneTimePad, true
	}
	box := func(who parley.Name) func(parley.Address) (parley.Address, error) {
		return func(at parley.Address) (parley.Address, error) { return at + "/" + parley.Address(who), nil }
	}
	l.Ours, l.Theirs = box(p.pad.self), box(p.pad.peer)
	return l, nil
}

func (p *memPads) SetUp(state parley.Bucket, setup []byte) error {
	state.Put("pad", setup)
	return nil
}
func (p *memPads) Keyring(parley.Bucket) parley.Keyring { return memRing{p.pad} }
func (p *memPads) Look(parley.Bucket) *Pad {
	p.pad.mu.Lock()
	defer p.pad.mu.Unlock()
	left := int64(len(p.pad.bytes))/2 - p.pad.pos
	return &Pad{Version: int(p.pad.version), Size: int64(len(p.pad.bytes)), Left: left, Largest: left/2 - 64, Source: "a test"}
}
func (p *memPads) Fits(pad *Pad, _ parley.STP, size int) bool { return int64(size) <= pad.Largest }
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

type memRing struct{ pad *memPad }

func (r memRing) Private(context.Context, parley.KeyKind, parley.Name) (crypto.PrivateKey, error) {
	return r.pad, nil
}
func (r memRing) Public(context.Context, parley.KeyKind, parley.Name) (crypto.PublicKey, error) {
	return nil, parley.ErrNoKey
}

// padOwner makes a person with one end of a pad.
func (w *world) padOwner(b *bus, pad *memPad) (*person, *memPads) {
	w.t.Helper()
	p := w.person(string(pad.self), "one")
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
	if err != nil || c.Name != string(pad.peer) || c.State != connected {
		w.t.Fatalf("%+v, %v", c, err)
	}
	return p, pads
}

// TestPads: wherever either side crashes and whatever the network does, each message is
// shown exactly once and in order, and in the end the pad was told of every packet.
func TestPads(t *testing.T) {
	seeds := testSeeds(6)
	if testing.Short() {
		seeds = 2
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
	one, two := padPair(w.t, v, 1<<21)
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
	x.until("the pads know what is safe", func() bool { return one.pendingCount() == 0 && two.pendingCount() == 0 })
}

// TestPadAsks: while a person at the device has not answered, nothing else waits; what is
// denied fails or stays, and uses no pad.
func TestPadAsks(t *testing.T) {
	inBubble(t, 1, func(w *world) {
		b := newBus(1)
		one, two := padPair(t, otp.V2, 1<<20)
		alice, ours := w.padOwner(b, one)
		bob, theirs := w.padOwner(b, two)
		say := func(pads *memPads, err error) {
			pads.pad.mu.Lock()
			pads.pad.asks = func(string, parley.Name) error { return err }
			pads.pad.mu.Unlock()
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
		if one.pos != 0 {
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

		pos := one.pos
		say(ours, fmt.Errorf("%w: denied at the pad device", parley.ErrRefused))
		id = alice.send("bob", "second").ID
		w.until("it has failed", func() bool { m, err := alice.m.Message(w.t.Context(), id); return err == nil && m.State == Failed })
		if one.pos != pos {
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
		one, two := padPair(t, otp.V2, 4096)
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
		b.inject("home/bob", packet)
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
		one, two := padPair(t, otp.V1, 4096)
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
