package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"parley/internal/term"
	"parley/messenger"
)

type statusCmd struct{}

func (c *statusCmd) Run(ctx context.Context, a *app) error {
	s, err := settledStatus(ctx, a)
	if err != nil {
		return err
	}
	return a.result(s, func() string {
		var b strings.Builder
		fmt.Fprintf(&b, "%s, profile %s\n", term.Line(s.Name), s.Profile)
		fmt.Fprintf(&b, "contacts %d · unread %d · queued %d · waiting to be opened %d · dropped %d\n", s.Contacts, s.Unread, s.Queued, s.Waiting, s.Dropped)
		if len(s.Relays) == 0 {
			b.WriteString("no relay is in use\n")
		}
		for _, r := range s.Relays {
			state := "not connected"
			if r.Connected {
				state = "connected"
			}
			if !r.Since.IsZero() {
				state += " since " + clock(r.Since, time.Now())
			}
			fmt.Fprintf(&b, "relay %s: %s, %d mailboxes", term.Line(r.Address), state, r.Mailboxes)
			if r.Error != "" {
				fmt.Fprintf(&b, " (%s)", term.Line(r.Error))
			}
			b.WriteByte('\n')
		}
		return b.String()
	})
}

// settledStatus gives a messenger that was opened just now a moment to reach its
// relays, so that “not connected” means something.
func settledStatus(ctx context.Context, a *app) (messenger.Status, error) {
	open := func(r messenger.RelayStatus) bool { return !r.Connected && r.Error == "" }
	for end := time.Now().Add(2 * time.Second); ; {
		s, err := repeat(ctx, a, func(api messenger.API) (messenger.Status, error) { return api.Status(ctx) })
		if err != nil || time.Now().After(end) || !slices.ContainsFunc(s.Relays, open) {
			return s, err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return s, context.Cause(ctx)
		}
	}
}

type versionCmd struct{}

func (c *versionCmd) Run(a *app) error {
	v := struct {
		Version  string `json:"version"`
		Revision string `json:"revision,omitempty"`
		Go       string `json:"go"`
		Platform string `json:"platform"`
	}{Version: "devel", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		if info.Main.Version != "" && info.Main.Version != "(devel)" {
			v.Version = info.Main.Version
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				v.Revision = s.Value
			}
		}
	}
	return a.result(v, func() string { return fmt.Sprintf("parley %s %s (%s, %s)\n", v.Version, v.Revision, v.Go, v.Platform) })
}
