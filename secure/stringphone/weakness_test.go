package stringphone

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"testing"
)

// Each weakness of the original has a test here: it shows the attack failing, and
// where the format of the original leaves no way to make it fail, that the
// warning in docs/stringphone.md is true.

func TestWeaknessUnauthenticatedReply(t *testing.T) {
	o := Options{Seed: GenerateSeed(), Ephemeral: GenerateSeed()}
	alice := mustTopic(t, Options{TopicKey: GenerateTopicKey()})
	mallory := mustTopic(t, Options{TopicKey: GenerateTopicKey()})
	intro := mustTopic(t, o).ConstructIntro()
	// Mallory, who saw the introduction, answers with a topic key of her own in
	// alice's name.
	forged, err := mallory.ConstructUnsignedReply(intro)
	if err != nil {
		t.Fatal(err)
	}
	copy(forged[replySignerAt:], alice.PublicKey())
	parsed(t, "forged", o, forged, nil, ErrUnsignedReply)
	parsed(t, "forged and signed", o, signReply(intro, forged, nil, mallory.private), nil, ErrBadSignature)
	// She may answer in her own name: only a pin, or a person who compares
	// fingerprints, tells her from alice.
	own, err := mallory.ConstructReply(intro)
	if err != nil {
		t.Fatal(err)
	}
	parsed(t, "in her own name", o, own, mallory.TopicKey(), nil)
	o.Pins = []ed25519.PublicKey{alice.PublicKey()}
	parsed(t, "in her own name, alice is pinned", o, own, nil, ErrNotPinned)
	// The warning of AcceptUnsigned is true.
	o.Pins, o.AcceptUnsigned = nil, true
	parsed(t, "unsigned accepted", o, forged, mallory.TopicKey(), nil)
}

func TestWeaknessReplayOfMessages(t *testing.T) {
	alice, bob := pair(t, Options{})
	m := mustEncode(t, alice, []byte("open the door"))
	decodes(t, bob, m, []byte("open the door"), nil)
	decodes(t, bob, m, []byte("open the door"), nil) // as the original, without a guard

	bob.guard = NewGuard(0)
	decodes(t, bob, m, []byte("open the door"), nil)
	decodes(t, bob, m, nil, ErrReplay)
	decodes(t, bob, m, nil, ErrReplay, Naive)
	// Across a restart.
	b, err := bob.guard.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	var kept Guard
	if err := kept.UnmarshalBinary(b); err != nil {
		t.Fatal(err)
	}
	again := mustTopic(t, Options{TopicKey: bob.TopicKey(), Guard: &kept, Participants: []ed25519.PublicKey{alice.PublicKey()}})
	decodes(t, again, m, nil, ErrReplay)
	decodes(t, again, mustEncode(t, alice, []byte("open the door")), []byte("open the door"), nil)
}

func TestWeaknessReplayInAnotherTopic(t *testing.T) {
	alice, bob := pair(t, Options{})
	m := mustEncode(t, alice, []byte("on"))
	// A topic with a key of its own.
	garden := mustTopic(t, Options{TopicKey: GenerateTopicKey(), Participants: []ed25519.PublicKey{alice.PublicKey()}})
	decodes(t, garden, m, nil, ErrWrongTopicKey)
	decodes(t, garden, m, nil, ErrWrongTopicKey, Naive)
	// Two channels under one topic key are one topic: the message names none. A
	// guard that both share takes it once.
	kitchen := mustTopic(t, Options{TopicKey: bob.TopicKey(), Participants: []ed25519.PublicKey{alice.PublicKey()}})
	decodes(t, bob, m, []byte("on"), nil)
	decodes(t, kitchen, m, []byte("on"), nil)
	guard := NewGuard(0)
	bob.guard, kitchen.guard = guard, guard
	decodes(t, bob, m, []byte("on"), nil)
	decodes(t, kitchen, m, nil, ErrReplay)
}

