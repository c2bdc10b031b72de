package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"parley/internal/term"
	"parley/padstore/generate"
	"parley/secure/otp"
)

type padSplitCmd struct {
	padFlags
	File string   `arg:"" type:"path" help:"The whole pad: its .pad file, or in version 1 one of its four files."`
	To   []string `required:"" sep:"none" placeholder:"DIR" help:"Two folders, one for each of the two people, in the order of their names in the pad."`
	Rest []string `arg:"" optional:"" hidden:"" name:"dir"`
}

// padExported is what was handed out.
type padExported struct {
	generate.Exported
	PadID string `json:"pad_id,omitempty"`
	Check string `json:"check,omitempty"`
}

func (c *padSplitCmd) Run(ctx context.Context, a *app) error {
	to := append(c.To, c.Rest...)
	if len(to) != 2 {
		return usage("--to: name two folders, one for each of the two people")
	}
	for i, dir := range to {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return err
		}
		if !folder(abs) {
			return usage("--to %s: there is no such folder: make it, or mount the medium it is on", dir)
		}
		to[i] = abs
	}
	if to[0] == to[1] {
		return usage("--to: name two different folders: each of the two gets one")
	}
	names, err := padNames(c.File)
	if err != nil {
		return err
	}
	return exportPad(ctx, a, c.File, []generate.End{{Name: names[0], To: to[0]}, {Name: names[1], To: to[1]}}, generate.ExportOptions{Marks: c.Marks})
}

// padNames are the two people of a pad.
func padNames(path string) ([2]string, error) {
	if h, err := readPadHeader(path); err == nil && h != nil {
		return h.Names, nil
	} else if err != nil {
		return [2]string{}, padError(err)
	}
	stem := strings.TrimSuffix(strings.TrimSuffix(path, ".random.store"), ".random.metadata")
	// The first is who has the lower half, as in version 2.
	b, err := os.ReadFile(stem + ".random.metadata")
	if err != nil {
		return [2]string{}, padError(err)
	}
	m, err := otp.ParseMetadataV1(b)
	if err != nil {
		return [2]string{}, padError(err)
	}
	if m.Direction == -1 {
		return [2]string{m.RID, m.UID}, nil
	}
	return [2]string{m.UID, m.RID}, nil
}

// readPadHeader returns nothing for a pad of version 1, which has none.
func readPadHeader(path string) (*otp.PadHeader, error) {
	if isV1(path) {
		return nil, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, otp.PadHeaderSize)
	n, _ := f.ReadAt(b, 0)
	h, err := otp.ParsePadHeader(b[:n])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return h, nil
}

func isV1(path string) bool {
	return strings.HasSuffix(path, ".random.store") || strings.HasSuffix(path, ".random.metadata")
}

type padExportCmd struct {
	padFlags
	File  string `arg:"" type:"path" help:"The whole pad: its .pad file, or in version 1 one of its four files."`
	For   string `required:"" placeholder:"NAME" help:"Whose end to make."`
	To    string `required:"" type:"path" placeholder:"DIR|PATH" help:"Where to put it."`
	Again bool   `help:"Also when that end was handed out before. Two copies in use are the end of all secrecy."`
}

func (c *padExportCmd) Run(ctx context.Context, a *app) error {
	return exportPad(ctx, a, c.File, []generate.End{{Name: c.For, To: c.To}}, generate.ExportOptions{Again: c.Again, Marks: c.Marks})
}

func exportPad(ctx context.Context, a *app, path string, ends []generate.End, o generate.ExportOptions) error {
	h, err := readPadHeader(path)
	if err != nil {
		return padError(err)
	}
	if o.Again {
		a.loud("ANOTHER COPY OF ONE END: if two copies are ever used, what was sent with both can be read by everybody. Destroy the other copy first.")
	}
	m, size := newMeter(a, "copy"), int64(0)
	made, err := generate.Export(ctx, path, ends, o, func(done, total int64) {
		size = total
		m.tell(done, total)
	})
	m.end(size, err)
	if err != nil {
		return padError(err)
	}
	for i, e := range made {
		v := padExported{Exported: e}
		if h != nil {
			v.PadID, v.Check = fmt.Sprintf("%x", h.ID), fmt.Sprintf("%x", h.Check)
		}
		if err := a.result(v, func() string { return exportedText(v, i == len(made)-1, path) }); err != nil {
			return err
		}
	}
	return nil
}

func exportedText(v padExported, last bool, whole string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "for      %s\n", term.Line(v.Name))
	for i, f := range v.Files {
		fmt.Fprintf(&b, "%-8s %s\n", []string{"file", ""}[min(i, 1)], term.Line(f))
	}
	fmt.Fprintf(&b, "sha256   %s\n", v.SHA256)
	if v.Check != "" {
		fmt.Fprintf(&b, "check    %s\n", groups(v.Check))
	}
	b.WriteByte('\n')
	if last {
		fmt.Fprintf(&b, "Hand it over yourself, on a medium that nobody else gets. sha256sum tells whether the copy is whole; the check, which parley\npad show prints, is the same on both sides. When both ends are where they belong, destroy %s.\n", shellWord(whole))
	}
	return b.String()
}
