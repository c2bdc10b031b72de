package stringphone

import (
	"crypto/ed25519"
	"fmt"
	"testing"
	"time"

	"golang.org/x/crypto/nacl/secretbox"
)

// memoryPair are two members of a topic in Memory.
func memoryPair(b testing.TB, mode Mode) (from, to *Member) {
	seeds := [2][]byte{GenerateSeed(), GenerateSeed()}
	key := GenerateTopicKey()
	var all [2]*Member
	for i := range all {
		other := ed25519.NewKeyFromSeed(seeds[1-i]).Public().(ed25519.PublicKey)
		m := new(Memory)
		_, err := Create(m, Setup{Seed: seeds[i], TopicKey: key, Mode: mode, Trust: []ed25519.PublicKey{other}})
		must(b, err)
		all[i], err = Load(m, func([]byte) {})
		must(b, err)
	}
	return all[0], all[1]
}

// BenchmarkMember seals and opens; "x-bare" is the ratio to the bare Ed25519 and
// XSalsa20-Poly1305 calls in the same run. The rest is state.
func BenchmarkMember(b *testing.B) {
	private := ed25519.NewKeyFromSeed(make([]byte, 32))
	public := private.Public().(ed25519.PublicKey)
	for _, mode := range modes {
		for _, size := range []int{16, 1 << 10, 64 << 10} {
			b.Run(fmt.Sprintf("%v/%d", mode, size), func(b *testing.B) {
				from, to := memoryPair(b, mode)
				body := make([]byte, size)
				var ours, bare time.Duration
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					start := time.Now()
					p, err := from.Seal(then, [16]byte{}, body)
					if err != nil {
						b.Fatal(err)
					}
					if o, err := to.Open(then, p, OpenOptions{}); err != nil || o == nil {
						b.Fatal(err)
					}
					ours += time.Since(start)
					start = time.Now()
					var nonce [24]byte
					var key [32]byte
					box := secretbox.Seal(nil, body, &nonce, &key)
					sig := ed25519.Sign(private, box)
					if !ed25519.Verify(public, box, sig) {
						b.Fatal("bad")
					}
					if _, ok := secretbox.Open(nil, box, &nonce, &key); !ok {
						b.Fatal("bad")
					}
					bare += time.Since(start)
				}
				b.ReportMetric(float64(ours)/float64(bare), "x-bare")
			})
		}
	}
}

// BenchmarkRotate is one rotation for that many members.
func BenchmarkRotate(b *testing.B) {
	for _, n := range []int{2, 10, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := Setup{Found: true, Mode: Headed}
			for range n - 1 {
				s.Trust = append(s.Trust, ed25519.NewKeyFromSeed(GenerateSeed()).Public().(ed25519.PublicKey))
			}
			mem := new(Memory)
			_, err := Create(mem, s)
			must(b, err)
			m, err := Load(mem, func([]byte) {})
			must(b, err)
			for b.Loop() {
				must(b, m.Rotate(then))
			}
		})
	}
}
