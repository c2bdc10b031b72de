package nes

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"parley"
	"parley/keydir"
	"parley/keydir/client"
	"parley/secure/nes"
)

// Where keys are pinned, nothing that is sent waits longer than askBriefly for the
// provider; after a failure it is not asked for restAfter, by any run.
const (
	askBriefly = 2 * time.Second
	restAfter  = time.Minute
)

// recipient returns the keys to seal for: of ourselves those on this device. A provider
// that cannot be reached is no reason to keep silent where keys are pinned, but a change
// that was learned is one.
func (e *Engine) recipient(ctx context.Context, peer string) (keydir.Keys, error) {
	if nes.CheckName(peer) != nil {
		return keydir.Keys{}, Errorf(Usage, "%w", nes.ErrName)
	}
	if e.Self(peer) {
		own, err := e.keys()
		if err != nil {
			return keydir.Keys{}, err
		}
		return own.Public(), nil
	}
	k, ok, err := e.peerFile(peer)
	if err != nil || ok {
		return k, err
	}
	pin, known, err := e.pinned(peer)
	switch {
	case err != nil:
		return k, Errorf(Files, "%w", err)
	case !known:
		return e.lookup(ctx, peer)
	case e.dir != nil && !e.resting():
		k, err = e.ask(ctx, peer)
		if err == nil || ctx.Err() != nil || !errors.Is(err, client.ErrUnreachable) {
			return k, err
		}
	}
	if c := e.change(peer, pin.Keys); c != nil {
		return k, e.providerError(c)
	}
	e.Note("The provider cannot be asked; the keys of " + peer + " that were pinned before are used.")
	return pin.Keys, nil
}

// ask is lookup that lasts askBriefly at most. What is learned later counts for the next
// message.
func (e *Engine) ask(ctx context.Context, peer string) (keydir.Keys, error) {
	type outcome struct {
		k   keydir.Keys
		err error
	}
	done := make(chan outcome, 1)
	e.wg.Go(func() {
		k, err := e.lookup(e.ctx, peer)
		switch failed := errors.Is(err, client.ErrUnreachable); {
		case e.ctx.Err() != nil, failed && e.resting(): // from its first failure on
		default:
			e.rest(failed)
		}
		done <- outcome{k, err}
	})
	limit := time.NewTimer(askBriefly)
	defer limit.Stop()
	select {
	case o := <-done:
		return o.k, o.err
	case <-limit.C:
		e.rest(true)
		return keydir.Keys{}, Errorf(Provider, "%w: no answer in time", client.ErrUnreachable)
	case <-ctx.Done():
		return keydir.Keys{}, ctx.Err()
	}
}

// restKey is where the time of the provider's last failure is kept, in Unix
// milliseconds.
func (e *Engine) restKey() string { return "rest/" + e.dir.URL() }

// rest notes that the provider has failed, or has not. That this cannot be saved is no
// matter.
func (e *Engine) rest(failed bool) {
	e.state.Update(func(b parley.Bucket) error {
		if failed {
			b.Put(e.restKey(), binary.BigEndian.AppendUint64(nil, uint64(e.now().UnixMilli())))
		} else {
			b.Delete(e.restKey())
		}
		return nil
	})
}

// resting reports whether the provider has failed a short while ago.
func (e *Engine) resting() (is bool) {
	e.state.View(func(b parley.Bucket) error {
		if v := b.Get(e.restKey()); len(v) == 8 {
			ago := e.now().Sub(time.UnixMilli(int64(binary.BigEndian.Uint64(v))))
			is = ago >= 0 && ago < restAfter // a clock that was put back counts for nothing
		}
		return nil
	})
	return is
}

// learned notes the outcome of comparing a user's keys.
func (e *Engine) learned(user string, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.changes, user)
	var c *client.ChangedError
	if errors.As(err, &c) {
		e.changes[user] = c
	}
}

// change returns a change of a user's pinned keys that was learned in this run, or nil.
func (e *Engine) change(user string, pinned keydir.Keys) *client.ChangedError {
	e.mu.Lock()
	defer e.mu.Unlock()
	if c := e.changes[user]; c != nil && c.Old.Equal(pinned) {
		return c
	}
	return nil
}
