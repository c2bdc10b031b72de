package nes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"parley"
	"parley/internal/rsakey"
	"parley/keydir"
	"parley/keydir/client"
)

// Register asks the provider for an account with our public keys.
func (e *Engine) Register(ctx context.Context, email string) error {
	own, err := e.keys()
	if err != nil {
		return err
	}
	if e.dir == nil {
		return Errorf(Usage, "Cannot register username: no provider is set")
	}
	if err := keydir.CheckEmail(email); err != nil {
		return Errorf(Usage, "Cannot register username: %w", err)
	}
	if _, err := e.providerKey(ctx); errors.Is(err, client.ErrProviderChanged) {
		return e.providerError(err)
	}
	if err := e.dir.Register(ctx, e.user, email, client.Private{Message: own.Message, Sign: own.Sign}); err != nil {
		return Prefix("Cannot register username", e.providerError(err))
	}
	return nil
}

// Rotate makes new keys of that size, has the provider put them in the place of the
// present ones, with their signature, and keeps those as FILE.old-N. The new keys are
// on disk before the provider is asked, so that a run that breaks off is gone on with.
func (e *Engine) Rotate(ctx context.Context, bits int) error {
	own, err := e.keys()
	if err != nil {
		return err
	}
	if e.dir == nil {
		return Errorf(Usage, "Cannot rotate keys: no provider is set")
	}
	fresh, err := e.nextKeys(bits)
	if err != nil {
		return err
	}
	if _, err := e.providerKey(ctx); err != nil {
		return e.rotateError(err)
	}
	_, now, err := e.dir.Lookup(ctx, e.user)
	if err == nil && !now.Equal(fresh.Public()) {
		if !now.Equal(own.Public()) {
			return Errorf(Untrusted, "Cannot rotate keys: the provider has other keys for %s than those on this device: %s", e.user, client.Fingerprint(now))
		}
		_, _, err = e.dir.Rotate(ctx, e.user, own.Sign, client.Private{Message: fresh.Message, Sign: fresh.Sign})
	}
	if err != nil {
		return e.rotateError(err)
	}
	if err := e.S.install(); err != nil {
		return Errorf(Files, "Cannot install new keys: %w", err)
	}
	e.mu.Lock()
	e.own = nil
	e.mu.Unlock()
	return nil
}

func (e *Engine) rotateError(err error) error {
	return Prefix("Cannot rotate keys", e.providerError(err))
}

// nextKeys returns the keys of a rotation that broke off, or makes some.
func (e *Engine) nextKeys(bits int) (*Own, error) {
	var o Own
	var err error
	if exists(e.S.Get(MessageFile)+next) && exists(e.S.Get(SignFile)+next) {
		if o.Message, err = readPrivate(e.S.Get(MessageFile) + next); err == nil {
			o.Sign, err = readPrivate(e.S.Get(SignFile) + next)
		}
		if err != nil {
			return nil, Errorf(Files, "Cannot read new private key: %w", err)
		}
		return &o, nil
	}
	if bits < rsakey.MinBits || bits > rsakey.MaxBits || bits%8 != 0 {
		return nil, Errorf(Usage, "the size of keys is a multiple of 8 from %d to %d bits", rsakey.MinBits, rsakey.MaxBits)
	}
	for _, f := range e.S.keyFiles() { // of a run that broke off before it asked anybody
		os.Remove(f + next)
	}
	if o.Message, err = rsakey.Generate(bits); err == nil {
		o.Sign, err = rsakey.Generate(bits)
	}
	if err != nil {
		return nil, err
	}
	if err := e.S.writeKeys(next, o.Message, o.Sign, false); err != nil {
		return nil, Errorf(Files, "Cannot write keys: %w", err)
	}
	return &o, nil
}

// An Offer is what is known of a peer's keys, and what the provider says now.
type Offer struct {
	Local  bool // the keys are ours: Pinned are those on this device
	Pinned *client.Pin
	Answer keydir.Answer
	Keys   keydir.Keys
}

