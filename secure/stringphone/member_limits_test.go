package stringphone

import (
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

func TestCounters(t *testing.T) {
	a, b, _ := three(t, Headed)
	var packets [][]byte
	const n = MaxCounters + 10
	for i := range n {
		p, err := a.m.Seal(then, [16]byte{1, byte(i), byte(i >> 8)}, nil)
		must(t, err)
		packets = append(packets, p)
	}
	for _, p := range packets[5:] {
		if o, err := b.m.Open(then, p, OpenOptions{}); o == nil || err != nil {
			t.Fatal(err)
		}
	}
	b.refuse(packets[0], ErrReplay) // below the floor
	b.refuse(packets[20], ErrReplay)
	if size := len(b.b.Get(row(countRow, id(a)))); size != 8+8*MaxCounters {
		t.Errorf("%d bytes of counters", size)
	}
}

// TestCounterModel compares the window with a map.
func TestCounterModel(t *testing.T) {
	a := newPeer(t, "alice", Setup{Mode: Headed, Found: true})
	r := rand.New(rand.NewPCG(1, 2))
	seen, sender := map[uint64]bool{}, ID{1}
	must(t, a.m.do(then, func(d *draft) error {
		for range 3000 {
			n := uint64(r.IntN(4000))
			p := d.get(row(countRow, sender))
			floor := uint64(0)
			if len(p) > 0 {
				floor = binary.BigEndian.Uint64(p)
			}
			if want := n > floor && !seen[n]; d.freshCounter(sender, n) != want {
				return fmt.Errorf("%d is fresh: %v", n, !want)
			} else if want {
				d.countUp(sender, n)
				seen[n] = true
			}
		}
		d.closeCounters(sender)
		if d.freshCounter(sender, 3999) && seen[3999] || len(d.get(row(countRow, sender))) != 8 {
			return errors.New("closing leaves something open")
		}
		return nil
	}))
}

// TestGuardHolds: of 65,536 messages none is forgotten, and the guard has a bound.
func TestGuardHolds(t *testing.T) {
	if testing.Short() {
		t.Skip("65,536 tags")
	}
	a := newPeer(t, "alice", Setup{Mode: Headed, Found: true})
	b := new(Memory)
	for k, v := range a.b.Scan("") {
		b.Put(k, v)
	}
	m, err := Load(b, nil)
	must(t, err)
	name := func(i int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(i)) }
	must(t, m.do(then, func(d *draft) error {
		for i := range MaxGuarded {
			d.remember(d.tag(guardID, name(i)))
		}
		for i := range MaxGuarded {
			if !d.seen(d.tag(guardID, name(i))) {
				return fmt.Errorf("tag %d is forgotten", i)
			}
		}
		for i := range 2 * MaxGuarded {
			d.remember(d.tag(guardID, name(MaxGuarded+i)))
		}
		return nil
	}))
	size := 0
	for _, v := range b.Scan(guardRow) {
		size += len(v)
	}
	if most := guardShards * guardDepth * tagLen; size > most || size < most*9/10 {
		t.Errorf("the guard has %d bytes, at most %d", size, most)
	}
}

// gap seals n messages that nobody gets, and one more.
func gap(p *peer, n int) []byte {
	p.t.Helper()
	must(p.t, p.m.do(then, func(d *draft) error {
		for range n {
			if _, _, err := d.ownKey(); err != nil {
				return err
			}
		}
		return nil
	}))
	return p.seal(250, "after a gap")
}

func skippedKeys(t testing.TB, p *peer) int {
	t.Helper()
	n := 0
	for range p.b.Scan(skipRow) {
		n++
	}
	return n
}

func TestSkips(t *testing.T) {
	a, b, c := three(t, ForwardSecret)
	first := a.seal(1, "first")
	p := gap(a, MaxSkip+20)
	b.mustOpen(p, "after a gap")
	if n := skippedKeys(t, b); n != MaxSkip {
		t.Errorf("%d keys kept", n)
	}
	b.refuse(first, ErrReplay) // its key was dropped
	for i := range 3 {
		c.mustOpen(gapN(a, MaxSkip, byte(i)), "after a gap")
	}
	if n := skippedKeys(t, c); n != MaxSkipped {
		t.Errorf("%d keys kept in all", n)
	}
	far := gapN(a, MaxJump+1, 9)
	b.refuse(far, ErrSkip)
	if !b.m.NeedsKey() {
		t.Error("NeedsKey is silent")
	}
	join(c, b, a)
	talk(3, a, b, c)
	for range 2 {
		must(t, a.m.Rotate(then))
		spread(a, b, c)
	}
	if n := skippedKeys(t, c); n > 10 {
		t.Errorf("%d keys outlive their epoch", n)
	}
}

func gapN(p *peer, n int, id byte) []byte {
	must(p.t, p.m.do(then, func(d *draft) error {
		for range n {
			if _, _, err := d.ownKey(); err != nil {
				return err
			}
		}
		return nil
	}))
	return p.seal(200+id, "after a gap")
}

