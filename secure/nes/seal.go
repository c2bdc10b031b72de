package nes

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"

	"parley"
	"parley/internal/rsakey"
)

// Seal signs a message with our key and encrypts it to the recipient's message key. It
// returns the envelope, of at most [MaxEnvelope] bytes, and the message's ID: the
// SHA-256 of the signed bytes, which m alone determines. Bytes of the text that are not
// UTF-8 become U+FFFD.
//
// A message that cannot be said is [parley.ErrRefused], a recipient's key that is too
// weak [parley.ErrUntrusted], and one of ours that does not do [parley.ErrNoKey].
func Seal(m Message, to *rsa.PublicKey, sign crypto.Signer) (envelope []byte, id [32]byte, err error) {
	if err := m.check(); err != nil {
		return nil, id, err
	}
	if err := checkPublic(to); err != nil {
		return nil, id, fmt.Errorf("nes: the recipient's message key: %w", err)
	}
	if sign == nil || !usable(sign.Public()) {
		return nil, id, fmt.Errorf("nes: our signing key: %w: %w", parley.ErrNoKey, rsakey.ErrKey)
	}
	plaintext, err := m.plaintext()
	if err != nil {
		return nil, id, refused("%v", err)
	}
	envelope, err = sealBytes(plaintext, to, sign)
	if err != nil {
		return nil, id, err
	}
	return envelope, sha256.Sum256(plaintext), nil
}

// sealBytes signs and encrypts a plaintext.
func sealBytes(plaintext []byte, to *rsa.PublicKey, sign crypto.Signer) ([]byte, error) {
	var e envelope
	var err error
	if e.signature, err = rsakey.Sign(sign, plaintext); err != nil {
		return nil, fmt.Errorf("nes: our signing key: %w: %w", parley.ErrNoKey, err)
	}
	material := make([]byte, materialSize)
	rand.Read(material)
	//lint:ignore SA1019 the format has no other; docs/nes-format.md says what that means
	if e.cipherkey, err = rsa.EncryptPKCS1v15(rand.Reader, to, material); err != nil {
		return nil, fmt.Errorf("nes: the recipient's message key: %w: %w", parley.ErrUntrusted, err)
	}
	e.ciphertext = encrypt(material, plaintext)
	return e.marshal(), nil
}

// checkPublic refuses a key of somebody else that proves or hides nothing.
func checkPublic(key *rsa.PublicKey) error {
	if key == nil {
		return parley.ErrNoKey
	}
	if err := rsakey.Check(key); err != nil {
		return fmt.Errorf("%w: %w", parley.ErrUntrusted, err)
	}
	return nil
}

// usable reports whether one of our keys is an RSA key that is long enough.
func usable(key crypto.PublicKey) bool {
	k, ok := key.(*rsa.PublicKey)
	return ok && k != nil && rsakey.Check(k) == nil
}
