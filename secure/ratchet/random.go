package ratchet

import (
	"crypto/ecdh"
	"crypto/mlkem"
	"crypto/rand"
	"fmt"
	"io"

	"parley"
)

// A Transport is the ratchet as a plug-in; its zero value is ready. It has no
// memory of its own, and is safe for concurrent use on different lines.
type Transport struct {
	// Test vectors set these; nil means the operating system's randomness.
	random        io.Reader
	encapsulateBy func(*mlkem.EncapsulationKey768) (secret, ciphertext []byte)
}

var _ parley.Introducer = (*Transport)(nil)

// New returns the ratchet.
func New() *Transport { return new(Transport) }

// Guarantees reports what the ratchet promises; docs/ratchet.md says from when.
func (*Transport) Guarantees() parley.Guarantee {
	return parley.Confidential | parley.Authentic | parley.Deniable |
		parley.ForwardSecret | parley.Healing | parley.PostQuantum
}

func (t *Transport) read(b []byte) error {
	r := t.random
	if r == nil {
		r = rand.Reader
	}
	if _, err := io.ReadFull(r, b); err != nil {
		return fmt.Errorf("ratchet: no randomness: %w", err)
	}
	return nil
}

func (t *Transport) newKey() (*ecdh.PrivateKey, error) {
	var b [keySize]byte
	if err := t.read(b[:]); err != nil {
		return nil, err
	}
	return ecdh.X25519().NewPrivateKey(b[:])
}

func (t *Transport) encapsulate(ek *mlkem.EncapsulationKey768) (secret, ciphertext []byte) {
	if t.encapsulateBy != nil {
		return t.encapsulateBy(ek)
	}
	return ek.Encapsulate()
}

func (t *Transport) newSeed() ([]byte, error) {
	b := make([]byte, seedSize)
	return b, t.read(b)
}

// dh is X25519. A point of low order, which no honest peer sends, is refused.
func dh(private []byte, public []byte) ([]byte, error) {
	k, err := ecdh.X25519().NewPrivateKey(private)
	if err != nil {
		return nil, fmt.Errorf("ratchet: the state holds no usable key: %w", err)
	}
	p, err := ecdh.X25519().NewPublicKey(public)
	if err != nil {
		return nil, malformed("not an X25519 key")
	}
	s, err := k.ECDH(p)
	if err != nil {
		return nil, malformed("an X25519 key of low order")
	}
	return s, nil
}

// encapsulationKey derives the public half from a seed.
func encapsulationKey(seed []byte) ([]byte, error) {
	d, err := mlkem.NewDecapsulationKey768(seed)
	if err != nil {
		return nil, fmt.Errorf("ratchet: the state holds no usable KEM seed: %w", err)
	}
	return d.EncapsulationKey().Bytes(), nil
}

func decapsulate(seed, ciphertext []byte) ([]byte, error) {
	d, err := mlkem.NewDecapsulationKey768(seed)
	if err != nil {
		return nil, fmt.Errorf("ratchet: the state holds no usable KEM seed: %w", err)
	}
	s, err := d.Decapsulate(ciphertext)
	if err != nil {
		return nil, malformed("not an ML-KEM-768 ciphertext")
	}
	return s, nil
}

func parseEncapsulationKey(b []byte) (*mlkem.EncapsulationKey768, error) {
	ek, err := mlkem.NewEncapsulationKey768(b)
	if err != nil {
		return nil, malformed("not an ML-KEM-768 encapsulation key")
	}
	return ek, nil
}
