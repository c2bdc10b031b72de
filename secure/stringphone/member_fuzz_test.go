package stringphone

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"testing"

	"parley/parleytest"
)

// known are the errors that Open may give.
func known(err error) bool {
	var lack *lackError
	for _, e := range []error{
		ErrUntrustedKey, ErrBadSignature, ErrMalformed, ErrMissingTopicKey, ErrIntroduction, ErrIntroductionReply,
		ErrWrongTopicKey, ErrWrongReply, ErrUnsignedReply, ErrNotPinned, ErrReplay, ErrNoHeader, ErrWrongTopic,
		ErrWrongSender, ErrSkip, ErrEpoch,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return errors.As(err, &lack)
}

// A stage is one topic with genuine packets of all kinds for one of its members.
type fuzzStage struct {
	to      *parleytest.Bucket
	from    *peer
	packets [][]byte
}

func newFuzzStage(t testing.TB, mode Mode) *fuzzStage {
	a, b, c := three(t, mode)
	s := &fuzzStage{from: a}
	s.packets = append(s.packets, a.seal(1, "a message"))
	if mode != Plain {
		must(t, a.m.do(then, func(d *draft) error { return d.announce() }))
		must(t, a.m.Remove(then, id(c)))
		s.packets = append(s.packets, a.posted()...)
		s.packets = append(s.packets, a.seal(2, "under the new key"))
	}
	intro, err := newPeer(t, "dave", Setup{}).m.Introduce(then)
	must(t, err)
	ours, err := b.m.Introduce(then)
	must(t, err)
	reply, err := a.m.Admit(then, ours)
	must(t, err)
	s.packets = append(s.packets, intro, reply)
	s.to = b.b
	return s
}

// change alters a packet on one of four levels: the bytes; and under a fresh
// signature of its sender's; and the plaintext, under the right key; or its body.
func (s *fuzzStage) change(p []byte, level uint8, at uint16, patch []byte) []byte {
	p = bytes.Clone(p)
	put := func(b []byte) []byte {
		if len(b) == 0 {
			return append(b, patch...)
		}
		n := int(at) % len(b)
		if level&4 != 0 { // cut there, and something else behind
			return append(b[:n:n], patch...)
		}
		copy(b[n:], patch)
		return b
	}
	if p[0] != 's' || level&3 == 0 {
		return put(p)
	}
	private := s.from.m.self.private
	if level&3 == 1 {
		q := append(p[:1+signatureSize+IDSize:1+signatureSize+IDSize], put(p[boxAt:])...)
		copy(q[1:], ed25519.Sign(private, q[1+signatureSize:]))
		return q
	}
	m, err := Load(s.to.Clone(), nil)
	if err != nil {
		panic(err)
	}
	_ = m.do(then, func(d *draft) error {
		u, err := d.unseal(id(s.from), p)
		if err != nil {
			return err
		}
		plain, head := u.plain, 0
		if level&3 == 3 && len(plain) > HeaderSize {
			head = HeaderSize
		}
		plain = append(plain[:head:head], put(bytes.Clone(plain[head:]))...)
		keys, err := d.keysOf(u.epoch)
		if err != nil {
			return err
		}
		key := keys[0].key
		if d.st.mode == ForwardSecret {
			mk, err := d.messageKey(u.epoch, &keys[0], id(s.from), u.index)
			if err != nil {
				return err
			}
			key = mk.key
		}
		nonce := [NonceSize]byte(p[boxAt:])
		p = sealMessage(nil, 's', private, id(s.from), &nonce, &key, plain)
		return nil
	})
	return p
}

// FuzzMemberOpen: whatever a stranger, or a trusted member, sends, an error leaves
// no trace, nothing is posted for it, and the genuine packet opens afterwards.
func FuzzMemberOpen(f *testing.F) {
	stages := map[Mode]*fuzzStage{}
	for _, mode := range modes {
		stages[mode] = newFuzzStage(f, mode)
	}
	for level := range uint8(8) {
		for which := range uint8(6) {
			f.Add(uint8(which%3), which, level, uint16(100), []byte{0xff, 1})
		}
	}
	f.Add(uint8(1), uint8(2), uint8(3), uint16(5), []byte{0xff, 0xff})
	f.Fuzz(func(t *testing.T, mode, which, level uint8, at uint16, patch []byte) {
		s := stages[modes[int(mode)%len(modes)]]
		good := s.packets[int(which)%len(s.packets)]
		p := s.change(good, level, at, patch)
		b := s.to.Clone()
		posts := 0
		m, err := Load(b, func([]byte) { posts++ })
		must(t, err)
		before := b.Clone()
		given := bytes.Clone(p)
		o, err := m.Open(then, p, OpenOptions{})
		if !bytes.Equal(given, p) {
			t.Fatal("Open changed the packet")
		}
		if err == nil {
			if o != nil && o.Body == nil {
				t.Fatal("a message without a body")
			}
			return
		}
		if !known(err) || o != nil || posts > 0 || !b.Equal(before) {
			t.Fatalf("%v, %v, %d posted, untouched: %v", o, err, posts, b.Equal(before))
		}
		if bytes.Equal(p, good) {
			return
		}
		_, errGood := m.Open(then, good, OpenOptions{})
		fresh, err := Load(before, func([]byte) {})
		must(t, err)
		_, want := fresh.Open(then, good, OpenOptions{})
		if (errGood == nil) != (want == nil) {
			t.Fatalf("the genuine packet gives %v, and %v without the other", errGood, want)
		}
	})
}

// FuzzMemberAccept: no reply but the genuine one is taken.
func FuzzMemberAccept(f *testing.F) {
	a, _, _ := three(f, Headed)
	d := newPeer(f, "dave", Setup{})
	intro, err := d.m.Introduce(then)
	must(f, err)
	good, err := a.m.Admit(then, intro)
	must(f, err)
	f.Add(uint16(0), []byte{1})
	f.Add(uint16(230), []byte{0xff, 0xff})
	f.Add(uint16(len(good)), []byte{})
	f.Fuzz(func(t *testing.T, at uint16, patch []byte) {
		p := bytes.Clone(good)
		n := int(at) % (len(p) + 1)
		p = append(p[:n:n], append(bytes.Clone(patch), p[min(n+len(patch), len(p)):]...)...)
		b := d.b.Clone()
		m, err := Load(b, nil)
		must(t, err)
		if err := m.Accept(then, p); (err == nil) != bytes.Equal(p, good) {
			t.Fatalf("accepted: %v", err)
		} else if err != nil && !b.Equal(d.b) {
			t.Fatal("a failing Accept left a trace")
		}
	})
}

// FuzzRotation: what parses is written back as it was, and stays within bounds.
func FuzzRotation(f *testing.F) {
	key := ed25519.PublicKey(bytes.Repeat([]byte{7}, 32))
	f.Add((&rotation{epoch: 9, mode: Headed, removed: []ID{{1}}, added: []joiner{{key: key}}, sealed: []sealedKey{{key: key}}}).marshal())
	f.Add((&announcement{members: []ed25519.PublicKey{key}}).marshal())
	f.Add((&grant{mode: ForwardSecret, epoch: 3, members: []ed25519.PublicKey{key}, removed: []ID{{1}}}).marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := parseRotation(b); err == nil {
			if !bytes.Equal(r.marshal(), b) || len(r.sealed) > MaxMembers || len(r.removed) > 2*MaxMembers || len(r.added) > MaxMembers {
				t.Fatal("a rotation is read wrongly")
			}
		} else if !errors.Is(err, ErrMalformed) {
			t.Fatal(err)
		}
		if a, err := parseAnnouncement(b); err == nil && !bytes.Equal(a.marshal(), b) {
			t.Fatal("an announcement is read wrongly")
		}
		if g, err := parseGrant(b); err == nil && len(b) > 0 && !bytes.Equal(g.marshal(), b) {
			t.Fatal("a reply's extension is read wrongly")
		}
	})
}

