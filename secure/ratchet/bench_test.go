package ratchet

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/mlkem"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"testing"
	"time"

	"parley/parleytest"
)

// bareMessage does what one message can't do without: two HMACs for the chain,
// two key derivations, two AES-GCM boxes and one SHA-256 over the packet.
func bareMessage(body, header, key []byte) {
	for range 2 {
		m := hmac.New(sha256.New, key)
		m.Write([]byte{1})
		m.Sum(nil)
	}
	for _, b := range [][]byte{body, header} {
		k, _ := hkdf.Key(sha256.New, key, key[:16], "label", 44)
		c, _ := aes.NewCipher(k[:32])
		a, _ := cipher.NewGCM(c)
		a.Seal(nil, k[32:], b, header)
	}
	sha256.Sum256(body)
}

// bareTurn is what a change of direction costs both sides on average: two X25519
// keys and agreements, and a third of a KEM exchange each way.
func bareTurn(b *testing.B) time.Duration {
	const n = 30
	start := time.Now()
	for range n {
		k, err := ecdh.X25519().GenerateKey(rand.Reader)
		if err != nil {
			b.Fatal(err)
		}
		for range 2 {
			k.ECDH(k.PublicKey())
		}
	}
	for range n / kemPeriod {
		d, err := mlkem.GenerateKey768()
		if err != nil {
			b.Fatal(err)
		}
		_, c := d.EncapsulationKey().Encapsulate()
		d.Decapsulate(c)
	}
	return time.Since(start) / n
}

// BenchmarkMessage seals and opens in one direction. "x-bare" is the ratio to the
// same primitives called bare, in the same run; the rest is state and padding.
func BenchmarkMessage(b *testing.B) {
	for _, size := range []int{100, 2000, 64 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			alice, bob := readyLine(b)
			m := parleytest.TestMessage(1, size)
			packet := units(packetOverhead + size + 60)
			body, header, key := make([]byte, packet-headerSize), make([]byte, headerSize), make([]byte, 32)
			var bare, ours time.Duration
			for b.Loop() {
				start := time.Now()
				p, err := alice.Transport.Seal(ctx, &alice.Conversation, m)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := bob.Transport.Open(ctx, &bob.Conversation, p); err != nil {
					b.Fatal(err)
				}
				ours += time.Since(start)
				start = time.Now()
				bareMessage(body, header, key)
				bareMessage(body, header, key)
				bare += time.Since(start)
			}
			b.ReportMetric(float64(ours)/float64(bare), "x-bare")
		})
	}
}

// BenchmarkTurn sends to and fro, so that each message begins a chain.
func BenchmarkTurn(b *testing.B) {
	alice, bob := readyLine(b)
	m := parleytest.TestMessage(1, 100)
	body, header, key := make([]byte, PacketUnit-headerSize), make([]byte, headerSize), make([]byte, 32)
	bareTurn := bareTurn(b)
	var bare, ours time.Duration
	for b.Loop() {
		start := time.Now()
		alice, bob = bob, alice
		p, err := alice.Transport.Seal(ctx, &alice.Conversation, m)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := bob.Transport.Open(ctx, &bob.Conversation, p); err != nil {
			b.Fatal(err)
		}
		ours += time.Since(start)
		start = time.Now()
		bareMessage(body, header, key)
		bareMessage(body, header, key)
		bare += time.Since(start) + bareTurn
	}
	b.ReportMetric(float64(ours)/float64(bare), "x-bare")
}

// BenchmarkGarbage is a forged packet on a line with all chains remembered: the
// most work that a stranger can cause with one packet.
func BenchmarkGarbage(b *testing.B) {
	alice, bob := readyLine(b)
	for i := range 2 * MaxChains {
		send(b, bob, alice, i)
		send(b, alice, bob, i)
	}
	send(b, bob, alice, 1)
	p := sealTo(b, alice, 1)
	p[len(p)-1] ^= 1
	for b.Loop() {
		if _, err := bob.Transport.Open(ctx, &bob.Conversation, p); err == nil {
			b.Fatal("opened")
		}
	}
}
