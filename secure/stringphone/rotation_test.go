package stringphone

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"math"
	"testing"
)

var headed = []Mode{Headed, ForwardSecret}

// ids of peers.
func id(p *peer) ID { return p.m.ID() }

func TestRotate(t *testing.T) {
	for _, mode := range headed {
		t.Run(mode.String(), func(t *testing.T) {
			a, b, c := three(t, mode)
			start := a.m.Epoch()
			late := a.seal(200, "late")
			for i := range 5 {
				p := []*peer{a, b, c}[i%3]
				must(t, p.m.Rotate(then))
				rotation := p.posted()
				for _, q := range []*peer{a, b, c} {
					if q != p {
						q.quiet(rotation...)
					} else {
						q.quiet(rotation[0])
					}
				}
				spread(a, b, c)
				talk(byte(i), a, b, c)
				for _, q := range []*peer{a, b, c} {
					if q.m.Epoch() != start+uint32(i)+1 {
						t.Fatalf("%s is in epoch %d", q.name, q.m.Epoch())
					}
				}
				if i == 0 {
					b.mustOpen(late, "late")
					for _, q := range []*peer{b, c} {
						q.refuse(rotation[0], ErrReplay)
					}
				}
			}
			// By now the epoch's key is gone.
			c.refuse(late, ErrEpoch)
			b.refuse(late, ErrReplay) // which had shown it
			if c.m.NeedsKey() {
				t.Error("one late message makes it ask again")
			}
		})
	}
}

func TestRotateRefused(t *testing.T) {
	a, b, _ := three(t, Plain)
	for _, err := range []error{a.m.Rotate(then), a.m.Remove(then, id(b))} {
		if !errors.Is(err, ErrMode) {
			t.Error(err)
		}
	}
	a, b, _ = three(t, Headed)
	for _, c := range []struct {
		ids  []ID
		want error
	}{{nil, ErrMalformed}, {[]ID{id(a)}, ErrMalformed}, {[]ID{{1}}, ErrUntrustedKey}, {[]ID{id(b), {1}}, ErrUntrustedKey}} {
		before := a.b.Clone()
		if err := a.m.Remove(then, c.ids...); !errors.Is(err, c.want) || !a.b.Equal(before) || len(a.out) > 0 {
			t.Errorf("%v: %v", c.ids, err)
		}
	}
	joiner := newPeer(t, "j", Setup{Mode: Headed})
	if err := joiner.m.Rotate(then); !errors.Is(err, ErrMissingTopicKey) {
		t.Error(err)
	}
}

// TestRemove: who was removed reads nothing newer, is heard no more, and is told.
func TestRemove(t *testing.T) {
	for _, mode := range headed {
		t.Run(mode.String(), func(t *testing.T) {
			a, b, c := three(t, mode)
			old := a.seal(1, "old")
			must(t, a.m.Remove(then, id(c)))
			rotation := a.posted()
			b.quiet(rotation...)
			spread(a, b)
			p := a.seal(2, "secret")
			b.mustOpen(p, "secret")
			if _, err := c.open(p); err == nil {
				t.Fatal("the removed member reads on")
			}
			c.mustOpen(old, "old")
			c.quiet(rotation...)
			if !c.m.Removed() {
				t.Error("Removed is silent")
			}
			if _, err := c.open(p); err == nil {
				t.Fatal("the removed member reads on")
			}
			if _, err := c.m.Seal(then, [16]byte{}, nil); !errors.Is(err, ErrRemoved) {
				t.Error(err)
			}
			if err := c.m.Rotate(then); !errors.Is(err, ErrRemoved) {
				t.Error(err)
			}
			// A hostile one speaks all the same.
			must(t, c.m.do(then, func(d *draft) error { d.st.set(flagRemoved, false); return nil }))
			for _, q := range []*peer{a, b} {
				q.refuse(c.seal(3, "still here"), ErrUntrustedKey)
				must(t, c.m.Rotate(then))
				for _, r := range c.posted() {
					q.refuse(r, ErrUntrustedKey)
				}
				if len(q.m.Members()) != 2 {
					t.Errorf("%s counts %d members", q.name, len(q.m.Members()))
				}
				if err := q.m.Trust(c.m.PublicKey()); !errors.Is(err, ErrRemoved) {
					t.Error(err)
				}
			}
			talk(4, a, b)
		})
	}
}

