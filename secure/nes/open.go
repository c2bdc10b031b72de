package nes

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"

	"parley"
	"parley/internal/rsakey"
)

// Decrypters are our message keys where there is more than one, the newest first: after
// a change of keys, what others sealed to the old one still has to open.
type Decrypters []crypto.Decrypter

// Keys returns them. A [parley.Keyring] may return any type with this method.
func (d Decrypters) Keys() []crypto.Decrypter { return d }

// A Sealed is a decrypted envelope that nobody has verified. It shows nothing but who it
// claims to be from, whatever it is printed with.
type Sealed struct {
	message   Message
	signed    []byte
	signature []byte
}

// Decrypt decrypts an envelope with the first of our message keys that fits. What is no
// envelope, or cannot be for a key of ours, is [parley.ErrMalformed]; whatever fails
// once a private key was used is [parley.ErrForged] with one text. [parley.ErrNoKey] says
// that there was no usable key, or that a key's device failed: the envelope may be fine.
func Decrypt(envelope []byte, keys ...crypto.Decrypter) (*Sealed, error) {
	e, err := parseEnvelope(envelope)
	if err != nil {
		return nil, err
	}
	result := error(nil)
	for _, key := range keys {
		if key == nil || !usable(key.Public()) {
			continue
		}
		if key.Public().(*rsa.PublicKey).Size() != len(e.cipherkey) {
			result = worse(result, malformed("a cipherkey of %d bytes, which is no size of our keys", len(e.cipherkey)))
			continue
		}
		s, err := e.open(key)
		if err == nil {
			return s, nil
		}
		result = worse(result, err)
	}
	if result == nil {
		return nil, fmt.Errorf("nes: our message key: %w: %w", parley.ErrNoKey, rsakey.ErrKey)
	}
	return nil, result
}

// worse returns the error that says more of what several keys made of one envelope: a key
// that could not be asked before one that does not open it, before one of another size.
func worse(a, b error) error {
	for _, kind := range []error{parley.ErrNoKey, parley.ErrForged} {
		if errors.Is(a, kind) {
			return a
		}
		if errors.Is(b, kind) {
			return b
		}
	}
	return b
}

// open decrypts with one key. With SessionKeyLen, a cipherkey whose padding or length is
// wrong gives random bytes instead of an error (RFC 8017 §7.2, RFC 3218), which then
// decrypt to nothing that can be read. Everything below runs for a wrong padding as it
// does for a right one.
func (e *envelope) open(key crypto.Decrypter) (*Sealed, error) {
	//lint:ignore SA1019 the format has no other; docs/nes-format.md says what that means
	material, err := key.Decrypt(rand.Reader, e.cipherkey, &rsa.PKCS1v15DecryptOptions{SessionKeyLen: materialSize})
	switch {
	case errors.Is(err, rsa.ErrDecryption): // a number that is too large
		return nil, errForged
	case err != nil:
		return nil, fmt.Errorf("nes: our message key could not be used: %w", parley.ErrNoKey)
	case len(material) != materialSize: // a Decrypter that ignores the option
		return nil, errForged
	}
	plaintext, good := decrypt(material, e.ciphertext)
	m, ok := parsePlaintext(plaintext)
	if good != 1 || !ok {
		return nil, errForged
	}
	return &Sealed{message: m, signed: plaintext, signature: e.signature}, nil
}

// Claimed is the user that the envelope claims to be from: a name that passes
// [CheckName], and no more than a claim.
func (s *Sealed) Claimed() string { return s.message.From }

// Open verifies the signature with the signing key of the claimed sender, over the bytes
// as they came, and then that the message is for self. The errors are [parley.ErrForged],
// [ErrNotForUs], which is one too, and [parley.ErrUntrusted] for a key that is too weak to
// prove anything.
func (s *Sealed) Open(self string, sign *rsa.PublicKey) (Message, error) {
	if err := checkPublic(sign); err != nil {
		return Message{}, fmt.Errorf("nes: the sender's signing key: %w", err)
	}
	if rsakey.Verify(sign, s.signed, s.signature) != nil {
		return Message{}, errForged
	}
	if s.message.To != self {
		return Message{}, fmt.Errorf("nes: %w", ErrNotForUs)
	}
	m := s.message
	m.ID = sha256.Sum256(s.signed)
	return m, nil
}

// Format keeps what is not verified out of logs and messages.
func (s *Sealed) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "an envelope that claims to be from %s", s.message.From)
}
