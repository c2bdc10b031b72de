package qr

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
)

func scan(t *testing.T, text string) *Code {
	t.Helper()
	c, err := Encode(text)
	if err != nil {
		t.Fatalf("Encode(%d bytes): %v", len(text), err)
	}
	for _, colour := range []bool{true, false} {
		m, err := modules(c.Draw(colour), colour)
		if err != nil {
			t.Fatalf("version %d: %v", c.Version, err)
		}
		got, err := decode(m)
		if err != nil {
			t.Fatalf("version %d mask %d colour %v: %v", c.Version, c.Mask, colour, err)
		}
		if got != text {
			t.Fatalf("version %d reads %q, want %q", c.Version, got, text)
		}
	}
	return c
}

func TestEveryVersionReadsBack(t *testing.T) {
	seen := make(map[int]bool)
	for n := 1; n <= 520; n += 3 {
		seen[scan(t, strings.Repeat("aB3+/= ", n)[:n]).Version] = true
	}
	if len(seen) != MaxVersion {
		t.Errorf("versions drawn: %v", seen)
	}
}

func TestModesAndCapacity(t *testing.T) {
	for _, c := range []struct {
		letter  string
		n       int
		version int
	}{
		{"7", 41, 1}, {"7", 42, 2}, {"A", 25, 1}, {"A", 26, 2}, {"a", 17, 1}, {"a", 18, 2},
		{"7", 1250, 15}, {"A", 758, 15}, {"a", 520, 15}, {"é", 260, 15}, {"A", 1, 1},
	} {
		if got := scan(t, strings.Repeat(c.letter, c.n)); got.Version != c.version {
			t.Errorf("%d × %q: version %d, want %d", c.n, c.letter, got.Version, c.version)
		}
	}
	for _, s := range []string{strings.Repeat("7", 1251), strings.Repeat("A", 759), strings.Repeat("a", 521)} {
		if _, err := Encode(s); !errors.Is(err, ErrTooLong) {
			t.Errorf("%d × %q: %v", len(s), s[:1], err)
		}
	}
}

func TestMasksDiffer(t *testing.T) {
	seen := make(map[int]bool)
	r := rand.New(rand.NewPCG(1, 2))
	for range 60 {
		b := make([]byte, 40)
		for i := range b {
			b[i] = byte('a' + r.IntN(26))
		}
		seen[scan(t, string(b)).Mask] = true
	}
	if len(seen) < 5 {
		t.Errorf("only masks %v were chosen", seen)
	}
}

func TestDamageIsSeen(t *testing.T) {
	c, err := Encode("the test's own reader must not read everything")
	if err != nil {
		t.Fatal(err)
	}
	m, err := modules(c.Draw(true), true)
	if err != nil {
		t.Fatal(err)
	}
	unseen := 0
	for y := range m {
		for x := range m {
			if x < 9 && y < 9 || x >= c.Size-8 && y < 9 || x < 9 && y >= c.Size-8 {
				continue
			}
			m[y][x] = !m[y][x]
			_, err := decode(m)
			m[y][x] = !m[y][x]
			if err == nil {
				unseen++
			}
		}
	}
	if unseen > 7 { // versions 2 to 6 have 7 modules that carry nothing
		t.Errorf("%d flipped modules went unseen", unseen)
	}
}

func sequence(n int) string {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/"
	r := rand.New(rand.NewPCG(3, uint64(n)))
	b := make([]byte, n)
	for i := range b {
		b[i] = letters[r.IntN(len(letters))]
	}
	return string(b)
}

func TestSplitJoin(t *testing.T) {
	for _, text := range []string{
		sequence(521), sequence(1600), sequence(9000),
		strings.ToUpper(sequence(760)), strings.Repeat("AB ", 400) + "C",
		sequence(392) + " " + sequence(24) + " relay.example:5223 " + sequence(300) + " x",
	} {
		parts, err := Split(text)
		if err != nil || len(parts) < 2 {
			t.Fatalf("%d bytes: %d parts, %v", len(text), len(parts), err)
		}
		for _, p := range parts {
			scan(t, p)
			if !IsPart(p) {
				t.Errorf("%q is no part", p)
			}
		}
		backwards := ""
		for i := len(parts) - 1; i >= 0; i-- {
			backwards += parts[i] + " " + parts[len(parts)-1] + "\n"
		}
		for _, in := range []string{strings.Join(parts, "\n"), strings.Join(parts, " "), backwards} {
			if got, err := Join(in); err != nil || got != text {
				t.Errorf("Join: %v; equal: %v", err, got == text)
			}
		}
		if _, err := Join(strings.Join(parts[1:], "\n")); !errors.Is(err, ErrMissing) {
			t.Errorf("without the first: %v", err)
		}
	}
	if one, err := Split("short"); err != nil || len(one) != 1 || one[0] != "short" {
		t.Errorf("short: %q, %v", one, err)
	}
	if _, err := Split(sequence(520 * 21)); !errors.Is(err, ErrTooLong) {
		t.Errorf("endless: %v", err)
	}
}

func TestJoinRefuses(t *testing.T) {
	a, _ := Split(sequence(600))
	b, _ := Split(sequence(601))
	changed := strings.Replace(a[1], a[1][40:44], "!!!!", 1)
	for name, c := range map[string]struct {
		in   string
		want error
	}{
		"empty":            {"", ErrMissing},
		"no part":          {"PARLEY:x", ErrMissing},
		"one only":         {a[0], ErrMissing},
		"of two texts":     {a[0] + "\n" + b[1], ErrMixed},
		"changed":          {a[0] + "\n" + changed, ErrMixed},
		"twice, different": {a[0] + "\n" + a[1] + "\n" + changed, ErrMixed},
		"junk in front":    {"hello " + a[0] + " " + a[1], ErrMixed},
		"part 0":           {"PARLEY:0/2:01234567:x", ErrMixed},
		"part 3 of 2":      {"PARLEY:3/2:01234567:x", ErrMixed},
		"of 99":            {"PARLEY:1/99:01234567:x", ErrMixed},
		"of 1":             {"PARLEY:1/1:01234567:x", ErrMixed},
		"empty piece":      {"PARLEY:1/2:01234567: ", ErrMixed},
	} {
		if got, err := Join(c.in); !errors.Is(err, c.want) {
			t.Errorf("%s: %q, %v; want %v", name, got, err, c.want)
		}
	}
}

func FuzzJoin(f *testing.F) {
	parts, _ := Split(sequence(600))
	f.Add(strings.Join(parts, " "))
	f.Add("PARLEY:1/2:01234567:a PARLEY:2/2:01234567:b")
	f.Fuzz(func(t *testing.T, in string) {
		text, err := Join(in)
		if (err == nil) == (text == "") {
			t.Fatalf("%q, %v", text, err)
		}
	})
}

func FuzzEncode(f *testing.F) {
	f.Add("HELLO WORLD")
	f.Add("parley:aGVsbG8")
	f.Fuzz(func(t *testing.T, in string) {
		parts, err := Split(in)
		if err != nil {
			return
		}
		for _, p := range parts {
			scan(t, p)
		}
	})
}