// TestReadmit: a removed member comes back by a person's decision only.
func TestReadmit(t *testing.T) {
	for _, mode := range headed {
		t.Run(mode.String(), func(t *testing.T) {
			a, b, c := three(t, mode)
			intro, err := c.m.Introduce(then)
			must(t, err)
			if _, err := a.m.Admit(then, intro); err != nil { // answered once
				t.Fatal(err)
			}
			spread(a, b) // c misses it
			must(t, a.m.Remove(then, id(c)))
			spread(a, b)
			a.refuse(intro, ErrReplay)
			if _, err := a.m.Admit(then, intro); !errors.Is(err, ErrReplay) {
				t.Fatal(err)
			}
			must(t, c.m.do(then, func(d *draft) error { d.delete(introRow); return nil }))
			join(a, c, b)
			talk(1, a, b, c)
		})
	}
}

// TestLeftOut: a member that a rotation does not name asks again.
func TestLeftOut(t *testing.T) {
	for _, mode := range headed {
		t.Run(mode.String(), func(t *testing.T) {
			a, b, c := three(t, mode)
			must(t, a.m.do(then, func(d *draft) error { return d.drop(id(c)) }))
			must(t, a.m.Rotate(then))
			rotation := a.posted()
			b.quiet(rotation...)
			c.quiet(rotation...)
			if n := len(b.m.Members()); n != 2 {
				t.Errorf("b counts %d members, a's rotation names 2", n)
			}
			if !c.m.NeedsKey() {
				t.Fatal("NeedsKey is silent")
			}
			c.load()
			if !c.m.NeedsKey() {
				t.Fatal("NeedsKey was forgotten")
			}
			for _, err := range []error{c.m.Rotate(then), func() error { _, err := c.m.Seal(then, [16]byte{}, nil); return err }()} {
				if !errors.Is(err, ErrEpoch) {
					t.Error(err)
				}
			}
			spread(a, b)
			join(b, c, a)
			if c.m.NeedsKey() {
				t.Error("NeedsKey after it got the key")
			}
			talk(1, a, b, c)
		})
	}
}

// TestMissedRotation: a member that missed one asks again, which disturbs nobody,
// and learns who was removed meanwhile.
func TestMissedRotation(t *testing.T) {
	for _, mode := range headed {
		t.Run(mode.String(), func(t *testing.T) {
			a, b, c := three(t, mode)
			d := newPeer(t, "dave", Setup{})
			join(c, d, a, b)
			must(t, a.m.Remove(then, id(d)))
			for _, p := range a.posted() {
				b.quiet(p) // c misses it
			}
			spread(a, b)
			p := b.seal(1, "hello")
			a.mustOpen(p, "hello")
			c.refuse(p, ErrEpoch)
			if !c.m.NeedsKey() {
				t.Fatal("NeedsKey is silent")
			}
			before := len(a.m.Members())
			join(a, c, b)
			if len(a.m.Members()) != before || len(c.m.Members()) != 3 {
				t.Errorf("members: %d, then %d; c counts %d", before, len(a.m.Members()), len(c.m.Members()))
			}
			talk(2, a, b, c)
			c.refuse(d.seal(3, "I"), ErrUntrustedKey)
			sealed := c.seal(4, "private")
			if _, err := d.open(sealed); err == nil {
				t.Fatal("the removed member reads what c seals")
			}
		})
	}
}

