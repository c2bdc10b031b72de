package stringphone

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/nacl/secretbox"
	//lint:ignore SA1019 HSalsa20 is part of NaCl's box, and nothing else exports it.
	"golang.org/x/crypto/salsa20/salsa"
)

// GenerateSeed returns a new 32-byte signing seed (the manual's
// generate_signing_key_seed). It is an identity: keep it secret.
func GenerateSeed() []byte { return randomBytes(SeedSize) }

// GenerateTopicKey returns a new 32-byte topic key (generate_topic_key).
func GenerateTopicKey() []byte { return randomBytes(KeySize) }

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return b
}

func checkSize(what string, b []byte, size int) error {
	if len(b) != size {
		return fmt.Errorf("%w: %s of %d bytes, must be %d", ErrKeySize, what, len(b), size)
	}
	return nil
}

// A Signer signs with a participant's key.
type Signer struct{ private ed25519.PrivateKey }

// NewSigner makes a Signer of a 32-byte seed. The error is [ErrKeySize].
func NewSigner(seed []byte) (*Signer, error) {
	if err := checkSize("a seed", seed, SeedSize); err != nil {
		return nil, err
	}
	return &Signer{ed25519.NewKeyFromSeed(seed)}, nil
}

// PublicKey returns the 32-byte public key.
func (s *Signer) PublicKey() ed25519.PublicKey { return s.private.Public().(ed25519.PublicKey) }

// Sign returns the 64-byte signature with msg behind it.
func (s *Signer) Sign(msg []byte) []byte {
	return append(ed25519.Sign(s.private, msg), msg...)
}

// A Verifier verifies what one participant has signed.
type Verifier struct{ key ed25519.PublicKey }

// NewVerifier makes a Verifier of a 32-byte public key. The error is [ErrKeySize].
// A key that no honest participant has is taken, and verifies nothing.
func NewVerifier(key []byte) (*Verifier, error) {
	if err := checkSize("a public key", key, PublicKeySize); err != nil {
		return nil, err
	}
	return &Verifier{append(ed25519.PublicKey(nil), key...)}, nil
}

// Verify returns the message behind a good signature of 64 bytes. The errors are
// [ErrMalformed] for less than 64 bytes, and [ErrBadSignature].
func (v *Verifier) Verify(signed []byte) ([]byte, error) {
	if len(signed) < signatureSize {
		return nil, fmt.Errorf("%w: %d bytes, a signature alone has %d", ErrMalformed, len(signed), signatureSize)
	}
	msg := signed[signatureSize:]
	if !verifyStrict(v.key, msg, signed[:signatureSize]) {
		return nil, ErrBadSignature
	}
	return msg, nil
}

// A SymmetricCrypto encrypts with a topic key: NaCl's secretbox, XSalsa20 and
// Poly1305 under a random nonce of 24 bytes.
type SymmetricCrypto struct{ key [KeySize]byte }

// NewSymmetricCrypto takes a 32-byte key. The error is [ErrKeySize].
func NewSymmetricCrypto(key []byte) (*SymmetricCrypto, error) {
	if err := checkSize("a topic key", key, KeySize); err != nil {
		return nil, err
	}
	return &SymmetricCrypto{[KeySize]byte(key)}, nil
}

// Encrypt returns nonce, MAC and ciphertext: 40 bytes more than plain has.
func (s *SymmetricCrypto) Encrypt(plain []byte) []byte {
	var nonce [NonceSize]byte
	rand.Read(nonce[:])
	return s.EncryptNonce(&nonce, plain)
}

// EncryptNonce encrypts under a given nonce, which must never come twice with the
// same key.
func (s *SymmetricCrypto) EncryptNonce(nonce *[NonceSize]byte, plain []byte) []byte {
	out := make([]byte, NonceSize, NonceSize+macSize+len(plain))
	copy(out, nonce[:])
	return secretbox.Seal(out, plain, nonce, &s.key)
}

