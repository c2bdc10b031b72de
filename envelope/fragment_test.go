package envelope

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"parley"
)

// noise is a packet that is not a piece by accident.
func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(n)})
	r.Read(b)
	if n > 0 {
		b[0] = 0xff
	}
	return b
}

func fragments(t testing.TB, pieces [][]byte) []Fragment {
	t.Helper()
	fs := make([]Fragment, len(pieces))
	for i, p := range pieces {
		e, err := Parse(p)
		if err != nil {
			t.Fatal(err)
		}
		if fs[i], err = ParseFragment(e); err != nil {
			t.Fatal(err)
		}
	}
	return fs
}

func TestSplit(t *testing.T) {
	for _, c := range []struct{ size, max, want int }{
		{1, 1, 1},
		{1, 0, 0},
		{3400, 3400, 1},
		{3401, 3400, 2},
		{2 * 3328, 3400, 2}, // the ratchet's units, one per block
		{20 * 3328, 3400, 20},
		{78 * 3328, 3400, 78},
		{2 * (3400 - PieceOverhead), 3400, 2},
		{2*(3400-PieceOverhead) + 1, 3400, 3},
		{48, PieceOverhead + 1, 48},
		{47, PieceOverhead, 0},
		{MaxPieces * 10, PieceOverhead + 10, MaxPieces},
		{MaxPieces*10 + 1, PieceOverhead + 10, 0},
		{5 << 20, 2<<20 + 300, 3},
		{10, -1, 0},
	} {
		packet := noise(c.size)
		pieces, err := Split(packet, c.max)
		if c.want == 0 {
			if err == nil {
				t.Errorf("%d in %d: %d pieces", c.size, c.max, len(pieces))
			}
			continue
		}
		if err != nil || len(pieces) != c.want {
			t.Errorf("%d in %d: %d pieces, want %d (%v)", c.size, c.max, len(pieces), c.want, err)
			continue
		}
		if c.want == 1 {
			if !bytes.Equal(pieces[0], packet) {
				t.Errorf("%d in %d: not the packet itself", c.size, c.max)
			}
			continue
		}
		fs := fragments(t, pieces)
		small, large := c.size, 0
		for i, p := range pieces {
			if len(p) > c.max || len(p)-len(fs[i].Chunk) > PieceOverhead {
				t.Errorf("%d in %d: piece %d has %d bytes for %d", c.size, c.max, i, len(p), len(fs[i].Chunk))
			}
			if fs[i].Index != i || fs[i].Count != c.want {
				t.Errorf("%d in %d: piece %d says %d of %d", c.size, c.max, i, fs[i].Index, fs[i].Count)
			}
			small, large = min(small, len(fs[i].Chunk)), max(large, len(fs[i].Chunk))
		}
		if large-small > 1 {
			t.Errorf("%d in %d: chunks of %d to %d bytes", c.size, c.max, small, large)
		}
		rand.New(rand.NewPCG(1, 2)).Shuffle(len(fs), func(i, j int) { fs[i], fs[j] = fs[j], fs[i] })
		got, err := Assemble(append(fs, fs[0], fs[len(fs)-1]))
		if err != nil || !bytes.Equal(got, packet) {
			t.Errorf("%d in %d: not the packet again (%v)", c.size, c.max, err)
		}
	}
	if _, err := Split(noise(2000*100), 100); !errors.Is(err, ErrTooLong) {
		t.Errorf("got %v", err)
	}
	if _, err := Split(nil, 100); err == nil {
		t.Error("an empty packet was split")
	}
}

func TestSplitIsRepeatable(t *testing.T) {
	a, _ := Split(noise(9000), 3400)
	b, _ := Split(noise(9000), 3400)
	for i := range a {
		if !bytes.Equal(a[i], b[i]) {
			t.Fatal("the same packet gave other pieces")
		}
	}
}

func TestPiecesAreNotSplitAgain(t *testing.T) {
	pieces, err := Split(noise(300), 200)
	if err != nil {
		t.Fatal(err)
	}
	for _, most := range []int{100, 1000} {
		if _, err := Split(pieces[0], most); err == nil {
			t.Errorf("a piece went through Split with %d", most)
		}
	}
	// A peer that nests by hand gets no further.
	digest := []Fragment{}
	half := len(pieces[0]) / 2
	for i, c := range [][]byte{pieces[0][:half], pieces[0][half:]} {
		digest = append(digest, Fragment{Digest: sum(pieces[0]), Index: i, Count: 2, Chunk: c})
	}
	if _, err := Assemble(digest); !errors.Is(err, parley.ErrMalformed) {
		t.Errorf("got %v", err)
	}
}

