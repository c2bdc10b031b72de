// Command nes is the NES messenger (seeds/nes-messenger.txt, "Application Quick Start
// Guide"): its commands and flags are the article's. docs/nes.md describes them, its
// files, and its exit codes.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"os/user"
	"strings"
	"sync"
	"syscall"

	"github.com/alecthomas/kong"

	"parley/internal/nes"
	"parley/internal/term"
)

// commands is the whole command line. Flags of the program may stand before and
// behind the command.
type commands struct {
	Broker         string `short:"b" placeholder:"URL" help:"MQTT broker server address. Default: tcp://127.0.0.1:1883"`
	Provider       string `short:"p" placeholder:"URL" help:"Public keys provider address, or none. Default: http://127.0.0.1:8080"`
	ProviderKey    string `short:"P" name:"provider_key" aliases:"provider-key" placeholder:"FILE" help:"Provider public key. Default: fetched at first use, then pinned."`
	PrivateMessage string `short:"k" name:"private_message" aliases:"private-message" placeholder:"FILE" help:"Private key file for message. Default: ~/.nes/<user>-rsa-message"`
	PublicMessage  string `short:"K" name:"public_message" aliases:"public-message" placeholder:"FILE" help:"Public key file for message. Default: ~/.nes/<user>-rsa-message.pub"`
	PrivateSign    string `short:"j" name:"private_sign" aliases:"private-sign" placeholder:"FILE" help:"Private key file for signing. Default: ~/.nes/<user>-rsa-sign"`
	PublicSign     string `short:"J" name:"public_sign" aliases:"public-sign" placeholder:"FILE" help:"Public key file for signature verification. Default: ~/.nes/<user>-rsa-sign.pub"`
	User           string `short:"u" placeholder:"NAME" help:"Local username. Default: <os_user>"`
	Config         string `short:"c" placeholder:"FILE" help:"Optional config file. Supported fields: MQTT_BROKER_ADDRESS, PUBKEY_ADDRESS, PUBKEY_PUBLIC_KEY_FILE, PRIVATE_KEY_MESSAGE_FILE, PUBLIC_KEY_MESSAGE_FILE, PRIVATE_KEY_SIGN_FILE, PUBLIC_KEY_SIGN_FILE, NES_USERNAME. Default: ~/.nes/config"`
	Public         bool   `help:"Use the article's servers: tcp://test.mosquitto.org:1883 and https://microshell.pl/pubkey."`

	Register registerCmd `cmd:"" help:"Register username at PubKey Service"`
	Listen   listenCmd   `cmd:"" help:"Listen to messages"`
	Send     sendCmd     `cmd:"" help:"Send message to recipient"`
	Conf     configCmd   `cmd:"" name:"config" help:"Configuration management"`
	Generate generateCmd `cmd:"" help:"Generate private and public keys pair"`
	Chat     chatCmd     `cmd:"" help:"Interactive chat with recipient"`
	Rotate   rotateCmd   `cmd:"" help:"Replace the keys; the old ones vouch for the new"`
	Trust    trustCmd    `cmd:"" help:"Show a user's keys; accept changed ones"`
	Version  versionCmd  `cmd:"" help:"Application version"`
}

// given returns the flags by the names of settings.
func (c *commands) given() map[string]string {
	return map[string]string{
		nes.Broker: c.Broker, nes.Address: c.Provider, nes.ProviderKey: c.ProviderKey, nes.MessageFile: c.PrivateMessage,
		nes.MessagePublic: c.PublicMessage, nes.SignFile: c.PrivateSign, nes.SignPublic: c.PublicSign, nes.User: c.User,
	}
}

// app is what the commands share.
type app struct {
	cli      *commands
	in       io.Reader
	out, err io.Writer
	mu       sync.Mutex // one line at a time
	exited   int        // what kong wants to exit with after --help, or -1
}

func main() { os.Exit(run(os.Args[1:])) }

// run carries out one command line and returns the exit code.
func run(args []string) int {
	a := &app{cli: &commands{}, in: os.Stdin, out: os.Stdout, err: os.Stderr, exited: -1}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	k, err := kong.New(a.cli,
		kong.Name("nes"), kong.Description("NES messenger"), kong.Writers(a.out, a.err),
		kong.Exit(func(code int) { a.exited = code }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}), kong.Help(help),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(a))
	if err != nil {
		return a.fail(err)
	}
	parsed, err := k.Parse(args)
	if a.exited >= 0 { // --help
		return a.exited
	}
	if err != nil {
		return a.fail(nes.Errorf(nes.Usage, "%w (nes --help tells more)", err))
	}
	err = parsed.Run()
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = errors.New("interrupted")
	}
	return a.fail(err)
}

// help prints kong's help and, for the whole program, the exit codes.
func help(o kong.HelpOptions, ctx *kong.Context) error {
	if err := kong.DefaultHelpPrinter(o, ctx); err != nil || ctx.Selected() != nil {
		return err
	}
	fmt.Fprint(ctx.Stdout, "\nExit codes:\n")
	for _, c := range nes.Codes {
		fmt.Fprintf(ctx.Stdout, "  %d  %s\n", c.Code, c.Meaning)
	}
	return nil
}

// settings resolves the flags, the environment and the config file.
func (a *app) settings() (*nes.Settings, error) {
	home, err := os.UserHomeDir()
	if err != nil {
		return nil, nes.Errorf(nes.Files, "no home folder: %w", err)
	}
	name := ""
	if u, err := user.Current(); err == nil {
		name = u.Username[strings.LastIndexByte(u.Username, '\\')+1:]
	}
	s, err := nes.Resolve(nes.Given{
		Flags: a.cli.given(), Env: os.Getenv, Config: a.cli.Config, Public: a.cli.Public, Home: home, OSUser: name,
	})
	if err != nil {
		return nil, err
	}
	for _, w := range s.Warnings {
		a.note(w)
	}
	return s, nil
}

// engine opens the engine; the caller closes it.
func (a *app) engine() (*nes.Engine, error) {
	s, err := a.settings()
	if err != nil {
		return nil, err
	}
	return nes.Open(s, a.note)
}

// say prints a line on standard output.
func (a *app) say(line string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, err := io.WriteString(a.out, line+"\n")
	return err
}

// note tells something beside the result, on standard error.
func (a *app) note(text string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	fmt.Fprintln(a.err, term.Text(text))
}

// loud is for what nobody may overlook.
func (a *app) loud(text string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	from, to := "", ""
	if f, ok := a.err.(*os.File); ok && term.IsTerminal(f) && os.Getenv("TERM") != "dumb" {
		from, to = "\x1b[1;97;41m", "\x1b[0m"
	}
	first, rest, _ := strings.Cut(term.Text(text), "\n")
	fmt.Fprintf(a.err, "%s!!! %s !!!%s\n%s\n", from, first, to, rest)
}

// fail tells about err and returns its exit code.
func (a *app) fail(err error) int {
	if err == nil {
		return int(nes.OK)
	}
	if text, ok := nes.ChangedText(err); ok {
		a.loud(text)
	}
	a.note(err.Error())
	return int(nes.CodeOf(err))
}