// Decrypt opens what Encrypt made. The errors are [ErrMalformed] for less than 40
// bytes, and [ErrWrongTopicKey].
func (s *SymmetricCrypto) Decrypt(box []byte) ([]byte, error) {
	if len(box) < NonceSize+macSize {
		return nil, fmt.Errorf("%w: an encrypted text of %d bytes, the shortest has %d", ErrMalformed, len(box), NonceSize+macSize)
	}
	nonce := [NonceSize]byte(box)
	plain, ok := secretbox.Open(make([]byte, 0, len(box)-NonceSize-macSize), box[NonceSize:], &nonce, &s.key)
	if !ok {
		return nil, ErrWrongTopicKey
	}
	return plain, nil
}

// An AsymmetricCrypto encrypts between two X25519 keys: NaCl's box.
type AsymmetricCrypto struct{ private *ecdh.PrivateKey }

// NewAsymmetricCrypto makes a fresh key.
func NewAsymmetricCrypto() *AsymmetricCrypto {
	a, err := AsymmetricCryptoFromKey(randomBytes(KeySize))
	if err != nil {
		panic(err) // any 32 bytes are a key
	}
	return a
}

// AsymmetricCryptoFromKey takes a 32-byte private key. The error is [ErrKeySize].
func AsymmetricCryptoFromKey(private []byte) (*AsymmetricCrypto, error) {
	if err := checkSize("an encryption key", private, KeySize); err != nil {
		return nil, err
	}
	k, err := ecdh.X25519().NewPrivateKey(private)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeySize, err)
	}
	return &AsymmetricCrypto{k}, nil
}

// PublicKey returns the 32-byte public key.
func (a *AsymmetricCrypto) PublicKey() []byte { return a.private.PublicKey().Bytes() }

// PrivateKey returns the 32-byte private key, for who has to wait for the answer
// to an introduction across a restart. It is as secret as the topic key.
func (a *AsymmetricCrypto) PrivateKey() []byte { return a.private.Bytes() }

// Encrypt encrypts to a 32-byte public key and returns nonce, MAC and ciphertext.
// The error is [ErrMalformed] for a key of another size or of low order, with
// which everybody could decrypt.
func (a *AsymmetricCrypto) Encrypt(plain, public []byte) ([]byte, error) {
	return a.encrypt(rand.Reader, plain, public)
}

func (a *AsymmetricCrypto) encrypt(random io.Reader, plain, public []byte) ([]byte, error) {
	key, err := a.shared(public)
	if err != nil {
		return nil, err
	}
	var nonce [NonceSize]byte
	if _, err := io.ReadFull(random, nonce[:]); err != nil {
		return nil, err
	}
	return (&SymmetricCrypto{key}).EncryptNonce(&nonce, plain), nil
}

// Decrypt opens what the owner of a 32-byte public key has encrypted to us. The
// errors are [ErrMalformed] for a text that is too short or a key of another size
// or low order, and [ErrWrongReply] for what does not open.
func (a *AsymmetricCrypto) Decrypt(box, public []byte) ([]byte, error) {
	key, err := a.shared(public)
	if err != nil {
		return nil, err
	}
	plain, err := (&SymmetricCrypto{key}).Decrypt(box)
	if errors.Is(err, ErrWrongTopicKey) {
		err = ErrWrongReply
	}
	return plain, err
}

// shared is NaCl's beforenm: HSalsa20 of the X25519 result. crypto/ecdh reports
// the all-zero result of a low-order key, which x/crypto's box would use.
func (a *AsymmetricCrypto) shared(public []byte) (key [KeySize]byte, err error) {
	p, err := ecdh.X25519().NewPublicKey(public)
	if err != nil {
		return key, fmt.Errorf("%w: an encryption key of %d bytes, must be %d", ErrMalformed, len(public), KeySize)
	}
	secret, err := a.private.ECDH(p)
	if err != nil {
		return key, fmt.Errorf("%w: an encryption key of low order, with which everybody could read the topic key", ErrMalformed)
	}
	var zero [16]byte
	salsa.HSalsa20(&key, &zero, (*[32]byte)(secret), &salsa.Sigma)
	return key, nil
}
