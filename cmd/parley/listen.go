package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"parley/messenger"
	"parley/messenger/remote"
)

type listenCmd struct {
	Contact string        `arg:"" optional:"" help:"Only messages of this contact."`
	Count   int           `placeholder:"N" help:"End after N messages."`
	Timeout time.Duration `placeholder:"D" help:"End after D; with --count and fewer messages the exit code is 9."`
}

var (
	errEnough = errors.New("enough messages")
	errOver   = errors.New("the time is over")
)

func (c *listenCmd) Run(ctx context.Context, a *app) error {
	if c.Count < 0 || c.Timeout < 0 {
		return usage("--count and --timeout are not negative")
	}
	if c.Contact != "" {
		if _, err := repeat(ctx, a, func(api messenger.API) (messenger.Contact, error) { return api.Contact(ctx, c.Contact) }); err != nil {
			return err
		}
	}
	inner, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if c.Timeout > 0 {
		timer := time.AfterFunc(c.Timeout, func() { cancel(errOver) })
		defer timer.Stop()
	}
	count := 0
	show := func(m messenger.Message) error {
		if c.Count > 0 && count >= c.Count {
			return errEnough // it stays for the next listener
		}
		if err := a.result(m, func() string { return line(m) }); err != nil {
			return err
		}
		if count++; count == c.Count {
			cancel(errEnough)
		}
		return nil
	}
	err := a.listen(inner, c.Contact, show)
	switch cause := context.Cause(inner); {
	case c.Count > 0 && count >= c.Count:
		return nil
	case cause == errOver && c.Count > 0:
		return fmt.Errorf("%w: %d of %d messages came in %v", errQueued, count, c.Count, c.Timeout)
	case cause == errOver:
		return nil
	case ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, errInterrupted)):
		return nil // ended by its user: that is how it ends
	}
	return err
}

// listen gives each message that no face has shown to show, once, and what else
// the user must know to standard error, until ctx ends or show fails. It stays
// when the owner of the profile changes, and becomes the owner if need be.
func (a *app) listen(ctx context.Context, contact string, show func(messenger.Message) error) error {
	shown := make(map[int64]bool) // IDs may be the same in a topic
	_, err := again(ctx, a, func(api messenger.API) (nothing, error) {
		inner, cancel := context.WithCancel(ctx)
		watched := make(chan struct{})
		go func() {
			defer close(watched)
			api.Watch(inner, func(c messenger.Change) error { a.alarm(c, contact); return nil })
		}()
		err := api.Listen(inner, contact, func(m messenger.Message) error {
			if shown[m.Seq] { // and the owner died before it could note that
				return nil
			}
			if err := show(m); err != nil {
				return err
			}
			shown[m.Seq] = true
			return nil
		})
		cancel()
		<-watched
		return nothing{}, err
	})
	return err
}

// again calls f with one messenger after the other, until it ends for another
// reason than the end of the messenger's owner.
func again(ctx context.Context, a *app, f func(messenger.API) (nothing, error)) (nothing, error) {
	return attempt(ctx, a, f, remote.ErrClosing, remote.ErrGone, remote.ErrSlow)
}

// alarm tells what the messenger itself says, and above all of changed keys.
func (a *app) alarm(c messenger.Change, contact string) {
	switch {
	case c.Message != nil && c.Message.Kind == "notice" && (contact == "" || contact == c.Message.Contact):
		a.note("%s: %s", author(*c.Message), c.Message.Text)
	case c.Contact != nil && c.Contact.KeyChanged && (contact == "" || contact == c.Contact.Name):
		a.loud(keyChangedText(*c.Contact))
	}
}
