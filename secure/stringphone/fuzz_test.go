package stringphone

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"testing"
)

// fuzzParties are the same in every run, nonces too: the fuzzer's workers are
// processes of their own, and must know the same packets.
func fuzzParties(tb testing.TB) (alice, joiner Options) {
	tb.Helper()
	fixed := func(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }
	nonces := make([]byte, 1000)
	for i := range nonces {
		nonces[i] = byte(i * i >> 3)
	}
	return Options{Seed: fixed(1), TopicKey: fixed(2), Ephemeral: fixed(3), Rand: bytes.NewReader(nonces)}, Options{Seed: fixed(4), Ephemeral: fixed(5)}
}

func addVectors(f *testing.F, add func([]byte)) {
	v := readVectors(f)
	for _, x := range v.Messages {
		if len(x.Message) < 1000 {
			add(x.Message)
		}
	}
	for _, x := range v.Intros {
		add(x.Message)
	}
	for _, x := range v.Replies {
		add(x.Message)
	}
}

// FuzzDecode: whatever comes, a text is shown only of a message that a trusted
// participant made; anything else with a changed byte is refused.
func FuzzDecode(f *testing.F) {
	o, receiver := fuzzParties(f)
	alice := mustTopic(f, o)
	o.ManualType = true
	manual := mustTopic(f, o)
	receiver.Participants = []ed25519.PublicKey{alice.PublicKey()}
	known := map[string]string{}
	for _, text := range []string{"", "Hi Bob!", "a text of some length"} {
		for _, by := range []*Topic{alice, manual} {
			m := mustEncode(f, by, []byte(text))
			known[string(m)] = text
			f.Add(m, uint8(0))
		}
	}
	f.Add(alice.ConstructIntro(), uint8(4))
	addVectors(f, func(m []byte) { f.Add(m, uint8(len(m))) })
	f.Fuzz(func(t *testing.T, m []byte, flags uint8) {
		r := receiver
		r.ManualType = flags&1 != 0
		if flags&2 == 0 {
			r.TopicKey = alice.TopicKey()
		}
		r.Guard = NewGuard(2)
		bob := mustTopic(t, r)
		mode := DecodeMode(0)
		if flags&4 != 0 {
			mode = IgnoreUntrusted
		}
		before := bytes.Clone(m)
		text, err := bob.Decode(m, mode)
		if !bytes.Equal(before, m) {
			t.Fatal("Decode changed its input")
		}
		if err != nil && text != nil {
			t.Fatal("an error and a text")
		}
		if text != nil {
			if want, ok := known[string(m)]; !ok || want != string(text) {
				t.Fatalf("forged: %q", text)
			}
			if _, err := bob.Decode(m, mode); !errors.Is(err, ErrReplay) {
				t.Fatalf("twice: %v", err)
			}
		} else if bob.guard.Len() != 0 {
			t.Fatal("a refused message is remembered")
		}
		if text, err := bob.Decode(m, Naive); text != nil && (len(text) != len(m)-Overhead || err != nil) {
			t.Fatal("naive: another length, or an error and a text")
		}
	})
}

// FuzzParseReply: only the one reply gives a topic key, but for what the original
// ignores when unsigned ones are accepted.
func FuzzParseReply(f *testing.F) {
	o, joiner := fuzzParties(f)
	alice, bob := mustTopic(f, o), mustTopic(f, joiner)
	reply, err := alice.ConstructReply(bob.ConstructIntro())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(reply, false)
	f.Add(reply[:ReplySize], true)
	f.Add(reply[:shortestReply], true)
	addVectors(f, func(m []byte) { f.Add(m, true) })
	f.Fuzz(func(t *testing.T, m []byte, unsigned bool) {
		o := joiner
		o.AcceptUnsigned = unsigned
		bob := mustTopic(t, o)
		ok, err := bob.ParseReply(m)
		if ok != (bob.TopicKey() != nil) || ok && err != nil {
			t.Fatalf("%v, %v", ok, err)
		}
		if !ok {
			return
		}
		if unsigned {
			// Anybody can make one that opens, but not by changing a byte of ours: X25519
			// ignores the top bit of a key, and so does a reply's reader.
			masked := bytes.Clone(m[:shortestReply])
			masked[replySignerAt-1] &= 0x7f
			if !bytes.Equal(masked, reply[:shortestReply]) {
				t.Fatalf("a changed reply is accepted: %x", m)
			}
		} else if !bytes.Equal(m, reply) {
			t.Fatalf("a forged reply is accepted: %x", m)
		}
	})
}

