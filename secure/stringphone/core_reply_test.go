package stringphone

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"testing"
)

// parsed checks one outcome of ParseReply on a fresh copy of the joiner.
func parsed(t *testing.T, name string, o Options, reply, want []byte, wantErr error) {
	t.Helper()
	joiner := mustTopic(t, o)
	ok, err := joiner.ParseReply(reply)
	if ok != (want != nil) || !errors.Is(err, wantErr) || (err == nil) != (wantErr == nil) || !bytes.Equal(joiner.TopicKey(), want) {
		t.Errorf("%s: %v, %v, want %v; topic key %v", name, ok, err, wantErr, joiner.TopicKey() != nil)
	}
}

func TestSignedReply(t *testing.T) {
	o := Options{Seed: GenerateSeed(), Ephemeral: GenerateSeed()}
	joiner, alice, eve := mustTopic(t, o), mustTopic(t, Options{TopicKey: GenerateTopicKey()}), mustTopic(t, Options{TopicKey: GenerateTopicKey()})
	key, intro := alice.TopicKey(), joiner.ConstructIntro()
	reply, err := alice.ConstructReply(intro)
	if err != nil || len(reply) != SignedReplySize {
		t.Fatal(len(reply), err)
	}
	parsed(t, "good", o, reply, key, nil)
	for i := range reply { // every byte counts
		x := bytes.Clone(reply)
		x[i] ^= 0x10
		want := ErrBadSignature
		switch {
		case i == 0:
			want = ErrMalformed
		case i < replyKeyAt:
			want = nil // for somebody else
		}
		parsed(t, "changed", o, x, nil, want)
	}
	for n := range len(reply) { // a cut one is unsigned, or no reply
		want := ErrUnsignedReply
		if n < shortestReply {
			want = ErrMalformed
		}
		parsed(t, "cut", o, reply[:n], nil, want)
	}
	parsed(t, "with more behind it", o, append(bytes.Clone(reply), 0), nil, ErrBadSignature)

	// The signature covers what is behind it, and the introduction that it answers.
	unsigned := reply[:ReplySize:ReplySize]
	with := signReply(intro, unsigned, []byte("more"), alice.private)
	parsed(t, "ext", o, with, key, nil)
	parsed(t, "ext cut", o, with[:len(with)-1], nil, ErrBadSignature)
	with[len(with)-1] ^= 1
	parsed(t, "ext changed", o, with, nil, ErrBadSignature)
	// Another introduction with the same keys would have the same bytes.
	otherKey := Options{Seed: o.Seed, Ephemeral: GenerateSeed()}
	parsed(t, "another introduction", otherKey, reply, nil, ErrBadSignature)
	otherKey.AcceptUnsigned = true
	parsed(t, "another introduction, unsigned", otherKey, reply, nil, ErrWrongReply)
	// Another signer, in her own name and in alice's.
	parsed(t, "another signer", o, signReply(intro, unsigned, nil, eve.private), nil, ErrBadSignature)
	own := bytes.Clone(unsigned)
	copy(own[replySignerAt:], eve.PublicKey())
	parsed(t, "moved to another signer", o, append(own, reply[ReplySize:]...), nil, ErrBadSignature)

	// Pins.
	pinned := o
	pinned.Pins = []ed25519.PublicKey{eve.PublicKey(), alice.PublicKey()}
	parsed(t, "pinned", pinned, reply, key, nil)
	pinned.Pins = pinned.Pins[:1]
	parsed(t, "not pinned", pinned, reply, nil, ErrNotPinned)
	pinned.AcceptUnsigned = true
	parsed(t, "not pinned, unsigned accepted", pinned, reply, nil, ErrNotPinned)
	parsed(t, "unsigned with a pin", pinned, unsigned, nil, ErrUnsignedReply)
	// The original's reply.
	parsed(t, "unsigned", o, unsigned, nil, ErrUnsignedReply)
	o.AcceptUnsigned = true
	parsed(t, "unsigned accepted", o, unsigned, key, nil)
	parsed(t, "signed, unsigned accepted", o, reply, key, nil)
	parsed(t, "without its end", o, unsigned[:shortestReply], key, nil)
}

