package stringphone

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// pair is two participants of one topic who trust each other.
func pair(t testing.TB, o Options) (alice, bob *Topic) {
	t.Helper()
	o.TopicKey = GenerateTopicKey()
	alice, bob = mustTopic(t, o), mustTopic(t, o)
	for _, add := range []error{alice.AddParticipant(bob.PublicKey()), bob.AddParticipant(alice.PublicKey())} {
		if add != nil {
			t.Fatal(add)
		}
	}
	return alice, bob
}

// decodes checks one outcome of Decode: a text, nothing (nil), or an error.
func decodes(t *testing.T, topic *Topic, m, want []byte, wantErr error, mode ...DecodeMode) {
	t.Helper()
	got, err := topic.Decode(m, mode...)
	if !errors.Is(err, wantErr) || (err == nil) != (wantErr == nil) || !bytes.Equal(got, want) || (got == nil) != (want == nil) {
		t.Errorf("Decode: %q, %v; want %q, %v", got, err, want, wantErr)
	}
}

func TestTalk(t *testing.T) {
	alice, bob := pair(t, Options{})
	for _, text := range [][]byte{{}, []byte("Hi Bob!"), {0}, bytes.Repeat([]byte("x"), 64<<10), nil} {
		m := mustEncode(t, alice, text)
		if len(m) != Overhead+len(text) {
			t.Errorf("%d bytes for a text of %d", len(m), len(text))
		}
		decodes(t, bob, m, append([]byte{}, text...), nil)
		decodes(t, alice, m, nil, nil) // our own
		if n := mustEncode(t, alice, text); bytes.Equal(m, n) || bytes.Equal(m[boxAt:boxAt+NonceSize], n[boxAt:boxAt+NonceSize]) {
			t.Error("a nonce came twice")
		}
	}
}

func TestLargeText(t *testing.T) {
	alice, bob := pair(t, Options{})
	text := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	m := mustEncode(t, alice, text)
	decodes(t, bob, m, text, nil)
	m[len(m)-1] ^= 1
	decodes(t, bob, m, nil, ErrBadSignature)
}

// Every bit of a message counts, and so does its length.
func TestEveryBit(t *testing.T) {
	alice, bob := pair(t, Options{})
	m := mustEncode(t, alice, []byte("text"))
	for i := range m {
		for bit := range 8 {
			x := bytes.Clone(m)
			x[i] ^= 1 << bit
			// 's' and 'r' differ in one bit: a reply is nothing to show.
			if got, err := bob.Decode(x); got != nil || err == nil && x[0] != 'r' {
				t.Fatalf("byte %d, bit %d: %q, %v", i, bit, got, err)
			}
		}
	}
	for n := range len(m) {
		want := ErrBadSignature
		if n < Overhead {
			want = ErrMalformed
		}
		decodes(t, bob, m[:n], nil, want)
	}
	decodes(t, bob, append(bytes.Clone(m), 0), nil, ErrBadSignature)
}

func TestModes(t *testing.T) {
	alice, bob := pair(t, Options{})
	m := mustEncode(t, alice, []byte("x"))
	bob.RemoveParticipant(alice.ID())
	decodes(t, bob, m, nil, ErrUntrustedKey)
	decodes(t, bob, m, nil, nil, IgnoreUntrusted)
	decodes(t, bob, m, []byte("x"), nil, Naive)
	decodes(t, bob, m, []byte("x"), nil, Naive, IgnoreUntrusted)
	decodes(t, bob, m, []byte("x"), nil, Naive|IgnoreUntrusted)
	// Who is trusted and lies is not ignored.
	bob.AddParticipant(alice.PublicKey())
	m[1] ^= 1
	decodes(t, bob, m, nil, ErrBadSignature, IgnoreUntrusted)
	m[len(m)-1] ^= 1
	decodes(t, bob, m, nil, ErrWrongTopicKey, Naive)
}

