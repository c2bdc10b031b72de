package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"parley"
	"parley/builtin"
	"parley/internal/term"
	"parley/messenger"
)

// onePad is the protocol of a contact that is reached with a pad.
const onePad = "one-time-pad"

// addPadCmd makes a contact of the person at the other end of a pad.
type addPadCmd struct {
	Pad    string `arg:"" optional:"" type:"path" placeholder:"FILE" help:"Your end of the pad: ALICE.BOB.pad, or ALICE.BOB.random.store for the original's format."`
	Relay  string `required:"" placeholder:"otc://HOST:PORT" help:"The relay of both (otcs:// for HTTPS): parleyd serve --otc."`
	As     string `placeholder:"NAME" help:"What to call the contact here; by default the name on the pad."`
	Device string `placeholder:"FILE" type:"path" help:"The pad is on a device: the file of the pairing with it (parley pad pair)."`
	Self   string `placeholder:"NAME" help:"With --device: your name on the pad."`
	Peer   string `placeholder:"NAME" help:"With --device: the contact's name on the pad."`
	Marks  string `placeholder:"DIR" type:"path" help:"Where it is kept how far pads were used, apart from the pads; by default parley/marks in the user's state folder."`
}

func (c *addPadCmd) Run(ctx context.Context, a *app) error {
	switch {
	case (c.Pad == "") == (c.Device == ""):
		return usage("give the file of the pad, or --device with --self and --peer")
	case c.Device != "" && (c.Self == "" || c.Peer == ""):
		return usage("--device needs --self and --peer: the two names on the pad")
	case c.Device == "" && c.Self+c.Peer != "":
		return usage("--self and --peer are for pads on a --device: a file says the names itself")
	}
	for _, file := range []string{c.Pad, c.Device} {
		st, err := os.Stat(file)
		switch {
		case file == "":
		case err != nil:
			return &ownCode{exitProfile, fmt.Errorf("%s: %w", file, withoutPath(err))}
		case !st.Mode().IsRegular():
			return &ownCode{exitProfile, fmt.Errorf("%s is no file: name the .pad file, or the .random.store of the original's format", file)}
		}
	}
	setup, err := builtin.MarshalPadSetup(builtin.PadSetup{File: c.Pad, Device: c.Device, Self: parley.Name(c.Self), Peer: parley.Name(c.Peer), Marks: c.Marks})
	if err != nil {
		return err
	}
	o := messenger.PadOptions{Relay: c.Relay, As: c.As, Setup: setup}
	contact, err := once(ctx, a, func(api messenger.API) (messenger.Contact, error) { return api.AddPad(ctx, o) })
	if err != nil {
		return err
	}
	return a.result(contact, func() string {
		s := fmt.Sprintf("%s is a contact now. %s\nThen: parley send %s TEXT, parley listen %[3]s\n", term.Line(contact.Name), capital(padText(contact)), shellWord(contact.Name))
		if contact.State != "connected" {
			s += "The relay cannot be reached now: messages go out when it can.\n"
		}
		return s
	})
}

type grantCmd struct {
	Contact string `arg:""`
	Size    string `arg:"" help:"How much of your pad, such as 64K or 1G. What was granted is the contact's for ever."`
}

func (c *grantCmd) Run(ctx context.Context, a *app) error {
	n, err := term.ParseSize(c.Size)
	if err != nil {
		return usage("%w", err)
	}
	if _, err := once(ctx, a, func(api messenger.API) (nothing, error) { return only(api.GrantPad(ctx, c.Contact, n)) }); err != nil {
		return err
	}
	return a.contact(ctx, c.Contact, fmt.Sprintf("%s gets %s of your pad to send with.\n", term.Line(c.Contact), term.Size(n)))
}

// padWarning tells on standard error that a pad is running out.
func (a *app) padWarning(ctx context.Context, contact string) {
	c, err := repeat(ctx, a, func(api messenger.API) (messenger.Contact, error) { return api.Contact(ctx, contact) })
	if err == nil && c.Pad != nil && runsOut(c.Pad) {
		a.note("%s has %s of pad left to send with: make a new one in time, and give it with “parley contact add-pad FILE --relay %s --as %s”.", term.Line(c.Name), term.Size(c.Pad.Left), "otc://HOST:PORT", quoted(c.Name))
	}
}

// runsOut: less than a tenth of a half is left.
func runsOut(p *messenger.Pad) bool { return p.Size > 0 && p.Left*20 < p.Size }

// padText says in one line what a pad promises and how much of it is left.
func padText(c messenger.Contact) string {
	p := c.Pad
	switch {
	case p == nil:
		return "one-time pad, which cannot be looked at now."
	case p.Size == 0:
		return fmt.Sprintf("one-time pad, which cannot be looked at now: %s.", term.Line(p.Why))
	}
	kind := "everlasting one-time pad"
	if !p.Everlasting {
		kind = fmt.Sprintf("one-time pad, everlasting as far as its source is random (%s)", term.Line(p.Source))
	}
	s := fmt.Sprintf("%s: %s of %s left to send with", kind, term.Size(p.Left), term.Size(p.Size))
	if n := textsLeft(p); n > 0 {
		s += fmt.Sprintf(", about %d texts of 100 characters", n)
	}
	s += fmt.Sprintf("; %s left for %s.", term.Size(p.Theirs), term.Line(c.Name))
	if runsOut(p) {
		s += " It is running out: make a new one in time."
	}
	if p.Why != "" {
		s += " " + capital(term.Line(p.Why))
	}
	return s
}

// textsLeft is how many texts of 100 characters a pad has left.
func textsLeft(p *messenger.Pad) int64 {
	if p.Version == 1 {
		return p.Left / (2*100 + 48)
	}
	return p.Left / (32 + 192)
}

func capital(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
