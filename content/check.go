package content

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"parley"
)

func checkText(what, s string, limit int) error {
	if len(s) > limit {
		return fmt.Errorf("%s is %w: %d bytes, at most %d", what, ErrTooLong, len(s), limit)
	}
	if !utf8.ValidString(s) {
		return fmt.Errorf("%s is not valid UTF-8", what)
	}
	return nil
}

// checkName also keeps out what would let one name look like another line, or
// another name: control characters, line ends, changes of writing direction.
func checkName(what, s string) error {
	if s == "" {
		return fmt.Errorf("%s is empty", what)
	}
	if err := checkText(what, s, 4*MaxName); err != nil {
		return err
	}
	if n := utf8.RuneCountInString(s); n > MaxName {
		return fmt.Errorf("%s is %w: %d characters, at most %d", what, ErrTooLong, n, MaxName)
	}
	if strings.TrimSpace(s) != s {
		return fmt.Errorf("%s begins or ends with a space", what)
	}
	return checkRunes(what, s)
}

func checkRunes(what, s string) error {
	for _, r := range s {
		if unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp) ||
			r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069' {
			return fmt.Errorf("%s has the control character %U", what, r)
		}
	}
	return nil
}

// checkAddress wants a scheme, which names the carrier, and printable ASCII; the
// rest is the carrier's to judge.
func checkAddress(a parley.Address) error {
	if len(a) > MaxAddress {
		return fmt.Errorf("an address is %w: %d bytes, at most %d", ErrTooLong, len(a), MaxAddress)
	}
	for i := range len(a) {
		if a[i] <= ' ' || a[i] > '~' {
			return errors.New("an address has a character that is not printable ASCII")
		}
	}
	scheme, rest, ok := strings.Cut(string(a), ":")
	if !ok || scheme == "" || rest == "" || scheme[0] < 'a' || scheme[0] > 'z' ||
		strings.Trim(scheme, "abcdefghijklmnopqrstuvwxyz0123456789+-.") != "" {
		return errors.New("an address does not begin with a scheme and a colon")
	}
	return nil
}

func checkAddresses(list []parley.Address) error {
	if err := checkCount("addresses", len(list)); err != nil {
		return err
	}
	for _, a := range list {
		if err := checkAddress(a); err != nil {
			return err
		}
	}
	return nil
}

func checkCount(what string, n int) error {
	if n > MaxList {
		return fmt.Errorf("the list of %s is %w: %d, at most %d", what, ErrTooLong, n, MaxList)
	}
	return nil
}

// checkIDs wants at least least IDs, none of them zero and none twice.
func checkIDs(what string, list [][16]byte, least int) error {
	if err := checkCount(what, len(list)); err != nil {
		return err
	}
	if len(list) < least {
		return fmt.Errorf("no %s", what)
	}
	return checkIDsOnce(what, list)
}

func checkIDsOnce(what string, list [][16]byte) error {
	seen := make(map[[16]byte]bool, len(list))
	for _, id := range list {
		if id == ([16]byte{}) {
			return fmt.Errorf("one of the %s is zero", what)
		}
		if seen[id] {
			return fmt.Errorf("one of the %s comes twice", what)
		}
		seen[id] = true
	}
	return nil
}
