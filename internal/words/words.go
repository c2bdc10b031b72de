// Package words shows a safety number to people: as words to read out, as digits,
// and as text for a QR code, and compares what the other side shows.
//
// list.txt holds 1,024 English words of four to seven letters. No two share
// their first four letters or differ in one letter only. It was composed for
// Parley, comes under Parley's licence, and never changes: a word's position is
// its meaning.
package words

import (
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"sync"
)

//go:embed list.txt
var text string

const (
	// Count is how many words a safety number takes: 130 bits.
	Count = 13
	// NumberSize is the least size of a safety number in bytes.
	NumberSize = 32

	bitsPerWord = 10
	groups      = 9 // of five digits: 149 bits
	prefix      = "parley-verify:1:"
)

// ErrForm says that a text is no safety number in any of the forms.
var ErrForm = errors.New("not a safety number: it has 13 words, or 45 digits, or begins with " + prefix + " as the text of a code does")

// list returns the words and where each is, by its first four letters.
var list = sync.OnceValues(func() ([]string, map[string]int) {
	all := strings.Fields(text)
	at := make(map[string]int, len(all))
	for i, w := range all {
		at[w[:4]] = i
	}
	return all, at
})

func check(number []byte) error {
	if len(number) < NumberSize {
		return fmt.Errorf("words: a safety number of %d bytes, at least %d", len(number), NumberSize)
	}
	return nil
}

// Words returns the first 130 bits of a safety number of at least 32 bytes as 13
// words, the highest bits first.
func Words(number []byte) ([]string, error) {
	if err := check(number); err != nil {
		return nil, err
	}
	all, _ := list()
	out := make([]string, Count)
	for i := range out {
		v := 0
		for bit := i * bitsPerWord; bit < (i+1)*bitsPerWord; bit++ {
			v = v<<1 | int(number[bit/8]>>(7-bit%8)&1)
		}
		out[i] = all[v]
	}
	return out, nil
}

// Digits returns the first 32 bytes, as one number modulo 10^45, in nine groups
// of five digits.
func Digits(number []byte) (string, error) {
	if err := check(number); err != nil {
		return "", err
	}
	n := new(big.Int).SetBytes(number[:NumberSize])
	n.Mod(n, new(big.Int).Exp(big.NewInt(10), big.NewInt(5*groups), nil))
	s := fmt.Sprintf("%0*d", 5*groups, n)
	out := make([]string, groups)
	for i := range out {
		out[i] = s[5*i : 5*i+5]
	}
	return strings.Join(out, " "), nil
}

// QR returns the text for a QR code: "parley-verify:1:" and the first 32 bytes as
// base64url without padding.
func QR(number []byte) (string, error) {
	if err := check(number); err != nil {
		return "", err
	}
	return prefix + base64.RawURLEncoding.EncodeToString(number[:NumberSize]), nil
}

// Compare reports whether text, in any of the three forms, shows this number.
// Case, spaces, dashes and commas between words or digits don't matter; of each
// word the first four letters count. Text in no form at all is [ErrForm], so that
// a slip of the hand isn't taken for an attack.
func Compare(number []byte, text string) (bool, error) {
	if err := check(number); err != nil {
		return false, err
	}
	text = strings.TrimSpace(text)
	if code, ok := strings.CutPrefix(text, prefix); ok {
		b, err := base64.RawURLEncoding.Strict().DecodeString(code)
		if err != nil || len(b) != NumberSize {
			return false, ErrForm
		}
		return string(b) == string(number[:NumberSize]), nil
	}
	parts := strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return strings.ContainsRune(" \t\r\n-,", r) })
	if digits := strings.Join(parts, ""); len(digits) == 5*groups && strings.Trim(digits, "0123456789") == "" {
		want, err := Digits(number)
		return digits == strings.ReplaceAll(want, " ", ""), err
	}
	if len(parts) != Count {
		return false, ErrForm
	}
	want, err := Words(number)
	if err != nil {
		return false, err
	}
	_, at := list()
	same := true
	for i, w := range parts {
		if len(w) < 4 {
			return false, ErrForm
		}
		if _, known := at[w[:4]]; !known {
			return false, fmt.Errorf("%w: %q is not one of the words", ErrForm, w)
		}
		same = same && w[:4] == want[i][:4]
	}
	return same, nil
}