// An introduction can be played again, anywhere and at any time: it gets a reply
// if a person says so. Whoever played it cannot read that reply.
func TestWeaknessReplayOfIntros(t *testing.T) {
	joiner := mustTopic(t, Options{})
	intro := joiner.ConstructIntro()
	other := mustTopic(t, Options{TopicKey: GenerateTopicKey()})
	decodes(t, other, intro, nil, ErrIntroduction) // never answered by itself
	reply, err := other.ConstructReply(intro)
	if err != nil {
		t.Fatal(err)
	}
	eve := mustTopic(t, Options{AcceptUnsigned: true})
	if ok, err := eve.ParseReply(reply); ok || err != nil {
		t.Errorf("eve: %v, %v", ok, err)
	}
	id := eve.ID()
	copy(reply[1:], id[:])
	if ok, err := eve.ParseReply(reply); ok || !errors.Is(err, ErrWrongReply) {
		t.Errorf("eve, addressed to her: %v, %v", ok, err)
	}
	// With another encryption key in it, an introduction is forged.
	copy(intro[introEncAt:], eve.box.PublicKey())
	if reply, err := other.ConstructReply(intro); reply != nil || !errors.Is(err, ErrBadSignature) {
		t.Errorf("%v", err)
	}
}

// resigned is another's box under a new signature, which needs no topic key.
func resigned(m []byte, by *Topic) []byte {
	id := by.ID()
	body := append(bytes.Clone(id[:]), m[boxAt:]...)
	return append(append([]byte{'s'}, ed25519.Sign(by.private, body)...), body...)
}

func TestWeaknessInsiderResignsAnothersBox(t *testing.T) {
	alice, bob := pair(t, Options{})
	mallory := mustTopic(t, Options{}) // trusted, but has no topic key
	bob.AddParticipant(mallory.PublicKey())
	m := mustEncode(t, alice, []byte("I am alice"))
	stolen := resigned(m, mallory)
	decodes(t, bob, stolen, []byte("I am alice"), nil) // as the original, without a guard

	bob.guard = NewGuard(0)
	decodes(t, bob, m, []byte("I am alice"), nil)
	decodes(t, bob, stolen, nil, ErrReplay)
	// When the first copy never came, only a Member's header shows it.
	bob.guard = NewGuard(0)
	decodes(t, bob, stolen, []byte("I am alice"), nil)
}

func TestWeaknessNaiveForgery(t *testing.T) {
	alice, bob := pair(t, Options{})
	mallory := mustTopic(t, Options{TopicKey: bob.TopicKey()})
	m := mustEncode(t, mallory, []byte("alice says hello"))
	id := alice.ID()
	copy(m[1+signatureSize:], id[:])
	decodes(t, bob, m, nil, ErrBadSignature)
	decodes(t, bob, m, []byte("alice says hello"), nil, Naive) // the warning is true
	// Also without any signature at all. But not without the topic key.
	clear(m[1 : 1+signatureSize])
	decodes(t, bob, m, []byte("alice says hello"), nil, Naive)
	outsider := mustTopic(t, Options{TopicKey: GenerateTopicKey()})
	decodes(t, bob, mustEncode(t, outsider, nil), nil, ErrWrongTopicKey, Naive)
}

func TestWeaknessOwnIDDroppedSilently(t *testing.T) {
	alice, bob := pair(t, Options{})
	m := mustEncode(t, bob, []byte("mine"))
	decodes(t, bob, m, nil, nil)
	// Whoever writes our ID into a message does not make us overlook it.
	forged := mustEncode(t, alice, []byte("unseen"))
	id := bob.ID()
	copy(forged[1+signatureSize:], id[:])
	decodes(t, bob, forged, nil, ErrBadSignature)
	decodes(t, bob, forged, nil, ErrBadSignature, IgnoreUntrusted)
	decodes(t, bob, forged, nil, ErrBadSignature, Naive)
}
