package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"parley/internal/term"
	"parley/padstore"
	"parley/secure/otp"
)

type padFlags struct {
	Marks string `type:"path" placeholder:"DIR" help:"Folder of the high-water marks. Default: parley/marks in the user's state folder."`
}

// open opens a pad, and tells what is suspicious about it. Those who only view it may have
// it on a medium that can only be read.
func (f *padFlags) open(a *app, path string, view bool) (*padstore.Pad, error) {
	p, err := padstore.Open(path, padstore.Options{Marks: f.Marks, View: view, Event: func(e padstore.Event) {
		a.note("%s: %s", filepath.Base(path), e.Text)
	}})
	return p, padError(err)
}

// padFiles puts a folder's pads in its place.
func padFiles(args []string) ([]string, error) {
	var all []string
	for _, path := range args {
		if !folder(path) {
			all = append(all, path)
			continue
		}
		n := len(all)
		for _, kind := range []string{"*.pad", "*.random.metadata"} {
			found, err := filepath.Glob(filepath.Join(escapeGlob(path), kind))
			if err != nil {
				return nil, err
			}
			all = append(all, found...)
		}
		if len(all) == n {
			return nil, usage("%s: there is no pad in this folder", path)
		}
	}
	return all, nil
}

func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

type padShowCmd struct {
	padFlags
	Files []string `arg:"" name:"file" type:"path" help:"Pads: .pad files, in version 1 .metadata files, or folders of them."`
}

// padShown is all that can be said of a pad.
type padShown struct {
	File          string           `json:"file"`
	Self          string           `json:"self"`
	Peer          string           `json:"peer"`
	Format        string           `json:"format"`
	Whole         bool             `json:"whole,omitempty"`
	PadID         string           `json:"pad_id,omitempty"`
	Check         string           `json:"check,omitempty"`
	Created       time.Time        `json:"created,omitzero"`
	Left          int64            `json:"left"`
	Theirs        int64            `json:"theirs"`
	Largest       int64            `json:"largest"`
	Unconditional bool             `json:"unconditional"`
	Sources       []otp.Source     `json:"sources,omitempty"`
	Source        string           `json:"source,omitempty"`
	Held          string           `json:"held,omitempty"`
	Layout        padstore.Layout  `json:"layout"`
	Totals        map[string]int64 `json:"totals"` // bytes of each kind
	need100       int64
}

func (c *padShowCmd) Run(ctx context.Context, a *app) error {
	files, err := padFiles(c.Files)
	if err != nil {
		return err
	}
	for i, path := range files {
		v, err := c.look(ctx, a, path)
		if err != nil {
			return err
		}
		if i > 0 && !a.json {
			if err := a.print("\n"); err != nil {
				return err
			}
		}
		if err := a.result(v, func() string { return shownPadText(v, a.colour) }); err != nil {
			return err
		}
	}
	return nil
}

func (c *padShowCmd) look(ctx context.Context, a *app, path string) (*padShown, error) {
	p, err := c.open(a, path, true)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	l, err := p.Layout()
	if err != nil {
		return nil, padError(err)
	}
	v := &padShown{
		File: path, Self: string(p.Self()), Peer: string(p.Peer()), Format: fmt.Sprintf("v%d", p.Version()),
		Layout: l, Totals: make(map[string]int64), need100: p.Need(100),
	}
	for _, r := range l.Ranges {
		v.Totals[r.Kind] += r.End - r.Start
	}
	if h := p.Header(); h != nil {
		v.PadID, v.Check, v.Created = fmt.Sprintf("%x", h.ID), fmt.Sprintf("%x", h.Check), h.Created
		v.Sources, v.Unconditional, v.Whole = h.Sources, h.Unconditional(), h.Owner == otp.Whole
	}
	if v.Whole {
		return v, nil
	}
	st, err := p.Status(ctx, p.Peer())
	if err != nil {
		return nil, padError(err)
	}
	v.Left, v.Theirs, v.Largest, v.Source, v.Held = st.Left, st.Theirs, st.Largest, st.Source, st.Held
	v.Unconditional = st.Unconditional
	return v, nil
}

