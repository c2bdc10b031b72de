// Package rsakey has what all users of RSA keys share here: how keys are written
// down, which are too weak, how they are told apart, and the one signature that NES
// and its directory use. It is pure: files, clocks and networks are its callers'.
package rsakey

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// Sizes of keys in bits: what is accepted, and what is made unless told otherwise.
const (
	MinBits     = 2048
	MaxBits     = 16384
	DefaultBits = 2048
)

// MaxPEM is the longest text of a key that is looked at, in bytes.
const MaxPEM = 64 << 10

var (
	// ErrKey means that a text holds no usable RSA key of the kind asked for.
	ErrKey = errors.New("not a usable RSA key")
	// ErrSignature means that a signature is not one of that key over those bytes.
	ErrSignature = errors.New("the signature does not verify")
)

// Generate makes a key pair of [MinBits] to [MaxBits] bits.
func Generate(bits int) (*rsa.PrivateKey, error) {
	if bits < MinBits || bits > MaxBits || bits%8 != 0 {
		return nil, fmt.Errorf("%w: %d bits, not a multiple of 8 from %d to %d", ErrKey, bits, MinBits, MaxBits)
	}
	return rsa.GenerateKey(rand.Reader, bits)
}

// ParsePublic reads the first PEM block of a text, "PUBLIC KEY" (SPKI, RFC 5280
// §4.1). Text before the block is ignored, as everywhere in PEM; only white space
// may follow it. The error is [ErrKey].
func ParsePublic(text []byte) (*rsa.PublicKey, error) {
	block, err := block(text)
	if err != nil {
		return nil, err
	}
	if block.Type != "PUBLIC KEY" {
		return nil, fmt.Errorf("%w: the PEM block is %.40q, not \"PUBLIC KEY\"", ErrKey, block.Type)
	}
	return ParsePublicDER(block.Bytes)
}

// ParsePublicDER reads a public key in SPKI form.
func ParsePublicDER(der []byte) (*rsa.PublicKey, error) {
	k, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, fmt.Errorf("%w: damaged", ErrKey)
	}
	key, ok := k.(*rsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("%w: a key of another algorithm", ErrKey)
	}
	if err := Check(key); err != nil {
		return nil, err
	}
	return key, nil
}

// Check says what is wrong with a public key: its size, or an exponent that nobody
// makes.
func Check(key *rsa.PublicKey) error {
	switch {
	case key.N == nil || key.N.Sign() <= 0 || key.N.BitLen() < MinBits:
		return fmt.Errorf("%w: fewer than %d bits", ErrKey, MinBits)
	case key.N.BitLen() > MaxBits:
		return fmt.Errorf("%w: more than %d bits", ErrKey, MaxBits)
	case key.N.Bit(0) == 0 || key.E < 3 || key.E&1 == 0:
		return fmt.Errorf("%w: damaged", ErrKey)
	}
	return nil
}

// ParsePrivate reads a text with one PEM block, "RSA PRIVATE KEY" (PKCS #1, RFC
// 8017) or "PRIVATE KEY" (PKCS #8, RFC 5208), not encrypted. The error is [ErrKey]
// and repeats nothing of the text.
func ParsePrivate(text []byte) (*rsa.PrivateKey, error) {
	block, err := block(text)
	if err != nil {
		return nil, err
	}
	var key *rsa.PrivateKey
	switch block.Type {
	case "RSA PRIVATE KEY":
		if block.Headers["DEK-Info"] != "" {
			return nil, fmt.Errorf("%w: encrypted with a password; openssl rsa -in FILE -traditional writes it without", ErrKey)
		}
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "PRIVATE KEY":
		var k any
		k, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		var ok bool
		if key, ok = k.(*rsa.PrivateKey); err == nil && !ok {
			return nil, fmt.Errorf("%w: a key of another algorithm", ErrKey)
		}
	case "ENCRYPTED PRIVATE KEY":
		return nil, fmt.Errorf("%w: encrypted with a password; openssl pkey -in FILE writes it without", ErrKey)
	default:
		return nil, fmt.Errorf("%w: the PEM block is %.40q, not a private key", ErrKey, block.Type)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: damaged", ErrKey)
	}
	if len(key.Primes) != 2 {
		return nil, fmt.Errorf("%w: more than two primes", ErrKey)
	}
	if err := Check(&key.PublicKey); err != nil {
		return nil, err
	}
	return key, nil
}

// block returns the only PEM block of a text.
func block(text []byte) (*pem.Block, error) {
	if len(text) > MaxPEM {
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrKey, MaxPEM)
	}
	b, rest := pem.Decode(text)
	switch {
	case b == nil:
		return nil, fmt.Errorf("%w: no PEM block", ErrKey)
	case len(bytes.TrimSpace(rest)) > 0:
		return nil, fmt.Errorf("%w: something follows the PEM block", ErrKey)
	}
	return b, nil
}

// EncodePublic writes a public key as one PEM block "PUBLIC KEY".
func EncodePublic(key *rsa.PublicKey) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: DER(key)})
}

// EncodePrivate writes a private key as one PEM block "RSA PRIVATE KEY" (PKCS #1),
// the only form that the original NES client reads.
func EncodePrivate(key *rsa.PrivateKey) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
}

// DER returns the SPKI form of a public key.
func DER(key *rsa.PublicKey) []byte {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		panic(err) // of no key that was parsed or made here
	}
	return der
}

// A Fingerprint is the SHA-256 of a public key's SPKI form.
type Fingerprint [sha256.Size]byte

// Of returns a key's fingerprint.
func Of(key *rsa.PublicKey) Fingerprint { return sha256.Sum256(DER(key)) }

// String returns 64 hex digits in groups of four, which people can compare.
func (f Fingerprint) String() string {
	h := f.Hex()
	groups := make([]string, 0, len(h)/4)
	for i := 0; i < len(h); i += 4 {
		groups = append(groups, h[i:i+4])
	}
	return strings.Join(groups, " ")
}

// Hex returns 64 hex digits.
func (f Fingerprint) Hex() string { return hex.EncodeToString(f[:]) }

// Sign makes an RSA-PSS signature with SHA-256 over msg (RFC 8017 §8.1), with the
// longest salt that the key has room for, as the original NES does.
func Sign(key crypto.Signer, msg []byte) ([]byte, error) {
	digest := sha256.Sum256(msg)
	return key.Sign(rand.Reader, digest[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthAuto, Hash: crypto.SHA256})
}

// Verify verifies such a signature; the salt may have any length. The error is
// [ErrSignature].
func Verify(key *rsa.PublicKey, msg, sig []byte) error {
	digest := sha256.Sum256(msg)
	if err := rsa.VerifyPSS(key, crypto.SHA256, digest[:], sig, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthAuto}); err != nil {
		return ErrSignature
	}
	return nil
}

// EncodeBase64 writes bytes as NES and its directory do: RFC 4648 §5 with padding.
func EncodeBase64(b []byte) string { return base64.URLEncoding.EncodeToString(b) }

// DecodeBase64 reads that and nothing else: no line ends, no other alphabet, no
// missing padding, and no bits that do not count.
func DecodeBase64(s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") {
		return nil, errors.New("line ends in base64")
	}
	return base64.URLEncoding.Strict().DecodeString(s)
}
