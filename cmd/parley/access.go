package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"parley"
	"parley/messenger"
	"parley/messenger/remote"
)

// errHeld says that a process holds the profile's lock and cannot be talked to.
var errHeld = errors.New("another process holds the profile and does not answer")

// How long to wait for a process that holds the lock and does not serve yet, or
// not any more: opening asks for 64 MiB and 0.1 s, ending for up to 6 s.
const (
	ownerPatience = 12 * time.Second
	ownerPoll     = 40 * time.Millisecond
	closeGrace    = 5 * time.Second
)

// carried are errors of relays, which the exit codes tell apart.
var carried = remote.Sentinels{"offline": parley.ErrOffline, "refused": parley.ErrRefused, "full": parley.ErrFull, "denied": parley.ErrDenied}

// access is the way to the profile's messenger. The first process to come takes
// the lock, opens the messenger and serves it to the others, which dial it. When
// it ends, one of those takes its place.
type access struct {
	a      *app
	mu     sync.Mutex
	own    *owned
	client *remote.Client
	secret secret
}

// owned is what the owner of a profile holds.
type owned struct {
	api    messenger.API
	server *remote.Server
	served chan error
	unlock func() error
}

// get returns the messenger, opening it or dialling its owner first if needed.
func (x *access) get(ctx context.Context) (messenger.API, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.own != nil {
		return x.own.api, nil
	}
	if x.client != nil {
		select {
		case <-x.client.Ended():
			x.client.Close()
			x.client = nil
		default:
			return x.client, nil
		}
	}
	if err := profileExists(x.a.profile); err != nil {
		return nil, err
	}
	deadline := time.Now().Add(ownerPatience)
	for {
		api, err := x.try(ctx)
		if err == nil || !errors.Is(err, errHeld) {
			return api, err
		}
		if time.Now().After(deadline) {
			return nil, err
		}
		select {
		case <-time.After(ownerPoll):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// try dials the owner, else becomes the owner. errHeld is worth another try.
func (x *access) try(ctx context.Context) (messenger.API, error) {
	path, err := socketPath(x.a.profile)
	if err != nil {
		return nil, err
	}
	c, dialErr := remote.Dial(ctx, path, carried)
	if dialErr == nil {
		x.client = c
		return c, nil
	}
	if errors.Is(dialErr, remote.ErrVersion) || errors.Is(dialErr, remote.ErrForeign) {
		return nil, dialErr
	}
	free, err := lockFree(x.a.profile)
	if err != nil {
		return nil, err
	}
	if !free {
		return nil, fmt.Errorf("%w (%w)", errHeld, dialErr)
	}
	// Nobody holds the profile while somebody is asked for a passphrase.
	if err := x.secret.load(ctx, x.a); err != nil {
		return nil, err
	}
	own, err := open(ctx, x.a.profile, &x.secret)
	if err != nil {
		return nil, err
	}
	l, err := remote.Listen(path)
	if err != nil {
		own.api.Close()
		own.unlock()
		return nil, fmt.Errorf("the socket for other commands: %w", err)
	}
	own.server, own.served = remote.NewServer(own.api, x.a.profile, carried), make(chan error, 1)
	go func() { own.served <- own.server.Serve(l) }()
	x.own = own
	return own.api, nil
}

// close ends what is open. Other processes finish what they have begun, and one
// of those that are still there takes the profile over.
func (x *access) close() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.client != nil {
		x.client.Close()
		x.client = nil
	}
	if x.own == nil {
		return nil
	}
	own := x.own
	x.own = nil
	ctx, cancel := context.WithTimeout(context.Background(), closeGrace)
	defer cancel()
	own.server.Shutdown(ctx)
	return errors.Join(<-own.served, own.api.Close(), own.unlock())
}

// once calls f with the messenger. If the owner ends before it has begun, f is
// called again with the next one.
func once[T any](ctx context.Context, a *app, f func(messenger.API) (T, error)) (T, error) {
	return attempt(ctx, a, f, remote.ErrClosing)
}

// repeat does the same for what may be done twice, also if the owner died in
// the middle.
func repeat[T any](ctx context.Context, a *app, f func(messenger.API) (T, error)) (T, error) {
	return attempt(ctx, a, f, remote.ErrClosing, remote.ErrGone)
}

func attempt[T any](ctx context.Context, a *app, f func(messenger.API) (T, error), again ...error) (T, error) {
	for {
		var v T
		api, err := a.access.get(ctx)
		if err != nil {
			return v, err
		}
		v, err = f(api)
		if !isAny(err, again) || ctx.Err() != nil {
			return v, err
		}
		if c, ok := api.(*remote.Client); ok {
			c.Close()
		}
	}
}

func isAny(err error, kinds []error) bool {
	for _, k := range kinds {
		if errors.Is(err, k) {
			return true
		}
	}
	return false
}

// nothing is the result of what has none.
type nothing struct{}

func only(err error) (nothing, error) { return nothing{}, err }
