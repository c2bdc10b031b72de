package stringphone

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"testing"
)

// weakEncodings are all encodings of points of small order, with and without the
// sign bit, and all that are not reduced: y from p to 2^255-1.
func weakEncodings() (all [][]byte) {
	p := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))
	var ys []*big.Int
	for i := int64(0); i < 19; i++ {
		ys = append(ys, new(big.Int).Add(p, big.NewInt(i)))
	}
	// The y of order 4, 1 and 2, and the two of order 8.
	ys = append(ys, big.NewInt(0), big.NewInt(1), new(big.Int).Sub(p, big.NewInt(1)))
	for _, s := range []string{
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
	} {
		b, _ := hex.DecodeString(s)
		ys = append(ys, littleEndian(b))
	}
	for _, y := range ys {
		b := make([]byte, 32)
		y.FillBytes(b)
		reverse(b)
		signed := bytes.Clone(b)
		signed[31] |= 0x80
		all = append(all, b, signed)
	}
	return all
}

func reverse(b []byte) {
	for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
}

func littleEndian(b []byte) *big.Int {
	b = bytes.Clone(b)
	reverse(b)
	return new(big.Int).SetBytes(b)
}

// Signatures that anybody can make for keys of small order: crypto/ed25519 takes
// them, and we don't.
func TestKeysOfSmallOrder(t *testing.T) {
	all := weakEncodings()
	if len(all) != 48 {
		t.Fatalf("%d encodings", len(all))
	}
	forged := map[string]int{}
	reduced := all[len(all)-10:] // an R of another encoding never equals what it is compared with
	for _, key := range all {
		if !weakKey(key) {
			t.Errorf("%x is no weak key", key)
		}
		verifier, err := NewVerifier(key)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 4 {
			msg := fmt.Appendf(nil, "message %d", i)
			for _, r := range reduced {
				sig := append(bytes.Clone(r), make([]byte, 32)...) // S = 0
				if ed25519.Verify(key, msg, sig) {
					forged[hex.EncodeToString(key)]++
				}
				if got, err := verifier.Verify(append(sig, msg...)); !errors.Is(err, ErrBadSignature) || got != nil {
					t.Fatalf("key %x takes a forged signature: %v", key, err)
				}
			}
		}
	}
	// The trap is real: 1, p+1, p-1, 0, p and the two of order 8, with either sign.
	if len(forged) < 12 {
		t.Errorf("crypto/ed25519 takes forgeries for %d keys only", len(forged))
	}
}

// A signature with a small-order R that whoever has the key can make.
func TestSignatureOfSmallOrder(t *testing.T) {
	seed := bytes.Repeat([]byte{7}, 32)
	private := ed25519.NewKeyFromSeed(seed)
	public := private.Public().(ed25519.PublicKey)
	h := sha512.Sum512(seed)
	h[0], h[31] = h[0]&248, h[31]&63|64
	order, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	r := make([]byte, 32)
	r[0] = 1 // the neutral element
	msg := []byte("text")
	k := sha512.Sum512(append(append(bytes.Clone(r), public...), msg...))
	s := new(big.Int).Mul(littleEndian(k[:]), littleEndian(h[:32]))
	b := s.Mod(s, order).FillBytes(make([]byte, 32))
	reverse(b)
	sig := append(r, b...)
	if !ed25519.Verify(public, msg, sig) {
		t.Fatal("the signature does not show what it should")
	}
	if verifyStrict(public, msg, sig) {
		t.Error("R of small order is taken")
	}
	if !verifyStrict(public, msg, ed25519.Sign(private, msg)) {
		t.Error("a good signature is refused")
	}
}

func TestHonestKeysAreNotWeak(t *testing.T) {
	for i := range 200 {
		key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{byte(i)}, 32)).Public().(ed25519.PublicKey)
		if weakKey(key) {
			t.Errorf("%x", key)
		}
	}
	edge := bytes.Repeat([]byte{0xff}, 32)
	edge[0], edge[31] = 0xeb, 0x7f // p-2 is the largest y below those of small order
	if weakKey(edge) || weakKey(append([]byte{0xec, 0xfe}, edge[2:]...)) {
		t.Error("a canonical key is refused")
	}
}

// lowOrder are X25519 keys with which the shared secret is all zero, in every
// encoding, and with the bit that X25519 ignores.
func lowOrder() (all [][]byte) {
	for _, s := range []string{
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
		"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	} {
		b, _ := hex.DecodeString(s)
		masked := bytes.Clone(b)
		masked[31] |= 0x80
		all = append(all, b, masked)
	}
	return all
}

func TestLowOrderEncryptionKeys(t *testing.T) {
	holder, joiner := mustTopic(t, Options{TopicKey: GenerateTopicKey()}), mustTopic(t, Options{})
	for _, key := range lowOrder() {
		// An introduction: the reply would publish the topic key.
		intro := makeIntro(joiner.private, key)
		for _, construct := range []func([]byte) ([]byte, error){holder.ConstructReply, holder.ConstructUnsignedReply} {
			if reply, err := construct(intro); !errors.Is(err, ErrMalformed) || reply != nil {
				t.Errorf("%x: %d bytes, %v", key, len(reply), err)
			}
		}
		// A reply: anybody could have made it, and would know the key.
		box, err := holder.ConstructUnsignedReply(joiner.ConstructIntro())
		if err != nil {
			t.Fatal(err)
		}
		copy(box[replyEncAt:], key)
		reply := signReply(joiner.ConstructIntro(), box, nil, holder.private)
		if ok, err := joiner.ParseReply(reply); ok || !errors.Is(err, ErrMalformed) || joiner.TopicKey() != nil {
			t.Errorf("%x: %v, %v", key, ok, err)
		}
		if _, err := NewAsymmetricCrypto().Encrypt(nil, key); !errors.Is(err, ErrMalformed) {
			t.Errorf("%x: %v", key, err)
		}
		if _, err := NewAsymmetricCrypto().Decrypt(make([]byte, 72), key); !errors.Is(err, ErrMalformed) {
			t.Errorf("%x: %v", key, err)
		}
	}
}
