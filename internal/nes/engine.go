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
	far map[string]bool // of whom it was told that their entry is far back in the log
	// changes are what look-ups have learned and nobody has decided on, by user.
	changes map[string]*client.ChangedError

	// Look-ups that nobody waits for any more run until end is called.
	ctx context.Context
	end context.CancelFunc
	wg  sync.WaitGroup
}

// Open makes the engine of these settings. It asks nobody on the network.
func Open(s *Settings, note func(string)) (*Engine, error) {
	e := &Engine{S: s, Note: note, user: s.Get(User), now: time.Now, far: map[string]bool{}, changes: map[string]*client.ChangedError{}}
	e.ctx, e.end = context.WithCancel(context.Background())
	var err error
	if e.broker, err = ParseBroker(s.Get(Broker)); err != nil {
		return nil, s.inConfig(Broker, err)
	}
	if e.state, err = s.openState(); err != nil {
		return nil, err
	}
	if err := e.openProvider(); err != nil {
		e.Close()
		return nil, err
	}
	for _, w := range s.Exposed() {
		note(w)
	}
	return e, nil
}

// Close ends the engine.
func (e *Engine) Close() error {
	e.end()
	e.wg.Wait()
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
		return e.S.inConfig(Address, Errorf(Usage, "the provider's address: %w", err))
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
		if err := e.notMixedUp(b, peer, a, k); err != nil {
			return err
		}
		_, err := pins(b).Check(e.dir.URL(), peer, a, k, e.now())
		return err
	})
	e.learned(peer, err)
	if err != nil {
		e.cache.Forget(peer)
		return keydir.Keys{}, e.providerError(err)
	}
	return k, nil
}

// answer returns the provider's answer, and sees that its log goes on from where we
// know it and has the answer. That the log cannot be reached just now is no matter for
// keys that are pinned already; others are not trusted without it.
func (e *Engine) answer(ctx context.Context, peer string) (keydir.Answer, keydir.Keys, error) {
	var known client.Provider
	err := e.state.View(func(b parley.Bucket) (err error) {
		known, _, err = pins(b).Provider(e.dir.URL())
		return err
	})
	if err != nil {
		return keydir.Answer{}, keydir.Keys{}, err
	}
	a, k, head, err := e.cache.LookupFollowed(ctx, known.Head, peer)
	switch {
	case errors.Is(err, client.ErrFar):
		e.noteFar(peer)
	case errors.Is(err, client.ErrUnreachable) && a.Bound():
		if pin, ok, pinErr := e.pinned(peer); pinErr == nil && ok && pin.Keys.Equal(k) {
			return a, k, nil
		}
		return keydir.Answer{}, keydir.Keys{}, err
	case err != nil:
		return keydir.Answer{}, keydir.Keys{}, err
	}
	return a, k, e.setHead(head)
}

// noteFar tells, once of each peer, that the log was not followed to its entry.
func (e *Engine) noteFar(peer string) {
	e.mu.Lock()
	told := e.far[peer]
	e.far[peer] = true
	e.mu.Unlock()
	if !told {
		e.Note("The keys of " + peer + " in the provider's log: " + client.ErrFar.Error())
	}
}

// forget has the next look-up ask the provider.
func (e *Engine) forget(peer string) {
	if e.cache != nil {
		e.cache.Forget(peer)
	}
}

// setHead notes how far the provider's log was followed.
func (e *Engine) setHead(head keydir.Head) error {
	if head.Size == 0 {
		return nil
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
