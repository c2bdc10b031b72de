package keydir

import (
	"crypto"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"parley/internal/rsakey"
)

// ProofAge is how old a proof may be when it arrives.
const ProofAge = time.Hour

// A Registration is the body of POST /users. The original sends the first four
// members; Proof is ours.
type Registration struct {
	Username   string `json:"username"`
	MessageKey string `json:"public_key_message"` // PEM
	SignKey    string `json:"public_key_sign"`    // PEM
	Email      string `json:"email"`
	Proof      *Proof `json:"proof,omitempty"`
}

// A Proof shows that who registers keys holds both private ones: each signs
// [RegistrationStatement] or [RotationStatement].
type Proof struct {
	Time    int64  `json:"time"`    // Unix milliseconds
	Message string `json:"message"` // by the message key, URL-safe base64
	Sign    string `json:"sign"`    // by the signing key
}

// RegistrationStatement is what both private keys sign at a registration: text that
// is no NES message and fits no other directory, user, mailbox or time. email is "" in
// a rotation.
func RegistrationStatement(provider *rsa.PublicKey, user, email string, k Keys, at int64) []byte {
	return fmt.Appendf(nil, "parley keydir registration 1\ndirectory %s\nuser %s\nemail %s\nmessage key %s\nsigning key %s\ntime %d\n",
		rsakey.Of(provider).Hex(), user, email, rsakey.Of(k.Message).Hex(), rsakey.Of(k.Sign).Hex(), at)
}

// RotationStatement is what the old signing key signs so that new keys take the
// place of the old ones. It names the version that they will have, so that it works
// once, and no directory: those who know the old key verify it themselves.
func RotationStatement(user string, version int64, k Keys) []byte {
	return fmt.Appendf(nil, "parley keydir rotation 1\nuser %s\nversion %d\nmessage key %s\nsigning key %s\n",
		user, version, rsakey.Of(k.Message).Hex(), rsakey.Of(k.Sign).Hex())
}

// Prove makes a proof of possession.
func Prove(provider *rsa.PublicKey, user, email string, k Keys, message, sign crypto.Signer, now time.Time) (*Proof, error) {
	at := now.UnixMilli()
	st := RegistrationStatement(provider, user, email, k, at)
	m, err := rsakey.Sign(message, st)
	if err != nil {
		return nil, err
	}
	s, err := rsakey.Sign(sign, st)
	if err != nil {
		return nil, err
	}
	return &Proof{Time: at, Message: rsakey.EncodeBase64(m), Sign: rsakey.EncodeBase64(s)}, nil
}

// Verify verifies a proof. The error is [ErrProof] with the reason.
func (p *Proof) Verify(provider *rsa.PublicKey, user, email string, k Keys, now time.Time) error {
	if d := now.Sub(time.UnixMilli(p.Time)); d > ProofAge || d < -Skew {
		return fmt.Errorf("%w: it is of another time (the clocks may differ)", ErrProof)
	}
	st := RegistrationStatement(provider, user, email, k, p.Time)
	for _, s := range []struct {
		name, text string
		key        *rsa.PublicKey
	}{{"message", p.Message, k.Message}, {"sign", p.Sign, k.Sign}} {
		sig, err := rsakey.DecodeBase64(s.text)
		if err != nil || rsakey.Verify(s.key, st, sig) != nil {
			return fmt.Errorf("%w: %s", ErrProof, s.name)
		}
	}
	return nil
}

// ParseRegistration reads the body of POST /users as the original does: names of
// members in any case, unknown ones ignored. Errors have the original's texts.
func ParseRegistration(body []byte) (Registration, Keys, error) {
	var r Registration
	d := json.NewDecoder(strings.NewReader(string(body)))
	if err := d.Decode(&r); err != nil {
		return Registration{}, Keys{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if err := CheckUsername(r.Username); err != nil {
		return Registration{}, Keys{}, err
	}
	if err := CheckEmail(r.Email); err != nil {
		return Registration{}, Keys{}, err
	}
	if r.MessageKey == r.SignKey { // before they are read, as the original
		return Registration{}, Keys{}, ErrSameKey
	}
	k, err := ParseKeys(r.MessageKey, r.SignKey)
	if err != nil {
		return Registration{}, Keys{}, err
	}
	return r, k, nil
}

// A Rotation is the body of POST /users/USER/keys: new keys in place of those that
// the account has.
type Rotation struct {
	MessageKey string `json:"public_key_message"` // PEM
	SignKey    string `json:"public_key_sign"`    // PEM
	Version    int64  `json:"key_version"`        // one more than now
	Old        string `json:"signature_old"`      // by the old signing key over RotationStatement
	Proof      *Proof `json:"proof"`              // by both new keys; needed
}

// ParseRotation reads such a body and verifies everything that can be without the
// old key: see [Rotation.VerifyOld].
func ParseRotation(body []byte, provider *rsa.PublicKey, user string, now time.Time) (Rotation, Keys, error) {
	var r Rotation
	if err := json.Unmarshal(body, &r); err != nil {
		return Rotation{}, Keys{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	k, err := ParseKeys(r.MessageKey, r.SignKey)
	if err != nil {
		return Rotation{}, Keys{}, err
	}
	if r.Proof == nil {
		return Rotation{}, Keys{}, fmt.Errorf("%w: there is none", ErrProof)
	}
	if err := r.Proof.Verify(provider, user, "", k, now); err != nil {
		return Rotation{}, Keys{}, err
	}
	return r, k, nil
}

// VerifyOld verifies the signature of the old signing key.
func (r *Rotation) VerifyOld(old *rsa.PublicKey, user string, k Keys) error {
	sig, err := rsakey.DecodeBase64(r.Old)
	if err != nil || rsakey.Verify(old, RotationStatement(user, r.Version, k), sig) != nil {
		return fmt.Errorf("%w: signature_old", ErrProof)
	}
	return nil
}
