package words

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"
)

// The list may never change: a safety number would read differently on two sides.
func TestListIsFixed(t *testing.T) {
	sum := sha256.Sum256([]byte(text))
	if got, want := hex.EncodeToString(sum[:]), "2309bfcda969568b45cf9f248c54c10458b2f8e97345ee7c7c6393118ddfa688"; got != want {
		t.Errorf("SHA-256 of list.txt is %s, want %s", got, want)
	}
}

func TestListIsDistinct(t *testing.T) {
	all, at := list()
	if len(all) != 1<<bitsPerWord || len(at) != len(all) || !slices.IsSorted(all) {
		t.Fatalf("%d words with %d beginnings, sorted: %v", len(all), len(at), slices.IsSorted(all))
	}
	for i, a := range all {
		if len(a) < 4 || len(a) > 7 || strings.Trim(a, "abcdefghijklmnopqrstuvwxyz") != "" {
			t.Errorf("%q is not four to seven small letters", a)
		}
		for _, b := range all[i+1:] {
			if near(a, b) {
				t.Errorf("%q and %q differ in one letter", a, b)
			}
		}
	}
}

// near reports whether one letter changed, added or removed makes a into b.
func near(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	switch len(b) - len(a) {
	case 0:
		return i == len(a) || a[i+1:] == b[i+1:]
	case 1:
		return a[i:] == b[i+1:]
	}
	return false
}

func number(fill func(i int) byte) []byte {
	b := make([]byte, NumberSize)
	for i := range b {
		b[i] = fill(i)
	}
	return b
}

func TestForms(t *testing.T) {
	count := number(func(i int) byte { return byte(i) })
	for _, test := range []struct {
		name   string
		number []byte
		words  string
		digits string
		qr     string
	}{
		{"zero", number(func(int) byte { return 0 }), strings.TrimSpace(strings.Repeat("abacus ", 13)),
			strings.TrimSpace(strings.Repeat("00000 ", 9)), "parley-verify:1:" + strings.Repeat("A", 43)},
		{"ones", number(func(int) byte { return 0xff }), strings.TrimSpace(strings.Repeat("zoom ", 13)),
			"90785 32699 84665 64056 40394 57584 00791 31296 39935", "parley-verify:1:" + strings.Repeat("_", 42) + "8"},
		{"counting", count, "abacus alert bridge quick alpaca biscuit ground aerial arena census queen dentist bacon",
			"37659 22007 42329 63730 31997 54547 59836 99794 40671", "parley-verify:1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"},
	} {
		w, err := Words(test.number)
		if got := strings.Join(w, " "); err != nil || got != test.words {
			t.Errorf("%s: words %q, %v", test.name, got, err)
		}
		d, err := Digits(test.number)
		if err != nil || d != test.digits {
			t.Errorf("%s: digits %q, want %q", test.name, d, test.digits)
		}
		q, err := QR(test.number)
		if err != nil || q != test.qr {
			t.Errorf("%s: QR %q, %v", test.name, q, err)
		}
	}
}

func TestCompare(t *testing.T) {
	n := sha256.Sum256([]byte("n"))
	w, _ := Words(n[:])
	d, _ := Digits(n[:])
	q, _ := QR(n[:])
	short := make([]string, Count)
	for i := range w {
		short[i] = strings.ToUpper(w[i][:4])
	}
	for _, form := range []string{
		q, d, strings.ReplaceAll(d, " ", ""), strings.ReplaceAll(d, " ", "-"), " " + d + "\n",
		strings.Join(w, " "), strings.Join(w, ", "), strings.Join(w, "-"), strings.Join(short, "\n"),
	} {
		if same, err := Compare(n[:], form); !same || err != nil {
			t.Errorf("%q: %v, %v", form, same, err)
		}
		// Every single bit counts, as far as the form shows it.
		for bit := range 130 {
			o := bytes.Clone(n[:])
			o[bit/8] ^= 0x80 >> (bit % 8)
			if same, err := Compare(o, form); same || err != nil {
				t.Errorf("%q with bit %d changed: %v, %v", form, bit, same, err)
			}
		}
	}
	for _, bad := range []string{
		"", "hello", q[:len(q)-1], q + "A", "parley-verify:1:" + strings.Repeat("!", 43), "parley-verify:2:" + q[len(prefix):],
		d[1:], strings.Join(w[1:], " "), strings.Join(w[1:], " ") + " zzzz", strings.Join(w[1:], " ") + " a",
	} {
		if same, err := Compare(n[:], bad); same || !errors.Is(err, ErrForm) {
			t.Errorf("%q: %v, %v; want ErrForm", bad, same, err)
		}
	}
	for _, f := range []func([]byte) error{
		func(b []byte) error { _, err := Words(b); return err },
		func(b []byte) error { _, err := Digits(b); return err },
		func(b []byte) error { _, err := QR(b); return err },
		func(b []byte) error { _, err := Compare(b, q); return err },
	} {
		if f(n[:31]) == nil {
			t.Error("31 bytes are taken for a safety number")
		}
	}
}
