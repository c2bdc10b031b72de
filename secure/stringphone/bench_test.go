package stringphone

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"testing"
	"time"

	"golang.org/x/crypto/nacl/secretbox"
	//lint:ignore SA1019 HSalsa20 is part of NaCl's box, and nothing else exports it.
	"golang.org/x/crypto/salsa20/salsa"
)

var benchSizes = []int{16, 1 << 10, 64 << 10}

// sideBySide runs ours and the bare calls in turns of a few, so that a busy
// machine slows both, and reports how much of the bare calls' speed ours has.
// Time and allocations of the benchmark are those of ours.
func sideBySide(b *testing.B, size int, ours, bare func()) {
	b.Helper()
	ours()
	bare()
	const turn = 16
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
	b.ReportMetric(float64(c)/float64(a)*100, "%ofbare")
}

func mustEncode(tb testing.TB, t *Topic, plain []byte) []byte {
	tb.Helper()
	m, err := t.Encode(plain)
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

func BenchmarkEncode(b *testing.B) {
	for _, size := range benchSizes {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			topic := mustTopic(b, Options{TopicKey: GenerateTopicKey()})
			plain, signed := make([]byte, size), make([]byte, IDSize+NonceSize+macSize+size)
			_, private, _ := ed25519.GenerateKey(rand.Reader)
			key := [KeySize]byte(GenerateTopicKey())
			sideBySide(b, size, func() {
				mustEncode(b, topic, plain)
			}, func() {
				var nonce [NonceSize]byte
				rand.Read(nonce[:])
				secretbox.Seal(nil, plain, &nonce, &key)
				ed25519.Sign(private, signed)
			})
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, size := range benchSizes {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			alice := mustTopic(b, Options{TopicKey: GenerateTopicKey()})
			bob := mustTopic(b, Options{TopicKey: alice.TopicKey(), Participants: []ed25519.PublicKey{alice.PublicKey()}})
			m := mustEncode(b, alice, make([]byte, size))
			public, key, nonce := alice.PublicKey(), [KeySize]byte(alice.TopicKey()), [NonceSize]byte(m[boxAt:])
			sideBySide(b, size, func() {
				if _, err := bob.Decode(m); err != nil {
					b.Fatal(err)
				}
			}, func() {
				if !ed25519.Verify(public, m[1+signatureSize:], m[1:1+signatureSize]) {
					b.Fatal("bad signature")
				}
				if _, ok := secretbox.Open(nil, m[boxAt+NonceSize:], &nonce, &key); !ok {
					b.Fatal("does not open")
				}
			})
		})
	}
}

// Introductions and replies have one size each.
func BenchmarkConstructIntro(b *testing.B) {
	topic := mustTopic(b, Options{})
	public := topic.box.PublicKey()
	sideBySide(b, IntroSize, func() {
		topic.intro = nil // else it is made once
		topic.ConstructIntro()
	}, func() {
		ed25519.Sign(topic.private, public)
	})
}

// bareReply is a reply's cryptography: X25519, HSalsa20 and the box.
type bareReply struct {
	private *ecdh.PrivateKey
	public  []byte
}

func newBareReply(b *testing.B) bareReply {
	us, them := NewAsymmetricCrypto(), NewAsymmetricCrypto()
	return bareReply{us.private, them.PublicKey()}
}

func (r bareReply) shared(b *testing.B) (key [KeySize]byte) {
	p, err := ecdh.X25519().NewPublicKey(r.public)
	if err != nil {
		b.Fatal(err)
	}
	secret, err := r.private.ECDH(p)
	if err != nil {
		b.Fatal(err)
	}
	salsa.HSalsa20(&key, new([16]byte), (*[32]byte)(secret), &salsa.Sigma)
	return key
}

func BenchmarkConstructReply(b *testing.B) {
	alice, bob := mustTopic(b, Options{TopicKey: GenerateTopicKey()}), mustTopic(b, Options{})
	intro, topicKey, bare := bob.ConstructIntro(), alice.TopicKey(), newBareReply(b)
	signed := make([]byte, len(signedReplyTag)+32+ReplySize)
	sideBySide(b, SignedReplySize, func() {
		if _, err := alice.ConstructReply(intro); err != nil {
			b.Fatal(err)
		}
	}, func() {
		if !ed25519.Verify(intro[1:introSigAt], intro[introEncAt:], intro[introSigAt:introEncAt]) {
			b.Fatal("bad signature")
		}
		key := bare.shared(b)
		var nonce [NonceSize]byte
		rand.Read(nonce[:])
		secretbox.Seal(nil, topicKey, &nonce, &key)
		ed25519.Sign(alice.private, signed)
	})
}

func BenchmarkParseReply(b *testing.B) {
	alice, bob := mustTopic(b, Options{TopicKey: GenerateTopicKey()}), mustTopic(b, Options{})
	reply, err := alice.ConstructReply(bob.ConstructIntro())
	if err != nil {
		b.Fatal(err)
	}
	text, sig := make([]byte, len(signedReplyTag)+32+ReplySize), make([]byte, 64)
	public, bare := alice.PublicKey(), newBareReply(b)
	copy(sig, ed25519.Sign(alice.private, text))
	key := bare.shared(b)
	var nonce [NonceSize]byte
	sealed := secretbox.Seal(nil, alice.TopicKey(), &nonce, &key)
	sideBySide(b, SignedReplySize, func() {
		bob.topicKey = nil
		if ok, err := bob.ParseReply(reply); !ok {
			b.Fatal(err)
		}
	}, func() {
		if !ed25519.Verify(public, text, sig) {
			b.Fatal("bad signature")
		}
		key := bare.shared(b)
		if _, ok := secretbox.Open(nil, sealed, &nonce, &key); !ok {
			b.Fatal("does not open")
		}
	})
}

// Each call takes memory a few times only, whatever the size of the text.
func TestAllocations(t *testing.T) {
	alice := mustTopic(t, Options{TopicKey: GenerateTopicKey()})
	joiner := mustTopic(t, Options{})
	bob := mustTopic(t, Options{TopicKey: alice.TopicKey(), Participants: []ed25519.PublicKey{alice.PublicKey()}})
	intro := joiner.ConstructIntro()
	reply, err := alice.ConstructReply(intro)
	if err != nil {
		t.Fatal(err)
	}
	type call struct {
		name string
		most float64
		do   func()
	}
	calls := []call{
		{"ConstructIntro", 9, func() { joiner.intro = nil; joiner.ConstructIntro() }},
		{"ConstructReply", 9, func() { alice.ConstructReply(intro) }},
		{"ConstructUnsignedReply", 9, func() { alice.ConstructUnsignedReply(intro) }},
		{"ParseReply", 9, func() {
			joiner.topicKey = nil
			joiner.ParseReply(reply)
		}},
	}
	for _, size := range benchSizes {
		plain := make([]byte, size)
		m := mustEncode(t, alice, plain)
		calls = append(calls,
			call{fmt.Sprintf("Encode of %d bytes", size), 3, func() { alice.Encode(plain) }},
			call{fmt.Sprintf("Decode of %d bytes", size), 3, func() { bob.Decode(m) }})
	}
	for _, c := range calls {
		if n := testing.AllocsPerRun(20, c.do); n > c.most {
			t.Errorf("%s: %v allocations, at most %v", c.name, n, c.most)
		}
	}
}
