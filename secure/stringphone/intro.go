package stringphone

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
)

// signedReplyTag separates what a reply's signature covers from anything else
// that a participant signs.
const signedReplyTag = "parley/stringphone signed reply v1\x00"

// makeIntro returns an introduction. It is the same bytes each time for the same
// keys: Ed25519 is deterministic.
func makeIntro(private ed25519.PrivateKey, encryption []byte) []byte {
	b := make([]byte, 0, IntroSize)
	b = append(b, byte(TypeIntro))
	b = append(b, private.Public().(ed25519.PublicKey)...)
	b = append(b, ed25519.Sign(private, encryption)...)
	return append(b, encryption...)
}

// checkIntro verifies an introduction and returns its keys. The errors are
// [ErrMalformed] and [ErrBadSignature].
func checkIntro(intro []byte) (signing ed25519.PublicKey, encryption []byte, err error) {
	if t, err := Message(intro).Type(); err != nil {
		return nil, nil, err
	} else if t != TypeIntro || len(intro) != IntroSize {
		return nil, nil, fmt.Errorf("%w: %v of %d bytes where an introduction of %d belongs", ErrMalformed, t, len(intro), IntroSize)
	}
	signing, encryption = intro[1:introSigAt:introSigAt], intro[introEncAt:]
	if !verifyStrict(signing, encryption, intro[introSigAt:introEncAt]) {
		return nil, nil, ErrBadSignature
	}
	return signing, encryption, nil
}

// VerifyIntro verifies that whoever made an introduction owns the signing key in
// it, and returns that key: ask a person to compare its [Fingerprint] before
// [Topic.AddParticipant] and [Topic.ConstructReply]. The errors are
// [ErrMalformed] and [ErrBadSignature].
func VerifyIntro(intro []byte) (ed25519.PublicKey, error) {
	key, _, err := checkIntro(intro)
	return bytes.Clone(key), err
}

// makeReply answers an introduction whose signature has been verified, as the
// original does: nothing is signed.
func makeReply(random io.Reader, intro, topicKey []byte, from ed25519.PublicKey, box *AsymmetricCrypto) ([]byte, error) {
	signing, encryption, err := checkIntro(intro)
	if err != nil {
		return nil, err
	}
	sealed, err := box.encrypt(random, topicKey, encryption)
	if err != nil {
		return nil, err
	}
	id := IDOf(signing)
	b := make([]byte, 0, SignedReplySize)
	b = append(b, byte(TypeReply))
	b = append(b, id[:]...)
	b = append(b, sealed...)
	b = append(b, box.PublicKey()...)
	return append(b, from...), nil
}

// signReply puts the replier's signature behind a reply of 153 bytes, and ext
// behind that.
func signReply(intro, reply, ext []byte, private ed25519.PrivateKey) []byte {
	sig := ed25519.Sign(private, signedReplyText(intro, reply[:ReplySize], ext))
	return append(append(reply[:ReplySize:ReplySize], sig...), ext...)
}

func signedReplyText(intro, reply, ext []byte) []byte {
	sum := sha256.Sum256(intro)
	b := make([]byte, 0, len(signedReplyTag)+len(sum)+len(reply)+len(ext))
	b = append(b, signedReplyTag...)
	b = append(b, sum[:]...)
	b = append(b, reply...)
	return append(b, ext...)
}

// checkReply verifies the signature of a reply to our introduction, and returns
// whose it is and what is behind it. The errors are [ErrUnsignedReply],
// [ErrBadSignature] and [ErrNotPinned].
func checkReply(intro, reply []byte, pins []ed25519.PublicKey) (from ed25519.PublicKey, ext []byte, err error) {
	if len(reply) < SignedReplySize {
		return nil, nil, ErrUnsignedReply
	}
	from, ext = reply[replySignerAt:ReplySize:ReplySize], reply[SignedReplySize:]
	if !verifyStrict(from, signedReplyText(intro, reply[:ReplySize], ext), reply[ReplySize:SignedReplySize]) {
		return nil, nil, ErrBadSignature
	}
	if len(pins) == 0 {
		return from, ext, nil
	}
	for _, p := range pins {
		if bytes.Equal(p, from) {
			return from, ext, nil
		}
	}
	return nil, nil, ErrNotPinned
}

