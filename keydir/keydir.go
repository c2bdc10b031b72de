// Package keydir is what both ends of the public-key directory share: the forms of
// NES's provider (seeds/nes-messenger.txt, Table 1), and what Parley adds to them so
// that people need not believe a directory: answers that name whose keys they are
// and until when, proofs that keys are held by who registers them, rotations signed
// by the key before, and a log in which every change of a key stays to be seen.
//
// It is pure. The server and the client are in packages of their own;
// docs/keydir.md has the formats in full.
package keydir

import (
	"crypto"
	"crypto/rsa"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"parley/internal/jsonobject"
	"parley/internal/rsakey"
)

// Bounds of what is registered.
const (
	MinUsername = 3
	MaxUsername = 32
	MaxEmail    = 254 // bytes (RFC 5321 §4.5.3.1.3); the original's 32 was an accident
	// MaxBody is the longest request or answer in bytes: two keys of
	// [rsakey.MaxBits], proofs, and room.
	MaxBody = 64 << 10
)

// Errors of requests. Their texts are the original's answers.
var (
	ErrUsername  = errors.New("username validation error")
	ErrEmail     = errors.New("email validation error")
	ErrDecodeKey = errors.New("decode key error")
	ErrSameKey   = errors.New("both public keys are identical")
	ErrTaken     = errors.New("user already exist")
)

// Errors of this package beyond those.
var (
	// ErrMalformed means that a text is not what a directory or a client writes.
	ErrMalformed = errors.New("not in the directory's form")
	// ErrProof means that a proof of possession or a rotation does not hold.
	ErrProof = errors.New("proof of possession does not verify")
	// ErrForged means that an answer is not signed by the directory's key.
	ErrForged = errors.New("the answer is not signed by this directory's key")
	// ErrOtherUser means that a signed answer is about another user.
	ErrOtherUser = errors.New("the answer is about another user")
	// ErrExpired means that a signed answer is of another time.
	ErrExpired = errors.New("the answer has expired, or this device's clock is wrong")
	// ErrLog means that the directory's log contradicts itself or an answer.
	ErrLog = errors.New("the directory's key log does not add up")
)

var username = regexp.MustCompile(`^[a-z0-9_-]{3,32}$`)

// CheckUsername accepts 3 to 32 of a-z, 0-9, _ and -. The error is [ErrUsername].
func CheckUsername(name string) error {
	if !username.MatchString(name) {
		return ErrUsername
	}
	return nil
}

// CheckEmail accepts up to 254 bytes of printable ASCII with one @ that is neither
// first nor last: enough that nothing can be put into a mail's header with it. The
// error is [ErrEmail].
func CheckEmail(address string) error {
	at := strings.IndexByte(address, '@')
	if at <= 0 || at == len(address)-1 || strings.Count(address, "@") != 1 || len(address) > MaxEmail {
		return ErrEmail
	}
	for _, r := range []byte(address) {
		if r <= ' ' || r >= 0x7f || strings.IndexByte(`<>()[]\,;:"`, r) >= 0 {
			return ErrEmail
		}
	}
	return nil
}

// Keys are a user's two public keys: to seal messages for them, and to verify
// theirs.
type Keys struct{ Message, Sign *rsa.PublicKey }

// ParseKeys reads both keys and sees that they differ, as keys and not only as
// texts. The errors are [ErrDecodeKey] and [ErrSameKey].
func ParseKeys(message, sign string) (Keys, error) {
	m, err := rsakey.ParsePublic([]byte(message))
	if err != nil {
		return Keys{}, fmt.Errorf("%w: public_key_message: %w", ErrDecodeKey, err)
	}
	s, err := rsakey.ParsePublic([]byte(sign))
	if err != nil {
		return Keys{}, fmt.Errorf("%w: public_key_sign: %w", ErrDecodeKey, err)
	}
	if m.Equal(s) {
		return Keys{}, ErrSameKey
	}
	return Keys{m, s}, nil
}

// Equal reports whether both keys are the same.
func (k Keys) Equal(o Keys) bool {
	return k.Message != nil && k.Sign != nil && o.Message != nil && o.Sign != nil && k.Message.Equal(o.Message) && k.Sign.Equal(o.Sign)
}

// signed is a JSON object {"response":…,"signature":…} taken apart: the signature, RSA-PSS
// with SHA-256 in URL-safe base64, covers the bytes of response as they stand.
type signed struct {
	response  []byte
	signature []byte
}

// sign puts a response and its signature together.
func sign(key crypto.Signer, response []byte) ([]byte, error) {
	sig, err := rsakey.Sign(key, response)
	if err != nil {
		return nil, err
	}
	out := append([]byte(`{"response":`), response...)
	out = append(out, `,"signature":`...)
	return append(strconv.AppendQuote(out, rsakey.EncodeBase64(sig)), '}'), nil
}

// verified takes such an object apart and verifies it.
func verified(body []byte, provider *rsa.PublicKey) (jsonobject.Object, error) {
	if len(body) > MaxBody {
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrMalformed, MaxBody)
	}
	o, err := jsonobject.Parse(body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	text, err := o.String("signature")
	if err != nil {
		return nil, fmt.Errorf("%w: no signature", ErrForged)
	}
	s := signed{response: o["response"]}
	if s.signature, err = rsakey.DecodeBase64(text); err != nil {
		return nil, fmt.Errorf("%w: the signature is not base64", ErrForged)
	}
	if err := rsakey.Verify(provider, s.response, s.signature); err != nil {
		return nil, ErrForged
	}
	r, err := jsonobject.Parse(s.response)
	if err != nil {
		return nil, fmt.Errorf("%w: response: %w", ErrMalformed, err)
	}
	return r, nil
}
