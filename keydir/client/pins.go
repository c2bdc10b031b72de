package client

import (
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"parley/internal/rsakey"
	"parley/keydir"
)

var (
	// ErrChanged is what every [*ChangedError] is.
	ErrChanged = errors.New("the keys have changed")
	// ErrOlder means that a directory offers a key version older than the pinned one.
	ErrOlder = errors.New("the directory offers older keys than are known")
	// ErrProviderChanged means that a directory's own key is not the pinned one.
	ErrProviderChanged = errors.New("the key directory's own key has changed")
	// ErrOtherName means that keys are pinned for another user already.
	ErrOtherName = errors.New("these are another user's keys")
	// ErrFingerprint means that a fingerprint is not that of the keys on offer.
	ErrFingerprint = errors.New("the fingerprint is not that of the keys on offer")
	// ErrPins means that what is remembered cannot be read.
	ErrPins = errors.New("the remembered keys are damaged")
)

// Fingerprint is one number for both keys of a user, for people to compare: the
// SHA-256 of a line "parley keydir keys" and one line with the fingerprint of each, in
// hex, the message key's first.
func Fingerprint(k keydir.Keys) rsakey.Fingerprint {
	return fingerprint(rsakey.Of(k.Message).Hex(), rsakey.Of(k.Sign).Hex())
}

func fingerprint(message, sign string) rsakey.Fingerprint {
	return sha256.Sum256(fmt.Appendf(nil, "parley keydir keys\n%s\n%s\n", message, sign))
}

// A ChangedError stops a conversation: the keys on offer are not the pinned ones.
type ChangedError struct {
	User     string
	Old, New keydir.Keys
	// Vouched: the holder of the old signing key has asked for the new ones. Whoever
	// stole that key could have, too.
	Vouched bool
}

func (e *ChangedError) Error() string { return "the keys of " + e.User + " have changed" }

// Is reports whether target is [ErrChanged].
func (e *ChangedError) Is(target error) bool { return target == ErrChanged }

// A Bucket is what pins are kept in; a parley.Bucket is one.
type Bucket interface {
	Get(key string) []byte
	Put(key string, value []byte)
	Delete(key string)
	Scan(prefix string) iter.Seq2[string, []byte]
}

// Pins remember whose keys are whose, from the first use on. The value is good for
// one transaction of the bucket. Keys of the bucket begin with "directory/" and "user/".
type Pins struct{ Bucket Bucket }

// A Provider is what is remembered of a directory.
type Provider struct {
	Key   *rsa.PublicKey
	Binds bool        // its answers name the user, since some time: none without may come any more
	Head  keydir.Head // of its log, as far as it was followed; zero if never
}

type providerJSON struct {
	Key   []byte      `json:"key"`
	Binds bool        `json:"binds,omitempty"`
	Head  keydir.Head `json:"head"`
}

// A Pin is what is remembered of a user.
type Pin struct {
	Keys      keydir.Keys
	Directory string // whose answer it was; "" if the user gave the keys
	Version   int64  // of the keys at that directory; 0 if it does not say
	Since     time.Time
}

type pinJSON struct {
	Message   []byte `json:"message"`
	Sign      []byte `json:"sign"`
	Directory string `json:"directory,omitempty"`
	Version   int64  `json:"version,omitempty"`
	Since     int64  `json:"since"` // Unix milliseconds
}

// Provider returns what is remembered of the directory at that address, or false.
func (p Pins) Provider(url string) (Provider, bool, error) {
	b := p.Bucket.Get("directory/" + url)
	if b == nil {
		return Provider{}, false, nil
	}
	var j providerJSON
	if json.Unmarshal(b, &j) != nil {
		return Provider{}, false, ErrPins
	}
	key, err := rsakey.ParsePublicDER(j.Key)
	if err != nil {
		return Provider{}, false, ErrPins
	}
	return Provider{key, j.Binds, j.Head}, true, nil
}

// SetProvider remembers a directory, in place of what was.
func (p Pins) SetProvider(url string, v Provider) {
	p.Bucket.Put("directory/"+url, mustJSON(providerJSON{rsakey.DER(v.Key), v.Binds, v.Head}))
}

// PinProvider remembers a directory's key at first use, and is [ErrProviderChanged]
// when another was.
func (p Pins) PinProvider(url string, key *rsa.PublicKey) (first bool, err error) {
	v, known, err := p.Provider(url)
	switch {
	case err != nil:
		return false, err
	case known && !v.Key.Equal(key):
		return false, ErrProviderChanged
	case !known:
		p.SetProvider(url, Provider{Key: key})
	}
	return !known, nil
}

// User returns what is remembered of a user, or false.
func (p Pins) User(user string) (Pin, bool, error) {
	b := p.Bucket.Get("user/" + user)
	if b == nil {
		return Pin{}, false, nil
	}
	pin, err := parsePin(b)
	return pin, err == nil, err
}

// Users yields all users and what is remembered of them, in order.
func (p Pins) Users() iter.Seq2[string, Pin] {
	return func(yield func(string, Pin) bool) {
		for k, v := range p.Bucket.Scan("user/") {
			if pin, err := parsePin(v); err == nil && !yield(strings.TrimPrefix(k, "user/"), pin) {
				return
			}
		}
	}
}

func parsePin(b []byte) (Pin, error) {
	var j pinJSON
	if json.Unmarshal(b, &j) != nil {
		return Pin{}, ErrPins
	}
	m, err := rsakey.ParsePublicDER(j.Message)
	if err != nil {
		return Pin{}, ErrPins
	}
	s, err := rsakey.ParsePublicDER(j.Sign)
	if err != nil {
		return Pin{}, ErrPins
	}
	return Pin{keydir.Keys{Message: m, Sign: s}, j.Directory, j.Version, time.UnixMilli(j.Since)}, nil
}

// Set pins a user's keys, whatever was pinned before: a person has decided so.
func (p Pins) Set(user string, v Pin) {
	p.Bucket.Put("user/"+user, mustJSON(pinJSON{rsakey.DER(v.Keys.Message), rsakey.DER(v.Keys.Sign), v.Directory, v.Version, v.Since.UnixMilli()}))
}

// Forget removes a user's pin: the next answer counts as the first.
func (p Pins) Forget(user string) { p.Bucket.Delete("user/" + user) }

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // bytes, strings and numbers
	}
	return b
}
