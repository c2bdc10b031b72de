package main

import (
	"context"
	"fmt"
	"path/filepath"

	"parley/internal/term"
	"parley/padstore"
)

type padRecoverCmd struct {
	padFlags
	File string `arg:"" type:"path" help:"The pad whose journal is damaged."`
	Yes  bool   `help:"Do not ask."`
}

type padRecovered struct {
	File string `json:"file"`
	Kept string `json:"kept"`
	Left int64  `json:"left"`
	Held string `json:"held,omitempty"`
}

func (c *padRecoverCmd) Run(ctx context.Context, a *app) error {
	if a.inTTY && !c.Yes {
		answer, err := a.ask(ctx, "Go on with what can be read of the journal? What it cannot tell counts as used, and messages that have not come may be lost. [y/N] ")
		if err != nil {
			return err
		}
		if answer != "y" && answer != "yes" {
			return &ownCode{exitState, fmt.Errorf("nothing was changed")}
		}
	}
	kept, err := padstore.Recover(c.File, padstore.Options{Marks: c.Marks, Event: func(e padstore.Event) {
		a.note("%s: %s", filepath.Base(c.File), e.Text)
	}})
	if err != nil {
		return padError(err)
	}
	p, err := c.open(a, c.File, false)
	if err != nil {
		return err
	}
	defer p.Close()
	st, err := p.Status(ctx, p.Peer())
	if err != nil {
		return padError(err)
	}
	v := padRecovered{File: c.File, Kept: kept, Left: st.Left, Held: st.Held}
	return a.result(v, func() string {
		s := fmt.Sprintf("%s: %s left to send with\n  the damaged journal is kept as %s\n", term.Line(v.File), sizeText(v.Left), term.Line(v.Kept))
		if v.Held != "" {
			s += fmt.Sprintf("  nothing is sent yet: %s\n", term.Line(v.Held))
		}
		return s
	})
}
