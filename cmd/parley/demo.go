package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"parley/internal/term"
	"parley/messenger"
)

type demoCmd struct {
	Exit    bool          `help:"End after the scripted part, with 0 only if every message was delivered exactly once and in order."`
	Timeout time.Duration `default:"60s" help:"The longest the scripted part may take."`
}

func (c *demoCmd) Run(ctx context.Context, a *app) error {
	d, err := newDemo(a)
	if err != nil {
		return err
	}
	defer d.close()
	scripted, cancel := context.WithTimeoutCause(ctx, c.Timeout, errQueued)
	defer cancel()
	if err := d.script(scripted); err != nil {
		if cause := context.Cause(scripted); cause != nil {
			err = fmt.Errorf("%w: %w", cause, err)
		}
		return err
	}
	if !c.Exit && ctx.Err() == nil {
		if err := d.prompt(ctx); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return d.close()
}

// script is the part without the user, in the order that people see it.
func (d *demo) script(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		d.start, d.meet, d.talk, d.cut, d.restart, d.settle, d.compare, d.verdict,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) start(ctx context.Context) error {
	if err := d.startRelay("127.0.0.1:0"); err != nil {
		return err
	}
	d.say("relay", "started inside this process: %s", d.address)
	for _, name := range []string{"Alice", "Bob"} {
		p, err := d.newPerson(ctx, name)
		if err != nil {
			return err
		}
		d.people = append(d.people, p)
		d.say(name, "has a profile, encrypted under a random passphrase")
	}
	d.alice, d.bob = d.people[0], d.people[1]
	return nil
}

func (d *demo) meet(ctx context.Context) error {
	inv, err := d.alice.api.Invite(ctx, messenger.InviteOptions{As: "Bob"})
	if err != nil {
		return err
	}
	d.say("Alice", "makes an invitation, good for one person, once; as a line and as a QR code:")
	code, err := drawn(inv.Text, d.a.colour)
	if err != nil {
		return err
	}
	d.show(map[string]any{"event": "invitation", "invitation": inv.Text}, "\n"+inv.Text+"\n\n"+code+"\n")
	if _, err := d.bob.api.Accept(ctx, messenger.AcceptOptions{Invitation: inv.Text, As: "Alice"}); err != nil {
		return err
	}
	d.say("Bob", "accepts it; his keys and his mailbox's address go to Alice through her mailbox")
	for _, p := range d.people {
		if err := p.until(ctx, func() bool { return p.connected }); err != nil {
			return fmt.Errorf("%s is not connected: %w", p.name, err)
		}
	}
	d.say("both", "connected: each mailbox now takes messages of the other one alone")
	return nil
}

func (d *demo) talk(ctx context.Context) error {
	if err := d.send(ctx, d.alice, "Hello Bob, can anybody else read this?"); err != nil {
		return err
	}
	if err := d.send(ctx, d.bob, "Hello Alice! Nobody: not even the relay."); err != nil {
		return err
	}
	return d.arrived(ctx)
}

func (d *demo) cut(ctx context.Context) error {
	n := d.alice.net.cut() + d.bob.net.cut()
	d.say("network", "all %d connections to the relay are cut", n)
	if err := d.send(ctx, d.alice, "Did you notice that the line was cut?"); err != nil {
		return err
	}
	return d.arrived(ctx)
}

func (d *demo) restart(ctx context.Context) error {
	d.bob.net.set(false)
	d.say("Bob", "goes offline")
	if err := d.send(ctx, d.alice, "Read this when you are back, Bob."); err != nil {
		return err
	}
	last := d.sent[len(d.sent)-1]
	if _, err := d.alice.api.Wait(ctx, last.ID, messenger.AtRelay); err != nil {
		return err
	}
	if err := d.stopRelay(ctx); err != nil {
		return err
	}
	d.say("relay", "stopped, with Alice's message on its disk")
	files, size, leaks, err := d.search()
	if err != nil {
		return err
	}
	d.say("relay", "its disk: %d files, %d KiB; searched for every text of this conversation: found %d", files, size>>10, len(leaks))
	if len(leaks) > 0 {
		return fmt.Errorf("%w: the relay's disk holds %q", errFailed, leaks)
	}
	if err := d.send(ctx, d.alice, "The relay is down; this waits on my own disk."); err != nil {
		return err
	}
	d.bob.net.set(true)
	if err := d.send(ctx, d.bob, "I am back, and the relay is gone. This waits, too."); err != nil {
		return err
	}
	if err := d.startRelay(strings.Split(d.address, "@")[1]); err != nil {
		return err
	}
	d.say("relay", "started again")
	return d.arrived(ctx)
}

// settle waits for the last receipts.
func (d *demo) settle(ctx context.Context) error {
	for _, m := range d.sent {
		from := d.person(m.from)
		read, err := from.api.Wait(ctx, m.ID, messenger.Read)
		if err != nil {
			return fmt.Errorf("message %d: %w", m.n, err)
		}
		// The watcher may hear of it only now.
		if err := from.change(messenger.Change{Message: &read}); err != nil {
			return err
		}
	}
	d.picture()
	return nil
}

func (d *demo) compare(ctx context.Context) error {
	a, err := d.alice.api.SafetyNumber(ctx, "Bob")
	if err != nil {
		return err
	}
	b, err := d.bob.api.SafetyNumber(ctx, "Alice")
	if err != nil {
		return err
	}
	if a.Digits == "" || a.Digits != b.Digits || !slices.Equal(a.Words, b.Words) {
		return fmt.Errorf("%w: Alice sees %s, Bob sees %s", errMismatch, a.Digits, b.Digits)
	}
	for p, n := range map[*person]messenger.SafetyNumber{d.alice: a, d.bob: b} {
		if err := p.api.SetVerified(ctx, n, true); err != nil {
			return err
		}
	}
	d.show(map[string]any{"event": "safety number", "words": a.Words, "digits": a.Digits, "equal": true},
		"\nSafety number, the same for Alice and Bob, so that nobody sits between them:\n    "+strings.Join(a.Words, " ")+"\n    "+a.Digits+"\n\n")
	d.show(map[string]any{"event": "server", "saw": relaySaw, "did_not_see": relayMissed},
		"What the relay saw: "+strings.Join(relaySaw, "; ")+".\n"+
			"What it did not see: "+strings.Join(relayMissed, "; ")+".\n")
	return nil
}

var (
	relaySaw = []string{
		"two mailboxes with random names, and keys that are used nowhere else",
		"when a packet came and went, and about how long it was",
		"which connections and network addresses use which mailbox, and so that the two belong together",
	}
	relayMissed = []string{"names", "texts", "which packets are messages and which are receipts or keys"}
)

// verdict checks what arrived against what was sent.
func (d *demo) verdict(context.Context) error {
	once := true
	for _, p := range d.people {
		var want []string
		for _, m := range d.sent {
			if m.from != p.name {
				want = append(want, m.Text)
			}
		}
		got := p.texts()
		if !slices.Equal(got, want) {
			once = false
			d.say(p.name, "got %q, and should have got %q", got, want)
		}
	}
	seconds := time.Since(d.begun).Seconds()
	text := fmt.Sprintf("\nAll %d messages were delivered exactly once and in order; %.1f s.\n", len(d.sent), seconds)
	if !once {
		text = "\nNOT every message was delivered exactly once and in order.\n"
	}
	d.show(map[string]any{"event": "result", "messages": len(d.sent), "exactly_once_in_order": once, "seconds": seconds}, text)
	if !once {
		return fmt.Errorf("%w: not every message was delivered exactly once and in order", errFailed)
	}
	return nil
}

// search looks into the relay's files for what it must not know.
func (d *demo) search() (files int, size int64, leaks []string, err error) {
	// Texts only: a name as short as Bob stands in random bytes now and then.
	var secrets []string
	for _, m := range d.sent {
		secrets = append(secrets, m.Text)
	}
	err = filepath.WalkDir(filepath.Join(d.dir, "relay"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		size += int64(len(b))
		for _, s := range secrets {
			if bytes.Contains(b, []byte(s)) {
				leaks = append(leaks, s)
			}
		}
		return nil
	})
	return files, size, leaks, err
}

// prompt lets the user be Alice. Bob is an echo.
func (d *demo) prompt(ctx context.Context) error {
	d.say("Bob", "echoes from now on. You are Alice: write to him; /quit ends.")
	lines, restore, err := d.a.lines("Alice> ")
	if err != nil {
		return err
	}
	defer restore()
	d.setEcho()
	for {
		select {
		case text, ok := <-lines:
			if !ok || text == "/quit" {
				return nil
			}
			if strings.TrimSpace(text) == "" {
				continue
			}
			m, err := d.alice.api.Send(ctx, "Bob", text)
			if errors.Is(err, messenger.ErrTooLong) || errors.Is(err, messenger.ErrState) {
				d.a.note("not sent: %v", err)
				continue
			}
			if err != nil {
				return err
			}
			if err := d.echoed(ctx, m, text); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// echoed waits for Bob's answer, so that piped input ends with it on the screen.
func (d *demo) echoed(ctx context.Context, m messenger.Message, text string) error {
	timed, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err := d.alice.until(timed, func() bool { return slices.Contains(d.alice.heard, "echo: "+text) })
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("%w: Bob has not answered %q within 10 s", errQueued, shorten(text, 20))
	}
	now, err := d.alice.api.Message(ctx, m.ID)
	if err != nil {
		return err
	}
	d.show(now, fmt.Sprintf("%8s  %-8s %s\n", "", "", stateText(now)))
	d.show(map[string]any{"event": "echo", "text": "echo: " + text}, fmt.Sprintf("%8s  %-8s %s\n", "", "Bob:", term.Indent("echo: "+text, "                    ")))
	return nil
}
