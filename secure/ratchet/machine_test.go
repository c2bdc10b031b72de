package ratchet

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"parley"
	"parley/envelope"
	"parley/parleytest"
)

// recorded is one packet as an observer of the relay has it, and what only the
// model knows about it.
type recorded struct {
	packet  []byte
	from    int // side
	turn    uint64
	message int
	flying  int  // copies that may still be delivered
	opened  bool // by its receiver, committed
}

// theft is a copied state, and what is open to its thief for good reason.
type theft struct {
	side   int
	state  *parleytest.Bucket
	at     int             // packets that existed
	opened map[int]bool    // those of them that the victim had opened
	healed map[uint64]bool // turns that the victim began afterwards
}

// machine is two ends, and everything that may happen to them.
type machine struct {
	ends   [2]*line
	all    []*recorded
	thefts []*theft
}

func (m *machine) turn(side int) uint64 {
	_, s, err := load(m.ends[side].Bucket)
	if err != nil || s == nil {
		return 0
	}
	return s.steps
}

func (m *machine) seal(t *rapid.T, side int, commit bool) {
	l := m.ends[side]
	n := len(m.all)
	before := m.turn(side)
	l.Bucket.Begin()
	p, err := l.Transport.Seal(ctx, &l.Conversation, parleytest.TestMessage(n, n%50))
	if errors.Is(err, parley.ErrNoKey) && side == 1 && before == 0 {
		l.Bucket.Rollback()
		return
	}
	if err != nil {
		t.Fatalf("Seal: %v", err)
	}
	if !commit { // a crash: the packet never left
		l.Bucket.Rollback()
		return
	}
	l.Bucket.Commit()
	turn := m.turn(side) - 1
	if turn%2 != uint64(side) { // the peer's chain is the newest: ours is the one before
		turn--
	}
	m.all = append(m.all, &recorded{packet: p, from: side, turn: turn, message: n, flying: 1})
	if m.turn(side) != before {
		for _, th := range m.thefts {
			if th.side == side {
				th.healed[turn] = true
			}
		}
	}
}

// deliver opens one copy of a packet; keep leaves a copy to come again.
func (m *machine) deliver(t *rapid.T, i int, keep, commit bool) {
	r := m.all[i]
	l := m.ends[1-r.from]
	if r.opened {
		if _, err := l.Open(r.packet); !errors.Is(err, parley.ErrSeen) {
			t.Fatalf("packet %d again: %v, want ErrSeen", i, err)
		}
		if !keep {
			r.flying--
		}
		return
	}
	l.Bucket.Begin()
	got, err := l.Transport.Open(ctx, &l.Conversation, r.packet)
	if err != nil {
		t.Fatalf("packet %d of turn %d: %v", i, r.turn, err)
	}
	want := parleytest.TestMessage(r.message, r.message%50)
	if got.ID != want.ID || string(got.Body) != string(want.Body) || got.Seq != want.Seq {
		t.Fatalf("packet %d arrived as another message", i)
	}
	if !commit {
		l.Bucket.Rollback()
		return
	}
	l.Bucket.Commit()
	r.opened = true
	if !keep {
		r.flying--
	}
}

func (m *machine) steal(side int) {
	th := &theft{side: side, state: m.ends[side].Bucket.Clone(), at: len(m.all), opened: map[int]bool{}, healed: map[uint64]bool{}}
	for i, r := range m.all {
		th.opened[i] = r.from != side && r.opened
	}
	m.thefts = append(m.thefts, th)
}

