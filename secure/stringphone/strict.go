package stringphone

import (
	"crypto/ed25519"
	"encoding/hex"
)

// crypto/ed25519 takes signatures and keys that libsodium, and so the original,
// refuses: with a key of small order anybody can make a signature that verifies.
// These are the encodings of all points of small order, without their sign bit
// (RFC 8032 5.1.3; y = 0, 1, -1 and the two of order 8), and those that are not
// reduced modulo p = 2^255-19.
var smallOrder = func() (all [7][32]byte) {
	for i, s := range []string{
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	} {
		b, err := hex.DecodeString(s)
		if err != nil {
			panic(err)
		}
		copy(all[i][:], b)
	}
	return all
}()

// isSmallOrder reports whether a point's 32-byte encoding is one of small order.
func isSmallOrder(p []byte) bool {
	var y [32]byte
	copy(y[:], p)
	y[31] &= 0x7f
	for i := range smallOrder {
		if y == smallOrder[i] {
			return true
		}
	}
	return false
}

// isCanonical reports whether y is below p.
func isCanonical(p []byte) bool {
	if p[0] < 0xed || p[31]&0x7f != 0x7f {
		return true
	}
	for _, b := range p[1:31] {
		if b != 0xff {
			return true
		}
	}
	return false
}

// weakKey reports whether no honest participant has that public key.
func weakKey(key []byte) bool {
	return len(key) != PublicKeySize || isSmallOrder(key) || !isCanonical(key)
}

// verifyStrict verifies an Ed25519 signature and accepts what libsodium accepts.
// A non-canonical R never equals the canonical one that is compared with it, and
// crypto/ed25519 refuses a non-canonical S itself.
func verifyStrict(key ed25519.PublicKey, msg, sig []byte) bool {
	return len(sig) == signatureSize && !weakKey(key) && !isSmallOrder(sig[:32]) && ed25519.Verify(key, msg, sig)
}