func TestParticipants(t *testing.T) {
	alice, bob := pair(t, Options{})
	all := bob.Participants()
	if len(all) != 1 || !bytes.Equal(all[alice.ID()], alice.PublicKey()) {
		t.Fatalf("%v", all)
	}
	delete(all, alice.ID())
	all[ID{}] = nil
	key := bytes.Clone(alice.PublicKey())
	bob.AddParticipant(key)
	clear(key) // the caller's
	if all := bob.Participants(); len(all) != 1 || !bytes.Equal(all[alice.ID()], alice.PublicKey()) {
		t.Error("the caller changed the participants")
	}
	bob.RemoveParticipant(ID{})
	bob.RemoveParticipant(alice.ID())
	if len(bob.Participants()) != 0 {
		t.Error("still there")
	}
	for _, n := range []int{0, 31, 33} {
		if err := bob.AddParticipant(make([]byte, n)); !errors.Is(err, ErrKeySize) || !errors.Is(err, ErrMalformed) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func TestOptionsOfWrongSize(t *testing.T) {
	for name, o := range map[string]Options{
		"seed": {Seed: []byte{}}, "topic key": {TopicKey: make([]byte, 31)}, "ephemeral": {Ephemeral: make([]byte, 33)},
		"participant": {Participants: []ed25519.PublicKey{nil}}, "pin": {Pins: []ed25519.PublicKey{make([]byte, 31)}},
	} {
		if topic, err := NewTopic(o); topic != nil || !errors.Is(err, ErrKeySize) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A topic holds its own copy of the keys, and gives copies away.
	key := GenerateTopicKey()
	topic := mustTopic(t, Options{TopicKey: key})
	want := topic.TopicKey()
	clear(key)
	clear(topic.TopicKey())
	clear(topic.ConstructIntro())
	if !bytes.Equal(topic.TopicKey(), want) || topic.ConstructIntro()[0] != 'i' {
		t.Error("the caller changed a topic")
	}
}

// A source of nonces that fails must not give a message.
func TestNoNonce(t *testing.T) {
	broken := errors.New("broken")
	for _, random := range []io.Reader{iotest.ErrReader(broken), strings.NewReader("short")} {
		topic := mustTopic(t, Options{TopicKey: GenerateTopicKey(), Rand: random})
		if m, err := topic.Encode(nil); err == nil || m != nil {
			t.Errorf("%x, %v", m, err)
		}
		if m, err := topic.ConstructReply(mustTopic(t, Options{}).ConstructIntro()); err == nil || m != nil {
			t.Errorf("%x, %v", m, err)
		}
	}
}

func TestManualType(t *testing.T) {
	alice, bob := pair(t, Options{ManualType: true})
	m := mustEncode(t, alice, []byte("as the manual says"))
	if m[0] != 'm' {
		t.Fatalf("type %q", m[0])
	}
	decodes(t, bob, m, []byte("as the manual says"), nil)
	decodes(t, alice, m, nil, nil)
	asLibrary := append([]byte{'s'}, m[1:]...)
	decodes(t, bob, asLibrary, nil, ErrMalformed)
	decodes(t, bob, m[:Overhead-1], nil, ErrMalformed)

	library := mustTopic(t, Options{TopicKey: bob.TopicKey(), Participants: []ed25519.PublicKey{alice.PublicKey()}})
	decodes(t, library, m, nil, ErrMalformed)
	decodes(t, library, m, nil, ErrMalformed, Naive)
	decodes(t, library, asLibrary, []byte("as the manual says"), nil)
	// Introductions and replies are the same for both.
	decodes(t, bob, library.ConstructIntro(), nil, ErrIntroduction)
}

func TestOwnPackets(t *testing.T) {
	alice, joiner := mustTopic(t, Options{TopicKey: GenerateTopicKey()}), mustTopic(t, Options{})
	reply, err := alice.ConstructReply(joiner.ConstructIntro())
	if err != nil {
		t.Fatal(err)
	}
	decodes(t, alice, alice.ConstructIntro(), nil, nil)
	decodes(t, alice, joiner.ConstructIntro(), nil, ErrIntroduction)
	decodes(t, alice, reply, nil, nil)
	decodes(t, joiner, alice.ConstructIntro(), nil, nil)
	decodes(t, joiner, reply, nil, ErrIntroductionReply)
	decodes(t, joiner, reply[:shortestReply], nil, ErrIntroductionReply)
	decodes(t, joiner, reply[:shortestReply-1], nil, ErrMalformed)
	decodes(t, alice, append(joiner.ConstructIntro(), 0), nil, ErrMalformed)
	if _, err := joiner.Encode(nil); !errors.Is(err, ErrMissingTopicKey) {
		t.Error(err)
	}
	m := mustEncode(t, alice, nil)
	decodes(t, joiner, m, nil, ErrUntrustedKey)
	decodes(t, joiner, m, nil, ErrMissingTopicKey, Naive)
	joiner.AddParticipant(alice.PublicKey())
	decodes(t, joiner, m, nil, ErrMissingTopicKey)
}

func TestAccessors(t *testing.T) {
	alice, joiner := mustTopic(t, Options{TopicKey: GenerateTopicKey()}), mustTopic(t, Options{})
	intro := joiner.ConstructIntro()
	reply, err := alice.ConstructReply(intro)
	if err != nil {
		t.Fatal(err)
	}
	m := mustEncode(t, alice, []byte("text"))
	a, j := alice.ID(), joiner.ID()
	cut := func(b []byte, from, to int) string { return hex.EncodeToString(b[from:to]) }
	const none = "none"
	for _, x := range []struct {
		name   string
		packet Message
		want   [8]string // in the order of accessors below
	}{
		{"message", m, [8]string{a.String(), a.String(), none, cut(m, 81, len(m)), cut(m, 1, len(m)), none, none, none}},
		{"introduction", intro, [8]string{j.String(), cut(intro, 1, 33), none, none, none, cut(intro, 97, 129), cut(intro, 33, 129), none}},
		{"reply", reply, [8]string{a.String(), cut(reply, 121, 153), j.String(), none, none, cut(reply, 89, 121), none, cut(reply, 17, 89)}},
		{"empty", nil, [8]string{none, none, none, none, none, none, none, none}},
		{"unknown", Message("m" + string(m[1:])), [8]string{none, none, none, none, none, none, none, none}},
	} {
		for i, read := range []func(Message) ([]byte, error){
			Message.SenderID, Message.SenderKey, Message.RecipientID, Message.Ciphertext, Message.SignedPayload, Message.EncryptionKey, Message.SignedEncryptionKey, Message.EncryptedTopicKey,
		} {
			got, err := read(x.packet)
			if want := x.want[i]; want == none && (!errors.Is(err, ErrWrongProperty) || got != nil) || want != none && (err != nil || hex.EncodeToString(got) != want) {
				t.Errorf("%s, accessor %d: %x, %v; want %s", x.name, i, got, err, want)
			}
			if len(got) != cap(got) {
				t.Errorf("%s, accessor %d: appending to the part would change the packet", x.name, i)
			}
		}
	}
	if s := TypeMessage.String() + " " + TypeIntro.String() + " " + TypeReply.String() + " " + Type('m').String(); s != "message introduction reply unknown type 0x6d" {
		t.Error(s)
	}
}

func TestCryptoClasses(t *testing.T) {
	signer, err := NewSigner(GenerateSeed())
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := NewVerifier(signer.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	signed := signer.Sign([]byte("text"))
	if msg, err := verifier.Verify(signed); err != nil || string(msg) != "text" {
		t.Errorf("%q, %v", msg, err)
	}
	if msg, err := verifier.Verify(signed[:63]); !errors.Is(err, ErrMalformed) || msg != nil {
		t.Errorf("%q, %v", msg, err)
	}
	signed[70-6] ^= 1
	if msg, err := verifier.Verify(signed); !errors.Is(err, ErrBadSignature) || msg != nil {
		t.Errorf("%q, %v", msg, err)
	}

	box, err := NewSymmetricCrypto(GenerateTopicKey())
	if err != nil {
		t.Fatal(err)
	}
	sealed := box.Encrypt([]byte("text"))
	if plain, err := box.Decrypt(sealed); err != nil || string(plain) != "text" || len(sealed) != 44 {
		t.Errorf("%q, %v", plain, err)
	}
	if plain, err := box.Decrypt(sealed[:39]); !errors.Is(err, ErrMalformed) || plain != nil {
		t.Errorf("%q, %v", plain, err)
	}
	sealed[0] ^= 1
	if plain, err := box.Decrypt(sealed); !errors.Is(err, ErrWrongTopicKey) || plain != nil {
		t.Errorf("%q, %v", plain, err)
	}

	us, them := NewAsymmetricCrypto(), NewAsymmetricCrypto()
	sealed, err = us.Encrypt([]byte("text"), them.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	again, err := AsymmetricCryptoFromKey(them.PrivateKey())
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := again.Decrypt(sealed, us.PublicKey()); err != nil || string(plain) != "text" {
		t.Errorf("%q, %v", plain, err)
	}
	if plain, err := us.Decrypt(sealed, us.PublicKey()); !errors.Is(err, ErrWrongReply) || plain != nil {
		t.Errorf("%q, %v", plain, err)
	}
	for _, n := range []int{0, 31, 33} {
		b := make([]byte, n)
		_, err1 := NewSigner(b)
		_, err2 := NewVerifier(b)
		_, err3 := NewSymmetricCrypto(b)
		_, err4 := AsymmetricCryptoFromKey(b)
		_, err5 := us.Encrypt(nil, b)
		_, err6 := us.Decrypt(sealed, b)
		for i, err := range []error{err1, err2, err3, err4, err5, err6} {
			if !errors.Is(err, ErrMalformed) {
				t.Errorf("%d bytes, %d: %v", n, i, err)
			}
		}
	}
}
