package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"parley"
	otcrelay "parley/carrier/relay"
	relayclient "parley/carrier/relay/client"
	"parley/internal/term"
	deviceclient "parley/paddevice/client"
)

// otcCmd is One Time Chat's client (seeds/one-time-chat §6.4; docs/otc.md): a relay, a
// device that keeps the pads, and commands line by line. No profile is needed.
type otcCmd struct {
	Relay  string `arg:"" help:"The message relay: PORT on this machine, HOST:PORT or a URL."`
	Device string `arg:"" help:"The pad device's RPC, likewise."`
	User   string `arg:"" help:"Your name, as the pads have it."`
	State  string `placeholder:"DIR" type:"path" help:"Where packages wait that no relay has yet; by default parley/otc in the user's state folder."`
}

const (
	otcRelayTime  = 30 * time.Second
	otcDeviceTime = 10 * time.Minute // a person may have to say yes
	otcLongest    = 1 << 20          // bytes of a message, whose package a relay must take
)

// An otcChat is one run of the client.
type otcChat struct {
	a      *app
	self   parley.Name
	relay  otcPlace
	client *relayclient.Client
	device *deviceclient.RPC
	outbox *otcOutbox
	cursor int64
	groups map[string][]string
	failed int // messages that were to be sent, and are neither sent nor kept
}

func (c *otcCmd) Run(ctx context.Context, a *app) error {
	relay, err := otcRelay(c.Relay)
	if err != nil {
		return usage("%w", err)
	}
	if err := otcrelay.CheckUID(c.User); err != nil || strings.ContainsAny(c.User, ", \t") {
		return usage("a user's name has 1 to %d bytes, no spaces and no commas", otcrelay.MaxUID)
	}
	device, err := deviceclient.NewRPC(c.Device)
	if err != nil {
		return usage("%w", err)
	}
	chat := &otcChat{a: a, self: parley.Name(c.User), relay: relay, device: device, groups: map[string][]string{},
		client: relayclient.New(relayclient.Options{Self: c.User, Timeout: otcRelayTime, Max: otcLongest + 1024})}
	defer chat.client.Close()
	if chat.outbox, err = openOTCOutbox(c.State, relay.names, c.User); err != nil {
		return err
	}
	defer chat.outbox.close()
	return chat.run(ctx)
}

func (c *otcChat) run(ctx context.Context) error {
	if err := c.say(nil, "Relay server address: %s\nPad   device address: %s\nUser ID: %s\n", c.relay.typed, c.device.URL(), c.self); err != nil {
		return err
	}
	if err := c.within(ctx, otcRelayTime, func(ctx context.Context) error { return c.client.Check(ctx, c.relay.at) }); err != nil {
		return err
	}
	if err := c.resume(ctx); err != nil {
		return err
	}
	if err := c.say(nil, "Welcome to One Time Chat. Type 'help' for help.\n"); err != nil {
		return err
	}
	c.flush(ctx)
	for {
		if err := c.say(map[string]int64{"cursor": c.cursor}, "\nCursor: %d\n", c.cursor); err != nil {
			return err
		}
		line, err := term.Ask(ctx, c.a.in, io.Discard, "")
		if errors.Is(err, io.EOF) {
			return c.bye()
		}
		if err != nil {
			c.bye()
			return err
		}
		if quit, err := c.do(ctx, line); quit || err != nil {
			return err
		}
	}
}

// resume finds where reading goes on: the furthest that the device knows for any
// spelling of the relay. Where it knows none, that is the first message.
func (c *otcChat) resume(ctx context.Context) error {
	var here int64
	for i, name := range c.relay.names {
		err := c.within(ctx, otcRelayTime, func(ctx context.Context) error {
			ref, _, err := c.device.NextRef(ctx, c.self, name)
			c.cursor = max(c.cursor, ref)
			return err
		})
		if err != nil {
			return fmt.Errorf("the place where reading goes on is on the device: %w", err)
		}
		if i == 0 {
			here = c.cursor
		}
	}
	if c.cursor > here {
		return c.move(ctx, c.cursor)
	}
	return nil
}

