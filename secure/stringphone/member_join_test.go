package stringphone

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"slices"
	"testing"
	"time"
)

func TestIntroduceRetry(t *testing.T) {
	each(t, func(t *testing.T, mode Mode) {
		a, b, _ := three(t, mode)
		d := newPeer(t, "dave", Setup{})
		first, err := d.m.Introduce(then)
		must(t, err)
		d.load()
		again, _ := d.m.Introduce(then)
		if !bytes.Equal(first, again) {
			t.Error("a retry is another packet")
		}
		join(a, d, b)
		fresh, _ := d.m.Introduce(then)
		if bytes.Equal(first, fresh) {
			t.Error("the ephemeral key was used twice")
		}
		d.quiet(first, fresh)
		b.open(fresh)
		out := newPeer(t, "outsider", Setup{})
		out.quiet(first)
		forged := bytes.Clone(first)
		forged[100] ^= 1
		b.refuse(forged, ErrBadSignature)
	})
}

// TestAnswerOften bounds what repeated introductions cause.
func TestAnswerOften(t *testing.T) {
	each(t, func(t *testing.T, mode Mode) {
		a, _, c := three(t, mode)
		var last []byte
		again := func() error {
			before, posts := a.b.Clone(), len(a.out)
			_, err := a.m.Admit(a.now, last)
			if err != nil && (!a.b.Equal(before) || len(a.out) != posts) {
				t.Error("a failing Admit left a trace")
			}
			return err
		}
		admit := func(p *peer) (err error) {
			last, err = p.m.Introduce(then)
			must(t, err)
			return again()
		}
		a.now = a.now.Add(time.Hour)
		for range 5 {
			must(t, admit(c))
		}
		if err := admit(c); !errors.Is(err, ErrOften) {
			t.Fatal(err)
		}
		a.now = a.now.Add(10 * time.Minute)
		must(t, admit(c))
		// For who is no participant an answered introduction is not answered again.
		must(t, a.m.do(then, func(d *draft) error { return d.drop(id(c)) }))
		if err := again(); !errors.Is(err, ErrReplay) {
			t.Fatal(err)
		}
		a.refuse(last, ErrReplay)
	})
}

// A member that asks for a newer key takes a fresh introduction now and then; who
// joins does not.
func TestIntroduceAnew(t *testing.T) {
	each(t, func(t *testing.T, mode Mode) {
		_, _, c := three(t, mode)
		var all [][]byte
		for range 2*sameIntro + 1 {
			p, err := c.m.Introduce(then)
			must(t, err)
			if len(all) == 0 || !bytes.Equal(p, all[len(all)-1]) {
				all = append(all, p)
			}
		}
		if len(all) != 3 {
			t.Errorf("%d introductions", len(all))
		}
	})
}

// What a member wrote under the present key says that it has its answer: its
// introduction, played again, is not answered. A genuine one is.
func TestRecordedIntroOfAMember(t *testing.T) {
	each(t, func(t *testing.T, mode Mode) {
		a, b, c := three(t, mode)
		intro, err := c.m.Introduce(then)
		must(t, err)
		_, err = a.m.Admit(a.now, intro)
		must(t, err)
		spread(a, b, c)
		a.mustOpen(c.seal(1, "I have it"), "I have it")
		a.refuse(intro, ErrReplay)
		if _, err := a.m.Admit(a.now, intro); !errors.Is(err, ErrReplay) {
			t.Errorf("answered again: %v", err)
		}
		for range sameIntro + 1 {
			intro, err = c.m.Introduce(then)
			must(t, err)
		}
		var asks *IntroError
		if _, err := a.open(intro); !errors.As(err, &asks) || !asks.Member {
			t.Errorf("a fresh one: %v", err)
		}
	})
}

// An introduction of a member that is not in need of it, played to one who has not
// seen it answered, makes a new key that its owner can open too: the rotation is
// sealed to the introduction's key, which may be gone, and to the one that is known.
func TestRecordedIntroLocksNobodyOut(t *testing.T) {
	a, b, c := three(t, ForwardSecret)
	intro, err := c.m.Introduce(then)
	must(t, err)
	for range sameIntro { // its key is gone
		_, err := c.m.Introduce(then)
		must(t, err)
	}
	for range 3 {
		before := a.m.Epoch()
		b.now = b.now.Add(time.Hour)
		_, err := b.m.Admit(b.now, intro)
		if errors.Is(err, ErrReplay) {
			break
		}
		must(t, err)
		spread(a, b, c)
		if c.m.NeedsKey() || c.m.Epoch() != before+1 || a.m.Epoch() != before+1 {
			t.Fatalf("needs a key: %v, epoch %d", c.m.NeedsKey(), c.m.Epoch())
		}
	}
	a.refuse(intro, ErrReplay)
	b.refuse(intro, ErrReplay)
	text := c.seal(1, "still here")
	a.mustOpen(text, "still here")
	b.mustOpen(text, "still here")
	c.mustOpen(a.seal(2, "good"), "good")
}

