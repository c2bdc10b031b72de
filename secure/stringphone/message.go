package stringphone

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// An ID names a participant: the first 16 bytes of the SHA-256 of its public key.
type ID [IDSize]byte

// IDOf returns the ID that belongs to a public key.
func IDOf(key ed25519.PublicKey) ID {
	sum := sha256.Sum256(key)
	return ID(sum[:IDSize])
}

// String returns 32 hex digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Fingerprint returns what two people compare to know that they mean the same
// public key, in whatever form it is shown: 32 bytes.
func Fingerprint(key ed25519.PublicKey) [32]byte {
	return sha256.Sum256(append([]byte("parley/stringphone fingerprint\x00"), key...))
}

// A Type is a message's first byte.
type Type byte

// Types of messages.
const (
	TypeMessage Type = 's'
	TypeManual  Type = 'm' // what the manual calls a message; unknown but for [Options.ManualType]
	TypeIntro   Type = 'i'
	TypeReply   Type = 'r'
)

func (t Type) String() string {
	switch t {
	case TypeMessage:
		return "message"
	case TypeIntro:
		return "introduction"
	case TypeReply:
		return "reply"
	}
	return fmt.Sprintf("unknown type 0x%02x", byte(t))
}

// A Message is a packet as it travels, with the manual's accessors
// (seeds/string-phone 4.3.3). They verify nothing and cut what is too short as
// the original does; an accessor that the type lacks is [ErrWrongProperty].
type Message []byte

// Type returns the message's type; an empty or unknown one is [ErrMalformed].
func (m Message) Type() (Type, error) {
	if len(m) == 0 {
		return 0, fmt.Errorf("%w: it is empty", ErrMalformed)
	}
	t := Type(m[0])
	switch t {
	case TypeMessage, TypeIntro, TypeReply:
		return t, nil
	}
	return t, fmt.Errorf("%w: %v", ErrMalformed, t)
}

// part returns the bytes from..to of a message of that type, and what there is of
// them in one that is too short.
func (m Message) part(of Type, from, to int) ([]byte, error) {
	t, err := m.Type()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrWrongProperty, err)
	}
	if t != of {
		return nil, fmt.Errorf("%w: it is a %v", ErrWrongProperty, t)
	}
	if to < 0 || to > len(m) {
		to = len(m)
	}
	return m[min(from, to):to:to], nil
}

// SenderKey returns the sender's signing key, of introductions and replies. A
// message has none; the original gives its sender ID here, and so do we.
func (m Message) SenderKey() ([]byte, error) {
	switch t, _ := m.Type(); t {
	case TypeMessage:
		return m.part(TypeMessage, 1+signatureSize, boxAt)
	case TypeReply:
		return m.part(TypeReply, replySignerAt, ReplySize)
	}
	return m.part(TypeIntro, 1, introSigAt)
}

// SenderID returns who sends, by what the message claims, in 16 bytes. A message
// cut within its ID gives fewer.
func (m Message) SenderID() ([]byte, error) {
	key, err := m.SenderKey()
	if err != nil {
		return nil, err
	}
	if Type(m[0]) == TypeMessage {
		return key, nil
	}
	id := IDOf(key)
	return id[:], nil
}

// RecipientID returns whom a reply is for, in 16 bytes.
func (m Message) RecipientID() ([]byte, error) { return m.part(TypeReply, 1, replyKeyAt) }

// Ciphertext returns a message's nonce, MAC and ciphertext.
func (m Message) Ciphertext() ([]byte, error) { return m.part(TypeMessage, boxAt, -1) }

// SignedPayload returns a message's signature and all that it covers.
func (m Message) SignedPayload() ([]byte, error) { return m.part(TypeMessage, 1, -1) }

// EncryptionKey returns the X25519 key of an introduction or a reply.
func (m Message) EncryptionKey() ([]byte, error) {
	if t, _ := m.Type(); t == TypeReply {
		return m.part(TypeReply, replyEncAt, replySignerAt)
	}
	return m.part(TypeIntro, introEncAt, -1)
}

// SignedEncryptionKey returns an introduction's signature and the X25519 key that
// it covers.
func (m Message) SignedEncryptionKey() ([]byte, error) { return m.part(TypeIntro, introSigAt, -1) }

// EncryptedTopicKey returns a reply's nonce, MAC and encrypted topic key: 72 bytes.
func (m Message) EncryptedTopicKey() ([]byte, error) {
	return m.part(TypeReply, replyKeyAt, replyEncAt)
}
