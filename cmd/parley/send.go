package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"parley/internal/term"
	"parley/messenger"
)

type sendCmd struct {
	Contact string        `arg:""`
	Text    []string      `arg:"" optional:"" help:"The message; - or nothing reads it from standard input."`
	Wait    string        `enum:"none,relay,device" default:"relay" help:"How far to wait: none, relay or device."`
	Timeout time.Duration `default:"30s" help:"How long to wait. After it the message stays queued and the exit code is 9."`
}

func (c *sendCmd) Run(ctx context.Context, a *app) error {
	text, err := a.text(c.Text)
	if err != nil {
		return err
	}
	contact, err := repeat(ctx, a, func(api messenger.API) (messenger.Contact, error) { return api.Contact(ctx, c.Contact) })
	if errors.Is(err, messenger.ErrNoContact) && a.isCircle(ctx, c.Contact) {
		return c.sendAll(ctx, a, text)
	}
	if err != nil {
		return err
	}
	if contact.KeyChanged {
		a.loud(keyChangedText(contact))
		return fmt.Errorf("%w: nothing was sent to %s; compare first: parley verify %s", errKeyChanged, term.Line(contact.Name), quoted(contact.Name))
	}
	first := firstTo(ctx, a, contact)
	m, err := once(ctx, a, func(api messenger.API) (messenger.Message, error) { return api.Send(ctx, contact.Name, text) })
	if err != nil {
		return err
	}
	m, err = a.follow(ctx, m, c.Wait, c.Timeout)
	if err := a.sent(m, err); err != nil {
		return err
	}
	if contact.Protocol == onePad && !a.json {
		a.padWarning(ctx, contact.Name)
	}
	if first && !contact.Verified && !isTopic(contact) && contact.Protocol != onePad && contact.State == "connected" && !a.json {
		a.note("You have not verified %s yet: parley verify %s", term.Line(contact.Name), quoted(contact.Name))
	}
	return nil
}

// text is the message: words, or standard input.
func (a *app) text(words []string) (string, error) {
	text := strings.Join(words, " ")
	if len(words) == 0 && a.inTTY {
		return "", usage("nothing to send: give the text, or - to type it and end with Ctrl-D")
	}
	if len(words) == 0 || text == "-" {
		b, err := io.ReadAll(io.LimitReader(a.in, messenger.MaxText+2))
		if err != nil {
			return "", fmt.Errorf("standard input: %w", err)
		}
		text = strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	}
	switch {
	case text == "":
		return "", usage("nothing to send: the text is empty")
	case !utf8.ValidString(text):
		return "", usage("the text is not UTF-8")
	case len(text) > messenger.MaxText:
		return "", fmt.Errorf("%w: at most %d bytes", messenger.ErrTooLong, messenger.MaxText)
	}
	return text, nil
}

// firstTo reports whether we have not written to the contact lately, to hint at
// verifying once and not every time.
func firstTo(ctx context.Context, a *app, c messenger.Contact) bool {
	if c.Verified || a.json {
		return false
	}
	last, err := repeat(ctx, a, func(api messenger.API) ([]messenger.Message, error) { return api.History(ctx, c.Name, 20) })
	for _, m := range last {
		if m.Direction == "out" {
			return false
		}
	}
	return err == nil
}

// follow waits until a message of ours is at the relay or device. If the owner
// of the profile ends meanwhile, this process goes on in its place.
func (a *app) follow(ctx context.Context, m messenger.Message, until string, limit time.Duration) (messenger.Message, error) {
	if until == "none" {
		return m, nil
	}
	state := messenger.AtRelay
	if until == "device" {
		state = messenger.AtDevice
	}
	timed, cancel := context.WithTimeoutCause(ctx, limit, errQueued)
	defer cancel()
	got, err := repeat(timed, a, func(api messenger.API) (messenger.Message, error) { return api.Wait(timed, m.ID, state) })
	if err == nil {
		return got, nil
	}
	if ctx.Err() == nil && errors.Is(context.Cause(timed), errQueued) {
		if now, err := repeat(ctx, a, func(api messenger.API) (messenger.Message, error) { return api.Message(ctx, m.ID) }); err == nil {
			m = now
		}
		where := "the message stays queued and goes out while “parley listen” or another command runs (see “parley queue”)"
		if why := a.whyQueued(ctx, m.ID); why != "" {
			where = "it waits (" + why + "), and goes on while “parley listen” or another command runs"
		}
		if m.State == messenger.AtRelay {
			where = "the message is at the relay, and not yet on the device"
		}
		return m, fmt.Errorf("%w after %v: %s", errQueued, limit, where)
	}
	if now, again := repeat(ctx, a, func(api messenger.API) (messenger.Message, error) { return api.Message(ctx, m.ID) }); again == nil {
		if m = now; m.State == messenger.Failed || m.State == messenger.Canceled {
			err = nil // sent says so
		}
	}
	return m, err
}

// whyQueued says why a message waits, if that is known.
func (a *app) whyQueued(ctx context.Context, id string) string {
	all, err := repeat(ctx, a, func(api messenger.API) ([]messenger.QueueEntry, error) { return api.Queue(ctx) })
	for _, e := range all {
		if err == nil && e.Message == id && e.State == "waiting for the pad" {
			return e.Why
		}
	}
	return ""
}

// sent prints what became of a message of ours and returns the error for it.
func (a *app) sent(m messenger.Message, err error) error {
	if printErr := a.result(m, func() string { return fmt.Sprintf("%s  %s\n", m.ID, stateText(m)) }); printErr != nil {
		return printErr
	}
	if err == nil && (m.State == messenger.Failed || m.State == messenger.Canceled) {
		reason := m.Error
		if reason == "" {
			reason = string(m.State)
		}
		err = fmt.Errorf("%w: %s", errFailed, reason)
	}
	return err
}

// stateText says how far a message has got.
func stateText(m messenger.Message) string {
	text := map[messenger.State]string{
		messenger.Queued: "queued", messenger.AtRelay: "at the relay", messenger.AtDevice: "on the device",
		messenger.Read: "read", messenger.Failed: "failed", messenger.Canceled: "cancelled",
		messenger.Received: "received", messenger.Shown: "shown",
	}[m.State]
	if text == "" {
		text = term.Line(string(m.State))
	}
	if m.Error != "" {
		text += ": " + term.Line(m.Error)
	}
	return text
}
