package stringphone

import (
	"errors"
	"testing"
	"time"
)

// TestRivals: two members rotate at once, seen in both orders.
func TestRivals(t *testing.T) {
	for _, mode := range headed {
		t.Run(mode.String(), func(t *testing.T) {
			a, b, c := three(t, mode)
			d := newPeer(t, "dave", Setup{})
			join(a, d, b, c)
			talk(1, a, b, c, d)
			must(t, a.m.Rotate(then))
			must(t, b.m.Rotate(then))
			ra, rb := a.posted(), b.posted()
			c.quiet(ra...)
			c.quiet(rb...)
			d.quiet(rb...)
			early := d.seal(30, "under the one that b made")
			d.quiet(ra...)
			a.quiet(rb...)
			b.quiet(ra...)
			a.mustOpen(early, "under the one that b made")
			c.mustOpen(early, "under the one that b made")
			spread(a, b, c, d)
			epoch := a.m.Epoch()
			talk(2, a, b, c, d)
			for _, p := range []*peer{a, b, c, d} {
				if p.m.Epoch() != epoch {
					t.Errorf("%s rotated for nothing", p.name)
				}
			}
		})
	}
}

// TestRivalRemovals: both removals count, whichever rotation wins, and nobody who
// was removed reads what is sealed afterwards.
func TestRivalRemovals(t *testing.T) {
	for _, mode := range headed {
		for seed := range byte(6) {
			a, b, c := three(t, mode)
			a.now = then.Add(time.Duration(seed) * time.Second) // other hashes
			d := newPeer(t, "dave", Setup{})
			join(a, d, b, c)
			e := newPeer(t, "eve", Setup{})
			join(a, e, b, c, d)
			must(t, a.m.Remove(a.now, id(d)))
			must(t, b.m.Remove(then, id(e)))
			ra, rb := a.posted(), b.posted()
			if seed%2 == 0 {
				c.quiet(ra...)
				c.quiet(rb...)
			} else {
				c.quiet(rb...)
				c.quiet(ra...)
			}
			a.quiet(rb...)
			b.quiet(ra...)
			d.quiet(rb...)
			e.quiet(ra...)
			for _, p := range []*peer{a, b, c} { // one of them has rotated again
				for _, packet := range p.posted() {
					for _, q := range []*peer{a, b, c, d, e} {
						if q != p {
							q.open(packet)
						}
					}
				}
			}
			p := c.seal(9, "for three")
			for _, packet := range c.posted() {
				a.quiet(packet)
				b.quiet(packet)
				d.open(packet)
				e.open(packet)
			}
			for _, q := range []*peer{d, e} {
				if o, err := q.open(p); err == nil {
					t.Fatalf("%s, who was removed, opens %v", q.name, o)
				}
			}
			spread(a, b, c)
			a.mustOpen(p, "for three")
			talk(3, a, b, c)
			if n := len(c.m.Members()); n != 3 {
				t.Fatalf("%d members", n)
			}
		}
	}
}

// TestRemovedRival: a member that is being removed lets a friend in with a rotation
// of its own. Whoever sees which first: the friend stays out.
func TestRemovedRival(t *testing.T) {
	for _, mode := range headed {
		for _, firstHostile := range []bool{false, true} {
			a, b, m := three(t, mode)
			friend := newPeer(t, "friend", Setup{})
			must(t, a.m.Remove(then, id(m)))
			intro, err := friend.m.Introduce(then)
			must(t, err)
			must(t, m.m.do(then, func(d *draft) error {
				key, _, err := checkIntro(intro)
				if err != nil {
					return err
				}
				_, err = d.admit(key, d.self.id, memberTrusted)
				if err != nil {
					return err
				}
				_, err = d.rotate(nil, []joiner{{key, [32]byte(intro[introEncAt:]), [64]byte(intro[introSigAt:])}})
				return err
			}))
			good, bad := a.posted()[0], m.posted()[0]
			if firstHostile {
				b.quiet(bad)
				b.posted() // its sealing key, under a key that nobody else will have
				b.quiet(good)
			} else {
				b.quiet(good)
				b.refuse(bad, ErrUntrustedKey)
			}
			spread(a, b)
			if n := len(b.m.Members()); n != 2 {
				t.Fatalf("%v: %d members", firstHostile, n)
			}
			talk(1, a, b)
			b.refuse(m.seal(1, "hm"), ErrUntrustedKey)
		}
	}
}

// TestVoidRival: a member that is being removed removes another with a rival of its
// own. Whoever sees which first: the other stays.
func TestVoidRival(t *testing.T) {
	for _, mode := range headed {
		for _, firstHostile := range []bool{false, true} {
			a, b, m := three(t, mode)
			z := newPeer(t, "zoe", Setup{})
			join(a, z, b, m)
			must(t, a.m.Remove(then, id(m)))
			must(t, m.m.Remove(then, id(z)))
			good, bad := a.posted()[0], m.posted()[0]
			if firstHostile {
				b.quiet(bad)
				b.posted()
			}
			b.quiet(good)
			z.quiet(good)
			spread(a, b, z)
			talk(1, a, b, z)
			if n := len(b.m.Members()); n != 3 {
				t.Errorf("%d members", n)
			}
		}
	}
}

// TestOutside: whom we let in, and a rotation that did not know it leaves out, is
// heard and gets no key until it asks again.
func TestOutside(t *testing.T) {
	for _, mode := range headed {
		a, b, _ := three(t, mode)
		d := newPeer(t, "dave", Setup{})
		join(b, d) // a did not hear of it
		late := d.seal(1, "late")
		if mode == ForwardSecret {
			continue // a rotation lets in, and a is behind it
		}
		must(t, a.m.Rotate(then))
		rotation := a.posted()
		b.quiet(rotation...)
		for _, p := range b.m.Members() {
			if p.Outside != (p.ID == id(d)) {
				t.Errorf("%+v", p)
			}
		}
		b.mustOpen(late, "late")
		must(t, b.m.Rotate(then))
		if _, err := d.open(b.posted()[0]); err == nil {
			t.Error("it follows a rotation that is not for it")
		}
		intro, err := d.m.Introduce(then)
		must(t, err)
		var asks *IntroError
		if _, err := b.open(intro); !errors.As(err, &asks) || asks.Member {
			t.Errorf("%v: its introduction would be answered unasked", err)
		}
	}
}

// TestWentAlone: members that rotated without hearing of each other come together
// when one asks, whichever hash is smaller.
func TestWentAlone(t *testing.T) {
	for seed := range 8 {
		a, b, c := three(t, Headed)
		c.now = then.Add(time.Duration(seed) * time.Second)
		must(t, a.m.Rotate(then))
		b.quiet(a.posted()...)
		must(t, c.m.Rotate(c.now))
		c.posted() // lost, as was a's for c
		c.refuse(b.seal(1, "hello"), ErrEpoch)
		if !c.m.NeedsKey() {
			t.Fatal("NeedsKey is silent")
		}
		join(b, c, a)
		talk(2, a, b, c)
		must(t, c.m.Rotate(c.now))
		spread(a, b, c)
		talk(3, a, b, c)
	}
}
