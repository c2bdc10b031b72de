package stringphone

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
)

var modes = []Mode{Plain, Headed, ForwardSecret}

// each runs a test in every mode.
func each(t *testing.T, f func(t *testing.T, mode Mode)) {
	for _, mode := range modes {
		t.Run(mode.String(), func(t *testing.T) { f(t, mode) })
	}
}

// talk lets everybody say something to everybody.
func talk(round byte, peers ...*peer) {
	for i, p := range peers {
		p.t.Helper()
		text := fmt.Sprintf("%s speaks, %d", p.name, round)
		packet := p.seal(round*16+byte(i), text)
		spread(peers...)
		for _, q := range peers {
			if q == p {
				q.quiet(packet)
			} else if o := q.mustOpen(packet, text); o.From != p.m.ID() || o.ID[0] != round*16+byte(i) {
				p.t.Fatalf("from %v, ID %x", o.From, o.ID)
			}
		}
	}
}

func TestMembersTalk(t *testing.T) {
	each(t, func(t *testing.T, mode Mode) {
		a, b, c := three(t, mode)
		for _, p := range []*peer{a, b, c} {
			if p.m.Mode() != mode || !p.m.HasKey() || p.m.NeedsKey() || p.m.Removed() || len(p.m.Members()) != 3 {
				t.Fatalf("%s: %v, %d members", p.name, p.m.Mode(), len(p.m.Members()))
			}
		}
		talk(1, a, b, c)
		for _, p := range []*peer{a, b, c} {
			p.load() // as after a restart
		}
		talk(2, a, b, c)
	})
}

// TestSize: what Seal adds is what the documents say, and an original's packet has
// no other size in Plain.
func TestSize(t *testing.T) {
	each(t, func(t *testing.T, mode Mode) {
		a, b, _ := three(t, mode)
		want := Overhead + 5
		if mode != Plain {
			want += HeaderSize
		}
		p := a.seal(9, "hello")
		if len(p) != want {
			t.Errorf("%d bytes, want %d", len(p), want)
		}
		if o := b.mustOpen(p, "hello"); o.Sent.IsZero() != (mode == Plain) || mode != Plain && !o.Sent.Equal(then) {
			t.Errorf("sent %v", o.Sent)
		}
		if o := b.mustOpen(a.seal(10, ""), ""); o.Body == nil {
			t.Error("an empty body is nil")
		}
		if big := string(make([]byte, 100_000)); true {
			b.mustOpen(a.seal(11, big), big)
		}
	})
}

// TestPlainIsTheOriginal: a Plain member and a Topic understand each other.
func TestPlainIsTheOriginal(t *testing.T) {
	for _, manual := range []bool{false, true} {
		key := GenerateTopicKey()
		topic, err := NewTopic(Options{TopicKey: key, ManualType: manual})
		must(t, err)
		a := newPeer(t, "alice", Setup{TopicKey: key, ManualType: manual, Trust: []ed25519.PublicKey{topic.PublicKey()}})
		must(t, topic.AddParticipant(a.m.PublicKey()))
		p, err := topic.Encode([]byte("from the original"))
		must(t, err)
		a.mustOpen(p, "from the original")
		a.refuse(p, ErrReplay)
		if got, err := topic.Decode(a.seal(1, "to the original")); err != nil || string(got) != "to the original" {
			t.Fatalf("%q, %v", got, err)
		}
		// The other's introduction, and ours.
		stranger, err := NewTopic(Options{ManualType: manual})
		must(t, err)
		reply, err := a.m.Admit(then, stranger.ConstructIntro())
		must(t, err)
		if ok, err := stranger.ParseReply(reply); !ok || err != nil {
			t.Fatal(ok, err)
		}
		b := newPeer(t, "bob", Setup{ManualType: manual})
		intro, err := b.m.Introduce(then)
		must(t, err)
		reply, err = topic.ConstructReply(intro)
		must(t, err)
		must(t, b.m.Accept(then, reply))
		p, err = topic.Encode([]byte("hello Bob"))
		must(t, err)
		b.mustOpen(p, "hello Bob")
		if b.m.Mode() != Plain {
			t.Error(b.m.Mode())
		}
	}
}

