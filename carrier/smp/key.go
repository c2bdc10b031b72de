package smp

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"sync"
)

// Bounds of RSA keys, in bits. The exponent must be 65537, which every library
// in use makes: then a verification costs the same for every key of a size.
const (
	MinKeyBits = 2048
	MaxKeyBits = 4096
	exponent   = 65537
)

// ErrKey says that a public key is none, or not within the bounds.
var ErrKey = errors.New("smp: not an RSA public key of 2048 to 4096 bits with exponent 65537 (SPKI, DER)")

// ParseKey parses a public key as it stands in CONN and KEY: SPKI DER, not base64.
func ParseKey(der []byte) (*rsa.PublicKey, error) {
	if len(der) > maxLine {
		return nil, ErrKey
	}
	k, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, ErrKey
	}
	pub, ok := k.(*rsa.PublicKey)
	if !ok || checkKey(pub) != nil {
		return nil, ErrKey
	}
	return pub, nil
}

func checkKey(pub *rsa.PublicKey) error {
	if n := pub.N.BitLen(); n < MinKeyBits || n > MaxKeyBits || pub.N.Bit(0) == 0 || pub.E != exponent {
		return ErrKey
	}
	return nil
}

// MarshalKey returns the key as SPKI DER.
func MarshalKey(pub *rsa.PublicKey) ([]byte, error) {
	if err := checkKey(pub); err != nil {
		return nil, err
	}
	return x509.MarshalPKIXPublicKey(pub)
}

// Sign signs the transmission: RSA-PSS with SHA-256, MGF1-SHA-256 and a salt of
// the hash's length. The key may be an agent's or a card's.
func (t *Transmission) Sign(key crypto.Signer) error {
	digest := sha256.Sum256(t.AppendSigned(nil))
	sig, err := key.Sign(rand.Reader, digest[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256})
	if err != nil {
		return fmt.Errorf("smp: signing: %w", err)
	}
	t.Signature = sig
	return nil
}

// Verify checks a signature; the salt may have any length. A nil key verifies
// nothing, in the same time: what Verify costs depends on the lengths of signed
// and sig alone, so that it tells nobody whether a connection exists, is secured,
// or has a key of another size.
func Verify(key *rsa.PublicKey, signed, sig []byte) bool {
	good := key != nil && key.Size() == len(sig)
	if !good {
		padded := make([]byte, min(max(len(sig), MinKeyBits/8), MaxKeyBits/8))
		copy(padded, sig)
		key, sig = dummyKey(len(padded)), padded
	}
	if new(big.Int).SetBytes(sig).Cmp(key.N) >= 0 {
		// crypto/rsa would not even begin.
		sig = append([]byte{0}, sig[1:]...)
		good = false
	}
	digest := sha256.Sum256(signed)
	err := rsa.VerifyPSS(key, crypto.SHA256, digest[:], sig, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthAuto})
	return good && err == nil
}

var dummies struct {
	sync.Mutex
	keys [MaxKeyBits/8 + 1]*rsa.PublicKey
}

// dummyKey returns a modulus of size bytes that nobody has the key to.
func dummyKey(size int) *rsa.PublicKey {
	dummies.Lock()
	defer dummies.Unlock()
	k := dummies.keys[size]
	if k == nil {
		b := make([]byte, size)
		rand.Read(b)
		b[0] |= 0xc0
		b[size-1] |= 1
		k = &rsa.PublicKey{N: new(big.Int).SetBytes(b), E: exponent}
		dummies.keys[size] = k
	}
	return k
}
