package stringphone

import (
	"bytes"
	"crypto/ed25519"
	"testing"
)

// TestSharedKey: members that were set up with the same key know each other's
// sealing keys once each has spoken.
func TestSharedKey(t *testing.T) {
	for _, mode := range headed {
		key := GenerateTopicKey()
		var all []*peer
		var keys []ed25519.PublicKey
		for _, name := range []string{"alice", "bob", "carol"} {
			keys = append(keys, ed25519.NewKeyFromSeed(bytes.Repeat([]byte(name[:1]), SeedSize)).Public().(ed25519.PublicKey))
		}
		for _, name := range []string{"alice", "bob", "carol"} {
			all = append(all, newPeer(t, name, Setup{Mode: mode, TopicKey: key, Trust: keys}))
		}
		talk(1, all...)
		if mode == ForwardSecret {
			for k, v := range all[0].b.Scan("") {
				if bytes.Contains(v, key) {
					t.Errorf("the epoch's key is still in %q", k)
				}
			}
		}
		must(t, all[0].m.Rotate(then))
		spread(all...)
		for _, p := range all {
			if p.m.Epoch() != 1 || p.m.NeedsKey() {
				t.Errorf("%v: %s is in epoch %d", mode, p.name, p.m.Epoch())
			}
		}
		must(t, all[1].m.Remove(then, id(all[2])))
		spread(all[:2]...)
		talk(2, all[:2]...)
	}
}

// TestForwardSecrecy: what a member has at one time opens nothing that it took in
// before.
func TestForwardSecrecy(t *testing.T) {
	a, b, _ := three(t, ForwardSecret)
	var packets [][]byte
	for i := range byte(5) {
		p := a.seal(i, "x")
		b.mustOpen(p, "x")
		packets = append(packets, p)
	}
	must(t, a.m.Rotate(then))
	rotation := a.posted()[0]
	b.quiet(rotation)
	thief, err := Load(b.b.Clone(), nil)
	must(t, err)
	must(t, thief.do(then, func(d *draft) error { // forget what is no secret
		d.deleteAll(guardRow)
		d.deleteAll(countRow)
		return nil
	}))
	for _, p := range append(packets, rotation) {
		if o, err := thief.Open(then, p, OpenOptions{}); err == nil {
			t.Fatalf("stolen keys open %v", o)
		}
	}
	// In Headed they do: docs/stringphone-modes.md says so.
	a, b, _ = three(t, Headed)
	p := a.seal(1, "x")
	b.mustOpen(p, "x")
	thief, err = Load(b.b.Clone(), nil)
	must(t, err)
	must(t, thief.do(then, func(d *draft) error { d.deleteAll(guardRow); d.deleteAll(countRow); return nil }))
	if o, err := thief.Open(then, p, OpenOptions{}); err != nil || o == nil {
		t.Fatal("the document is wrong")
	}
}

// TestLateJoiner: what one who joins can read of what was recorded before.
func TestLateJoiner(t *testing.T) {
	each(t, func(t *testing.T, mode Mode) {
		a, b, c := three(t, mode)
		if mode == Headed {
			older := a.seal(1, "an epoch before")
			must(t, a.m.Rotate(then))
			spread(a, b, c)
			defer func() {
				d := newPeer(t, "dora", Setup{Seed: GenerateSeed()})
				join(a, d, b, c)
				d.refuse(older, ErrEpoch)
			}()
		}
		old := a.seal(2, "before")
		d := newPeer(t, "dave", Setup{})
		join(a, d, b, c)
		if mode == ForwardSecret {
			d.refuse(old, ErrEpoch)
		} else {
			d.mustOpen(old, "before") // docs/stringphone-modes.md says so
		}
	})
}
