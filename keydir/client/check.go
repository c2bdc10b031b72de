package client

import (
	"encoding/hex"
	"strings"
	"time"

	"parley/internal/rsakey"
	"parley/keydir"
)

// Check compares a directory's verified answer with what is remembered, and pins the
// keys at first use. When they differ, it is a [*ChangedError] and nothing changes,
// however often: see [Pins.Accept]. It is [ErrOlder] for a version older than the
// pinned one, [ErrUnbound] for an answer without a name from a directory that names
// users, and [ErrOtherName] for one without a name whose keys are another user's.
func (p Pins) Check(url, user string, a keydir.Answer, k keydir.Keys, now time.Time) (first bool, err error) {
	if err := p.bound(url, a); err != nil {
		return false, err
	}
	pin, known, err := p.User(user)
	if err != nil {
		return false, err
	}
	same := pin.Directory == url && a.Bound()
	switch {
	case !known:
		if err := p.elsewhere(user, a, k); err != nil {
			return false, err
		}
		p.Set(user, Pin{k, url, a.Version, now})
		return true, nil
	case same && a.Version < pin.Version:
		return false, ErrOlder
	case !pin.Keys.Equal(k):
		return false, &ChangedError{User: user, Old: pin.Keys, New: k, Vouched: a.VouchedBy(pin.Keys.Sign, k)}
	case same && a.Version > pin.Version, pin.Directory == "" && a.Bound():
		// The same keys under a new version: an account that was deleted and made again.
		pin.Directory, pin.Version = url, a.Version
		p.Set(user, pin)
	}
	return false, nil
}

// bound sees that a directory which names users goes on doing so.
func (p Pins) bound(url string, a keydir.Answer) error {
	v, known, err := p.Provider(url)
	switch {
	case err != nil || !known:
		return err
	case !a.Bound() && v.Binds:
		return ErrUnbound
	case a.Bound() && !v.Binds:
		v.Binds = true
		p.SetProvider(url, v)
	}
	return nil
}

// elsewhere sees that an answer without a name is not one of another user's that we
// know. (With a name it is no harm: people may use two names.)
func (p Pins) elsewhere(user string, a keydir.Answer, k keydir.Keys) error {
	if a.Bound() {
		return nil
	}
	for other, pin := range p.Users() {
		if other != user && (pin.Keys.Sign.Equal(k.Sign) || pin.Keys.Message.Equal(k.Message)) {
			return ErrOtherName
		}
	}
	return nil
}

// Accept pins the keys of a verified answer in place of others, because a person has
// compared their [Fingerprint] and gives it here, in any grouping and case. The error
// is [ErrFingerprint] if it is another, and those of [Pins.Check] but [*ChangedError].
func (p Pins) Accept(url, user string, a keydir.Answer, k keydir.Keys, fingerprint string, now time.Time) error {
	if !SameFingerprint(fingerprint, Fingerprint(k)) {
		return ErrFingerprint
	}
	if err := p.bound(url, a); err != nil {
		return err
	}
	pin, known, err := p.User(user)
	if err != nil {
		return err
	}
	if known && pin.Directory == url && a.Bound() && a.Version < pin.Version {
		return ErrOlder
	}
	p.Set(user, Pin{k, url, a.Version, now})
	return nil
}

// SameFingerprint reports whether a person's text is that fingerprint.
func SameFingerprint(text string, f rsakey.Fingerprint) bool {
	g, ok := ParseFingerprint(text)
	return ok && g == f
}

// ParseFingerprint reads a fingerprint as people write it: 64 hex digits, with spaces
// and colons where they like, in either case.
func ParseFingerprint(text string) (f rsakey.Fingerprint, ok bool) {
	text = strings.Map(func(r rune) rune {
		if r == ' ' || r == ':' || r == '\t' || r == '\n' {
			return -1
		}
		return r
	}, text)
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(f) {
		return f, false
	}
	return rsakey.Fingerprint(b), true
}
