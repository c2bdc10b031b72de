package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"parley/internal/term"
	"parley/messenger"
)

type historyCmd struct {
	Contact string `arg:""`
	Limit   int    `placeholder:"N" help:"Only the last N messages."`
}

func (c *historyCmd) Run(ctx context.Context, a *app) error {
	if c.Limit < 0 {
		return usage("--limit is not negative")
	}
	all, err := repeat(ctx, a, func(api messenger.API) ([]messenger.Message, error) { return api.History(ctx, c.Contact, c.Limit) })
	if err != nil {
		return err
	}
	for _, m := range all {
		if err := a.result(m, func() string { return pastLine(m) }); err != nil {
			return err
		}
	}
	if a.json {
		return nil
	}
	contact, err := repeat(ctx, a, func(api messenger.API) (messenger.Contact, error) { return api.Contact(ctx, c.Contact) })
	if err != nil || contact.Protocol != onePad {
		return err
	}
	return a.print("  -- " + padText(contact) + "\n")
}

// pastLine is line with the beginning of the ID and, for ours, how far it got.
func pastLine(m messenger.Message) string {
	text := strings.TrimSuffix(line(m), "\n")
	if m.Direction == "out" && m.Kind == "text" {
		text += "  [" + stateText(m) + "]"
	}
	return fmt.Sprintf("%.8s  %s\n", m.ID, text)
}

type resendCmd struct {
	ID      string        `arg:"" help:"The message's ID, or at least its first 4 digits."`
	Wait    string        `enum:"none,relay,device" default:"relay" help:"How far to wait: none, relay or device."`
	Timeout time.Duration `default:"30s" help:"How long to wait."`
}

func (c *resendCmd) Run(ctx context.Context, a *app) error {
	m, err := repeat(ctx, a, func(api messenger.API) (messenger.Message, error) { return api.Resend(ctx, c.ID) })
	if err != nil {
		return err
	}
	m, err = a.follow(ctx, m, c.Wait, c.Timeout)
	return a.sent(m, err)
}

type cancelCmd struct {
	ID string `arg:"" help:"The message's ID, or at least its first 4 digits."`
}

func (c *cancelCmd) Run(ctx context.Context, a *app) error {
	m, err := once(ctx, a, func(api messenger.API) (messenger.Message, error) { return api.Cancel(ctx, c.ID) })
	if err != nil {
		return err
	}
	return a.result(m, func() string { return fmt.Sprintf("%s  %s\n", m.ID, stateText(m)) })
}

type queueCmd struct{}

func (c *queueCmd) Run(ctx context.Context, a *app) error {
	all, err := repeat(ctx, a, func(api messenger.API) ([]messenger.QueueEntry, error) { return api.Queue(ctx) })
	if err != nil {
		return err
	}
	if a.json {
		for _, e := range all {
			if err := a.emit(e); err != nil {
				return err
			}
		}
		return nil
	}
	if len(all) == 0 {
		return a.print("Nothing waits to be sent.\n")
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "MESSAGE\tCONTACT\tRELAY\tSTATE\tTRIES\tNEXT\tWHY")
	for _, e := range all {
		next := "now"
		if time.Until(e.NextTry) > 0 {
			next = clock(e.NextTry, time.Now())
		}
		id := e.Message
		if id == "" {
			id = "-"
		}
		fmt.Fprintf(w, "%.8s\t%s\t%s\t%s\t%d\t%s\t%s\n", id, term.Line(e.Contact), term.Line(e.Relay), term.Line(e.State), e.Tries, next, term.Line(e.Why))
	}
	w.Flush()
	return a.print(b.String())
}