// TestIndexEnds: the last index of a chain is followed by a rotation, not by the
// first again.
func TestIndexEnds(t *testing.T) {
	a, b, c := three(t, ForwardSecret)
	move := func(p *peer, of *peer, next uint32) {
		must(t, p.m.do(then, func(d *draft) error {
			k, err := d.sendingKey()
			if err != nil {
				return err
			}
			at := place(chainRow, d.st.epoch, k, id(of))
			ch, err := d.chain(at)
			if err == nil {
				ch.next = next
				d.put(at, ch.marshal())
			}
			return err
		}))
	}
	for _, p := range []*peer{a, b, c} {
		move(p, a, lastIndex-5)
	}
	epoch := a.m.Epoch()
	for i := range byte(10) {
		p := a.seal(i, "text")
		spread(a, b, c)
		if o := b.mustOpen(p, "text"); i == 0 && o.Index != lastIndex-5 {
			t.Errorf("index %d", o.Index)
		}
		c.mustOpen(p, "text")
	}
	if a.m.Epoch() != epoch+1 {
		t.Errorf("epoch %d, was %d", a.m.Epoch(), epoch)
	}
	silent, err := Load(a.b, nil)
	must(t, err)
	move(a, a, lastIndex+1)
	if _, err := silent.Seal(then, [16]byte{}, nil); !errors.Is(err, ErrNoPost) {
		t.Error(err)
	}
	must(t, a.m.do(then, func(d *draft) error {
		if _, _, err := d.ownKey(); !errors.Is(err, ErrUsedUp) {
			t.Error(err)
		}
		return nil
	}))
}

// TestCrowd: a topic's members have a bound, whoever adds them.
func TestCrowd(t *testing.T) {
	a := newPeer(t, "alice", Setup{Mode: Headed, Found: true})
	hostile := newPeer(t, "hostile", Setup{})
	join(a, hostile)
	var crowd []ed25519.PublicKey
	for i := range MaxMembers {
		seed := make([]byte, SeedSize)
		binary.BigEndian.PutUint32(seed, uint32(i))
		crowd = append(crowd, ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey))
	}
	var packet []byte
	must(t, hostile.m.do(then, func(d *draft) (err error) {
		packet, err = d.seal(kindAnnounce, [16]byte{}, (&announcement{members: crowd}).marshal())
		return err
	}))
	a.quiet(packet)
	if n := len(a.m.Members()); n != MaxMembers {
		t.Errorf("%d members", n)
	}
	if err := a.m.Trust(newPeer(t, "z", Setup{}).m.PublicKey()); !errors.Is(err, ErrCrowded) {
		t.Error(err)
	}
	// Removing strangers leaves no more tombstones than members.
	must(t, hostile.m.do(then, func(d *draft) (err error) {
		r := rotation{epoch: 1, mode: Headed}
		for i := range 2 * MaxMembers {
			r.removed = append(r.removed, ID{byte(i), byte(i >> 8), 1})
		}
		packet, err = d.seal(kindRotation, [16]byte{}, r.marshal())
		return err
	}))
	a.quiet(packet)
	n := 0
	for range a.b.Scan(goneRow) {
		n++
	}
	if n > MaxMembers {
		t.Errorf("%d tombstones", n)
	}
}

// TestRivalsBound: however often members rotate at once, an epoch keeps few keys,
// and all keep the same.
func TestRivalsBound(t *testing.T) {
	for _, mode := range headed {
		a, b, c := three(t, mode)
		copyOf := a.b.Clone()
		var rivals [][]byte
		for i := range maxRivals + 4 {
			a.b = copyOf.Clone()
			a.load()
			must(t, a.m.Rotate(then.Add(time.Duration(i)*time.Second)))
			rivals = append(rivals, a.posted()[0])
		}
		if mode == ForwardSecret {
			// A copy of a state has used the same place in its chain each time.
			rivals = rivals[:1]
		}
		for i := range rivals {
			b.m.Open(then, rivals[i], OpenOptions{})
			c.m.Open(then, rivals[len(rivals)-1-i], OpenOptions{})
		}
		if sendHash(t, b) != sendHash(t, c) {
			t.Error("they do not agree")
		}
		must(t, b.m.do(then, func(d *draft) error {
			keys, err := d.keysOf(d.st.epoch)
			if len(keys) > maxRivals || len(keys) < len(rivals)-4 {
				t.Errorf("%d keys", len(keys))
			}
			return err
		}))
	}
}

func TestMemory(t *testing.T) {
	var m Memory
	must(t, m.UnmarshalBinary([]byte{memoryVersion}))
	a, err := Create(&m, Setup{Found: true, Mode: ForwardSecret})
	must(t, err)
	for i := range byte(20) {
		if _, err := a.Seal(then, [16]byte{i + 1}, nil); err != nil {
			t.Fatal(err)
		}
	}
	saved, err := m.MarshalBinary()
	must(t, err)
	var back Memory
	must(t, back.UnmarshalBinary(saved))
	again, _ := back.MarshalBinary()
	if string(again) != string(saved) {
		t.Error("what was read is not what was written")
	}
	b, err := Load(&back, nil)
	must(t, err)
	if b.ID() != a.ID() || !b.HasKey() {
		t.Error("another member")
	}
	for n := range saved {
		var x Memory
		if err := x.UnmarshalBinary(saved[:n]); err == nil && n > 1 && len(x.keys) == len(m.keys) {
			t.Fatalf("cut at %d it is complete", n)
		} else if err != nil && (!errors.Is(err, ErrMalformed) || len(x.keys) > 0) {
			t.Fatal(err)
		}
	}
	var keys []string
	for k := range m.Scan(stateRow[:1]) {
		keys = append(keys, k)
		m.Put("x"+k, nil) // a write during Scan harms nothing
	}
	if len(keys) < 2 || m.Get("none") != nil || m.Get("x"+stateRow) == nil {
		t.Errorf("%q", keys)
	}
	m.Delete("none")
	m.Delete("x" + stateRow)
	if m.Get("x"+stateRow) != nil {
		t.Error("it is still there")
	}
}
