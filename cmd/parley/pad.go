package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"parley"
	"parley/internal/keyfile"
	"parley/internal/term"
	"parley/padstore/generate"
	"parley/secure/otp"
)

// padCmd makes one-time pads and looks after them (docs/pads.md). No profile is needed.
type padCmd struct {
	New    padNewCmd    `cmd:"" help:"Make a pad for two people from random sources."`
	Show   padShowCmd   `cmd:"" help:"Draw what of a pad is used, burned, granted and left."`
	Check  padCheckCmd  `cmd:"" help:"Look for damage; of two ends, also whether they are the same pad."`
	Split  padSplitCmd  `cmd:"" help:"Make both people's files of a whole pad."`
	Export padExportCmd `cmd:"" help:"Make one person's file of a whole pad."`
	Skip   padSkipCmd   `cmd:"" help:"Give up the next bytes of a pad, or say that this is its only copy."`

	Recover padRecoverCmd `cmd:"" help:"Go on with a pad whose journal is damaged."`
	Pair    padPairCmd    `cmd:"" help:"Make this computer known to a pad device (parley-pad)."`
}

// padError gives an error of a pad its exit code.
func padError(err error) error {
	if errors.Is(err, fs.ErrExist) {
		err = fmt.Errorf("%w: it is never overwritten, and nothing was changed: choose another folder", err)
	}
	// The contract's errors speak of packets and keys: what follows them says it of pads.
	for _, kind := range []error{parley.ErrMalformed, parley.ErrRefused, parley.ErrNoKey} {
		if errors.Is(err, kind) {
			err = &kindError{err, errors.New(strings.ReplaceAll(err.Error(), kind.Error()+": ", ""))}
		}
	}
	for _, k := range []struct {
		code  int
		kinds []error
	}{
		{exitUsage, []error{generate.ErrSource, generate.ErrEqual}},
		{exitState, []error{generate.ErrUnfinished, generate.ErrExported, generate.ErrNotWhole, otp.ErrHeld, otp.ErrDepleted}},
		{exitProfile, []error{fs.ErrExist, fs.ErrNotExist, parley.ErrMalformed, keyfile.ErrExposed}},
		{exitNotFound, []error{parley.ErrNoKey}},
		{exitUsage, []error{parley.ErrRefused}},
	} {
		for _, kind := range k.kinds {
			if errors.Is(err, kind) {
				return &ownCode{k.code, err}
			}
		}
	}
	return err
}

// byteSize is a number of bytes: 4096, 64K, 1.5G, 1TiB, in powers of 1024.
type byteSize int64

func (s *byteSize) UnmarshalText(text []byte) error {
	n, err := term.ParseSize(string(text))
	*s = byteSize(n)
	return err
}

// sizeText is a size for people.
func sizeText(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d bytes", n)
	}
	v, unit := float64(n), -1
	for v >= 1023.95 && unit < 4 {
		v, unit = v/1024, unit+1
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0") + " " + string("KMGTP"[unit]) + "iB"
}

// groups writes digits in groups of four, to be read out.
func groups(hex string) string {
	var b strings.Builder
	for i, c := range hex {
		if i > 0 && i%4 == 0 {
			b.WriteByte(' ')
		}
		b.WriteRune(c)
	}
	return b.String()
}

// count writes a number with its thousands apart.
func count(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// secrecy says what may be said of a pad from these sources.
func secrecy(sources []otp.Source) string {
	for _, s := range sources {
		if s.Assessed {
			return "unconditional, if " + term.Line(s.Name) + " is the physical source that its owner says has been assessed"
		}
	}
	return "computational: as good as the generators it comes from (only an assessed physical source makes a pad unconditional)"
}

// sourceText is one source for people.
func sourceText(s otp.Source) string {
	text := s.Kind
	if name := term.Line(s.Name); name != s.Kind {
		text += " (" + name + ")"
	}
	if s.Assessed {
		text += ", assessed, as its owner says"
	}
	return text
}

// shellWord writes a file's name so that a shell takes it back.
func shellWord(path string) string {
	path = term.Line(path)
	if path != "" && strings.Trim(path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./=+@%") == "" {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
