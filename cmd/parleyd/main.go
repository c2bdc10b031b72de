// Command parleyd is a Parley relay, an MQTT broker, a directory of public keys and a relay of One Time Chat. It keeps queues of messages
// that it cannot read: what could decrypt them is not linked into it.
//
//	parleyd serve --data DIR [--smp2020 HOST:PORT] [--smp2020-plain HOST:PORT] [--mqtt HOST:PORT] [--mqtt-tls HOST:PORT] [--keydir HOST:PORT] [--otc HOST:PORT]
//	parleyd mqtt-user NAME    reads a password, prints a line for the file of MQTT users
//	parleyd otc-mailbox permit|release|delete UID --data DIR    changes a mailbox of One Time Chat's relay
//	parleyd config     prints all settings as a TOML file
//	parleyd version
package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/alecthomas/kong"

	"parley/server"
)

// Exit codes.
const (
	exitOK     = 0
	exitOther  = 1
	exitUsage  = 2
	exitConfig = 3
	exitLocked = 4
	exitListen = 5
)

type cli struct {
	Serve      serveCmd      `cmd:"" help:"Run the relay, the MQTT broker and the public-key directory, and the relay of One Time Chat: those for which an address is given, the relay if none is. Prints each address on a line of its own once it accepts connections; SIGTERM or SIGINT ends it."`
	MQTTUser   mqttUserCmd   `cmd:"" name:"mqtt-user" help:"Read a password from standard input and print the line that lets a user of that name in, for the file of --mqtt-users."`
	OTCMailbox otcMailboxCmd `cmd:"" name:"otc-mailbox" help:"Change a mailbox of One Time Chat's relay, while no relay runs in the data folder."`
	Config     configCmd     `cmd:"" help:"Print a configuration file with all settings, their defaults and what they do."`
	Version    versionCmd    `cmd:"" help:"Print the version."`
}

const description = `A Parley relay, and an MQTT broker: queues for messages that it cannot read. And a directory of public keys, and a relay of One Time Chat.

Exit codes: 0 ended as asked, 2 usage, 3 bad configuration, 4 the data folder is in use by another process, 5 an address cannot be listened on, 1 anything else.`

type configCmd struct{}

func (configCmd) Run(out io.Writer) error {
	_, err := io.WriteString(out, server.Example)
	return err
}

type versionCmd struct{}

func (versionCmd) Run(out io.Writer) error {
	_, err := fmt.Fprintln(out, "parleyd", version())
	return err
}

func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	var c cli
	code, ended := exitOK, false
	parser, err := kong.New(&c, kong.Name("parleyd"), kong.Description(description),
		kong.Writers(stdout, stderr), kong.ConfigureHelp(kong.HelpOptions{WrapUpperBound: 100}),
		kong.Exit(func(n int) { code, ended = n, true }), // after --help
		kong.BindTo(stdout, (*io.Writer)(nil)), kong.Bind(slog.New(slog.NewTextHandler(stderr, nil))))
	if err != nil {
		fmt.Fprintln(stderr, "parleyd:", err)
		return exitOther
	}
	k, err := parser.Parse(args)
	if ended {
		return code
	}
	if err != nil {
		fmt.Fprintf(stderr, "parleyd: %v; see parleyd --help\n", err)
		return exitUsage
	}
	if err := k.Run(); err != nil {
		fmt.Fprintln(stderr, "parleyd:", err)
		return exitCode(err)
	}
	return exitOK
}

func exitCode(err error) int {
	switch {
	case errors.Is(err, server.ErrConfig):
		return exitConfig
	case errors.Is(err, server.ErrLocked):
		return exitLocked
	case errors.Is(err, server.ErrListen):
		return exitListen
	}
	return exitOther
}
