package keydir

import (
	"crypto"
	"crypto/rsa"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"parley/internal/jsonobject"
	"parley/internal/rsakey"
)

// Skew is how far the clocks of a client and a directory may differ.
const Skew = 5 * time.Minute

// An Answer is what a directory says of a user: the members of "response". The
// original has the two keys only, and its client ignores the others.
type Answer struct {
	MessageKey string `json:"public_key_message"` // PEM
	SignKey    string `json:"public_key_sign"`    // PEM

	Username string `json:"username"`    // empty from a directory of the original's kind
	Version  int64  `json:"key_version"` // 1 for the first keys of an account; grows
	Issued   int64  `json:"issued"`      // Unix milliseconds
	Expires  int64  `json:"expires"`     // Unix milliseconds
	Proven   bool   `json:"proven"`      // the account has proven to hold both private keys
	// LogSeq and LogHash are the entry of the key log that published these keys.
	LogSeq  int64  `json:"log_seq"`
	LogHash string `json:"log_hash"` // 64 hex digits

	// Rotation, from key version 2 on, is how the keys before vouched for these.
	Rotation *RotationProof `json:"rotation,omitempty"`
}

// A RotationProof lets those who know a user's keys see that the holder of these
// asked for new ones: the signature of the old signing key over
// [RotationStatement].
type RotationProof struct {
	OldSign   string `json:"old_sign"`  // fingerprint of the old signing key, 64 hex digits
	Signature string `json:"signature"` // URL-safe base64
}

// Sign returns the answer as the directory sends it.
func (a *Answer) Sign(provider crypto.Signer) ([]byte, error) {
	b, err := json.Marshal(a)
	if err != nil {
		return nil, err
	}
	return sign(provider, b)
}

// Bound reports whether the answer says whose keys it has.
func (a *Answer) Bound() bool { return a.Username != "" }

// ParseAnswer verifies a directory's answer and takes it apart. The errors are
// [ErrForged], [ErrMalformed], [ErrOtherUser], [ErrExpired], [ErrDecodeKey] and
// [ErrSameKey]. An answer without a name, of a directory of the original's kind,
// could be any user's: the caller decides whether that will do ([Answer.Bound]).
func ParseAnswer(body []byte, provider *rsa.PublicKey, user string, now time.Time) (Answer, Keys, error) {
	fail := func(err error) (Answer, Keys, error) { return Answer{}, Keys{}, err }
	r, err := verified(body, provider)
	if err != nil {
		return fail(err)
	}
	a, err := answer(r)
	if err != nil {
		return fail(err)
	}
	if name, err := r.String("username"); err == nil && name != user {
		return fail(ErrOtherUser)
	}
	keys, err := ParseKeys(a.MessageKey, a.SignKey)
	if err != nil {
		return fail(err)
	}
	if !a.Bound() {
		return a, keys, nil
	}
	if now.Add(Skew).Before(time.UnixMilli(a.Issued)) || now.Add(-Skew).After(time.UnixMilli(a.Expires)) {
		return fail(ErrExpired)
	}
	return a, keys, nil
}

func answer(r jsonobject.Object) (a Answer, err error) {
	if a.MessageKey, err = r.String("public_key_message"); err == nil {
		a.SignKey, err = r.String("public_key_sign")
	}
	if err != nil {
		return Answer{}, fmt.Errorf("%w: response: %w", ErrMalformed, err)
	}
	// Further members may be anything, as for the original: only all of ours together
	// are taken for ours.
	full := a
	if full.bound(r) == nil {
		return full, nil
	}
	return a, nil
}

// bound reads what only directories of our kind say.
func (a *Answer) bound(r jsonobject.Object) (err error) {
	if a.Username, err = r.String("username"); err != nil {
		return err
	}
	for name, to := range map[string]*int64{"key_version": &a.Version, "issued": &a.Issued, "expires": &a.Expires, "log_seq": &a.LogSeq} {
		if *to, err = r.Int(name); err != nil {
			return err
		}
	}
	if a.LogHash, err = r.String("log_hash"); err != nil {
		return err
	}
	if !isHash(a.LogHash) || a.Version < 1 || a.LogSeq < 1 || CheckUsername(a.Username) != nil {
		return fmt.Errorf("%w: a member is out of its range", jsonobject.ErrSyntax)
	}
	a.Proven = string(r["proven"]) == "true"
	if raw, ok := r["rotation"]; ok {
		o, err := jsonobject.Parse(raw)
		if err != nil {
			return err
		}
		var p RotationProof
		if p.OldSign, err = o.String("old_sign"); err != nil {
			return err
		}
		if p.Signature, err = o.String("signature"); err != nil {
			return err
		}
		a.Rotation = &p
	}
	return nil
}

func isHash(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == 32 && hex.EncodeToString(b) == s
}

// VouchedBy reports whether the holder of a former signing key asked for the keys
// of this answer.
func (a *Answer) VouchedBy(old *rsa.PublicKey, keys Keys) bool {
	if a.Rotation == nil || a.Rotation.OldSign != rsakey.Of(old).Hex() {
		return false
	}
	sig, err := rsakey.DecodeBase64(a.Rotation.Signature)
	return err == nil && rsakey.Verify(old, RotationStatement(a.Username, a.Version, keys), sig) == nil
}