// do carries out one line.
func (c *otcChat) do(ctx context.Context, line string) (quit bool, err error) {
	command, rest := cutWord(line)
	sends := command == "send" || command == "ms" || command == "gs"
	if !utf8.ValidString(line) { // the far end would get other characters
		if sends {
			c.failed++
		}
		return false, c.say(errorOf("the line is not UTF-8"), "Nothing is done: the line is not UTF-8. No pad was used. Set your terminal, or what writes the lines, to UTF-8.\n")
	}
	// What no relay has yet goes first: it is older.
	if command != "quit" && command != "q" && command != "exit" && !sends {
		c.flush(ctx)
	}
	switch command {
	case "":
		err = c.receive(ctx)
	case "skip":
		err = c.skip(ctx)
	case "send":
		to, text := cutWord(rest)
		err = c.sendAll(ctx, "send USER MESSAGE", []string{to}, text)
	case "ms":
		to, text := cutWord(rest)
		err = c.sendAll(ctx, "ms USER1,USER2,... MESSAGE", strings.Split(to, ","), text)
	case "gs":
		name, text := cutWord(rest)
		members, ok := c.groups[name]
		if !ok {
			c.failed++
			return false, c.say(errorOf("no such group"), "There is no group '%s'. Make one with: group NAME USER1 USER2 ...\n", term.Line(name))
		}
		err = c.sendAll(ctx, "gs GROUP MESSAGE", members, text)
	case "group":
		err = c.group(rest)
	case "help":
		err = c.say(nil, "%s", otcHelp)
	case "id":
		err = c.say(map[string]parley.Name{"user": c.self}, "User ID: %s\n", c.self)
	case "clear":
		if c.a.colour && !c.a.json {
			err = c.a.print("\x1b[H\x1b[2J\x1b[3J")
		}
	case "quit", "q", "exit":
		return true, c.bye()
	default:
		err = c.say(errorOf("unknown command"), "There is no command '%s'. Type 'help' for help.\n", term.Line(command))
	}
	return false, err
}

// cutWord takes the first word off a line; the rest keeps the spaces in it.
func cutWord(line string) (word, rest string) {
	line = strings.TrimSpace(line)
	i := strings.IndexAny(line, " \t")
	if i < 0 {
		return line, ""
	}
	return line[:i], strings.TrimLeft(line[i:], " \t")
}

const otcHelp = `=== help ===
send USER MESSAGE            send to one
ms USER1,USER2,... MESSAGE   send to several
group NAME USER1 USER2 ...   give some users a name; without users it lists them
gs NAME MESSAGE              send to those
Enter                        receive
skip                         pass over the next message without opening it
id                           show your name
clear                        clear the screen
quit, q, exit                leave
============
`

// group makes a group, or lists them.
func (c *otcChat) group(rest string) error {
	name, list := cutWord(rest)
	members := strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' })
	if len(members) > 0 {
		for _, m := range members {
			if err := otcrelay.CheckUID(m); err != nil {
				return c.say(errorOf(err.Error()), "Not made: %s.\n", err)
			}
		}
		slices.Sort(members)
		c.groups[name] = slices.Compact(members)
	}
	names := []string{name}
	if name == "" {
		names = names[:0]
		for n := range c.groups {
			names = append(names, n)
		}
		slices.Sort(names)
		if len(names) == 0 {
			return c.say(nil, "There are no groups. Make one with: group NAME USER1 USER2 ...\n")
		}
	}
	for _, n := range names {
		all, ok := c.groups[n]
		if !ok {
			return c.say(errorOf("no such group"), "There is no group '%s'.\n", term.Line(n))
		}
		if err := c.say(map[string]any{"group": n, "members": all}, "Group %s: %s\n", term.Line(n), term.Line(strings.Join(all, ", "))); err != nil {
			return err
		}
	}
	return nil
}

func (c *otcChat) within(ctx context.Context, d time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, d, fmt.Errorf("%w: no answer in %v", parley.ErrOffline, d))
	defer cancel()
	return f(ctx)
}

// bye ends, and tells loudly what no relay has. Its error is what a script must know.
func (c *otcChat) bye() error {
	n := c.outbox.count()
	if n > 0 {
		c.warn("NOT SENT YET", fmt.Sprintf("%d of your packages wait in %s. They go out when you start again with this relay and this name: do so, and keep the folder.", n, c.outbox.dir))
	}
	if err := c.say(nil, "Bye.\n"); err != nil {
		return err
	}
	switch {
	case c.failed > 0 && !c.a.inTTY: // somebody who types has seen it
		waiting := ""
		if n > 0 {
			waiting = fmt.Sprintf("; packages that wait for the relay: %d", n)
		}
		return fmt.Errorf("%w: %d of the messages, for the reasons told above%s", errFailed, c.failed, waiting)
	case n > 0:
		return fmt.Errorf("%w: %d packages wait for the relay", errQueued, n)
	}
	return nil
}
