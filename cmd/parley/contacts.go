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

type contactsCmd struct{}

func (c *contactsCmd) Run(ctx context.Context, a *app) error {
	all, err := repeat(ctx, a, func(api messenger.API) ([]messenger.Contact, error) { return api.Contacts(ctx) })
	if err != nil {
		return err
	}
	if a.json {
		for _, c := range all {
			if err := a.emit(c); err != nil {
				return err
			}
		}
		return nil
	}
	if len(all) == 0 {
		return a.print("Nobody yet. Make an invitation: parley invite\n")
	}
	for _, c := range all {
		if c.KeyChanged {
			a.loud(keyChangedText(c))
		}
	}
	return a.print(contactTable(all, time.Now()))
}

func keyChangedText(c messenger.Contact) string {
	both := ""
	if len(c.NewKey) > 0 {
		both = fmt.Sprintf(" Known: %s. New: %s.", strings.Join(c.Key, "; "), strings.Join(c.NewKey, "; "))
	}
	return fmt.Sprintf("THE KEY OF %s HAS CHANGED: somebody may sit between you.%s Compare: parley verify %s", term.Line(c.Name), both, quoted(c.Name))
}

func contactTable(all []messenger.Contact, now time.Time) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.StripEscape)
	fmt.Fprintln(w, "CONTACT\tSTATE\tVERIFIED\tNEW\tQUEUED\tLAST\tPROTOCOL")
	for _, c := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%s\t%s\n", term.Line(c.Name), term.Line(c.State), verifiedMark(c), c.Unread, c.Queued, clock(c.LastSeen, now), term.Line(protocolText(c)))
	}
	w.Flush()
	table := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	var out strings.Builder
	fmt.Fprintln(&out, table[0])
	for i, c := range all {
		fmt.Fprintln(&out, table[i+1])
		if c.Presence != "" {
			fmt.Fprintf(&out, "    presence: %s (told %s)\n", c.Presence, clock(c.Seen, now))
		}
		if len(c.Key) > 0 {
			fmt.Fprintf(&out, "    key:      %s\n", term.Line(strings.Join(c.Key, "; ")))
		}
		if len(c.NewKey) > 0 {
			fmt.Fprintf(&out, "    NEW KEY:  %s\n", term.Line(strings.Join(c.NewKey, "; ")))
		}
		if len(c.Promises) > 0 {
			fmt.Fprintf(&out, "    promises: %s\n", term.Line(strings.Join(c.Promises, "; ")))
		}
		if len(c.Lacks) > 0 {
			fmt.Fprintf(&out, "    lacks:    %s\n", term.Line(strings.Join(c.Lacks, "; ")))
		}
	}
	return out.String()
}

// protocolText says of a topic how it protects and how many are in it.
func protocolText(c messenger.Contact) string {
	if c.Account != "" {
		return fmt.Sprintf("%s (%s, by your account %s)", c.Protocol, c.User, c.Account)
	}
	if p := c.Pad; p != nil && p.Size > 0 {
		return fmt.Sprintf("%s (with %s, %s left)", c.Protocol, c.User, term.Size(p.Left))
	}
	if !isTopic(c) {
		return c.Protocol
	}
	return fmt.Sprintf("%s (%s, %d members)", c.Protocol, c.Mode, c.Members)
}

func verifiedMark(c messenger.Contact) string {
	switch {
	case c.KeyChanged:
		return "KEY CHANGED"
	case isTopic(c), c.Protocol == onePad: // who has the pad was given it
		return "-"
	case c.Verified:
		return "yes"
	}
	return "no"
}

type contactCmd struct {
	AddNES   addNESCmd   `cmd:"" name:"add-nes" help:"Add somebody who uses NES, by user name."`
	AddPad   addPadCmd   `cmd:"" name:"add-pad" help:"Add the person with whom you share a one-time pad."`
	Grant    grantCmd    `cmd:"" help:"Give a contact some of the pad that is yours to send with."`
	Rename   renameCmd   `cmd:"" help:"Give a contact another name."`
	Remove   removeCmd   `cmd:"" help:"Delete a contact, its messages, and its mailboxes at the relays."`
	Receipts receiptsCmd `cmd:"" help:"Choose what a contact learns about its messages."`
}

type renameCmd struct {
	Contact string `arg:""`
	To      string `arg:""`
}

func (c *renameCmd) Run(ctx context.Context, a *app) error {
	if _, err := once(ctx, a, func(api messenger.API) (nothing, error) { return only(api.Rename(ctx, c.Contact, c.To)) }); err != nil {
		return err
	}
	return a.contact(ctx, c.To, fmt.Sprintf("%s is called %s now.\n", term.Line(c.Contact), term.Line(c.To)))
}

// contact prints one contact as the result of what was done to it.
func (a *app) contact(ctx context.Context, name, human string) error {
	contact, err := repeat(ctx, a, func(api messenger.API) (messenger.Contact, error) { return api.Contact(ctx, name) })
	if err != nil {
		return err
	}
	return a.result(contact, func() string { return human })
}

type removeCmd struct {
	Contact string `arg:""`
	Yes     bool   `help:"Do not ask. Without a terminal nothing is asked."`
}

func (c *removeCmd) Run(ctx context.Context, a *app) error {
	contact, err := repeat(ctx, a, func(api messenger.API) (messenger.Contact, error) { return api.Contact(ctx, c.Contact) })
	if err != nil {
		return err
	}
	if a.inTTY && !c.Yes {
		answer, err := a.ask(ctx, fmt.Sprintf("Delete %s and all messages with them? [y/N] ", term.Line(contact.Name)))
		if err != nil {
			return err
		}
		if !yes(answer) {
			return fmt.Errorf("%w: nothing was deleted", errInterrupted)
		}
	}
	if _, err := once(ctx, a, func(api messenger.API) (nothing, error) { return only(api.Remove(ctx, contact.Name)) }); err != nil {
		return err
	}
	r := struct {
		Contact string `json:"contact"`
		Removed bool   `json:"removed"`
	}{contact.Name, true}
	return a.result(r, func() string { return fmt.Sprintf("%s and your conversation are gone.\n", term.Line(contact.Name)) })
}

func yes(answer string) bool {
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes"
}

type receiptsCmd struct {
	Contact string `arg:""`
	Level   string `arg:"" enum:"none,delivered,read" help:"none, delivered or read."`
}

func (c *receiptsCmd) Run(ctx context.Context, a *app) error {
	if _, err := repeat(ctx, a, func(api messenger.API) (nothing, error) { return only(api.SetReceipts(ctx, c.Contact, c.Level)) }); err != nil {
		return err
	}
	what := map[string]string{"none": "nothing", "delivered": "that they have arrived", "read": "that they have arrived and been read"}
	return a.contact(ctx, c.Contact, fmt.Sprintf("%s learns of their messages: %s.\n", term.Line(c.Contact), what[c.Level]))
}
