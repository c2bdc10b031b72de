package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/alecthomas/kong"

	"parley"
	"parley/internal/bucketfile"
	"parley/internal/live"
	"parley/internal/qr"
	"parley/messenger"
	"parley/messenger/profile"
	"parley/messenger/remote"
	"parley/secure/stringphone"
)

// Exit codes are part of the contract with scripts: a number never changes its
// meaning.
const (
	exitOK          = 0
	exitUnexpected  = 1
	exitUsage       = 2
	exitProfile     = 3
	exitPassphrase  = 4
	exitOwner       = 5
	exitNotFound    = 6
	exitInvitation  = 7
	exitRelay       = 8
	exitQueued      = 9
	exitFailed      = 10
	exitState       = 11
	exitMismatch    = 12
	exitInterrupted = 130
)

var exitCodes = []struct {
	Code    int    `json:"code"`
	Meaning string `json:"meaning"`
}{
	{exitOK, "done"},
	{exitUnexpected, "something else went wrong; the text says what"},
	{exitUsage, "the command line or the text to send is wrong"},
	{exitProfile, "the profile, a pad or a topic's state is missing, exists already, or is damaged"},
	{exitPassphrase, "the passphrase is wrong, or there is none to be had"},
	{exitOwner, "another process holds the profile and does not answer"},
	{exitNotFound, "no such contact, account, user, message, topic or member"},
	{exitInvitation, "not a usable invitation"},
	{exitRelay, "no relay is set, or none can be reached, or it or a key directory refuses"},
	{exitQueued, "time ran out: the message or answer stays queued, or too few messages came"},
	{exitFailed, "the message has failed for good, or was cancelled"},
	{exitState, "not possible in this state"},
	{exitMismatch, "a key has changed, or safety numbers or pads differ"},
	{exitInterrupted, "interrupted"},
}

// Errors of the command line itself.
var (
	errInterrupted  = errors.New("interrupted")
	errUsage        = errors.New("usage")
	errNoPassphrase = errors.New("no passphrase")
	errQueued       = errors.New("time ran out")
	errFailed       = errors.New("not sent")
	errMismatch     = errors.New("the safety numbers differ")
	errKeyChanged   = errors.New("THE KEY HAS CHANGED")
)

// usage makes an error of kind errUsage whose text is only what format says.
func usage(format string, args ...any) error {
	return &kindError{errUsage, fmt.Errorf(format, args...)}
}

// kindError is an error with a kind that its text does not mention.
type kindError struct {
	kind error
	error
}

func (e *kindError) Unwrap() []error { return []error{e.kind, e.error} }

// ownCode is an error of a command that has a table of exit codes of its own.
type ownCode struct {
	code int
	error
}

func (e *ownCode) Unwrap() error { return e.error }

// exitCode sorts an error. The first kind that matches counts.
func exitCode(err error) int {
	var own *ownCode
	if errors.As(err, &own) {
		return own.code
	}
	for _, k := range []struct {
		code  int
		kinds []error
	}{
		{exitInterrupted, []error{errInterrupted}},
		{exitUsage, []error{errUsage, messenger.ErrTooLong}},
		{exitMismatch, []error{errMismatch, errKeyChanged, messenger.ErrCompareAgain}},
		{exitQueued, []error{errQueued}},
		{exitFailed, []error{errFailed}},
		{exitPassphrase, append(passphraseErrors, errNoPassphrase)},
		{exitOwner, []error{errHeld, profile.ErrOwned, remote.ErrNoAnswer, remote.ErrVersion, remote.ErrForeign}},
		{exitProfile, append(profileErrors, bucketfile.ErrDamaged, bucketfile.ErrExposed)},
		{exitNotFound, []error{messenger.ErrNoContact, messenger.ErrNoMessage, messenger.ErrNoAccount, messenger.ErrNoUser, errNoTopic, live.ErrNotJoined}},
		{exitInvitation, []error{messenger.ErrInvitation, qr.ErrMissing, qr.ErrMixed}},
		{exitRelay, []error{messenger.ErrNoRelay, messenger.ErrDirectory, parley.ErrOffline, parley.ErrRefused, parley.ErrDenied, parley.ErrFull}},
		{exitQueued, []error{context.DeadlineExceeded}},
		{exitState, []error{messenger.ErrState, messenger.ErrTaken, stringphone.ErrRemoved}},
	} {
		for _, kind := range k.kinds {
			if errors.Is(err, kind) {
				return k.code
			}
		}
	}
	if err == nil {
		return exitOK
	}
	return exitUnexpected
}

func codeTable() string {
	var b strings.Builder
	for _, c := range exitCodes {
		fmt.Fprintf(&b, "  %3d  %s\n", c.Code, c.Meaning)
	}
	return b.String()
}

// helpWithCodes prints kong's help, and the exit codes below that of the whole
// program and of a command with a table of its own.
func helpWithCodes(o kong.HelpOptions, ctx *kong.Context) error {
	if err := kong.DefaultHelpPrinter(o, ctx); err != nil {
		return err
	}
	if ctx.Selected() == nil {
		fmt.Fprintf(ctx.Stdout, "\nExit codes:\n%s", codeTable())
	} else if own, ok := ctx.Selected().Target.Addr().Interface().(interface{ exitTable() string }); ok {
		fmt.Fprintf(ctx.Stdout, "\nExit codes:\n%s", own.exitTable())
	}
	return nil
}

type helpCmd struct {
	Topic string `arg:"" optional:"" help:"exit-codes, or the name of a command."`
}

func (c *helpCmd) Run(a *app, k *kong.Context) error {
	switch {
	case c.Topic == "exit-codes" && a.json:
		for _, e := range exitCodes {
			if err := a.emit(e); err != nil {
				return err
			}
		}
		return nil
	case c.Topic == "exit-codes":
		return a.print(codeTable())
	}
	topic, args := c.Topic, []string{"--help"}
	if topic != "" {
		args = []string{topic, "--help"}
	}
	if _, err := k.Kong.Parse(args); a.exited < 0 {
		return usage("%w: the topics are exit-codes and the names of commands", err)
	}
	return nil
}
