package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"parley/internal/rsakey"
	"parley/internal/term"
	"parley/keydir"
	"parley/keydir/client"
)

// keydirCmd looks after a directory of public keys (docs/keydir.md). No profile is
// needed.
type keydirCmd struct {
	Audit keydirAuditCmd `cmd:"" help:"Verify the whole key log of a directory, and list what concerns some users."`
	Show  keydirShowCmd  `cmd:"" help:"Look a user up and print the fingerprints of their keys."`
}

// keydirFlags say which directory.
type keydirFlags struct {
	Provider string        `default:"http://127.0.0.1:8080" placeholder:"URL" help:"The directory. Default: ${default}"`
	Key      string        `placeholder:"FILE" help:"The directory's public key (PEM). Without it, the key that the directory offers is believed, and its fingerprint printed."`
	Timeout  time.Duration `default:"10s" help:"How long one request may take."`
}

// open makes the client, and tells the key when nobody has vouched for it.
func (f *keydirFlags) open(ctx context.Context, a *app, progress func(verified, size int64)) (*client.Client, error) {
	o := client.Options{URL: f.Provider, Timeout: f.Timeout, Unbound: true, Progress: progress}
	if f.Key != "" {
		b, err := os.ReadFile(f.Key)
		if err != nil {
			return nil, usage("--key: %w", err)
		}
		if o.Key, err = rsakey.ParsePublic(b); err != nil {
			return nil, usage("--key: %s: %w", f.Key, err)
		}
	}
	c, err := client.New(o)
	if err != nil {
		return nil, usage("--provider: %w", err)
	}
	key, err := c.Key(ctx)
	if err != nil {
		return nil, keydirError(err)
	}
	if f.Key == "" {
		a.note("The directory's key, as it offers it itself: %s", rsakey.Of(key))
	}
	return c, nil
}

// keydirError gives an error of a directory its exit code.
func keydirError(err error) error {
	for _, k := range []struct {
		code  int
		kinds []error
	}{
		{exitMismatch, []error{keydir.ErrLog, keydir.ErrForged, keydir.ErrOtherUser, client.ErrUnbound}},
		{exitUsage, []error{keydir.ErrUsername, client.ErrTwice}},
		{exitNotFound, []error{client.ErrNoUser, client.ErrNoLog}},
		{exitRelay, []error{client.ErrUnreachable}},
	} {
		for _, kind := range k.kinds {
			if errors.Is(err, kind) {
				return &ownCode{k.code, err}
			}
		}
	}
	return err
}

type keydirAuditCmd struct {
	keydirFlags
	Expect string   `placeholder:"SIZE:HASH" help:"A head of the log from before, or from a friend: the log must have come through it."`
	Users  []string `arg:"" optional:"" name:"user" help:"USER, or USER=FINGERPRINT of the keys they should have (parley keydir show)."`
}

func (c *keydirAuditCmd) Run(ctx context.Context, a *app) error {
	known, err := parseHead(c.Expect)
	if err != nil {
		return err
	}
	subjects, err := parseSubjects(c.Users)
	if err != nil {
		return err
	}
	tell, done := auditProgress(a.err, a.json)
	dir, err := c.open(ctx, a, tell)
	if err != nil {
		return err
	}
	defer dir.Close()
	r, err := dir.Audit(ctx, known, subjects)
	done()
	if err != nil && !errors.Is(err, keydir.ErrLog) {
		return keydirError(err)
	}
	if printErr := a.result(r, func() string { return auditText(r) }); printErr != nil {
		return printErr
	}
	return keydirError(err)
}

// longLog is from how many entries on an audit tells how far it is.
const longLog = 10 * keydir.PageEntries

// auditProgress tells at a terminal how far the audit of a long log is, in one line,
// which done ends.
func auditProgress(w io.Writer, json bool) (tell func(verified, size int64), done func()) {
	if f, ok := w.(*os.File); !ok || json || !term.IsTerminal(f) {
		return nil, func() {}
	}
	return progressLine(w)
}

func progressLine(w io.Writer) (tell func(verified, size int64), done func()) {
	begun := false
	tell = func(verified, size int64) {
		if size >= longLog {
			begun = true
			fmt.Fprintf(w, "\r%d of %d entries verified", verified, size)
		}
	}
	return tell, func() {
		if begun {
			fmt.Fprintln(w)
		}
	}
}

// parseHead reads SIZE:HASH; nothing is the head that knows nothing.
func parseHead(s string) (h keydir.Head, err error) {
	if s == "" {
		return h, nil
	}
	size, hash, ok := strings.Cut(s, ":")
	if h.Size, err = strconv.ParseInt(size, 10, 64); !ok || err != nil || h.Size < 0 || len(hash) != len(keydir.NoHash) || strings.Trim(hash, "0123456789abcdef") != "" {
		return h, usage("--expect: not SIZE:HASH as an audit prints it")
	}
	h.Hash = hash
	return h, nil
}

