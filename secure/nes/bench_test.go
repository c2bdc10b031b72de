package nes

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"
)

var benchSizes = []int{100, 1 << 10, 16 << 10}

// sideBySide runs ours and the bare calls in turns of a few, so that a busy machine slows
// both, and reports how much of the bare calls' speed ours has.
func sideBySide(b *testing.B, size int, ours, bare func()) {
	b.Helper()
	ours()
	bare()
	const turn = 8
	var a, c time.Duration
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	for left := b.N; left > 0; left -= turn {
		n := min(turn, left)
		b.StopTimer()
		start := time.Now()
		for range n {
			bare()
		}
		c += time.Since(start)
		b.StartTimer()
		start = time.Now()
		for range n {
			ours()
		}
		a += time.Since(start)
	}
	b.ReportMetric(float64(c)/float64(a)*100, "%bare")
}

// benchMessage has a text of letters, spaces and some of what JSON escapes.
func benchMessage(size int) Message {
	return Message{From: "alice", To: "bob", Time: 1642802942123, Text: strings.Repeat("One line of a text, <as> people \"write\" it.\n", size/44+1)[:size]}
}

var pss = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthAuto, Hash: crypto.SHA256}

// BenchmarkSeal, with keys of 2048 bits. Bare is RSA and AES over the same plaintext, no
// JSON and no base64.
func BenchmarkSeal(b *testing.B) {
	for _, size := range benchSizes {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			m := benchMessage(size)
			plaintext, err := m.plaintext()
			must(b, err)
			to, sign := &keysOf(b, "bob").message.PublicKey, keysOf(b, "alice").sign
			sideBySide(b, size, func() {
				_, _, err := Seal(m, to, sign)
				must(b, err)
			}, func() {
				digest := sha256.Sum256(plaintext)
				_, err := rsa.SignPSS(rand.Reader, sign, crypto.SHA256, digest[:], pss)
				must(b, err)
				material := make([]byte, materialSize)
				rand.Read(material)
				//lint:ignore SA1019 the format's
				_, err = rsa.EncryptPKCS1v15(rand.Reader, to, material)
				must(b, err)
				c, err := aes.NewCipher(material[:keySize])
				must(b, err)
				out := make([]byte, len(plaintext)+blockSize-len(plaintext)%blockSize)
				copy(out, plaintext)
				cipher.NewCBCEncrypter(c, material[keySize:]).CryptBlocks(out, out)
			})
		})
	}
}

// BenchmarkOpen, with keys of 2048 bits.
func BenchmarkOpen(b *testing.B) {
	for _, size := range benchSizes {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			bob, alice := keysOf(b, "bob").message, &keysOf(b, "alice").sign.PublicKey
			sealed, _, err := Seal(benchMessage(size), &bob.PublicKey, keysOf(b, "alice").sign)
			must(b, err)
			e, err := parseEnvelope(sealed)
			must(b, err)
			sideBySide(b, size, func() {
				s, err := Decrypt(sealed, bob)
				must(b, err)
				_, err = s.Open("bob", alice)
				must(b, err)
			}, func() {
				material := make([]byte, materialSize)
				//lint:ignore SA1019 the format's
				must(b, rsa.DecryptPKCS1v15SessionKey(rand.Reader, bob, e.cipherkey, material))
				c, err := aes.NewCipher(material[:keySize])
				must(b, err)
				out := make([]byte, len(e.ciphertext))
				cipher.NewCBCDecrypter(c, material[keySize:]).CryptBlocks(out, e.ciphertext)
				digest := sha256.Sum256(out[:len(out)-int(out[len(out)-1])])
				must(b, rsa.VerifyPSS(alice, crypto.SHA256, digest[:], e.signature, pss))
			})
		})
	}
}
