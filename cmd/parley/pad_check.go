package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"parley/internal/term"
	"parley/padstore"
	"parley/secure/otp"
)

type padCheckCmd struct {
	padFlags
	Files []string `arg:"" name:"file" type:"path" help:"Pads. Two ends of one pad are also compared byte by byte, where neither has been used."`
}

type padChecked struct {
	File  string `json:"file"`
	OK    bool   `json:"ok"`
	Check string `json:"check,omitempty"`
	// Same says of two ends whether what is left of both is the same, and Compared how
	// many bytes that are.
	With     string `json:"with,omitempty"`
	Same     bool   `json:"same,omitempty"`
	Compared int64  `json:"compared,omitempty"`
}

var errPadsDiffer = errors.New("the pads differ")

func (c *padCheckCmd) Run(ctx context.Context, a *app) error {
	files, err := padFiles(c.Files)
	if err != nil {
		return err
	}
	var pads []*padstore.Pad
	var held error
	defer func() {
		for _, p := range pads {
			p.Close()
		}
	}()
	for _, path := range files {
		p, err := c.open(a, path, true)
		if err != nil {
			return err
		}
		pads = append(pads, p)
		m, size := newMeter(a, "check"), int64(0)
		err = p.Check(ctx, func(done, total int64) {
			size = total
			m.tell(done, total)
		})
		m.end(size, err)
		if err != nil {
			return padError(fmt.Errorf("%s: %w", path, err))
		}
		v := padChecked{File: path, OK: true}
		if h := p.Header(); h != nil {
			v.Check = fmt.Sprintf("%x", h.Check)
		}
		if err := a.result(v, func() string { return checkedText(v) }); err != nil {
			return err
		}
		st, err := p.Status(ctx, p.Peer())
		if err != nil {
			return padError(err)
		}
		if h := p.Header(); st.Held != "" && (h == nil || h.Owner != otp.Whole) {
			held = &ownCode{exitState, fmt.Errorf("%s: no damage in what is left, but %w: %s", path, otp.ErrHeld, st.Held)}
		}
	}
	if len(pads) != 2 || held != nil {
		return held
	}
	return c.compare(ctx, a, files, pads)
}

func checkedText(v padChecked) string {
	s := fmt.Sprintf("%s: no damage found\n", term.Line(v.File))
	if v.Check != "" {
		s += fmt.Sprintf("  check %s\n", groups(v.Check))
	}
	return s
}

// compare compares two pads where neither has been used yet.
func (c *padCheckCmd) compare(ctx context.Context, a *app, files []string, pads []*padstore.Pad) error {
	x, y := pads[0], pads[1]
	if what := unlike(x, y); what != "" {
		return &ownCode{exitMismatch, fmt.Errorf("%w: %s", errPadsDiffer, what)}
	}
	lx, err := x.Layout()
	if err != nil {
		return padError(err)
	}
	ly, err := y.Layout()
	if err != nil {
		return padError(err)
	}
	common := both(fresh(lx), fresh(ly))
	total := int64(0)
	for _, s := range common {
		total += s.End - s.Start
	}
	m := newMeter(a, "compare")
	at, err := compareFiles(ctx, x, y, common, func(done int64) { m.tell(done, total) })
	m.end(total, err)
	if err != nil {
		return padError(err)
	}
	if at >= 0 {
		return &ownCode{exitMismatch, fmt.Errorf("%w from position %d on: these two cannot read each other", errPadsDiffer, at)}
	}
	v := padChecked{File: files[0], With: files[1], OK: true, Same: true, Compared: total}
	return a.result(v, func() string {
		return fmt.Sprintf("the same pad: %s that neither end has used are equal\n", sizeText(total))
	})
}

// unlike says what shows that two files are not of one pad, or "".
func unlike(x, y *padstore.Pad) string {
	hx, hy := x.Header(), y.Header()
	switch {
	case x.Version() != y.Version():
		return "they are of different versions"
	case hx == nil && (x.Self() != y.Peer() || x.Peer() != y.Self()):
		return "they are not the two ends of one pad"
	case hx == nil:
		return ""
	case hx.ID != hy.ID:
		return fmt.Sprintf("one has the ID %x, the other %x", hx.ID, hy.ID)
	case hx.Owner == hy.Owner && hx.Owner != otp.Whole:
		return "both are " + term.Line(string(x.Self())) + "'s end: only one of them may ever be used"
	case hx.Check != hy.Check || hx.Size != hy.Size || hx.Names != hy.Names || hx.Split != hy.Split:
		return "their headers differ"
	}
	return ""
}

// fresh are the ranges that nobody has used, as far as one end knows.
func fresh(l padstore.Layout) (all []padstore.Range) {
	for _, r := range l.Ranges {
		switch r.Kind {
		case padstore.OursLeft, padstore.OursGranted, padstore.TheirsLeft, padstore.TheirsGranted, padstore.Unused, padstore.Unsplit:
			all = append(all, r)
		}
	}
	return all
}

// both is what two lists of ranges have in common.
func both(x, y []padstore.Range) (all []padstore.Range) {
	for i, j := 0, 0; i < len(x) && j < len(y); {
		if from, to := max(x[i].Start, y[j].Start), min(x[i].End, y[j].End); from < to {
			all = append(all, padstore.Range{Start: from, End: to})
		}
		if x[i].End < y[j].End {
			i++
		} else {
			j++
		}
	}
	return all
}

// compareFiles returns the first position at which two pads differ, or -1.
func compareFiles(ctx context.Context, x, y *padstore.Pad, ranges []padstore.Range, tell func(done int64)) (int64, error) {
	var files [2]*os.File
	for i, p := range []*padstore.Pad{x, y} {
		f, err := os.Open(filepath.Clean(p.Path()))
		if err != nil {
			return 0, err
		}
		defer f.Close()
		files[i] = f
	}
	base := int64(0)
	if x.Version() == otp.V2 {
		base = otp.PadHeaderSize
	}
	a, b, done := make([]byte, 1<<20), make([]byte, 1<<20), int64(0)
	for _, r := range ranges {
		for at := r.Start; at < r.End; {
			if ctx.Err() != nil {
				return 0, context.Cause(ctx)
			}
			n := min(int64(len(a)), r.End-at)
			for i, p := range [][]byte{a[:n], b[:n]} {
				if _, err := io.ReadFull(io.NewSectionReader(files[i], base+at, n), p); err != nil {
					return 0, err
				}
			}
			if !bytes.Equal(a[:n], b[:n]) {
				for i := range n {
					if a[i] != b[i] {
						return at + i, nil
					}
				}
			}
			at += n
			done += n
			tell(done)
		}
	}
	return -1, nil
}