// VerifyReply verifies that somebody has signed a reply to that introduction, not
// necessarily ours, and returns the public key. The errors are [ErrMalformed],
// [ErrUnsignedReply] and [ErrBadSignature].
func VerifyReply(intro, reply []byte) (ed25519.PublicKey, error) {
	if t, err := Message(reply).Type(); err != nil {
		return nil, err
	} else if t != TypeReply || len(reply) < shortestReply {
		return nil, fmt.Errorf("%w: %v of %d bytes where a reply belongs", ErrMalformed, t, len(reply))
	}
	key, _, err := checkReply(intro, reply, nil)
	return bytes.Clone(key), err
}

// ReplyEpoch returns of which epoch the topic key in a reply is, as a [Member] says
// it in a signed one; 0 where nothing is said.
func ReplyEpoch(reply []byte) uint32 {
	if len(reply) < SignedReplySize {
		return 0
	}
	g, err := parseGrant(reply[SignedReplySize:])
	if err != nil {
		return 0
	}
	return g.epoch
}

// openReply returns the topic key in a reply to us. The errors are [ErrMalformed]
// and [ErrWrongReply].
func openReply(reply []byte, box *AsymmetricCrypto) ([]byte, error) {
	return box.Decrypt(reply[replyKeyAt:replyEncAt], reply[replyEncAt:replySignerAt])
}

// ConstructIntro returns an introduction of 129 bytes: it asks whoever holds the
// topic key for it, and to trust our public key. It says nothing secret.
func (t *Topic) ConstructIntro() []byte { return bytes.Clone(t.ownIntro()) }

// ownIntro makes our introduction once: a reply's signature covers it, and making
// it takes as long as a signature does.
func (t *Topic) ownIntro() []byte {
	if t.intro == nil {
		t.intro = makeIntro(t.private, t.box.PublicKey())
	}
	return t.intro
}

// ConstructReply answers an introduction with the topic key, in 217 bytes, of
// which the original reads the first 153. It gives the other side everything
// that was and will be said in the topic; it does not add it as a participant.
// The errors are [ErrMissingTopicKey], [ErrMalformed] and [ErrBadSignature].
func (t *Topic) ConstructReply(intro []byte) ([]byte, error) {
	reply, err := t.ConstructUnsignedReply(intro)
	if err != nil {
		return nil, err
	}
	return signReply(intro, reply, nil, t.private), nil
}

// ConstructUnsignedReply does the same in the original's 153 bytes, for which
// nobody vouches.
func (t *Topic) ConstructUnsignedReply(intro []byte) ([]byte, error) {
	if t.topicKey == nil {
		return nil, ErrMissingTopicKey
	}
	random := t.random
	if random == nil {
		random = rand.Reader
	}
	return makeReply(random, intro, t.topicKey.key[:], t.PublicKey(), t.box)
}

// ParseReply takes the topic key from a reply to our introduction, and reports
// whether it did: not when we have a topic key already, nor when the reply is for
// somebody else. The replier is not added as a participant: whether to trust
// [Message.SenderKey] is a person's decision.
//
// Without [Options.AcceptUnsigned] or [Options.Pins] any signed reply is taken;
// the errors are [ErrMalformed], [ErrUnsignedReply], [ErrBadSignature],
// [ErrNotPinned] and [ErrWrongReply].
func (t *Topic) ParseReply(reply []byte) (bool, error) {
	if t.topicKey != nil {
		return false, nil
	}
	typ, err := Message(reply).Type()
	if err != nil {
		return false, err
	}
	if typ != TypeReply || len(reply) < shortestReply {
		return false, fmt.Errorf("%w: %v of %d bytes where a reply of at least %d belongs", ErrMalformed, typ, len(reply), shortestReply)
	}
	if id := t.ID(); !bytes.Equal(reply[1:replyKeyAt], id[:]) {
		return false, nil
	}
	if !t.acceptUnsigned || len(t.pins) > 0 {
		if _, _, err := checkReply(t.ownIntro(), reply, t.pins); err != nil {
			return false, err
		}
	}
	key, err := openReply(reply, t.box)
	if err != nil {
		return false, err
	}
	t.topicKey, err = NewSymmetricCrypto(key)
	return err == nil, err
}