// FuzzSetup: what parses is written back as it was, and can be created.
func FuzzSetup(f *testing.F) {
	key := ed25519.NewKeyFromSeed(make([]byte, 32)).Public().(ed25519.PublicKey)
	for _, s := range []Setup{
		{}, {Found: true, Mode: ForwardSecret, Name: "a/b"}, {Seed: make([]byte, 32), TopicKey: make([]byte, 32)},
		{Trust: []ed25519.PublicKey{key}, Pins: []ed25519.PublicKey{key}, AcceptUnsigned: true, ManualType: true, NoVouch: true},
	} {
		b, err := s.MarshalBinary()
		must(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var s Setup
		if err := s.UnmarshalBinary(b); err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		if again, err := s.MarshalBinary(); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("a setup is read wrongly: %v", err)
		}
		m, err := Create(new(Memory), s)
		must(t, err)
		if m.HasKey() != (s.Found || s.TopicKey != nil) || m.Mode() != s.Mode {
			t.Fatal("another setup was created")
		}
	})
}

// FuzzMemory: what parses is written back as it was.
func FuzzMemory(f *testing.F) {
	var m Memory
	m.Put("a", nil)
	m.Put("b", []byte{1})
	b, _ := m.MarshalBinary()
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		var m Memory
		if err := m.UnmarshalBinary(b); err != nil {
			return
		}
		if again, _ := m.MarshalBinary(); !bytes.Equal(again, b) {
			t.Fatal("it is read wrongly")
		}
	})
}
