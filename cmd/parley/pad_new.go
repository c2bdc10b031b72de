package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"parley/internal/term"
	"parley/padstore/generate"
	"parley/secure/otp"
)

type padNewCmd struct {
	Alice    string   `arg:"" help:"One of the two: the lower half of the pad is for what they send."`
	Bob      string   `arg:"" help:"The other one."`
	Size     byteSize `required:"" placeholder:"SIZE" help:"Of the pad: 64K, 1G, 1T, or a number of bytes."`
	Source   []string `sep:"none" placeholder:"SOURCE" help:"random (/dev/random, the default), urandom, a file of random bytes, or a device such as /dev/hwrng. Repeatable: all are XORed."`
	Assessed []string `sep:"none" placeholder:"SOURCE" help:"That SOURCE, a device or a file, is a physical source, or a recording of one, and somebody has assessed it: only then may a pad be called unconditional. Repeatable."`
	Format   string   `default:"v2" enum:"v1,v2" help:"v2, or v1: the four files of the original One Time Chat."`
	Dir      string   `default:"." type:"path" placeholder:"DIR" help:"Where to make it. Default: here."`
}

type padMade struct {
	Files         []string     `json:"files"`
	Format        string       `json:"format"`
	Size          int64        `json:"size"`
	PadID         string       `json:"pad_id,omitempty"`
	Check         string       `json:"check,omitempty"`
	Sources       []otp.Source `json:"sources"`
	Unconditional bool         `json:"unconditional"`
}

func (c *padNewCmd) Run(ctx context.Context, a *app) error {
	s := generate.Spec{Names: [2]string{c.Alice, c.Bob}, Size: int64(c.Size), Version: otp.V2, Dir: c.Dir}
	if c.Format == "v1" {
		s.Version = otp.V1
	}
	if len(c.Source) == 0 {
		c.Source = []string{generate.Random}
	}
	for _, name := range c.Assessed {
		if !slices.Contains(c.Source, name) {
			return usage("--assessed %s: it is none of the sources: give --source %s too", name, name)
		}
	}
	for _, name := range c.Source {
		s.Sources = append(s.Sources, generate.Source{Name: name, Assessed: slices.Contains(c.Assessed, name)})
	}
	if !folder(c.Dir) {
		return usage("--dir %s: there is no such folder", c.Dir)
	}
	m := newMeter(a, "pad")
	s.Progress = m.tell
	r, err := generate.Run(ctx, s)
	m.end(s.Size, err)
	if err != nil {
		return padError(err)
	}
	v := padMade{Files: r.Files, Format: c.Format, Size: s.Size, Sources: r.Sources}
	for _, src := range r.Sources {
		v.Unconditional = v.Unconditional || src.Assessed
	}
	if h := r.Header; h != nil {
		v.PadID, v.Check = fmt.Sprintf("%x", h.ID), fmt.Sprintf("%x", h.Check)
	}
	return a.result(v, func() string { return c.text(r, &v) })
}

func (c *padNewCmd) text(r *generate.Result, v *padMade) string {
	var b strings.Builder
	for i, path := range r.Files {
		fmt.Fprintf(&b, "%-8s %s\n", []string{"made", ""}[min(i, 1)], term.Line(path))
	}
	use := otp.Use(100)
	if c.Format == "v1" {
		use = otp.UseV1(100)
	}
	fmt.Fprintf(&b, "size     %s: %s messages of 100 bytes each way\n", sizeText(v.Size), count(v.Size/2/use))
	recorded := false
	for i, s := range r.Sources {
		fmt.Fprintf(&b, "%-8s %s\n", []string{"from", ""}[min(i, 1)], sourceText(s))
		recorded = recorded || s.Kind == "file"
	}
	fmt.Fprintf(&b, "secrecy  %s\n", secrecy(r.Sources))
	if v.Check != "" {
		fmt.Fprintf(&b, "check    %s\n", groups(v.Check))
	}
	whole := shellWord(r.Files[0])
	fmt.Fprintf(&b, "\nNext:\n  1. Give each of the two their files, on media that you hand over yourself:\n")
	fmt.Fprintf(&b, "       parley pad split %s --to DIR_OF_%s DIR_OF_%s\n", whole, strings.ToUpper(term.Line(c.Alice)), strings.ToUpper(term.Line(c.Bob)))
	if v.Check != "" {
		b.WriteString("  2. Compare the check on both sides: parley pad show FILE.\n")
	} else {
		b.WriteString("  2. Compare what both have: sha256sum of the .store files gives what split has printed.\n")
	}
	fmt.Fprintf(&b, "  3. Destroy what is left here: whoever has it reads everything, also what both have burned.\n       shred -u %s\n", whole)
	if len(r.Files) > 1 {
		b.WriteString("     and the other files above.\n")
	}
	if recorded {
		b.WriteString("     The files that were sources too: never make a second pad of them.\n")
	}
	return b.String()
}

// folder reports whether path is a folder.
func folder(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.IsDir()
}
