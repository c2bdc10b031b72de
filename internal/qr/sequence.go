package qr

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"rsc.io/qr/coding"
)

// MaxParts is the largest number of codes in a sequence.
const MaxParts = 20

// A part is PARLEY:i/n:TAG:piece. TAG is the first 8 hex digits, in capitals, of
// the SHA-256 of the whole text: it tells sequences apart and proves that they
// were joined right. The header keeps to the letters of the alphanumeric mode.
var header = regexp.MustCompile(`PARLEY:([0-9]{1,2})/([0-9]{1,2}):([0-9A-F]{8}):`)

// Errors of Join.
var (
	ErrMissing = errors.New("not all codes of the sequence are there")
	ErrMixed   = errors.New("the codes do not belong together")
)

// Split returns text as it is if it fits one code, else as the texts of a
// sequence of up to MaxParts codes. Each piece but the last ends and begins with
// something other than a space, so that parts survive being words of a line.
// Spaces around the text are not kept.
func Split(text string) ([]string, error) {
	text = strings.TrimSpace(text)
	if fits(text) {
		return []string{text}, nil
	}
	for n := 2; n <= MaxParts; n++ {
		if parts, ok := cut(text, n); ok {
			return parts, nil
		}
	}
	return nil, fmt.Errorf("%w, and for %d codes", ErrTooLong, MaxParts)
}

func cut(text string, n int) ([]string, bool) {
	tag, parts, from := tagOf(text), make([]string, 0, n), 0
	for i := 1; i <= n; i++ {
		to := len(text) * i / n
		for i < n && to > from && (text[to] == ' ' || text[to-1] == ' ') {
			to--
		}
		part := fmt.Sprintf("PARLEY:%d/%d:%s:%s", i, n, tag, text[from:to])
		if to == from || !fits(part) {
			return nil, false
		}
		parts, from = append(parts, part), to
	}
	return parts, true
}

func fits(text string) bool {
	return encoding(text).Bits(MaxVersion) <= coding.Version(MaxVersion).DataBytes(coding.L)*8
}

func tagOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return fmt.Sprintf("%X", sum[:4])
}

// IsPart reports whether text holds a part of a sequence.
func IsPart(text string) bool { return header.MatchString(text) }

// Join puts the parts in text together, in any order, repeated or not, with
// white space between them. Errors wrap ErrMissing and ErrMixed.
func Join(text string) (string, error) {
	at := header.FindAllStringSubmatchIndex(text, MaxParts*MaxParts)
	if at == nil {
		return "", fmt.Errorf("%w: this is no code of a sequence (PARLEY:1/2:…)", ErrMissing)
	}
	if strings.TrimSpace(text[:at[0][0]]) != "" {
		return "", fmt.Errorf("%w: there is something before the first", ErrMixed)
	}
	var pieces []string
	have, tag := 0, ""
	for k, m := range at {
		end := len(text)
		if k+1 < len(at) {
			end = at[k+1][0]
		}
		i, _ := strconv.Atoi(text[m[2]:m[3]])
		n, _ := strconv.Atoi(text[m[4]:m[5]])
		piece := strings.TrimSpace(text[m[1]:end])
		switch {
		case n < 2 || n > MaxParts || i < 1 || i > n || piece == "":
			return "", fmt.Errorf("%w: part %d of %d", ErrMixed, i, n)
		case pieces == nil:
			pieces, tag = make([]string, n), text[m[6]:m[7]]
		case n != len(pieces) || tag != text[m[6]:m[7]]:
			return "", fmt.Errorf("%w: they are of different invitations", ErrMixed)
		case pieces[i-1] != "" && pieces[i-1] != piece:
			return "", fmt.Errorf("%w: part %d is there twice and differs", ErrMixed, i)
		}
		if pieces[i-1] == "" {
			have++
		}
		pieces[i-1] = piece
	}
	if have < len(pieces) {
		for i, p := range pieces {
			if p == "" {
				return "", fmt.Errorf("%w: part %d of %d is missing", ErrMissing, i+1, len(pieces))
			}
		}
	}
	whole := strings.Join(pieces, "")
	if tagOf(whole) != tag {
		return "", fmt.Errorf("%w: the checksum is wrong", ErrMixed)
	}
	return whole, nil
}