// Who misses many rotations opens all of them afterwards, and what was said in each.
func TestFarBehind(t *testing.T) {
	for _, mode := range []Mode{Headed, ForwardSecret} {
		t.Run(mode.String(), func(t *testing.T) {
			a, b, c := three(t, mode)
			sealing := func() (keys [][KeySize]byte) {
				must(t, c.m.do(then, func(d *draft) error { keys = d.sealingKeys(); return nil }))
				return keys
			}
			first := sealing()
			var missed [][]byte
			var want []string
			for i := range 12 {
				p := a
				if i%2 == 1 {
					p = b
				}
				must(t, p.m.Rotate(then))
				text := p.seal(byte(i), string(rune('a'+i)))
				out := append(p.posted(), text)
				missed, want = append(missed, out...), append(want, string(rune('a'+i)))
				for _, q := range []*peer{a, b} {
					if q != p {
						for _, packet := range out {
							if _, err := q.open(packet); err != nil {
								t.Fatal(err)
							}
						}
						missed = append(missed, q.out...)
						for _, packet := range q.posted() {
							p.quiet(packet)
						}
					}
				}
			}
			var got []string
			for _, p := range []*peer{a, b, c} {
				p.now = p.now.Add(time.Hour)
			}
			for _, packet := range missed {
				o, err := c.open(packet)
				must(t, err)
				if o != nil {
					got = append(got, string(o.Body))
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%q", got)
			}
			if n := len(c.out); n > 1 {
				t.Errorf("%d posts in epochs that have passed", n)
			}
			c.posted()
			spread(a, b, c)
			packet := c.seal(99, "back")
			spread(a, b, c)
			a.mustOpen(packet, "back")
			for i := range 4 { // and its sealing keys are new ones again
				must(t, b.m.Rotate(b.now))
				spread(a, b, c)
				a.mustOpen(c.seal(byte(100+i), "on"), "on")
			}
			for _, k := range sealing() {
				if slices.Contains(first, k) {
					t.Error("an old key is still there")
				}
			}
		})
	}
}

func TestAdmitRefused(t *testing.T) {
	each(t, func(t *testing.T, mode Mode) {
		a, b, c := three(t, mode)
		intro, _ := c.m.Introduce(then)
		own, _ := a.m.Introduce(then)
		out := newPeer(t, "outsider", Setup{})
		forged := bytes.Clone(intro)
		forged[40] ^= 1
		for _, x := range []struct {
			p      *peer
			packet []byte
			want   error
		}{{a, nil, ErrMalformed}, {a, intro[:100], ErrMalformed}, {a, own, ErrMalformed}, {a, forged, ErrBadSignature}, {out, intro, ErrMissingTopicKey}} {
			if reply, err := x.p.m.Admit(then, x.packet); !errors.Is(err, x.want) || reply != nil {
				t.Errorf("%v, want %v", err, x.want)
			}
		}
		// An introduction with a low-order key would publish the topic key.
		low := makeIntro(c.m.self.private, make([]byte, 32))
		if _, err := a.m.Admit(then, low); !errors.Is(err, ErrMalformed) {
			t.Error(err)
		}
		if mode == Plain {
			return
		}
		silent, err := Load(b.b, nil)
		must(t, err)
		if _, err := silent.Admit(then, intro); !errors.Is(err, ErrNoPost) {
			t.Error(err)
		}
		must(t, b.m.do(then, func(d *draft) error { d.st.set(flagLacks, true); return nil }))
		if _, err := b.m.Admit(then, intro); !errors.Is(err, ErrEpoch) {
			t.Error(err)
		}
	})
}

// TestAcceptRefused: what a joiner does not take.
func TestAcceptRefused(t *testing.T) {
	each(t, func(t *testing.T, mode Mode) {
		a, b, _ := three(t, mode)
		reply := func(p *peer, s Setup) (*peer, []byte) {
			d := newPeer(t, "dave", s)
			intro, err := d.m.Introduce(then)
			must(t, err)
			r, err := p.m.Admit(then.Add(time.Hour), intro)
			must(t, err)
			return d, r
		}
		d, good := reply(a, Setup{})
		other, _ := reply(a, Setup{Seed: GenerateSeed()})
		flip := func(at int) []byte { r := bytes.Clone(good); r[at] ^= 1; return r }
		for _, x := range []struct {
			name   string
			p      *peer
			packet []byte
			want   error
		}{
			{"nothing", d, nil, ErrMalformed},
			{"a message", d, a.seal(1, "x"), ErrMalformed},
			{"short", d, good[:120], ErrMalformed},
			{"unsigned", d, good[:ReplySize], ErrUnsignedReply},
			{"cut", d, good[:len(good)-1], ErrBadSignature},
			{"longer", d, append(bytes.Clone(good), 0), ErrBadSignature},
			{"key", d, flip(60), ErrBadSignature},
			{"extension", d, flip(SignedReplySize + 1), ErrBadSignature},
			{"signer", d, flip(replySignerAt), ErrBadSignature},
			{"for another", other, good, ErrWrongReply},
			{"unasked", newPeer(t, "dave", Setup{}), good, ErrWrongReply},
		} {
			before := x.p.b.Clone()
			if err := x.p.m.Accept(then, x.packet); !errors.Is(err, x.want) || !x.p.b.Equal(before) {
				t.Errorf("%s: %v", x.name, err)
			}
		}
		other.quiet(good)
		d.refuse(flip(60), ErrBadSignature)
		d.refuse(good[:ReplySize], ErrUnsignedReply)
		must(t, d.m.Accept(then, good))
		if err := d.m.Accept(then, good); mode != Plain && !errors.Is(err, ErrWrongReply) || mode == Plain && err != nil {
			t.Errorf("twice: %v", err)
		}

		pinned, r := reply(b, Setup{Seed: GenerateSeed(), Pins: []ed25519.PublicKey{a.m.PublicKey()}})
		pinned.refuse(r, ErrNotPinned)
		if err := pinned.m.Accept(then, r); !errors.Is(err, ErrNotPinned) {
			t.Error(err)
		}
		if mode == ForwardSecret {
			return
		}
		strict, r := reply(a, Setup{Seed: GenerateSeed(), Mode: mode + 1})
		if err := strict.m.Accept(then, r); !errors.Is(err, ErrMode) {
			t.Errorf("a weaker mode: %v", err)
		}
	})
}

// TestAcceptUnsigned takes the original's reply, for Plain and nothing more.
func TestAcceptUnsigned(t *testing.T) {
	topic, err := NewTopic(Options{TopicKey: GenerateTopicKey()})
	must(t, err)
	for _, x := range []struct {
		setup Setup
		want  error
	}{
		{Setup{AcceptUnsigned: true}, nil}, {Setup{}, ErrUnsignedReply},
		{Setup{AcceptUnsigned: true, Pins: []ed25519.PublicKey{topic.PublicKey()}}, ErrUnsignedReply},
		{Setup{AcceptUnsigned: true, Mode: Headed}, ErrMode},
	} {
		d := newPeer(t, "dave", x.setup)
		intro, err := d.m.Introduce(then)
		must(t, err)
		reply, err := topic.ConstructUnsignedReply(intro)
		must(t, err)
		if x.want == nil {
			var e *ReplyError
			if _, err := d.open(reply); !errors.As(err, &e) || e.Signed || !bytes.Equal(e.Key, topic.PublicKey()) {
				t.Fatal(err)
			}
		}
		if err := d.m.Accept(then, reply); !errors.Is(err, x.want) {
			t.Errorf("%v, want %v", err, x.want)
		}
		if len(d.m.Members()) != 1 || d.m.Mode() != x.setup.Mode || d.m.HasKey() != (x.want == nil) {
			t.Error("an unsigned reply is trusted")
		}
		if x.want == nil { // and never replaces a key
			other, _ := NewTopic(Options{TopicKey: GenerateTopicKey()})
			reply, err := other.ConstructUnsignedReply(intro)
			must(t, err)
			if err := d.m.Accept(then, reply); !errors.Is(err, ErrWrongTopicKey) {
				t.Error(err)
			}
		}
	}
}

// TestSecondReply: who shows that it holds our key may be trusted, and nobody else
// can put another in its place.
func TestSecondReply(t *testing.T) {
	a, b, _ := three(t, Plain)
	d := newPeer(t, "dave", Setup{})
	intro, _ := d.m.Introduce(then)
	ra, _ := a.m.Admit(then, intro)
	rb, _ := b.m.Admit(then, intro)
	thief := newPeer(t, "mallory", Setup{Found: true})
	rm, err := thief.m.Admit(then, intro)
	must(t, err)
	must(t, d.m.Accept(then, ra))
	must(t, d.m.Accept(then, rb))
	if err := d.m.Accept(then, rm); !errors.Is(err, ErrWrongTopicKey) {
		t.Error(err)
	}
	if len(d.m.Members()) != 3 {
		t.Error(d.m.Members())
	}
	talk(1, a, d)
	talk(2, b, d)

	// A member that asks again is not turned by a stranger.
	for _, mode := range headed {
		a, b, c := three(t, mode)
		intro, _ := c.m.Introduce(then)
		thief := newPeer(t, "mallory", Setup{Mode: mode, Found: true})
		thief.posted()
		for range 3 {
			must(t, thief.m.Rotate(then))
		}
		r, err := thief.m.Admit(then, intro)
		must(t, err)
		if err := c.m.Accept(then, r); !errors.Is(err, ErrUntrustedKey) {
			t.Error(err)
		}
		talk(1, a, b, c)
	}
}

func TestVouching(t *testing.T) {
	for _, mode := range headed {
		a, b, _ := three(t, mode)
		shy := newPeer(t, "shy", Setup{NoVouch: true})
		join(b, shy, a)
		if p := shy.seal(1, "hello"); p != nil {
			a.mustOpen(p, "hello")
			b.mustOpen(p, "hello")
		}
		shy.refuse(a.seal(2, "who are you"), ErrUntrustedKey)
		shy.mustOpen(b.seal(3, "me"), "me")
		by := map[ID]ID{}
		for _, p := range a.m.Members() {
			by[p.ID] = p.By
			if p.Self != (p.ID == id(a)) || !p.Self && p.Since.IsZero() {
				t.Errorf("%+v", p)
			}
		}
		if by[id(shy)] != id(b) || by[id(b)] != id(a) {
			t.Error("who vouched is not noted")
		}
		if mode == ForwardSecret {
			continue // it hears no sealing keys of those it does not trust
		}
		// It rotates for those it does not listen to, too.
		must(t, shy.m.Rotate(then))
		for _, p := range shy.posted() {
			a.quiet(p)
			b.quiet(p)
		}
		talk(4, a, b)
		shy.posted()
		must(t, shy.m.Trust(a.m.PublicKey()))
		shy.mustOpen(a.seal(9, "now"), "now")
		// And the other way: distrust stays, whatever others say.
		must(t, b.m.Distrust(id(a)))
		must(t, shy.m.Rotate(then))
		for _, p := range shy.posted() {
			b.quiet(p)
			a.quiet(p)
		}
		a.posted()
		b.refuse(a.seal(10, "hm"), ErrUntrustedKey)
	}
	a, b, _ := three(t, Plain)
	must(t, a.m.Distrust(id(b)))
	a.refuse(b.seal(1, "hm"), ErrUntrustedKey)
	if len(a.m.Members()) != 2 {
		t.Error("it is still there")
	}
	if err := a.m.Trust(make([]byte, 32)); !errors.Is(err, ErrMalformed) {
		t.Error(err)
	}
	if err := a.m.Trust([]byte{1}); !errors.Is(err, ErrMalformed) {
		t.Error(err)
	}
	must(t, a.m.Trust(a.m.PublicKey()))
}

// TestLostState: a member with its seed and nothing else comes back, and is heard.
func TestLostState(t *testing.T) {
	each(t, func(t *testing.T, mode Mode) {
		a, b, c := three(t, mode)
		talk(1, a, b, c)
		members := len(a.m.Members())
		reborn := newPeer(t, "carol", Setup{})
		reborn.now = then.Add(time.Minute)
		if id(reborn) != id(c) {
			t.Fatal("another identity")
		}
		join(a, reborn, b)
		if mode == Plain {
			must(t, reborn.m.Trust(b.m.PublicKey()))
		}
		talk(2, a, b, reborn)
		if len(a.m.Members()) != members || len(reborn.m.Members()) != members {
			t.Error("members changed")
		}
	})
}

// TestRestoredCopy: an old copy of the state never repeats a key and nonce, and is
// heard again at the latest when it has heard itself or asked again.
func TestRestoredCopy(t *testing.T) {
	each(t, func(t *testing.T, mode Mode) {
		a, b, c := three(t, mode)
		old := a.b.Clone()
		var before [][]byte
		for i := range byte(5) {
			before = append(before, a.seal(100+i, "x"))
			b.mustOpen(before[i], "x")
		}
		a.b = old
		a.load()
		a.now = a.now.Add(time.Minute)
		nonces := map[string]bool{}
		for _, p := range before {
			nonces[string(p[boxAt:boxAt+NonceSize])] = true
		}
		again := a.seal(100, "x") // the same message ID, as an outbox would
		if nonces[string(again[boxAt:boxAt+NonceSize])] {
			t.Fatal("a nonce came twice")
		}
		if mode == ForwardSecret {
			b.refuse(again, ErrReplay) // its place in the chain was used
			a.quiet(before...)         // what a broker echoes
		} else {
			b.quiet(again)
		}
		b.mustOpen(a.seal(106, "new"), "new")
		talk(7, a, b, c)
	})
}
