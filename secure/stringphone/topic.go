package stringphone

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"io"
	"maps"

	"golang.org/x/crypto/nacl/secretbox"
)

// Options are what a [Topic] is made of. The zero value is a new identity without
// a topic key, as in the manual.
type Options struct {
	Seed         []byte              // 32 bytes: our identity; nil makes one that nobody can get back
	TopicKey     []byte              // 32 bytes; nil: not known yet
	Participants []ed25519.PublicKey // whose messages Decode takes

	ManualType     bool                // 'm' instead of 's', as the manual says and no library does
	AcceptUnsigned bool                // take replies that nobody vouches for: the original signs none
	Pins           []ed25519.PublicKey // take replies of these only
	Guard          *Guard              // refuse boxes that came before; nil: take them, as the original does
	Ephemeral      []byte              // the private key behind our introduction, 32 bytes; nil makes one
	Rand           io.Reader           // nonces; nil: the system's. Anything else is for known answers
}

// A DecodeMode changes what [Topic.Decode] checks.
type DecodeMode uint8

const (
	// Naive takes messages without looking at who signed them: EVERY member can
	// speak in the name of every other. It beats IgnoreUntrusted.
	Naive DecodeMode = 1 << iota
	// IgnoreUntrusted shows nothing instead of [ErrUntrustedKey].
	IgnoreUntrusted
)

// A Topic is what one participant knows of one topic (seeds/string-phone 4.3.3).
// It is not safe for concurrent use, but for Encode beside one Decode.
type Topic struct {
	private        ed25519.PrivateKey
	id             ID
	topicKey       *SymmetricCrypto // nil: not known yet
	box            *AsymmetricCrypto
	intro          []byte // ours, once it was needed
	participants   map[ID]ed25519.PublicKey
	manual         byte
	acceptUnsigned bool
	pins           []ed25519.PublicKey
	guard          *Guard
	random         io.Reader
}

// NewTopic makes a Topic. The error is [ErrKeySize].
func NewTopic(o Options) (*Topic, error) {
	if o.Seed == nil {
		o.Seed = GenerateSeed()
	}
	signer, err := NewSigner(o.Seed)
	if err != nil {
		return nil, err
	}
	t := &Topic{
		private: signer.private, id: IDOf(signer.PublicKey()), participants: map[ID]ed25519.PublicKey{},
		manual: byte(TypeMessage), acceptUnsigned: o.AcceptUnsigned, guard: o.Guard, random: o.Rand,
	}
	if o.ManualType {
		t.manual = byte(TypeManual)
	}
	if o.TopicKey != nil {
		if t.topicKey, err = NewSymmetricCrypto(o.TopicKey); err != nil {
			return nil, err
		}
	}
	if o.Ephemeral == nil {
		o.Ephemeral = randomBytes(KeySize)
	}
	if t.box, err = AsymmetricCryptoFromKey(o.Ephemeral); err != nil {
		return nil, err
	}
	for _, key := range o.Participants {
		if err := t.AddParticipant(key); err != nil {
			return nil, err
		}
	}
	for _, key := range o.Pins {
		if err := checkSize("a pinned key", key, PublicKeySize); err != nil {
			return nil, err
		}
		t.pins = append(t.pins, bytes.Clone(key))
	}
	return t, nil
}

// ID returns our ID, 16 bytes.
func (t *Topic) ID() ID { return t.id }

// PublicKey returns our public key, 32 bytes.
func (t *Topic) PublicKey() ed25519.PublicKey { return t.private.Public().(ed25519.PublicKey) }

// TopicKey returns the topic key, 32 bytes, or nil while it is not known. Whoever
// has it reads everything.
func (t *Topic) TopicKey() []byte {
	if t.topicKey == nil {
		return nil
	}
	return bytes.Clone(t.topicKey.key[:])
}

// AddParticipant trusts a public key of 32 bytes from now on. The error is
// [ErrKeySize].
func (t *Topic) AddParticipant(key ed25519.PublicKey) error {
	if err := checkSize("a participant's key", key, PublicKeySize); err != nil {
		return err
	}
	t.participants[IDOf(key)] = bytes.Clone(key)
	return nil
}

// RemoveParticipant stops trusting a participant. It can still read: it has the
// topic key. [Member.Remove] changes that.
func (t *Topic) RemoveParticipant(id ID) { delete(t.participants, id) }

// Participants returns the trusted keys by ID.
func (t *Topic) Participants() map[ID]ed25519.PublicKey { return maps.Clone(t.participants) }