// check lets every thief try every packet that was ever recorded.
func (m *machine) check(t *rapid.T) {
	for _, th := range m.thefts {
		firstHealed := uint64(1 << 62)
		for turn := range th.healed {
			firstHealed = min(firstHealed, turn)
		}
		thief := parleytest.NewSecureLine(New(), parley.Ratchet, "Thief", "Victim")
		thief.Bucket = th.state.Clone()
		thief.Conversation.State = thief.Bucket
		for i, r := range m.all {
			var open bool
			if r.from == th.side {
				open = opensWithSendKey(th.state, r.packet)
				// Only the rest of the chain that the victim was sending on.
				if open && (i < th.at || r.turn >= firstHealed) {
					t.Fatalf("stolen by side %d's thief at %d: its own packet %d of turn %d is open", th.side, th.at, i, r.turn)
				}
				continue
			}
			m, err := thief.Open(r.packet)
			open = err == nil && m != nil
			switch {
			case open && th.opened[i]:
				t.Fatalf("stolen from side %d at %d: old packet %d of turn %d is open", th.side, th.at, i, r.turn)
			case open && r.turn >= firstHealed:
				t.Fatalf("stolen from side %d at %d, fresh key in turn %d: packet %d of turn %d is open", th.side, th.at, firstHealed, i, r.turn)
			case !open && !th.opened[i] && r.turn < firstHealed:
				// The thief must be as able as the victim was, or this test proves nothing.
				t.Fatalf("stolen from side %d at %d: packet %d of turn %d stays closed to a thief who has its keys: %v", th.side, th.at, i, r.turn, err)
			}
		}
	}
}

// opensWithSendKey opens packets that the victim sealed, with the chain key for
// sealing: not what Open does, but what a thief can.
func opensWithSendKey(state *parleytest.Bucket, packet []byte) bool {
	_, s, err := load(state)
	in, err2 := splitPacket(packet)
	if err != nil || err2 != nil || s == nil {
		return false
	}
	for _, header := range [][32]byte{s.sendHeader, s.ahead[0], s.ahead[1]} {
		h, ok := unseal(header[:], in.salt, labelHeader, in.header, headerExtra(s.transcript, in.digest))
		if !ok {
			continue
		}
		n := binary.BigEndian.Uint32(h[chainHeadSize:])
		chain := s.sendKey
		for at := s.sent; at <= s.sent+200; at++ {
			var key [32]byte
			key, chain = chainStep(chain)
			plain, ok := unseal(key[:], in.bodySalt, labelBody, in.body, bodyExtra(s.transcript, h))
			if !ok {
				continue
			}
			if plain, err = unpad(plain); err != nil || at != n {
				return false
			}
			_, err = envelope.ParseMessage(plain)
			return err == nil
		}
	}
	return false
}

func newMachine(t testing.TB) *machine {
	a, b := agreedLine(t)
	return &machine{ends: [2]*line{a, b}}
}

// flying returns packets with copies under way.
func (m *machine) flying() []int {
	var at []int
	for i, r := range m.all {
		if r.flying > 0 {
			at = append(at, i)
		}
	}
	return at
}

// TestMachine: loss, reordering, duplication, crashes before a commit, and theft
// of either state at any step. Each message opens once and as it was sent; what
// was open before a theft stays closed to the thief; what comes after the
// victim's next fresh key is closed again.
func TestMachine(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := newMachine(t)
		lost := 0
		some := func(rt *rapid.T) int {
			at := m.flying()
			if len(at) == 0 {
				rt.Skip("nothing under way")
			}
			return rapid.SampledFrom(at).Draw(rt, "packet")
		}
		rt.Repeat(map[string]func(*rapid.T){
			"seal":      func(rt *rapid.T) { m.seal(rt, rapid.IntRange(0, 1).Draw(rt, "side"), true) },
			"sealCrash": func(rt *rapid.T) { m.seal(rt, rapid.IntRange(0, 1).Draw(rt, "side"), false) },
			"deliver":   func(rt *rapid.T) { m.deliver(rt, some(rt), false, true) },
			"inOrder": func(rt *rapid.T) {
				if at := m.flying(); len(at) > 0 {
					m.deliver(rt, at[0], false, true)
				}
			},
			"duplicate": func(rt *rapid.T) { m.deliver(rt, some(rt), true, true) },
			"openCrash": func(rt *rapid.T) { m.deliver(rt, some(rt), true, false) },
			"lose":      func(rt *rapid.T) { m.all[some(rt)].flying--; lost++ },
			"tamper": func(rt *rapid.T) {
				r := m.all[some(rt)]
				q := append([]byte(nil), r.packet...)
				q[rapid.IntRange(1, len(q)-1).Draw(rt, "at")] ^= 1 << rapid.IntRange(0, 7).Draw(rt, "bit")
				if _, err := m.ends[1-r.from].Open(q); !errors.Is(err, parley.ErrForged) {
					rt.Fatalf("tampered: %v", err)
				}
			},
			"steal": func(rt *rapid.T) {
				if len(m.thefts) < 4 {
					m.steal(rapid.IntRange(0, 1).Draw(rt, "side"))
				}
			},
		})
		for _, i := range m.flying() {
			m.deliver(rt, i, false, true)
		}
		for side := range m.ends { // and the line still works
			m.seal(rt, 0, true)
			m.deliver(rt, len(m.all)-1, false, true)
			m.seal(rt, 1, true)
			m.deliver(rt, len(m.all)-1, false, true)
			if s, err := StatusOf(&m.ends[side].Conversation); err != nil || s.Dropped != 0 || s.Missing > lost {
				rt.Fatalf("%+v with %d packets lost, %v", s, lost, err)
			}
		}
		m.check(rt)
	})
}