// Offered asks the provider for a peer's keys and changes nothing.
func (e *Engine) Offered(ctx context.Context, peer string) (o Offer, err error) {
	if e.dir == nil {
		return o, Errorf(Usage, "no provider is set")
	}
	pin, known, err := e.pinned(peer)
	if err != nil {
		return o, Errorf(Files, "%w", err)
	}
	if known {
		o.Pinned = &pin
	}
	if _, err := e.providerKey(ctx); err != nil {
		return o, e.providerError(err)
	}
	e.forget(peer)
	if o.Answer, o.Keys, err = e.answer(ctx, peer); err == nil {
		err = e.state.View(func(b parley.Bucket) error { return e.notMixedUp(b, peer, o.Answer, o.Keys) })
	}
	return o, e.providerError(err)
}

// notMixedUp sees that an answer without a name has not our own keys for a peer, nor a
// peer's for us: anybody's answer could be passed off as anybody else's.
func (e *Engine) notMixedUp(b parley.Bucket, user string, a keydir.Answer, k keydir.Keys) error {
	if a.Bound() {
		return nil
	}
	if user != e.user {
		if own, err := e.keys(); err == nil && own.Owns(k) {
			return fmt.Errorf("%w: our own", client.ErrOtherName)
		}
		return nil
	}
	for other, pin := range pins(b).Users() {
		if other != user && (pin.Keys.Sign.Equal(k.Sign) || pin.Keys.Message.Equal(k.Message)) {
			return client.ErrOtherName
		}
	}
	return nil
}

// Self reports whether a name is our own.
func (e *Engine) Self(user string) bool { return user == e.user }

// OwnKeys compares our keys with those that the provider has for us. What is known as
// ours is what is on this device, whatever was pinned.
func (e *Engine) OwnKeys(ctx context.Context) (o Offer, err error) {
	own, err := e.keys()
	if err != nil {
		return o, err
	}
	o, err = e.Offered(ctx, e.user)
	o.Local, o.Pinned = true, &client.Pin{Keys: own.Public()}
	return o, err
}

// Fingerprint returns the one of our keys.
func (e *Engine) Fingerprint() (string, error) {
	own, err := e.keys()
	if err != nil {
		return "", err
	}
	return client.Fingerprint(own.Public()).String(), nil
}

// Trust pins the keys on offer, whose fingerprint a person has compared.
func (e *Engine) Trust(peer string, o Offer, fingerprint string) error {
	return e.state.Update(func(b parley.Bucket) error {
		return e.providerError(pins(b).Accept(e.dir.URL(), peer, o.Answer, o.Keys, fingerprint, e.now()))
	})
}

// String is what people see before they decide.
func (o Offer) String() string {
	var b strings.Builder
	switch {
	case o.Local:
		fmt.Fprintf(&b, "here:    %s\n         message key %s\n         signing key %s\n", client.Fingerprint(o.Pinned.Keys), fingerprint(o.Pinned.Keys.Message), fingerprint(o.Pinned.Keys.Sign))
	case o.Pinned != nil:
		fmt.Fprintf(&b, "known:   %s\n         message key %s\n         signing key %s\n         since %s\n", client.Fingerprint(o.Pinned.Keys),
			fingerprint(o.Pinned.Keys.Message), fingerprint(o.Pinned.Keys.Sign), o.Pinned.Since.Local().Format(time.DateTime))
	}
	fmt.Fprintf(&b, "offered: %s\n         message key %s\n         signing key %s\n", client.Fingerprint(o.Keys), fingerprint(o.Keys.Message), fingerprint(o.Keys.Sign))
	return b.String()
}

// Same reports whether the keys on offer are the known ones.
func (o Offer) Same() bool { return o.Pinned != nil && o.Pinned.Keys.Equal(o.Keys) }