func TestParseReplyOnce(t *testing.T) {
	joiner, alice := mustTopic(t, Options{}), mustTopic(t, Options{TopicKey: GenerateTopicKey()})
	reply, err := alice.ConstructReply(joiner.ConstructIntro())
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := joiner.ParseReply(mustEncode(t, alice, nil)); ok || !errors.Is(err, ErrMalformed) {
		t.Errorf("a message: %v, %v", ok, err)
	}
	if ok, err := joiner.ParseReply(nil); ok || !errors.Is(err, ErrMalformed) {
		t.Errorf("nothing: %v, %v", ok, err)
	}
	if ok, err := joiner.ParseReply(reply); !ok || err != nil {
		t.Fatal(ok, err)
	}
	other := mustTopic(t, Options{TopicKey: GenerateTopicKey()})
	second, _ := other.ConstructReply(joiner.ConstructIntro())
	for _, r := range [][]byte{reply, second, nil, []byte("garbage")} {
		if ok, err := joiner.ParseReply(r); ok || err != nil || !bytes.Equal(joiner.TopicKey(), alice.TopicKey()) {
			t.Errorf("a second reply: %v, %v", ok, err)
		}
	}
	if len(joiner.Participants()) != 0 {
		t.Error("the replier is trusted without a person's decision")
	}
}

func TestConstructReply(t *testing.T) {
	joiner, alice := mustTopic(t, Options{}), mustTopic(t, Options{TopicKey: GenerateTopicKey()})
	intro := joiner.ConstructIntro()
	if _, err := joiner.ConstructReply(intro); !errors.Is(err, ErrMissingTopicKey) {
		t.Error(err)
	}
	for i := range intro {
		x := bytes.Clone(intro)
		x[i] ^= 4
		want := ErrBadSignature
		if i == 0 {
			want = ErrMalformed
		}
		reply, err := alice.ConstructReply(x)
		if _, verr := VerifyIntro(x); reply != nil || !errors.Is(err, want) || !errors.Is(verr, want) {
			t.Fatalf("byte %d: %v, %v", i, err, verr)
		}
	}
	for _, x := range [][]byte{nil, intro[:128], append(bytes.Clone(intro), 0), mustEncode(t, alice, nil)} {
		if reply, err := alice.ConstructReply(x); reply != nil || !errors.Is(err, ErrMalformed) {
			t.Errorf("%d bytes: %v", len(x), err)
		}
	}
	if key, err := VerifyIntro(intro); err != nil || !bytes.Equal(key, joiner.PublicKey()) {
		t.Errorf("%x, %v", key, err)
	}
	if a, _ := alice.ConstructReply(intro); len(alice.Participants()) != 0 || len(a) != SignedReplySize {
		t.Error("who is answered is not trusted by that")
	}
	if a, err := alice.ConstructUnsignedReply(intro); err != nil || len(a) != ReplySize {
		t.Errorf("%d bytes, %v", len(a), err)
	}
}

// Fingerprints and IDs are of the key alone.
func TestFingerprint(t *testing.T) {
	a, b := mustTopic(t, Options{}), mustTopic(t, Options{})
	if Fingerprint(a.PublicKey()) == Fingerprint(b.PublicKey()) || Fingerprint(a.PublicKey()) != Fingerprint(bytes.Clone(a.PublicKey())) {
		t.Error("fingerprints")
	}
	id, fingerprint := a.ID(), Fingerprint(a.PublicKey())
	if bytes.Equal(id[:], fingerprint[:IDSize]) || id != IDOf(a.PublicKey()) || len(id.String()) != 32 {
		t.Error("the ID, which a message shows, gives the fingerprint away")
	}
}