// TestHealing follows the root with a state stolen after each turn, as one who
// breaks X25519, or ML-KEM, or neither. Without X25519's secrets the line is lost
// in the victim's first turn afterwards. Without ML-KEM's it is lost with the
// first ciphertext for a key made after the theft, or not made by the victim: in
// at most four turns.
func TestHealing(t *testing.T) {
	for theft := uint64(1); theft < 10; theft++ {
		for side := range uint64(2) {
			fresh := theft + 1
			if fresh%2 != side {
				fresh++
			}
			if got := lostAt(t, theft, side, false, true); got != fresh {
				t.Errorf("stolen from side %d after turn %d, ML-KEM broken: lost in turn %d, want %d", side, theft, got, fresh)
			}
			kem := theft + 1
			for kemOf(kem) != kemCiphertext || kem-1 <= theft && (kem-1)%2 == side {
				kem++
			}
			if got := lostAt(t, theft, side, true, false); got != kem || got > theft+4 {
				t.Errorf("stolen from side %d after turn %d, X25519 broken: lost in turn %d, want %d", side, theft, got, kem)
			}
			if got := lostAt(t, theft, side, false, false); got != min(fresh, kem) {
				t.Errorf("stolen from side %d after turn %d: lost in turn %d, want %d", side, theft, got, min(fresh, kem))
			}
		}
	}
}

// lostAt returns the turn whose root an attacker can't compute any more.
func lostAt(t *testing.T, theft, side uint64, breaksDH, breaksKEM bool) uint64 {
	b, a := readyLine(t)
	ends := [2]*line{b, a} // by parity of the turns they begin; turn 0 is over
	for turn := uint64(1); turn <= theft; turn++ {
		send(t, ends[turn%2], ends[1-turn%2], int(turn))
	}
	_, stolen, _ := load(ends[side].Bucket)
	known := [2][]byte{}
	known[side] = ends[side].Bucket.Get(seedKey)
	for turn := theft + 1; turn < theft+20; turn++ {
		from, to := ends[turn%2], ends[1-turn%2]
		_, receiver, _ := load(to.Bucket)
		seed := known[1-turn%2]
		if breaksKEM {
			seed = to.Bucket.Get(seedKey)
		}
		send(t, from, to, int(turn))
		_, sender, _ := load(from.Bucket)
		head := from.Bucket.Get(headKey)
		secret := make([]byte, 32) // a guess
		// The victim's stolen key is good until the victim's next turn.
		if breaksDH || turn%2 != side && stolen.ours == receiver.ours {
			var err error
			if secret, err = dh(receiver.ours[:], head[:keySize]); err != nil {
				t.Fatal(err)
			}
		}
		var kem []byte
		if head[keySize+4] == kemCiphertext {
			kem = make([]byte, 32) // a guess
			if seed != nil {
				var err error
				if kem, err = decapsulate(seed, head[keySize+5:][:ctSize]); err != nil {
					t.Fatal(err)
				}
			}
		}
		if head[keySize+4] == kemOffer {
			known[turn%2] = nil // replaced by one he doesn't have
		}
		if stolen.step(secret, kem, head); stolen.root != sender.root {
			return turn
		}
	}
	return 0
}

// The digest that binds a header to its packet is that of the body's parts.
func TestDigest(t *testing.T) {
	a, _ := agreedLine(t)
	p := sealTo(t, a, 1)
	in, err := splitPacket(p)
	if err != nil || in.digest != sha256.Sum256(p[1+sealedHeader:]) || len(in.bodySalt) != saltSize {
		t.Error("the packet is not cut where the format says")
	}
}
