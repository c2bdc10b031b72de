package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"parley/internal/qr"
	"parley/internal/term"
	"parley/messenger"
)

type inviteCmd struct {
	Relay []string `placeholder:"ADDR" env:"PARLEY_RELAY" help:"Relay to receive at; two make every message travel twice. By default the profile's."`
	As    string   `placeholder:"CONTACT" help:"Your name for whoever accepts; by default the name they give themselves."`
	QR    bool     `name:"qr" help:"Draw the invitation as a QR code, or a sequence of codes, below the line."`
	Bare  bool     `help:"Make SMP's own out-of-band message: for other programs, without the ratchet."`
}

func (c *inviteCmd) Run(ctx context.Context, a *app) error {
	inv, err := once(ctx, a, func(api messenger.API) (messenger.Invitation, error) {
		return api.Invite(ctx, messenger.InviteOptions{Relays: c.Relay, As: c.As, Bare: c.Bare})
	})
	if err != nil {
		return err
	}
	if a.json {
		out := struct {
			messenger.Invitation
			Codes []string `json:"codes,omitempty"`
		}{Invitation: inv}
		if c.QR {
			if out.Codes, err = qr.Split(inv.Text); err != nil {
				return err
			}
		}
		return a.emit(out)
	}
	if err := a.print(inv.Text + "\n"); err != nil || !c.QR {
		return err
	}
	codes, err := drawn(inv.Text, a.colour)
	if err != nil {
		return err
	}
	return a.print(codes)
}

// drawn is a text as one QR code, or as a sequence with a heading for each.
func drawn(text string, colour bool) (string, error) {
	parts, err := qr.Split(text)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for i, p := range parts {
		code, err := qr.Encode(p)
		if err != nil {
			return "", err
		}
		if len(parts) > 1 {
			fmt.Fprintf(&b, "\n%d/%d\n", i+1, len(parts))
		}
		b.WriteString(code.Draw(colour))
	}
	return b.String(), nil
}

type acceptCmd struct {
	Invitation []string      `arg:"" help:"The invitation, or - to read it from standard input; or all codes of a sequence, in any order."`
	As         string        `placeholder:"CONTACT" help:"Your name for who made it; by default the name they give themselves."`
	Relay      []string      `placeholder:"ADDR" env:"PARLEY_RELAY" help:"Relay to receive at. By default the profile's, else the invitation's."`
	Timeout    time.Duration `default:"30s" help:"How long to wait until the answer is at the relay."`
}

// maxInvitation is the most that is read as an invitation, in bytes.
const maxInvitation = 64 << 10

func (c *acceptCmd) Run(ctx context.Context, a *app) error {
	text, err := a.invitation(c.Invitation)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.Timeout, errQueued)
	defer cancel()
	contact, err := once(ctx, a, func(api messenger.API) (messenger.Contact, error) {
		return api.Accept(ctx, messenger.AcceptOptions{Invitation: text, As: c.As, Relays: c.Relay})
	})
	if err != nil {
		if errors.Is(context.Cause(ctx), errQueued) {
			err = fmt.Errorf("%w after %v: see “parley contacts” whether the invitation was taken", errQueued, c.Timeout)
		}
		return err
	}
	name := contact.Name
	contact, err = answered(ctx, a, contact)
	if err != nil {
		if errors.Is(err, errQueued) || errors.Is(context.Cause(ctx), errQueued) {
			return fmt.Errorf("%w after %v: the answer to %s is not at a relay yet; it stays queued and goes out while “parley listen” or another command runs (see “parley queue”)",
				errQueued, c.Timeout, term.Line(name))
		}
		return err
	}
	return a.result(contact, func() string {
		return fmt.Sprintf("Accepted. %s gets your answer from the relay. Next: parley send %s, then parley verify %[1]s\n", term.Line(contact.Name), quoted(contact.Name))
	})
}

// invitation joins the words of the command line, or reads standard input, and
// puts a sequence of codes together.
func (a *app) invitation(words []string) (string, error) {
	text := strings.Join(words, " ")
	if text == "-" {
		b, err := io.ReadAll(io.LimitReader(a.in, maxInvitation+1))
		if err != nil {
			return "", fmt.Errorf("standard input: %w", err)
		}
		text = string(b)
	}
	text = strings.TrimSpace(text)
	switch {
	case text == "":
		return "", fmt.Errorf("%w: it is empty", messenger.ErrInvitation)
	case len(text) > maxInvitation:
		return "", fmt.Errorf("%w: it is longer than %d bytes", messenger.ErrInvitation, maxInvitation)
	case qr.IsPart(text):
		return qr.Join(text)
	}
	return text, nil
}

// answered waits until our answer to the invitation is at one of the relays we
// send to: until that relay can be reached and nothing for it waits. Meanwhile
// the contact may get the name that its owner gave; when it was made tells which
// one it is.
func answered(ctx context.Context, a *app, c messenger.Contact) (messenger.Contact, error) {
	for {
		there, err := repeat(ctx, a, func(api messenger.API) (bool, error) {
			all, err := api.Contacts(ctx)
			if err != nil {
				return false, err
			}
			for _, now := range all {
				if now.Created.Equal(c.Created) {
					c = now
				}
			}
			if c.State == "connected" {
				return true, nil
			}
			queue, err := api.Queue(ctx)
			if err != nil {
				return false, err
			}
			status, err := api.Status(ctx)
			for _, r := range status.Relays {
				waits := func(e messenger.QueueEntry) bool { return e.Contact == c.Name && e.Relay == r.Address }
				if r.Connected && slices.Contains(c.Relays, r.Address) && !slices.ContainsFunc(queue, waits) {
					return true, nil
				}
			}
			return false, err
		})
		if err != nil || there {
			return c, err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return c, context.Cause(ctx)
		}
	}
}

// quoted is a name as it can be typed in a shell.
func quoted(name string) string {
	name = term.Line(name)
	for _, r := range name {
		if !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_' || r == '.' || r >= 0xc0) {
			return "'" + strings.ReplaceAll(name, "'", `'\''`) + "'"
		}
	}
	return name
}