func parseSubjects(users []string) (all []client.Subject, err error) {
	for _, u := range users {
		name, text, given := strings.Cut(u, "=")
		if err := keydir.CheckUsername(name); err != nil {
			return nil, usage("%.40q: %w", name, err)
		}
		s := client.Subject{User: name}
		if given {
			f, ok := client.ParseFingerprint(text)
			if !ok {
				return nil, usage("%s: not a fingerprint of 64 hex digits", name)
			}
			s.Want = &f
		}
		all = append(all, s)
	}
	if all, err = client.MergeSubjects(all); err != nil {
		return nil, usage("%w", err)
	}
	return all, nil
}

func auditText(r client.Report) string {
	var b strings.Builder
	fmt.Fprintf(&b, "directory  %s\nlog        %d entries", term.Line(r.Directory), r.Size)
	if r.Problem == "" {
		fmt.Fprintf(&b, ", all verified\nhead       %d:%s\n", r.Size, r.Hash)
		b.WriteString("           Friends who audit it later pass this with --expect; if it does not fit, it shows you different histories.\n")
	} else {
		fmt.Fprintf(&b, "\nTHE DIRECTORY LIES: %s\n", term.Line(r.Problem))
	}
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "\n%s\n", f.User)
		if f.Earlier > 0 {
			fmt.Fprintf(&b, "  %d earlier entries\n", f.Earlier)
		}
		if len(f.Touches) == 0 {
			b.WriteString("  not in the log\n")
		}
		for _, t := range f.Touches {
			fmt.Fprintf(&b, "  %6d  %s  %-9s version %d", t.Seq, time.UnixMilli(t.Time).UTC().Format("2006-01-02 15:04:05Z"), t.Action, t.Version)
			if t.MessageKey != "" {
				fmt.Fprintf(&b, "\n          message key %s\n          signing key %s", t.MessageKey, t.SignKey)
			}
			b.WriteByte('\n')
		}
		if f.Problem != "" {
			fmt.Fprintf(&b, "  THE DIRECTORY LIES: %s\n", term.Line(f.Problem))
		}
	}
	return b.String()
}

type keydirShowCmd struct {
	keydirFlags
	User string `arg:"" help:"Whose keys."`
}

// shownKeys is what is known of a user's keys.
type shownKeys struct {
	User        string    `json:"user"`
	Fingerprint string    `json:"fingerprint"` // of both
	MessageKey  string    `json:"message_key"`
	SignKey     string    `json:"sign_key"`
	Bound       bool      `json:"bound"` // the answer says whose keys it has
	Version     int64     `json:"key_version,omitempty"`
	Proven      bool      `json:"proven"`
	Expires     time.Time `json:"expires,omitzero"`
	LogSeq      int64     `json:"log_seq,omitempty"`
}

func (c *keydirShowCmd) Run(ctx context.Context, a *app) error {
	dir, err := c.open(ctx, a, nil)
	if err != nil {
		return err
	}
	defer dir.Close()
	ans, k, _, err := dir.LookupFollowed(ctx, keydir.Head{}, c.User)
	if errors.Is(err, client.ErrFar) {
		a.note("Entry %d: %v", ans.LogSeq, err)
	} else if err != nil {
		return keydirError(err)
	}
	v := shownKeys{
		User: c.User, Fingerprint: client.Fingerprint(k).Hex(), MessageKey: rsakey.Of(k.Message).Hex(), SignKey: rsakey.Of(k.Sign).Hex(),
		Bound: ans.Bound(), Version: ans.Version, Proven: ans.Proven, LogSeq: ans.LogSeq,
	}
	if ans.Bound() {
		v.Expires = time.UnixMilli(ans.Expires).UTC()
	}
	return a.result(v, func() string {
		s := fmt.Sprintf("%s\n  fingerprint %s\n  message key %s (%d bits)\n  signing key %s (%d bits)\n", c.User, client.Fingerprint(k),
			rsakey.Of(k.Message), k.Message.N.BitLen(), rsakey.Of(k.Sign), k.Sign.N.BitLen())
		if !ans.Bound() {
			return s + "  The answer does not say whose keys these are: this directory is of the original's kind.\n"
		}
		proven := "not proven to be held by who registered them"
		if ans.Proven {
			proven = "proven to be held by who registered them"
		}
		return s + fmt.Sprintf("  version %d, entry %d of the key log, %s\n", ans.Version, ans.LogSeq, proven)
	})
}
