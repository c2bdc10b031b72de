// Command parley-pad is a pad device: it keeps one-time pads and packages and unpackages
// with them, when somebody at the device allows it (docs/pad-device.md). It is not a
// messenger and reaches nobody: neither is linked into it.
//
//	parley-pad serve --dir DIR [--listen HOST:PORT] [--paired HOST:PORT]
//	parley-pad pair --dir DIR          shows a code that lets one client in
//	parley-pad clients, unpair NAME    who is in, and out again
//	parley-pad allow, rules, forbid    what is allowed without asking
//	parley-pad log                     the event log, checked
//	parley-pad show                    the pads, and how much is left
package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"parley"
	"parley/internal/keyfile"
	"parley/paddevice/server"
)

// Exit codes are part of the contract with scripts: a number never changes its meaning.
const (
	exitOK       = 0
	exitOther    = 1
	exitUsage    = 2
	exitFiles    = 3
	exitListen   = 5
	exitNotFound = 6
	exitMismatch = 12
)

var exitCodes = []struct {
	code    int
	meaning string
}{
	{exitOK, "done; of serve: ended as asked"},
	{exitOther, "something else went wrong; the text says what"},
	{exitUsage, "the command line is wrong"},
	{exitFiles, "the folder or a file in it is missing, damaged, open to others, or cannot be written"},
	{exitListen, "an address cannot be listened on"},
	{exitNotFound, "no such client, rule or pad, or no device runs"},
	{exitMismatch, "the event log was changed"},
}

type cli struct {
	Serve   serveCmd   `cmd:"" help:"Run the device until SIGTERM or SIGINT. Prints each address on a line of its own once it accepts connections."`
	Pair    pairCmd    `cmd:"" help:"Show a code that pairs one client; it is good for 10 minutes and replaces an earlier one."`
	Clients clientsCmd `cmd:"" help:"List the clients that are paired."`
	Unpair  unpairCmd  `cmd:"" help:"Forget a client."`
	Allow   allowCmd   `cmd:"" help:"Allow something without asking from now on, also while the device runs."`
	Rules   rulesCmd   `cmd:"" help:"List what is allowed without asking."`
	Forbid  forbidCmd  `cmd:"" help:"Ask again."`
	Log     logCmd     `cmd:"" help:"Show the event log and check that it is whole."`
	Show    showCmd    `cmd:"" help:"List the pads and how much is left of them."`

	Version kong.VersionFlag `help:"Print the version."`
}

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// console is where a command reads and writes.
type console struct {
	in       *os.File
	out, err io.Writer
}

func run(args []string, stdin *os.File, stdout, stderr io.Writer) int {
	var c cli
	code, ended := exitOK, false
	parser, err := kong.New(&c, kong.Name("parley-pad"), kong.Description("A device that keeps one-time pads, and asks before it uses them."),
		kong.Writers(stdout, stderr), kong.ConfigureHelp(kong.HelpOptions{WrapUpperBound: 100, Compact: true}), kong.Help(help),
		kong.Vars{"version": "parley-pad " + version()},
		kong.Exit(func(n int) { code, ended = n, true }), // after --help and --version
		kong.Bind(&console{stdin, stdout, stderr}))
	if err != nil {
		fmt.Fprintln(stderr, "parley-pad:", err)
		return exitOther
	}
	k, err := parser.Parse(args)
	if ended {
		return code
	}
	if err != nil {
		fmt.Fprintf(stderr, "parley-pad: %v; see parley-pad --help\n", err)
		return exitUsage
	}
	if err := k.Run(); err != nil {
		say := func() { fmt.Fprintln(stderr, "parley-pad:", err) }
		if strings.HasPrefix(k.Command(), "serve") { // which ends, also at a terminal that was stopped by Ctrl-S
			patiently(say)
		} else {
			say()
		}
		return exitCode(err)
	}
	return exitOK
}

// patiently waits a moment for something.
func patiently(do func()) {
	done := make(chan struct{})
	go func() { do(); close(done) }()
	select {
	case <-done:
	case <-time.After(2 * time.Second):
	}
}

func exitCode(err error) int {
	for _, k := range []struct {
		code  int
		kinds []error
	}{
		{exitMismatch, []error{server.ErrLog}},
		{exitUsage, []error{server.ErrConfig, errUsage, parley.ErrRefused}},
		{exitListen, []error{server.ErrListen}},
		{exitNotFound, []error{server.ErrNoClient, server.ErrNoRule, server.ErrNotServing, parley.ErrNoKey}},
		{exitFiles, []error{fs.ErrNotExist, fs.ErrPermission, keyfile.ErrExposed, keyfile.ErrFormat, parley.ErrMalformed, server.ErrFolder, syscall.EROFS}},
	} {
		for _, kind := range k.kinds {
			if errors.Is(err, kind) {
				return k.code
			}
		}
	}
	return exitOther
}

// help prints kong's help and, for the whole program, the exit codes.
func help(o kong.HelpOptions, ctx *kong.Context) error {
	if err := kong.DefaultHelpPrinter(o, ctx); err != nil || ctx.Selected() != nil {
		return err
	}
	var b strings.Builder
	for _, c := range exitCodes {
		fmt.Fprintf(&b, "  %3d  %s\n", c.code, c.meaning)
	}
	_, err := fmt.Fprintf(ctx.Stdout, "\nExit codes:\n%s", b.String())
	return err
}

func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}
