package main

import (
	"context"
	"fmt"

	"parley/internal/term"
	"parley/secure/otp"
)

type padSkipCmd struct {
	padFlags
	File  string   `arg:"" type:"path" help:"The pad."`
	Size  byteSize `arg:"" optional:"" help:"How many of the next bytes to give up: at least as many as the newer copy of this pad may have used."`
	Moved bool     `help:"This is the only copy of the pad, and nothing was sent since it was copied: go on where it stands."`
	Hole  bool     `help:"Give up what is damaged: as many bytes as it takes to go past the first damaged place in the way of sending."`
	Yes   bool     `help:"Do not ask."`
}

type padSkipped struct {
	File    string `json:"file"`
	Skipped int64  `json:"skipped"`
	Left    int64  `json:"left"`
	Largest int64  `json:"largest"`
}

func (c *padSkipCmd) Run(ctx context.Context, a *app) error {
	asked := 0
	for _, what := range []bool{c.Size > 0, c.Moved, c.Hole} {
		if what {
			asked++
		}
	}
	if asked != 1 {
		return usage("say how many bytes to give up, or --moved if this is the only copy, or --hole to go past what is damaged")
	}
	p, err := c.open(a, c.File, false)
	if err != nil {
		return err
	}
	defer p.Close()
	before, err := p.Status(ctx, p.Peer())
	if err != nil {
		return padError(err)
	}
	if c.Hole {
		if before.Held != "" {
			return &ownCode{exitState, fmt.Errorf("%w: %s", otp.ErrHeld, before.Held)}
		}
		n, err := p.Hole(ctx)
		if err != nil {
			return padError(err)
		}
		if n == 0 {
			return &ownCode{exitState, fmt.Errorf("there is no damage in what is left to send with: nothing was changed")}
		}
		c.Size = byteSize(n)
	}
	if int64(c.Size) > before.Left {
		return usage("%s are more than the %s that are left", sizeText(int64(c.Size)), sizeText(before.Left))
	}
	if a.inTTY && !c.Yes {
		question := fmt.Sprintf("Give up %s of the %s that are left to send with, for good?", sizeText(int64(c.Size)), sizeText(before.Left))
		if c.Moved {
			question = "Is this the only copy of the pad, and was nothing sent since it was copied? If not, pad is used twice."
		}
		answer, err := a.ask(ctx, question+" [y/N] ")
		if err != nil {
			return err
		}
		if answer != "y" && answer != "yes" {
			return &ownCode{exitState, fmt.Errorf("nothing was changed")}
		}
	}
	if err := p.Skip(int64(c.Size)); err != nil {
		return padError(err)
	}
	after, err := p.Status(ctx, p.Peer())
	if err != nil {
		return padError(err)
	}
	v := padSkipped{File: c.File, Skipped: before.Left - after.Left, Left: after.Left, Largest: after.Largest}
	return a.result(v, func() string { return skippedText(v, after) })
}

func skippedText(v padSkipped, st otp.Status) string {
	s := fmt.Sprintf("%s: %s given up, %s left to send with\n", term.Line(v.File), sizeText(v.Skipped), sizeText(v.Left))
	if st.Held != "" {
		s += fmt.Sprintf("  and still nothing is sent: %s\n", term.Line(st.Held))
	}
	return s
}
