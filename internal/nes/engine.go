package nes

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"parley"
	"parley/internal/bucketfile"
	"parley/keydir"
	"parley/keydir/client"
	"parley/secure/nes"
)

// An Engine is one user's NES: keys, state, provider and broker. It is safe for
// concurrent use; Close ends it.
type Engine struct {
	S    *Settings
	Note func(string) // something beside the result, for people; clean already

	user   string
	broker Where
	state  *bucketfile.File
	dir    *client.Client // nil: no provider
	cache  *client.Cache
	now    func() time.Time

	mu  sync.Mutex
	own *Own
}

// Open makes the engine of these settings. It asks nobody on the network.
func Open(s *Settings, note func(string)) (*Engine, error) {
	e := &Engine{S: s, Note: note, user: s.Get(User), now: time.Now}
	var err error
	if e.broker, err = ParseBroker(s.Get(Broker)); err != nil {
		return nil, err
	}
	if e.state, err = s.openState(); err != nil {
		return nil, err
	}
	if err := e.openProvider(); err != nil {
		e.Close()
		return nil, err
	}
	return e, nil
}

// Close ends the engine.
func (e *Engine) Close() error {
	if e.dir != nil {
		e.dir.Close()
	}
	return e.state.Close()
}

// openProvider makes the client for the provider with the key that is given, built in
// or pinned.
func (e *Engine) openProvider() error {
	if e.S.Get(Address) == NoProvider {
		return nil
	}
	u, err := client.ParseURL(e.S.Get(Address))
	if err != nil {
		return Errorf(Usage, "the provider's address: %w", err)
	}
	key, err := e.S.providerKey()
	if err != nil {
		return err
	}
	o := client.Options{URL: u.String(), Key: key, Unbound: true}
	err = e.state.Update(func(b parley.Bucket) error {
		known, ok, err := pins(b).Provider(o.URL)
		switch {
		case err != nil:
			return Errorf(Files, "%w", err)
		case key == nil && ok:
			o.Key = known.Key
		case key != nil && (!ok || !known.Key.Equal(key)):
			// A key that the user gives counts, and nothing of what another one signed.
			known = client.Provider{Key: key}
			pins(b).SetProvider(o.URL, known)
		}
		o.Unbound = !known.Binds
		return nil
	})
	if err != nil {
		return err
	}
	if e.dir, err = client.New(o); err != nil {
		return Errorf(Usage, "the provider's address: %w", err)
	}
	e.cache = client.NewCache(e.dir)
	return nil
}

// keys returns our keys, read once.
func (e *Engine) keys() (*Own, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.own != nil {
		return e.own, nil
	}
	own, err := e.S.LoadKeys()
	if err == nil {
		e.own = own
	}
	return own, err
}

// providerKey makes sure that the provider's key is known and pinned.
func (e *Engine) providerKey(ctx context.Context) (*rsa.PublicKey, error) {
	key, err := e.dir.Key(ctx)
	if err != nil {
		return nil, err
	}
	first := false
	err = e.state.Update(func(b parley.Bucket) (err error) {
		first, err = pins(b).PinProvider(e.dir.URL(), key)
		return err
	})
	if first {
		e.Note(fmt.Sprintf("The provider %s is used for the first time. From now on its key must be the one with this fingerprint: %s", e.dir.URL(), fingerprint(key)))
	}
	return key, err
}

// peerFile returns the keys of a peer whom the user has given as files, or false.
func (e *Engine) peerFile(peer string) (keydir.Keys, bool, error) {
	base := filepath.Join(e.S.Dir(), "peers", peer)
	if !exists(base+"-message.pub") && !exists(base+"-sign.pub") {
		return keydir.Keys{}, false, nil
	}
	var k keydir.Keys
	var err error
	if k.Message, err = readPublic(base + "-message.pub"); err == nil {
		k.Sign, err = readPublic(base + "-sign.pub")
	}
	if err == nil && k.Message.Equal(k.Sign) {
		err = keydir.ErrSameKey
	}
	if err != nil {
		return k, false, Errorf(Files, "Cannot read the keys of %s: %w", peer, err)
	}
	return k, true, nil
}