func shownPadText(v *padShown, colour bool) string {
	var b strings.Builder
	self, peer, l := term.Line(v.Self), term.Line(v.Peer), v.Layout
	fmt.Fprintf(&b, "%s\n", term.Line(v.File))
	fmt.Fprintf(&b, "  %s, %s", v.Format, sizeText(l.Size))
	if v.Whole {
		fmt.Fprintf(&b, ", whole: for %s and %s\n", self, peer)
	} else {
		fmt.Fprintf(&b, ", %s's end, for talking with %s\n", self, peer)
	}
	left, right := self, peer
	if !v.Whole && firstIsTheirs(l) {
		left, right = peer, self
	}
	fmt.Fprintf(&b, "\n  %s %s %s\n", left, drawPad(l, colour), right)
	for _, k := range padKinds {
		if n := v.Totals[k.kind]; n > 0 {
			fmt.Fprintf(&b, "    %s %10s  %s\n", paint(k, 1, colour), sizeText(n), strings.NewReplacer("SELF", self, "PEER", peer).Replace(k.text))
		}
	}
	b.WriteByte('\n')
	if !v.Whole {
		fmt.Fprintf(&b, "  to send    %s left: %s messages of 100 bytes; the longest that fits has %s\n", sizeText(v.Left), count(v.Left/max(v.need100, 1)), sizeText(v.Largest))
		fmt.Fprintf(&b, "  to get     %s left, as far as is known here\n", sizeText(v.Theirs))
		fmt.Fprintf(&b, "  messages   %s sent, %s received", count(int64(l.Sent)), count(int64(l.Received)))
		if l.Pending > 0 {
			fmt.Fprintf(&b, ", %d not yet safe at the client: their pad is kept", l.Pending)
		}
		b.WriteByte('\n')
	}
	if v.Check != "" {
		fmt.Fprintf(&b, "  check      %s (the same on both sides)\n", groups(v.Check))
	}
	if len(v.Sources) > 0 {
		fmt.Fprintf(&b, "  made       %s\n", v.Created.UTC().Format("2006-01-02 15:04Z"))
		for i, s := range v.Sources {
			fmt.Fprintf(&b, "  %-10s %s\n", []string{"from", ""}[min(i, 1)], sourceText(s))
		}
		fmt.Fprintf(&b, "  secrecy    %s\n", secrecy(v.Sources))
	} else {
		fmt.Fprintf(&b, "  from       %s\n  secrecy    computational, as far as a file of version 1 can tell; integrity rests on HMAC-SHA256\n", term.Line(v.Source))
	}
	for _, w := range padWarnings(v) {
		fmt.Fprintf(&b, "  WARNING    %s\n", w)
	}
	return b.String()
}

// firstIsTheirs reports whether position 0 is in the peer's half.
func firstIsTheirs(l padstore.Layout) bool {
	return len(l.Ranges) > 0 && strings.HasPrefix(l.Ranges[0].Kind, "theirs") != (l.Ranges[0].Kind == padstore.TheirsGranted || l.Ranges[0].Kind == padstore.OursGranted)
}

func padWarnings(v *padShown) (all []string) {
	if v.Whole {
		return []string{"it is not split yet: nothing can be sent with it. parley pad split " + shellWord(v.File) + " --to DIR DIR"}
	}
	half := v.Layout.Split
	if firstIsTheirs(v.Layout) {
		half = v.Layout.Size - half
	}
	if v.Held != "" {
		all = append(all, "nothing is sent with it: "+term.Line(v.Held))
	}
	if n := v.Layout.MissingSeqs; n > 0 {
		all = append(all, fmt.Sprintf("%s messages of %s have not come", count(int64(n)), term.Line(v.Peer)))
	}
	switch {
	case v.Left < v.need100:
		all = append(all, "it is used up: make a new pad, or have some granted")
	case v.Left < half/10:
		all = append(all, "less than a tenth of our half is left")
	}
	return all
}

// kindOf returns how a kind of range is drawn.
func kindOf(kind string) padKind {
	if i := slices.IndexFunc(padKinds, func(k padKind) bool { return k.kind == kind }); i >= 0 {
		return padKinds[i]
	}
	return padKind{kind, '!', "", kind}
}
