package client

import (
	"context"
	"crypto"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"net/http"

	"parley/internal/rsakey"
	"parley/keydir"
)

// Private are a user's two private keys: to open messages, and to sign.
type Private struct{ Message, Sign crypto.Signer }

// Keys returns the public halves. The error is [rsakey.ErrKey] when one is no RSA key.
func (p Private) Keys() (keydir.Keys, error) {
	m, ok := p.Message.Public().(*rsa.PublicKey)
	s, ok2 := p.Sign.Public().(*rsa.PublicKey)
	if !ok || !ok2 {
		return keydir.Keys{}, rsakey.ErrKey
	}
	if m.Equal(s) {
		return keydir.Keys{}, keydir.ErrSameKey
	}
	return keydir.Keys{Message: m, Sign: s}, nil
}

// Register asks for an account with the public halves of these keys, and proves that
// both private ones are at hand. A directory of the original's kind does not look at
// the proof; when its key is not known either, none is made. The account is active
// once the link in the mail was followed. Errors are [keydir.ErrUsername] and
// [keydir.ErrEmail], before anything is asked, [*RefusedError] and [ErrUnreachable].
func (c *Client) Register(ctx context.Context, user, email string, p Private) error {
	if err := keydir.CheckUsername(user); err != nil {
		return err
	}
	if err := keydir.CheckEmail(email); err != nil {
		return err
	}
	k, err := p.Keys()
	if err != nil {
		return err
	}
	r := keydir.Registration{
		Username: user, Email: email,
		MessageKey: string(rsakey.EncodePublic(k.Message)), SignKey: string(rsakey.EncodePublic(k.Sign)),
	}
	if key, err := c.Key(ctx); err == nil {
		if r.Proof, err = keydir.Prove(key, user, email, k, p.Message, p.Sign, c.o.Now()); err != nil {
			return err
		}
	}
	body, err := json.Marshal(r)
	if err != nil {
		return err
	}
	status, answer, err := c.post(ctx, "/users", body)
	switch {
	case err != nil:
		return err
	case status == http.StatusCreated:
		return nil
	case status >= 400 && status < 500:
		return refused(status, answer)
	}
	return unexpected(status)
}

// Rotate puts new keys in place of those that the account has; the old signing key
// vouches for them. It returns the directory's new answer. Errors are those of
// [Client.Lookup], [ErrNoRotation] and [*RefusedError].
func (c *Client) Rotate(ctx context.Context, user string, old crypto.Signer, p Private) (keydir.Answer, keydir.Keys, error) {
	fail := func(err error) (keydir.Answer, keydir.Keys, error) { return keydir.Answer{}, keydir.Keys{}, err }
	key, err := c.Key(ctx)
	if err != nil {
		return fail(err)
	}
	now, _, err := c.Lookup(ctx, user)
	if err != nil {
		return fail(err)
	}
	if !now.Bound() {
		return fail(ErrNoRotation)
	}
	body, k, err := c.rotation(key, user, now.Version+1, old, p)
	if err != nil {
		return fail(err)
	}
	status, answer, err := c.post(ctx, "/users/"+user+"/keys", body)
	switch {
	case err != nil:
		return fail(err)
	case status == http.StatusNotFound || status == http.StatusMethodNotAllowed:
		return fail(ErrNoRotation)
	case status >= 400 && status < 500:
		return fail(refused(status, answer))
	case status != http.StatusOK:
		return fail(unexpected(status))
	}
	a, got, err := c.answer(ctx, answer, key, user)
	if err == nil && !got.Equal(k) {
		err = fmt.Errorf("%w: it answers with other keys than it was given", keydir.ErrLog)
	}
	return a, got, err
}

func (c *Client) rotation(provider *rsa.PublicKey, user string, version int64, old crypto.Signer, p Private) ([]byte, keydir.Keys, error) {
	k, err := p.Keys()
	if err != nil {
		return nil, k, err
	}
	sig, err := rsakey.Sign(old, keydir.RotationStatement(user, version, k))
	if err != nil {
		return nil, k, err
	}
	proof, err := keydir.Prove(provider, user, "", k, p.Message, p.Sign, c.o.Now())
	if err != nil {
		return nil, k, err
	}
	body, err := json.Marshal(keydir.Rotation{
		MessageKey: string(rsakey.EncodePublic(k.Message)), SignKey: string(rsakey.EncodePublic(k.Sign)),
		Version: version, Old: rsakey.EncodeBase64(sig), Proof: proof,
	})
	return body, k, err
}