// pinned returns the keys that are pinned for a peer, or false.
func (e *Engine) pinned(peer string) (p client.Pin, ok bool, err error) {
	err = e.state.View(func(b parley.Bucket) (err error) {
		p, ok, err = pins(b).User(peer)
		return err
	})
	return p, ok, err
}

// lookup asks the provider for a peer's keys, compares them with the pinned ones and
// follows the provider's log. A [client.ChangedError] has exit code Untrusted.
func (e *Engine) lookup(ctx context.Context, peer string) (keydir.Keys, error) {
	if nes.CheckName(peer) != nil {
		return keydir.Keys{}, Errorf(Usage, "%w", nes.ErrName)
	}
	if e.dir == nil {
		return keydir.Keys{}, Errorf(Provider, "there is no provider, and no files %s", filepath.Join(e.S.Dir(), "peers", peer+"-message.pub and "+peer+"-sign.pub"))
	}
	if _, err := e.providerKey(ctx); err != nil {
		return keydir.Keys{}, e.providerError(err)
	}
	a, k, err := e.answer(ctx, peer)
	if err != nil {
		return keydir.Keys{}, e.providerError(err)
	}
	err = e.state.Update(func(b parley.Bucket) error {
		_, err := pins(b).Check(e.dir.URL(), peer, a, k, e.now())
		return err
	})
	if err != nil {
		e.cache.Forget(peer)
		return keydir.Keys{}, e.providerError(err)
	}
	return k, nil
}

// answer returns the provider's answer, and sees that its log has it. An answer that
// does not fit may have been overtaken by a change: a fresh one then has to.
func (e *Engine) answer(ctx context.Context, peer string) (a keydir.Answer, k keydir.Keys, err error) {
	for range 2 {
		if a, k, err = e.cache.Lookup(ctx, peer); err != nil {
			return a, k, err
		}
		if err = e.follow(ctx, a, k); !errors.Is(err, keydir.ErrLog) {
			break
		}
		e.cache.Forget(peer)
	}
	return a, k, err
}

// forget has the next look-up ask the provider.
func (e *Engine) forget(peer string) {
	if e.cache != nil {
		e.cache.Forget(peer)
	}
}

// follow sees that the provider's log goes on from where we know it, and has the
// answer. That it cannot be reached just now is no proof of anything.
func (e *Engine) follow(ctx context.Context, a keydir.Answer, k keydir.Keys) error {
	var known client.Provider
	err := e.state.View(func(b parley.Bucket) (err error) {
		known, _, err = pins(b).Provider(e.dir.URL())
		return err
	})
	if err != nil || !a.Bound() {
		return err
	}
	head, err := e.dir.FollowAnswer(ctx, known.Head, a, k)
	if errors.Is(err, client.ErrUnreachable) || errors.Is(err, client.ErrNoLog) {
		return nil
	}
	if err != nil {
		return err
	}
	return e.state.Update(func(b parley.Bucket) error {
		now, ok, err := pins(b).Provider(e.dir.URL())
		if err == nil && ok && now.Head.Size < head.Size {
			now.Head = head
			pins(b).SetProvider(e.dir.URL(), now)
		}
		return err
	})
}

// providerError gives an error of the provider its exit code.
func (e *Engine) providerError(err error) error {
	var own *Error
	switch {
	case err == nil || errors.As(err, &own):
		return err
	case errors.Is(err, client.ErrChanged), errors.Is(err, client.ErrOlder), errors.Is(err, client.ErrOtherName),
		errors.Is(err, client.ErrProviderChanged), errors.Is(err, client.ErrFingerprint):
		return &Error{Untrusted, err}
	case errors.Is(err, client.ErrPins):
		return &Error{Files, err}
	case errors.Is(err, client.ErrUnreachable) && e.S.Values[Address].From == "default":
		return Errorf(Provider, "%w (one on this machine is started with: %s)", err, StartHint)
	}
	return &Error{Provider, err}
}
