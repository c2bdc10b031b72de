package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"parley"
	"parley/messenger"
	"parley/messenger/profile"
	"parley/messenger/remote"
)

func TestExitCode(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, exitOK},
		{errors.New("boom"), exitUnexpected},
		{usage("bad %s", "flag"), exitUsage},
		{fmt.Errorf("x: %w", messenger.ErrTooLong), exitUsage},
		{fmt.Errorf("x: %w", profile.ErrNone), exitProfile},
		{ofProfile(errors.New("disk")), exitProfile},
		{ofProfile(context.Canceled), exitUnexpected},
		{fmt.Errorf("x: %w", profile.ErrPassphrase), exitPassphrase},
		{errNoPassphrase, exitPassphrase},
		{profile.ErrOwned, exitOwner},
		{fmt.Errorf("%w: %w", errHeld, remote.ErrNoAnswer), exitOwner},
		{remote.ErrVersion, exitOwner},
		{messenger.ErrNoContact, exitNotFound},
		{messenger.ErrNoMessage, exitNotFound},
		{messenger.ErrInvitation, exitInvitation},
		{messenger.ErrNoRelay, exitRelay},
		{fmt.Errorf("x: %w", parley.ErrOffline), exitRelay},
		{errQueued, exitQueued},
		{context.DeadlineExceeded, exitQueued},
		{errFailed, exitFailed},
		{messenger.ErrState, exitState},
		{messenger.ErrTaken, exitState},
		{errMismatch, exitMismatch},
		{errKeyChanged, exitMismatch},
		{errInterrupted, exitInterrupted},
	} {
		if got := exitCode(c.err); got != c.want {
			t.Errorf("exitCode(%v) = %d, want %d", c.err, got, c.want)
		}
	}
	if text := usage("bad %s", "flag").Error(); text != "bad flag" {
		t.Errorf("usage says %q", text)
	}
}

func TestLineKeepsOthersInTheirPlace(t *testing.T) {
	at := time.Date(2020, 1, 2, 3, 4, 5, 0, time.Local)
	m := messenger.Message{Contact: "e\x1b[2Jve\n", Direction: "in", Kind: "text", Text: "one\n12:00:00  you: two\x07", Received: at}
	if got, want := line(m), "2020-01-02 03:04  eve: one\n    12:00:00  you: two\n"; got != want {
		t.Errorf("line = %q, want %q", got, want)
	}
	m.Kind = "notice"
	if got := line(m); !strings.HasPrefix(got, "2020-01-02 03:04  * eve: ") {
		t.Errorf("a notice reads %q", got)
	}
	m = messenger.Message{ID: "0123456789", Contact: "eve", Direction: "out", Kind: "text", Text: "x", Sent: at, State: messenger.Failed, Error: "why\x1b[0m"}
	if got, want := pastLine(m), "01234567  2020-01-02 03:04  you: x  [failed: why]\n"; got != want {
		t.Errorf("pastLine = %q, want %q", got, want)
	}
}

func TestContactTable(t *testing.T) {
	got := contactTable([]messenger.Contact{
		{Name: "bob", State: "connected", Verified: true, Protocol: "ratchet", Promises: []string{"a", "b"}, Unread: 2, Queued: 1},
		{Name: "eve\x1b[31m", State: "connected", Verified: true, KeyChanged: true, Protocol: "smp-bare", Lacks: []string{"much"}},
	}, time.Now())
	for _, want := range []string{"bob      connected  yes          2    1", "promises: a; b", "eve      connected  KEY CHANGED  0    0", "lacks:    much"} {
		if !strings.Contains(got, want) {
			t.Errorf("lacks %q:\n%s", want, got)
		}
	}
	if strings.Contains(got, "\x1b") {
		t.Error("an escape sequence got through")
	}
}

func TestSameNumber(t *testing.T) {
	n := messenger.SafetyNumber{Words: []string{"alpha", "beta"}, Digits: "123 456", QR: "PARLEY-SAFETY:XY"}
	for text, want := range map[string]bool{
		"alpha beta": true, "ALPHA-beta": true, "123456": true, "123 456\n": true, "parley-safety:xy": true,
		"alpha": false, "alpha beta gamma": false, "12345": false, "beta alpha": false, "": false,
	} {
		if got := sameNumber(n, text); got != want {
			t.Errorf("sameNumber(%q) = %v", text, got)
		}
	}
	if sameNumber(messenger.SafetyNumber{}, "") {
		t.Error("nothing is the same as nothing")
	}
}

func TestQuoted(t *testing.T) {
	for in, want := range map[string]string{"bob": "bob", "bob smith": "'bob smith'", "o'neil": `'o'\''neil'`, "jürgen": "jürgen", "a;b": "'a;b'"} {
		if got := quoted(in); got != want {
			t.Errorf("quoted(%q) = %s", in, got)
		}
	}
}

func TestCheckRelay(t *testing.T) {
	const key = "L7nPNonDjmDrKRNFrFKrR8bWerekmo_kr7zQFT7Z7go"
	for address, good := range map[string]bool{
		"smp2020://" + key + "@relay.example:5223": true, "smp2020://" + key + "@[::1]:1": true, "smp2020-plain://127.0.0.1:1": true,
		"": false, "relay.example": false, "smp2020://relay.example:5223": false, "https://" + key + "@relay.example": false, "smp2020://" + key + "@": false, "%": false,
	} {
		if err := checkRelay(address); (err == nil) != good || !good && exitCode(err) != exitUsage {
			t.Errorf("checkRelay(%q) = %v", address, err)
		}
	}
}

func TestShorten(t *testing.T) {
	if got := shorten("a\nlong text", 5); got != "a lo…" {
		t.Errorf("shorten = %q", got)
	}
	if got := shorten("short", 5); got != "short" {
		t.Errorf("shorten = %q", got)
	}
}