// Encode encrypts and signs a text: 121 bytes more than it has. There is no limit
// to its size. The error is [ErrMissingTopicKey].
func (t *Topic) Encode(plain []byte) ([]byte, error) {
	if t.topicKey == nil {
		return nil, ErrMissingTopicKey
	}
	var nonce [NonceSize]byte
	if t.random == nil {
		rand.Read(nonce[:])
	} else if _, err := io.ReadFull(t.random, nonce[:]); err != nil {
		return nil, fmt.Errorf("no nonce: %w", err)
	}
	return sealMessage(make([]byte, 0, Overhead+len(plain)), t.manual, t.private, t.id, &nonce, &t.topicKey.key, plain), nil
}

// sealMessage appends a whole message to dst.
func sealMessage(dst []byte, typ byte, private ed25519.PrivateKey, id ID, nonce *[NonceSize]byte, key *[KeySize]byte, plain []byte) []byte {
	at := len(dst)
	dst = append(dst, typ)
	dst = append(dst, make([]byte, signatureSize)...)
	dst = append(dst, id[:]...)
	dst = append(dst, nonce[:]...)
	dst = secretbox.Seal(dst, plain, nonce, key)
	copy(dst[at+1:], ed25519.Sign(private, dst[at+1+signatureSize:]))
	return dst
}

// Decode verifies and decrypts a message, in the original's order. It returns nil
// without an error when there is nothing to show: for our own messages, for
// introductions when we have no topic key, for replies when we have one, and with
// [IgnoreUntrusted] for messages of strangers. An empty text is not nil.
//
// The errors are [ErrMalformed], [ErrIntroduction], [ErrIntroductionReply],
// [ErrUntrustedKey], [ErrBadSignature], [ErrMissingTopicKey],
// [ErrWrongTopicKey] and, with a Guard, [ErrReplay].
func (t *Topic) Decode(message []byte, mode ...DecodeMode) ([]byte, error) {
	var m DecodeMode
	for _, o := range mode {
		m |= o
	}
	typ, err := t.typeOf(message)
	if err != nil {
		return nil, err
	}
	switch typ {
	case TypeIntro:
		if t.topicKey == nil || bytes.Equal(message[1:introSigAt], t.PublicKey()) {
			return nil, nil
		}
		return nil, ErrIntroduction
	case TypeReply:
		if t.topicKey != nil || len(message) >= ReplySize && bytes.Equal(message[replySignerAt:ReplySize], t.PublicKey()) {
			return nil, nil
		}
		return nil, ErrIntroductionReply
	}
	return t.decodeMessage(message, m)
}

// typeOf returns the type of a message that is long enough for it.
func (t *Topic) typeOf(message []byte) (Type, error) {
	typ, err := TypeMessage, error(nil)
	if len(message) == 0 || message[0] != t.manual {
		typ, err = Message(message).Type()
		if err == nil && typ == TypeMessage {
			err = fmt.Errorf("%w: a message of the library's type where the manual's is expected", ErrMalformed)
		}
	}
	if err != nil {
		return 0, err
	}
	n := len(message)
	if typ == TypeMessage && n < Overhead || typ == TypeIntro && n != IntroSize || typ == TypeReply && n < shortestReply {
		return 0, fmt.Errorf("%w: %v of %d bytes", ErrMalformed, typ, n)
	}
	return typ, nil
}

func (t *Topic) decodeMessage(message []byte, mode DecodeMode) ([]byte, error) {
	sig, signed := message[1:1+signatureSize], message[1+signatureSize:]
	id := ID(signed)
	if id == t.id { // verified, so that nobody makes us overlook something
		if !verifyStrict(t.PublicKey(), signed, sig) {
			return nil, fmt.Errorf("%w: it carries our own ID", ErrBadSignature)
		}
		return nil, nil
	}
	if mode&Naive == 0 {
		key, ok := t.participants[id]
		switch {
		case !ok && mode&IgnoreUntrusted != 0:
			return nil, nil
		case !ok:
			return nil, ErrUntrustedKey
		case !verifyStrict(key, signed, sig):
			return nil, ErrBadSignature
		}
	}
	if t.topicKey == nil {
		return nil, ErrMissingTopicKey
	}
	plain, err := t.topicKey.Decrypt(signed[IDSize:])
	if err != nil {
		return nil, err
	}
	if t.guard != nil {
		d := guardDigest(message)
		if t.guard.has(d) {
			return nil, ErrReplay
		}
		t.guard.add(d)
	}
	return plain, nil
}