// TestRefusals: whatever is wrong with a packet is refused with its own error
// and changes nothing.
func TestRefusals(t *testing.T) {
	each(t, func(t *testing.T, mode Mode) {
		a, b, _ := three(t, mode)
		stranger := newPeer(t, "mallory", Setup{Mode: mode, Found: true})
		good := a.seal(1, "good")
		change := func(at int) []byte {
			p := bytes.Clone(good)
			p[at] ^= 1
			return p
		}
		for _, c := range []struct {
			name   string
			packet []byte
			want   error
		}{
			{"empty", nil, ErrMalformed},
			{"unknown type", []byte("x"), ErrMalformed},
			{"manual type", append([]byte{'m'}, good[1:]...), ErrMalformed},
			{"short", good[:Overhead-1], ErrMalformed},
			{"short introduction", make([]byte, 1), ErrMalformed},
			{"stranger", stranger.seal(1, "hi"), ErrUntrustedKey},
			{"signature", change(5), ErrBadSignature},
			{"sender", change(70), ErrUntrustedKey},
			{"nonce", change(boxAt), ErrBadSignature},
			{"box", change(len(good) - 1), ErrBadSignature},
			{"cut", good[:len(good)-1], ErrBadSignature},
			{"longer", append(bytes.Clone(good), 0), ErrBadSignature},
		} {
			t.Run(c.name, func(t *testing.T) { b.t = t; b.refuse(c.packet, c.want) })
		}
		b.t = t
		b.mustOpen(good, "good")
		b.refuse(good, ErrReplay)
		a.quiet(good)
		forged := bytes.Clone(good)
		forged[3] ^= 1
		a.refuse(forged, ErrBadSignature)
		o, err := b.m.Open(then, stranger.seal(2, "hi"), OpenOptions{IgnoreUntrusted: true})
		if o != nil || err != nil {
			t.Error("untrusted senders are not ignored")
		}
		out := newPeer(t, "outsider", Setup{Trust: []ed25519.PublicKey{a.m.PublicKey()}})
		out.refuse(good, ErrMissingTopicKey)
		if _, err := out.m.Seal(then, [16]byte{}, nil); !errors.Is(err, ErrMissingTopicKey) {
			t.Error(err)
		}
	})
}

// forge seals anything under a member's own signature and a key it knows.
func forge(t testing.TB, p *peer, key [KeySize]byte, nonce [NonceSize]byte, plain []byte) []byte {
	t.Helper()
	return sealMessage(nil, p.m.self.typeByte(), p.m.self.private, p.m.ID(), &nonce, &key, plain)
}

// keyNow is the topic key that p sends with.
func keyNow(t testing.TB, p *peer) (key [KeySize]byte) {
	t.Helper()
	must(t, p.m.do(then, func(d *draft) error {
		k, err := d.sendingKey()
		if err == nil {
			key = k.key
		}
		return err
	}))
	return key
}

// TestHeaderRefusals: what a member with the key can still not do.
func TestHeaderRefusals(t *testing.T) {
	a, b, c := three(t, Headed)
	key := keyNow(t, b)
	h := header{sender: b.m.ID(), topic: topicHash("home/kitchen"), counter: 1 << 50, time: 5}
	try := func(change func(*header), tail ...byte) []byte {
		h.counter++
		g := h
		change(&g)
		nonce := [NonceSize]byte(randomBytes(NonceSize))
		nonce[headedEpochAt] = 0
		return forge(t, b, key, nonce, append(g.appendTo(nil), tail...))
	}
	a.mustOpen(try(func(*header) {}, []byte("plain")...), "plain")
	for _, x := range []struct {
		name   string
		packet []byte
		want   error
	}{
		{"no header", forge(t, b, key, [NonceSize]byte{1}, []byte("just text, of more than fifty-eight bytes in all, to be sure")), ErrNoHeader},
		{"short", forge(t, b, key, [NonceSize]byte{2}, []byte("PSP1")), ErrNoHeader},
		{"version", forge(t, b, key, [NonceSize]byte{3}, append([]byte("PSP1\x02"), make([]byte, 53)...)), ErrMalformed},
		{"another's", try(func(h *header) { h.sender = c.m.ID() }), ErrWrongSender},
		{"another topic's", try(func(h *header) { h.topic = topicHash("home/cellar") }), ErrWrongTopic},
		{"epoch", try(func(h *header) { h.epoch = 3 }), ErrMalformed},
		{"kind", try(func(h *header) { h.kind = 3 }), ErrMalformed},
		{"time", try(func(h *header) { h.time = 1 << 63 }), ErrMalformed},
		{"counter", try(func(h *header) { h.counter = 1<<50 + 1 }), ErrReplay},
		{"counter 0", try(func(h *header) { h.counter = 0 }), ErrReplay},
		{"rotation", try(func(h *header) { h.kind = kindRotation }), ErrMalformed},
		{"rotation and more", try(func(h *header) { h.kind = kindRotation }, (&rotation{epoch: 1, mode: Headed}).marshal()[:7]...), ErrMalformed},
		{"rotation of two", try(func(h *header) { h.kind = kindRotation }, (&rotation{epoch: 2, mode: Headed}).marshal()...), ErrMalformed},
		{"rotation to 0", try(func(h *header) { h.kind = kindRotation }, (&rotation{epoch: 0, mode: Headed}).marshal()...), ErrMalformed},
		{"rotation of mode", try(func(h *header) { h.kind = kindRotation }, (&rotation{epoch: 1, mode: ForwardSecret}).marshal()...), ErrMalformed},
		{"announcement", try(func(h *header) { h.kind = kindAnnounce }, 0, 1), ErrMalformed},
		{"other key", forge(t, b, [KeySize]byte{9}, [NonceSize]byte{4}, nil), ErrWrongTopicKey},
	} {
		t.Run(x.name, func(t *testing.T) { a.t = t; a.refuse(x.packet, x.want) })
	}
	a.t = t
	if !a.m.NeedsKey() {
		t.Error("a trusted member writes under another key, and NeedsKey is silent")
	}
	talk(7, a, b, c)
}