// TestStaleRotation: nothing but messages comes of one that everybody has passed.
func TestStaleRotation(t *testing.T) {
	for _, mode := range headed {
		t.Run(mode.String(), func(t *testing.T) {
			a, b, c := three(t, mode)
			must(t, a.m.Rotate(then))
			must(t, c.m.Rotate(then))
			ra, rc := a.posted(), c.posted()
			message := c.seal(1, "under the stale key")
			b.quiet(ra...)
			spread(a, b)
			must(t, a.m.Rotate(then))
			b.quiet(a.posted()...)
			spread(a, b)
			epoch := b.m.Epoch()
			if mode == Headed {
				b.quiet(rc...)
				b.mustOpen(message, "under the stale key")
			} else { // which keeps one epoch less
				b.refuse(rc[0], ErrEpoch)
			}
			if b.m.Epoch() != epoch {
				t.Error("a stale rotation was followed")
			}
		})
	}
}

// TestHostileSealingKey: a member cannot put its own key in a joiner's place.
func TestHostileSealingKey(t *testing.T) {
	a, b, c := three(t, ForwardSecret)
	own := NewAsymmetricCrypto()
	must(t, a.m.do(then, func(d *draft) error {
		_, err := d.rotate(nil, []joiner{{key: b.m.PublicKey(), sealing: [32]byte(own.PublicKey())}})
		return err
	}))
	for _, p := range a.posted() {
		c.refuse(p, ErrMalformed)
	}
}

// TestForeignRotation: under another topic's name nothing is taken in.
func TestForeignRotation(t *testing.T) {
	key := GenerateTopicKey()
	make := func(name, topic string) *peer {
		return newPeer(t, name, Setup{Mode: Headed, TopicKey: key, Name: topic})
	}
	a, b := make("alice", "one"), make("bob", "two") // the same key in two topics
	must(t, b.m.Trust(a.m.PublicKey()))
	must(t, a.m.Trust(b.m.PublicKey()))
	must(t, a.m.Rotate(then))
	b.refuse(a.posted()[0], ErrWrongTopic)
	b.refuse(a.seal(1, "x"), ErrEpoch)
	if b.m.Epoch() != 0 {
		t.Error("it was followed")
	}
}

func TestEpochsEnd(t *testing.T) {
	for _, mode := range headed {
		a := newPeer(t, "alice", Setup{Mode: mode, Found: true})
		must(t, a.m.do(then, func(d *draft) error {
			return d.enterEpoch(math.MaxUint32, epochKey{members: []ID{id(a)}, hash: [32]byte{1}})
		}))
		if err := a.m.Rotate(then); !errors.Is(err, ErrUsedUp) {
			t.Error(err)
		}
		a.seal(1, "still")
		must(t, a.m.do(then, func(d *draft) error { d.st.counter = math.MaxUint64; return nil }))
		if _, err := a.m.Seal(then, [16]byte{}, nil); !errors.Is(err, ErrUsedUp) {
			t.Error(err)
		}
	}
}

func TestRotationFormat(t *testing.T) {
	key := ed25519.PublicKey(bytes.Repeat([]byte{7}, 32))
	r := &rotation{epoch: 9, mode: Headed, removed: []ID{{1}, {2}}, added: []joiner{{key: key}}, sealed: []sealedKey{{key: key}, {key: key}}}
	b := r.marshal()
	for n := range b {
		if _, err := parseRotation(b[:n]); !errors.Is(err, ErrMalformed) {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
	if _, err := parseRotation(append(b, 0)); !errors.Is(err, ErrMalformed) {
		t.Error("something behind it is taken")
	}
	got, err := parseRotation(b)
	if err != nil || !bytes.Equal(got.marshal(), b) {
		t.Error(err)
	}
	huge := append([]byte{0, 0, 0, 1, 1, 0xff, 0xff}, make([]byte, 1<<20)...)
	if _, err := parseRotation(huge); !errors.Is(err, ErrMalformed) {
		t.Error("65,535 removals are taken")
	}
}
