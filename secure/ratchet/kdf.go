package ratchet

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
)

// derive is HKDF-SHA-256. Its lengths are constants, far below HKDF's limit.
func derive(secret, salt []byte, info string, n int) []byte {
	b, err := hkdf.Key(sha256.New, secret, salt, info, n)
	if err != nil {
		panic("ratchet: HKDF with constant length: " + err.Error())
	}
	return b
}

// hash is SHA-256 over the parts, all but the last of constant length.
func hash(label string, parts ...[]byte) [32]byte {
	h := sha256.New()
	h.Write([]byte(label))
	for _, p := range parts {
		h.Write(p)
	}
	return [32]byte(h.Sum(nil))
}

// rootStep mixes the secrets of one turn into the root. It returns the new root,
// the chain's first chain key, the header key of the chain two turns on, and,
// needed in turn 0 only, that of the chain one turn on.
func rootStep(root, dh, kem []byte, transcript [32]byte, turn uint64, chainHead []byte) (newRoot, chain, header, reply [32]byte) {
	info := make([]byte, 0, len(labelRoot)+32+8+32)
	info = append(info, labelRoot...)
	info = append(info, transcript[:]...)
	info = binary.BigEndian.AppendUint64(info, turn)
	head := sha256.Sum256(chainHead)
	info = append(info, head[:]...)
	secret := append(append(make([]byte, 0, 2*keySize), dh...), kem...)
	out := derive(secret, root, string(info), 4*keySize)
	return [32]byte(out), [32]byte(out[32:]), [32]byte(out[64:]), [32]byte(out[96:])
}

// chainID names a chain, in Once and to tell two chains of one turn apart.
func chainID(transcript [32]byte, turn uint64, chainHead []byte) [16]byte {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], turn)
	h := hash(labelChain, transcript[:], n[:], chainHead)
	return [16]byte(h[:16])
}

// chainStep returns the key of the next message and the chain key after it.
func chainStep(chain [32]byte) (message, next [32]byte) {
	h := hmac.New(sha256.New, chain[:])
	h.Write([]byte{1})
	h.Sum(message[:0])
	h.Reset()
	h.Write([]byte{2})
	h.Sum(next[:0])
	return message, next
}

// box is AES-256-GCM under a key and nonce that are derived from key and a
// random salt, so that a copied state never uses a nonce twice.
func box(key, salt []byte, label string) (cipher.AEAD, []byte) {
	out := derive(key, salt, label, 32+12)
	b, err := aes.NewCipher(out[:32])
	if err != nil {
		panic("ratchet: AES with a key of 32 bytes: " + err.Error())
	}
	a, err := cipher.NewGCM(b)
	if err != nil {
		panic("ratchet: GCM over AES: " + err.Error())
	}
	return a, out[32:]
}

func seal(dst, key, salt []byte, label string, plain, extra []byte) []byte {
	a, nonce := box(key, salt, label)
	return a.Seal(dst, nonce, plain, extra)
}

func unseal(key, salt []byte, label string, sealed, extra []byte) ([]byte, bool) {
	a, nonce := box(key, salt, label)
	b, err := a.Open(nil, nonce, sealed, extra)
	return b, err == nil
}

// pad puts the length before b and zeros behind it, up to size bytes in all.
func pad(b []byte, size int) []byte {
	p := make([]byte, size)
	binary.BigEndian.PutUint32(p, uint32(len(b)))
	copy(p[lenSize:], b)
	return p
}

// unpad takes back what pad did, and nothing else.
func unpad(p []byte) ([]byte, error) {
	if len(p) < lenSize {
		return nil, malformed("no length")
	}
	n := binary.BigEndian.Uint32(p)
	p = p[lenSize:]
	if uint64(n) > uint64(len(p)) {
		return nil, malformed("a length of %d in %d bytes", n, len(p))
	}
	if !allZero(p[n:]) {
		return nil, malformed("padding that is not zero")
	}
	return p[:n], nil
}

func allZero(b []byte) bool {
	for _, z := range b {
		if z != 0 {
			return false
		}
	}
	return true
}