// TestInsiderSignsAnew: a member signs another's box as its own.
func TestInsiderSignsAnew(t *testing.T) {
	each(t, func(t *testing.T, mode Mode) {
		a, b, c := three(t, mode)
		good := a.seal(1, "mine")
		theft := append([]byte{'s'}, make([]byte, signatureSize)...)
		id := b.m.ID()
		theft = append(append(theft, id[:]...), good[boxAt:]...)
		copy(theft[1:], ed25519.Sign(b.m.self.private, theft[1+signatureSize:]))
		if mode == Plain {
			c.mustOpen(good, "mine")
			c.refuse(theft, ErrReplay) // only since the first was seen
			return
		}
		if mode == Headed {
			c.refuse(theft, ErrWrongSender)
		} else if o, err := c.open(theft); err == nil { // under another chain's key
			t.Fatal(o)
		}
		c.mustOpen(good, "mine")
	})
}

func TestResend(t *testing.T) {
	each(t, func(t *testing.T, mode Mode) {
		a, b, _ := three(t, mode)
		first, again := a.seal(1, "once"), a.seal(1, "once")
		if bytes.Equal(first[boxAt:boxAt+NonceSize], again[boxAt:boxAt+NonceSize]) {
			t.Fatal("a nonce came twice")
		}
		b.mustOpen(again, "once")
		b.quiet(first)
		b.refuse(first, ErrReplay)
		b.refuse(again, ErrReplay)
	})
}

// TestAnyOrder opens a burst in random order, twice.
func TestAnyOrder(t *testing.T) {
	each(t, func(t *testing.T, mode Mode) {
		a, b, _ := three(t, mode)
		r := rand.New(rand.NewPCG(1, uint64(mode)))
		var packets [][]byte
		for i := range 60 {
			packets = append(packets, a.seal(byte(i), fmt.Sprint(i)))
		}
		for _, i := range r.Perm(60) {
			b.mustOpen(packets[i], fmt.Sprint(i))
		}
		for i := range packets {
			b.refuse(packets[i], ErrReplay)
		}
	})
}

func TestLoadAndCreate(t *testing.T) {
	b := new(Memory)
	if _, err := Load(b, nil); !errors.Is(err, ErrNoState) {
		t.Error(err)
	}
	weak := make([]byte, PublicKeySize)
	for _, s := range []Setup{
		{Seed: []byte{1}}, {TopicKey: []byte{1}}, {Mode: 3}, {Name: string(make([]byte, 1<<16))},
		{Trust: []ed25519.PublicKey{weak}}, {Pins: []ed25519.PublicKey{{1}}}, {TopicKey: make([]byte, 32), Found: true},
		{Trust: make([]ed25519.PublicKey, MaxMembers)},
	} {
		if _, err := Create(b, s); !errors.Is(err, ErrMalformed) {
			t.Errorf("%v", err)
		}
	}
	if len(b.keys) != 0 {
		t.Error("a failing Create left something")
	}
	m, err := Create(b, Setup{Found: true, Mode: Headed})
	must(t, err)
	if err := m.Rotate(then); !errors.Is(err, ErrNoPost) {
		t.Error(err)
	}
	if _, err := Create(b, Setup{}); !errors.Is(err, ErrExists) {
		t.Error(err)
	}
	for _, name := range []string{selfRow, stateRow} {
		old := b.Get(name)
		b.Put(name, append(old, 0)[:len(old)-3])
		if _, err := Load(b, nil); !errors.Is(err, errDamaged) {
			t.Errorf("%s cut: %v", name, err)
		}
		b.Put(name, old)
	}
}
