package stringphone

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/hpke"
	"crypto/sha512"
	"encoding/binary"

	"filippo.io/edwards25519"
)

// The new epoch's key travels in HPKE (RFC 9180, base mode): X25519-HKDF-SHA256,
// HKDF-SHA256, ChaCha20-Poly1305. Who sealed it is known by the signature of the
// packet around it.
const rotationTag = "parley/stringphone rotation v1\x00"

// rotationInfo is HPKE's info: tag, topic hash, new epoch, signer's ID.
func rotationInfo(topic [16]byte, epoch uint32, signer ID) []byte {
	b := append([]byte(rotationTag), topic[:]...)
	b = binary.BigEndian.AppendUint32(b, epoch)
	return append(b, signer[:]...)
}

// sealEpochKey seals key to a member's X25519 key.
func sealEpochKey(public, info []byte, member ID, key *[KeySize]byte) (enc [32]byte, box [KeySize + macSize]byte, err error) {
	pk, err := hpke.DHKEM(ecdh.X25519()).NewPublicKey(public)
	if err != nil {
		return enc, box, err
	}
	e, s, err := hpke.NewSender(pk, hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), info)
	if err != nil {
		return enc, box, err
	}
	b, err := s.Seal(member[:], key[:])
	if err != nil {
		return enc, box, err
	}
	return [32]byte(e), [KeySize + macSize]byte(b), nil
}

// openEpochKey opens what sealEpochKey made.
func openEpochKey(private, info []byte, member ID, s *sealedKey) (key [KeySize]byte, ok bool) {
	k, err := hpke.DHKEM(ecdh.X25519()).NewPrivateKey(private)
	if err != nil {
		return key, false
	}
	r, err := hpke.NewRecipient(s.enc[:], k, hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), info)
	if err != nil {
		return key, false
	}
	b, err := r.Open(member[:], s.box[:])
	if err != nil || len(b) != KeySize {
		return key, false
	}
	return [KeySize]byte(b), true
}

// montgomery maps an Ed25519 public key to X25519 (RFC 7748 4.1), so that a
// Headed member that has announced nothing can be reached.
func montgomery(key ed25519.PublicKey) ([]byte, bool) {
	if weakKey(key) {
		return nil, false
	}
	p, err := new(edwards25519.Point).SetBytes(key)
	if err != nil {
		return nil, false
	}
	return p.BytesMontgomery(), true
}

// montgomeryPrivate is the other half: X25519 clamps it (RFC 8032 5.1.5).
func montgomeryPrivate(private ed25519.PrivateKey) []byte {
	h := sha512.Sum512(private.Seed())
	return h[:32]
}

// publicSealing is the public half of a sealing key.
func publicSealing(private [KeySize]byte) ([32]byte, error) {
	k, err := ecdh.X25519().NewPrivateKey(private[:])
	if err != nil {
		return [32]byte{}, err
	}
	return [32]byte(k.PublicKey().Bytes()), nil
}
