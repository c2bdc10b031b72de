package generate

import (
	"bytes"
	"errors"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"
)

// sound returns n bytes of a source that passes, the same in every run.
func sound(seed byte, n int) []byte {
	p := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(p)
	return p
}

// TestCutoffs computes both from the definition: alpha = 2^-64, H = 8.
func TestCutoffs(t *testing.T) {
	if want := 1 + 64/8; RepetitionCutoff != want {
		t.Errorf("repetition count: %d, want %d", RepetitionCutoff, want)
	}
	// The least C with P(X >= C) <= alpha, X binomial over the window with p = 2^-8.
	tail, term := new(big.Rat), new(big.Rat)
	alpha := new(big.Rat).SetFrac(big.NewInt(1), new(big.Int).Lsh(big.NewInt(1), 64))
	c := Window + 1
	for tail.Cmp(alpha) <= 0 {
		c--
		ways := new(big.Int).Binomial(Window, int64(c))
		ways.Mul(ways, new(big.Int).Exp(big.NewInt(255), big.NewInt(int64(Window-c)), nil))
		term.SetFrac(ways, new(big.Int).Lsh(big.NewInt(1), 8*Window))
		tail.Add(tail, term)
	}
	if c+1 != ProportionCutoff {
		t.Errorf("adaptive proportion: %d, want %d", ProportionCutoff, c+1)
	}
}

// inPieces tests p in pieces of n bytes.
func inPieces(p []byte, n int) error {
	var h Health
	for len(p) > 0 {
		k := min(n, len(p))
		if err := h.Test(p[:k]); err != nil {
			return err
		}
		p = p[k:]
	}
	return nil
}

func wantHealth(t *testing.T, p []byte, test string) {
	t.Helper()
	for _, n := range []int{1, 2, 7, 8, 9, 100, 512, 513, len(p)} {
		err := inPieces(p, n)
		if test == "" && err != nil {
			t.Fatalf("in pieces of %d: %v", n, err)
		}
		if test != "" && (!errors.Is(err, ErrUnhealthy) || !strings.Contains(err.Error(), test)) {
			t.Fatalf("in pieces of %d: %v, want %s", n, err, test)
		}
	}
}

func TestRepetitionCount(t *testing.T) {
	good := sound(1, 3000)
	wantHealth(t, good, "")
	for at := range 40 {
		for _, start := range []int{at, 500 + at, 3000 - 9 - at} {
			p := bytes.Clone(good)
			copy(p[start:], bytes.Repeat([]byte{0xa5}, 8))
			if start > 0 {
				p[start-1] = 1
			}
			p[start+8] = 2
			wantHealth(t, p, "")
			p[start+8] = 0xa5
			wantHealth(t, p, "repetition count")
		}
	}
	wantHealth(t, make([]byte, 9), "repetition count")
	wantHealth(t, make([]byte, 8), "")
	if err := new(Health).Test(nil); err != nil {
		t.Error(err)
	}
}

// TestAdaptiveProportion: the first byte of a window 25 times in it passes, 26 times not.
func TestAdaptiveProportion(t *testing.T) {
	for _, window := range []int{0, 1, 4} {
		for _, last := range []bool{false, true} {
			// In a window of our own nothing but the first value comes more often than 17 times.
			p := sound(2, 5*Window)
			w := p[window*Window : (window+1)*Window]
			for i := range w {
				w[i] = byte(1 + i%31)
			}
			w[0] = 0
			spread := func(n int) {
				for i := range n {
					w[3+i*20] = 0 // no two together
				}
			}
			spread(ProportionCutoff - 2)
			wantHealth(t, p, "")
			if last {
				w[Window-1] = 0
			} else {
				w[1] = 0
			}
			wantHealth(t, p, "adaptive proportion")
		}
	}
}

func FuzzHealth(f *testing.F) {
	f.Add([]byte("aaaaaaaaabbbbbbbb"), uint8(3))
	f.Add(make([]byte, 600), uint8(200))
	f.Add(sound(3, 1100), uint8(7))
	f.Fuzz(func(t *testing.T, p []byte, n uint8) {
		got, want := inPieces(p, int(n)+1), plainHealth(p)
		if (got != nil) != want {
			t.Fatalf("%v, want a failure: %v", got, want)
		}
	})
}

// plainHealth is both tests as the standard writes them down.
func plainHealth(p []byte) bool {
	run, count := 0, 0
	for i, b := range p {
		if i > 0 && b == p[i-1] {
			run++
		} else {
			run = 1
		}
		if i%Window == 0 {
			count = 0
		}
		if b == p[i-i%Window] {
			count++
		}
		if run >= RepetitionCutoff || count >= ProportionCutoff {
			return true
		}
	}
	return false
}

func BenchmarkHealth(b *testing.B) {
	p := sound(4, chunk)
	b.SetBytes(chunk)
	var h Health
	for b.Loop() {
		if err := h.Test(p); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSystem(b *testing.B) {
	r, _ := system()
	p := make([]byte, chunk)
	b.SetBytes(chunk)
	for b.Loop() {
		r.Read(p)
	}
}
