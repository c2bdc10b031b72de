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
			for i := range w { // and no bit is always the same
				w[i] = byte(1+i%31) ^ -byte(i%2)
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

// TestBitCutoffs computes both from the definition: alpha = 2^-64, H = 1, and two values.
func TestBitCutoffs(t *testing.T) {
	if want := 1 + 64; BitRepetitionCutoff != want {
		t.Errorf("repetition count: %d, want %d", BitRepetitionCutoff, want)
	}
	tail, c := new(big.Int), int64(BitWindow+1)
	limit := new(big.Int).Lsh(big.NewInt(1), BitWindow-64)
	for tail.Cmp(limit) <= 0 { // the least C with 2 P(X >= C) <= alpha
		c--
		ways := new(big.Int).Binomial(BitWindow, c)
		tail.Add(tail, ways.Lsh(ways, 1))
	}
	if c+1 != BitProportionCutoff {
		t.Errorf("proportion: %d, want %d", BitProportionCutoff, c+1)
	}
}

// TestBits: 64 bytes with a bit the same pass and 65 do not, 657 of a window pass and 658
// do not, whichever bit it is, whichever value, and wherever.
func TestBits(t *testing.T) {
	for bit := range 8 {
		for value := range byte(2) {
			set := func(p []byte, i int, v byte) { p[i] = p[i]&^(1<<bit) | v<<bit }
			for _, start := range []int{0, 1, 31, 32, 63, 64, 65, 100, 131, 900, 4000 - 65} {
				p := sound(byte(bit), 4000)
				for i := range 65 {
					set(p, start+i, value)
				}
				if start > 0 {
					set(p, start-1, 1-value)
				}
				wantHealth(t, p, "repetition count test of a bit")
				set(p, start+64, 1-value)
				wantHealth(t, p, "")
			}
			p := sound(byte(20+bit), 3*BitWindow)
			n := 0
			for i := BitWindow; i < 2*BitWindow; i++ { // 657, and never many in a row
				v := value
				if i%3 == 0 {
					v = 1 - value
				}
				if n += int(1 - v ^ value); n > BitProportionCutoff-1 {
					n--
					v = 1 - value
				}
				set(p, i, v)
			}
			if n != BitProportionCutoff-1 {
				t.Fatal(n)
			}
			wantHealth(t, p, "")
			set(p, BitWindow+3-BitWindow%3, value)
			wantHealth(t, p, "proportion test of a bit")
		}
	}
}

// TestAlphabets: what is no source although many of its values come equally often.
func TestAlphabets(t *testing.T) {
	printable := ""
	for b := byte(' '); b < 0x7f; b++ {
		printable += string(b)
	}
	for name, alphabet := range map[string]string{
		"base64": "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", "hex": "0123456789abcdef", "printable": printable,
		"7 bits": all(128), "6 bits": all(64),
	} {
		p := sound(9, StartUp)
		for i := range p {
			p[i] = alphabet[int(p[i])*len(alphabet)/256]
		}
		if new(Health).Test(p) == nil {
			t.Errorf("%s passes", name)
		}
		for i, b := range sound(10, StartUp) { // only in every other byte
			if i%2 == 0 {
				p[i] = b
			}
		}
		if new(Health).Test(p) == nil {
			t.Errorf("%s in every other byte passes", name)
		}
	}
	counter := make([]byte, StartUp)
	for i := range counter {
		counter[i] = byte(i)
	}
	if new(Health).Test(counter) == nil {
		t.Error("a counter passes")
	}
}

func all(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i)
	}
	return string(b)
}

func FuzzHealth(f *testing.F) {
	f.Add([]byte("aaaaaaaaabbbbbbbb"), uint8(3))
	f.Add(make([]byte, 600), uint8(200))
	f.Add(sound(3, 1100), uint8(7))
	f.Add(sound(3, 2500), uint8(255))
	f.Add(bytes.Map(func(r rune) rune { return r & 0x7f }, sound(3, 2500)), uint8(255))
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
	var runs, ones [8]int
	for i, b := range p {
		if i%BitWindow == 0 {
			ones = [8]int{}
		}
		for k := range 8 {
			if i > 0 && (b^p[i-1])>>k&1 != 0 {
				runs[k] = 0
			}
			runs[k]++
			ones[k] += int(b >> k & 1)
			if runs[k] >= BitRepetitionCutoff || max(ones[k], i%BitWindow+1-ones[k]) >= BitProportionCutoff {
				return true
			}
		}
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