// FuzzConstructReply: nobody gets the topic key but who signed the introduction.
func FuzzConstructReply(f *testing.F) {
	holder, joiner := fuzzParties(f)
	bob := mustTopic(f, joiner)
	good := map[string]bool{string(bob.ConstructIntro()): true}
	f.Add(bob.ConstructIntro())
	for _, x := range readVectors(f).Intros {
		good[string(x.Message)] = true
	}
	for _, x := range readVectors(f).ConstructReply {
		if x.Expect.Error == nil {
			good[string(x.Message)] = true
		}
	}
	addVectors(f, func(m []byte) { f.Add(m) })
	f.Fuzz(func(t *testing.T, m []byte) {
		o := holder
		o.Rand = nil
		alice := mustTopic(t, o)
		reply, err := alice.ConstructReply(m)
		if (err == nil) != (reply != nil) {
			t.Fatal("an error and a reply, or neither")
		}
		if err != nil {
			return
		}
		if !good[string(m)] {
			t.Fatalf("a forged introduction is answered: %x", m)
		}
		if from, _, err := checkReply(m, reply, nil); err != nil || !bytes.Equal(from, alice.PublicKey()) {
			t.Fatalf("our own reply: %v", err)
		}
	})
}

// FuzzInspect: no accessor fails otherwise than by ErrWrongProperty, and the
// parts of a whole packet are the packet.
func FuzzInspect(f *testing.F) {
	addVectors(f, func(m []byte) { f.Add(m) })
	for _, x := range readVectors(f).Inspect {
		f.Add(x.Message)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := Message(b)
		typ, _ := m.Type()
		part := func(read func() ([]byte, error)) []byte {
			p, err := read()
			if err != nil && (!errors.Is(err, ErrWrongProperty) || p != nil) {
				t.Fatalf("%x, %v", p, err)
			}
			return p
		}
		id, key, to := part(m.SenderID), part(m.SenderKey), part(m.RecipientID)
		box, payload, enc := part(m.Ciphertext), part(m.SignedPayload), part(m.EncryptionKey)
		signedKey, topicKey := part(m.SignedEncryptionKey), part(m.EncryptedTopicKey)
		var whole []byte
		switch {
		case typ == TypeMessage && len(b) >= boxAt:
			whole = append(append(b[:1:1], payload[:signatureSize]...), append(bytes.Clone(id), box...)...)
		case typ == TypeIntro && len(b) >= introEncAt:
			whole = append(append(b[:1:1], key...), signedKey...)
			if !bytes.HasSuffix(signedKey, enc) {
				t.Fatal("the signed key is another")
			}
		case typ == TypeReply && len(b) >= ReplySize:
			whole = append(append(append(append(b[:1:1], to...), topicKey...), enc...), key...)
			b = b[:ReplySize]
		default:
			return
		}
		if !bytes.Equal(whole, b) {
			t.Fatalf("%x, from its parts %x", b, whole)
		}
	})
}

// FuzzGuard: what is read is what is written again.
func FuzzGuard(f *testing.F) {
	g := NewGuard(3)
	for i := range 5 {
		b, _ := g.MarshalBinary()
		f.Add(b)
		g.add(digest{byte(i)})
	}
	f.Add([]byte{1, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		var g, back Guard
		if err := g.UnmarshalBinary(b); err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		out, err := g.MarshalBinary()
		if err != nil || g.Len() > g.Size() || len(out) > len(b) {
			t.Fatal(g.Len(), g.Size(), err)
		}
		if err := back.UnmarshalBinary(out); err != nil {
			t.Fatal(err)
		}
		if again, _ := back.MarshalBinary(); !bytes.Equal(out, again) {
			t.Fatalf("%x, %x", out, again)
		}
	})
}