func TestParseFragmentRefuses(t *testing.T) {
	d := hex.EncodeToString(make([]byte, 32))
	for _, c := range []struct {
		name string
		e    Envelope
		err  string
	}{
		{"other protocol", Envelope{STP: parley.Ratchet, Payload: make([]byte, 99)}, "not a piece"},
		{"other version", Envelope{STP: parley.STP{Type: 69, Version: 2}, Payload: make([]byte, 99)}, "not a piece"},
		{"counted", Envelope{STP: parley.Fragment, Seq: 1, Payload: unhex(t, d+"00000002aa")}, "sequence"},
		{"nothing", Envelope{STP: parley.Fragment}, "0 bytes"},
		{"no chunk", Envelope{STP: parley.Fragment, Payload: unhex(t, d+"00000002")}, "36 bytes"},
		{"no pieces", Envelope{STP: parley.Fragment, Payload: unhex(t, d+"00000000aa")}, "0 pieces"},
		{"one piece", Envelope{STP: parley.Fragment, Payload: unhex(t, d+"00000001aa")}, "1 pieces"},
		{"too many", Envelope{STP: parley.Fragment, Payload: unhex(t, d+"00000401aa")}, "1025 pieces"},
		{"index beyond", Envelope{STP: parley.Fragment, Payload: unhex(t, d+"00020002aa")}, "piece 2 of 2"},
	} {
		if f, err := ParseFragment(c.e); !errors.Is(err, parley.ErrMalformed) || !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %+v, %v", c.name, f, err)
		}
	}
}

func TestAssembleRefuses(t *testing.T) {
	three := func() []Fragment {
		pieces, err := Split(noise(600), 300)
		if err != nil || len(pieces) != 3 {
			t.Fatal(len(pieces), err)
		}
		return fragments(t, pieces)
	}
	for _, c := range []struct {
		name   string
		change func(f []Fragment) []Fragment
		want   error
	}{
		{"none", func([]Fragment) []Fragment { return nil }, ErrIncomplete},
		{"first missing", func(f []Fragment) []Fragment { return f[1:] }, ErrIncomplete},
		{"last missing", func(f []Fragment) []Fragment { return f[:2] }, ErrIncomplete},
		{"one twice, one missing", func(f []Fragment) []Fragment { return []Fragment{f[0], f[1], f[1]} }, ErrIncomplete},
		{"of another packet", func(f []Fragment) []Fragment { f[1].Digest[31] ^= 1; return f }, parley.ErrMalformed},
		{"another count", func(f []Fragment) []Fragment { f[1].Count = 4; return f }, parley.ErrMalformed},
		{"zero count", func(f []Fragment) []Fragment { f[0].Count = 0; return f }, parley.ErrMalformed},
		{"huge count", func(f []Fragment) []Fragment { f[0].Count = 1 << 30; return f }, parley.ErrMalformed},
		{"index beyond", func(f []Fragment) []Fragment { f[2].Index = 3; return f }, parley.ErrMalformed},
		{"negative index", func(f []Fragment) []Fragment { f[2].Index = -1; return f }, parley.ErrMalformed},
		{"empty chunk", func(f []Fragment) []Fragment { f[2].Chunk = nil; return f }, parley.ErrMalformed},
		{"conflict", func(f []Fragment) []Fragment {
			g := f[1]
			g.Chunk = append(bytes.Clone(g.Chunk[:len(g.Chunk)-1]), g.Chunk[len(g.Chunk)-1]^1)
			return append(f, g)
		}, parley.ErrMalformed},
		{"one bit", func(f []Fragment) []Fragment { f[2].Chunk = bytes.Clone(f[2].Chunk); f[2].Chunk[0] ^= 1; return f }, parley.ErrMalformed},
		{"exchanged", func(f []Fragment) []Fragment { f[0].Index, f[1].Index = 1, 0; return f }, parley.ErrMalformed},
	} {
		if got, err := Assemble(c.change(three())); got != nil || !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func FuzzSplit(f *testing.F) {
	f.Add(noise(700), 200, uint64(1))
	f.Add(noise(64), PieceOverhead+1, uint64(2))
	f.Add(Marshal(Envelope{STP: parley.Fragment}), 3400, uint64(3))
	f.Fuzz(func(t *testing.T, packet []byte, most int, order uint64) {
		pieces, err := Split(packet, most)
		if err != nil {
			return
		}
		if len(pieces) == 1 {
			if !bytes.Equal(pieces[0], packet) || len(packet) > most {
				t.Fatal("one piece that is not the packet")
			}
			return
		}
		fs := fragments(t, pieces)
		rand.New(rand.NewPCG(order, 0)).Shuffle(len(fs), func(i, j int) { fs[i], fs[j] = fs[j], fs[i] })
		if _, err := Assemble(fs[1:]); !errors.Is(err, ErrIncomplete) {
			t.Fatalf("one missing: %v", err)
		}
		got, err := Assemble(fs)
		if err != nil || !bytes.Equal(got, packet) {
			t.Fatalf("not the packet again: %v", err)
		}
	})
}

// FuzzAssemble feeds pieces a peer may have made by hand.
func FuzzAssemble(f *testing.F) {
	pieces, _ := Split(noise(150), 100)
	f.Add(bytes.Join(pieces, nil), len(pieces[0]))
	f.Fuzz(func(t *testing.T, b []byte, size int) {
		if size < 1 || len(b)/size > 2000 {
			return
		}
		var fs []Fragment
		for len(b) > 0 {
			n := min(size, len(b))
			e, err := Parse(b[:n])
			b = b[n:]
			if err != nil {
				continue
			}
			if g, err := ParseFragment(e); err == nil {
				fs = append(fs, g)
			}
		}
		got, err := Assemble(fs)
		if err == nil && (len(fs) == 0 || sum(got) != fs[0].Digest) {
			t.Fatal("joined, and not what the pieces named")
		}
	})
}

func sum(b []byte) [32]byte { return sha256.Sum256(b) }
