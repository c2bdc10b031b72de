// Command parley is the messenger for people who live in a terminal, and for
// scripts. Every command and exit code is described in docs/cli.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/alecthomas/kong"
)

// commands is the whole command line.
type commands struct {
	Profile        string `placeholder:"DIR" env:"PARLEY_PROFILE" help:"Folder of the profile; by default parley/default in the user's configuration folder."`
	PassphraseFile string `placeholder:"FILE" type:"path" help:"Read the passphrase from the first line of FILE. Else it is PARLEY_PASSPHRASE, else parley asks."`
	JSON           bool   `name:"json" help:"Print one JSON object per line, errors too (those on standard error)."`

	Init       initCmd       `cmd:"" help:"Make a profile."`
	Invite     inviteCmd     `cmd:"" help:"Print an invitation: one line for one person, once."`
	Accept     acceptCmd     `cmd:"" help:"Take an invitation."`
	Contacts   contactsCmd   `cmd:"" help:"List the people you talk with."`
	Contact    contactCmd    `cmd:"" help:"Change one contact."`
	Circle     circleCmd     `cmd:"" help:"Several contacts under one name, to send to each of them."`
	Account    accountCmd    `cmd:"" help:"Accounts of yours in older systems: NES."`
	Verify     verifyCmd     `cmd:"" help:"Compare safety numbers with a contact."`
	Send       sendCmd       `cmd:"" help:"Send a message."`
	Listen     listenCmd     `cmd:"" help:"Print each message that comes, once."`
	Chat       chatCmd       `cmd:"" help:"Talk with a contact, line by line."`
	History    historyCmd    `cmd:"" help:"Print a conversation."`
	Resend     resendCmd     `cmd:"" help:"Send a failed or waiting message again now."`
	Cancel     cancelCmd     `cmd:"" help:"Take back a message that no relay has yet."`
	Queue      queueCmd      `cmd:"" help:"List what waits to be sent, and why."`
	Status     statusCmd     `cmd:"" help:"Show the profile and its relays."`
	Passphrase passphraseCmd `cmd:"" help:"Change the passphrase of the profile."`
	Topic      topicCmd      `cmd:"" help:"String phone: messages that devices seal for a topic of any channel."`
	Keydir     keydirCmd     `cmd:"" help:"Directories of public keys: verify their log, look users up."`
	Otc        otcCmd        `cmd:"" help:"One Time Chat: talk over its relay, with the pads of a device."`
	Pad        padCmd        `cmd:"" help:"One-time pads: make, split, show and check them."`
	Demo       demoCmd       `cmd:"" help:"See it work: a relay, Alice and Bob, all inside this process."`
	Bench      BenchCmd      `cmd:"" help:"Measure a relay, or crash it, and see that nothing gets lost."`
	Version    versionCmd    `cmd:"" help:"Print the version."`
	Help       helpCmd       `cmd:"" help:"Explain a topic: exit-codes."`
}

func main() { os.Exit(run(os.Args[1:])) }

// run carries out one command line and returns the exit code.
func run(args []string) int {
	a := newApp(slices.Contains(args, "--json"))
	ctx, stop := interruptible()
	defer stop()
	var cli commands
	k, err := kong.New(&cli,
		kong.Name("parley"),
		kong.Description("A messenger that no relay can read. Start with “parley demo”, or with “parley init” and “parley invite”."),
		kong.Writers(a.out, a.err),
		kong.Exit(func(code int) { a.exited = code }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Help(helpWithCodes),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(a),
	)
	if err != nil {
		return a.fail(fmt.Errorf("the command line's own description: %w", err))
	}
	parsed, err := k.Parse(args)
	if a.exited >= 0 { // --help
		return a.exited
	}
	if err != nil {
		return a.fail(usage("%w (parley --help tells more)", err))
	}
	if err := a.configure(&cli); err != nil {
		return a.fail(err)
	}
	err = parsed.Run()
	if closeErr := a.close(); err == nil {
		err = closeErr
	}
	if cause := context.Cause(ctx); cause != nil && err != nil && (errors.Is(err, context.Canceled) || errors.Is(err, cause)) {
		err = cause
	}
	return a.fail(err)
}

// interruptible returns a context that SIGINT, SIGTERM and SIGHUP end with
// errInterrupted as its cause. A second signal ends the process at once.
func interruptible() (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	c := make(chan os.Signal, 1)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		<-c
		signal.Stop(c)
		cancel(errInterrupted)
	}()
	return ctx, func() {
		signal.Stop(c)
		cancel(nil)
	}
}

// defaultProfile is parley/default in the user's configuration folder.
func defaultProfile() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", usage("no configuration folder (%w): give --profile or PARLEY_PROFILE", err)
	}
	return filepath.Join(dir, "parley", "default"), nil
}
