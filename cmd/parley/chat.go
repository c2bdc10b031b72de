package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	xterm "golang.org/x/term"

	"parley/internal/term"
	"parley/messenger"
)

type chatCmd struct {
	Contact string        `arg:""`
	Timeout time.Duration `default:"30s" help:"How long to wait at the end until what you wrote is at a relay."`
}

func (c *chatCmd) Run(ctx context.Context, a *app) error {
	contact, err := repeat(ctx, a, func(api messenger.API) (messenger.Contact, error) { return api.Contact(ctx, c.Contact) })
	if err != nil {
		return err
	}
	if contact.KeyChanged {
		a.loud(keyChangedText(contact))
		return fmt.Errorf("%w: no chat with %s before you have compared: parley verify %s", errKeyChanged, term.Line(contact.Name), quoted(contact.Name))
	}
	lines, restore, err := a.lines("> ")
	if err != nil {
		return err
	}
	defer restore()
	if !a.json {
		if err := a.opening(ctx, contact); err != nil {
			return err
		}
	}
	t := &talk{a: a, contact: contact.Name, waiting: make(map[string]bool)}
	inner, cancel := context.WithCancel(ctx)
	var both sync.WaitGroup
	listened := make(chan error, 1)
	both.Go(func() {
		listened <- a.listen(inner, contact.Name, func(m messenger.Message) error { return a.result(m, func() string { return line(m) }) })
	})
	both.Go(func() { t.watch(inner) })
	err = t.write(inner, lines, listened)
	cancel()
	both.Wait()
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, errInterrupted)) {
		return nil
	}
	if err != nil {
		return err
	}
	return t.finish(ctx, c.Timeout)
}

// opening shows where the conversation stood.
func (a *app) opening(ctx context.Context, c messenger.Contact) error {
	last, err := repeat(ctx, a, func(api messenger.API) ([]messenger.Message, error) { return api.History(ctx, c.Name, 10) })
	if err != nil {
		return err
	}
	for _, m := range last {
		if m.State != messenger.Received { // those are about to be shown
			if err := a.print(line(m)); err != nil {
				return err
			}
		}
	}
	state := "verified"
	switch {
	case isTopic(c):
		state = fmt.Sprintf("%d members: parley topic people %s", c.Members, quoted(c.Name))
	case c.Protocol == onePad:
		state = strings.TrimSuffix(padText(c), ".")
	case !c.Verified:
		state = "not verified: parley verify " + quoted(c.Name)
	}
	a.note("Talking with %s (%s, %s). /quit or Ctrl-D ends.", term.Line(c.Name), term.Line(c.State), state)
	return nil
}

// A talk is one chat while it runs.
type talk struct {
	a       *app
	contact string
	mu      sync.Mutex
	waiting map[string]bool // our messages that are not yet at a relay, by ID
}

// write sends each line until they end.
func (t *talk) write(ctx context.Context, lines <-chan string, listened <-chan error) error {
	for {
		select {
		case text, ok := <-lines:
			if !ok || text == "/quit" {
				return nil
			}
			if strings.TrimSpace(text) == "" {
				continue
			}
			m, err := once(ctx, t.a, func(api messenger.API) (messenger.Message, error) { return api.Send(ctx, t.contact, text) })
			switch {
			case errors.Is(err, messenger.ErrTooLong), errors.Is(err, messenger.ErrState):
				t.a.note("not sent: %v", err)
			case err != nil:
				return err
			default:
				t.mu.Lock()
				t.waiting[m.ID] = true
				t.mu.Unlock()
			}
		case err := <-listened:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// watch shows how far our messages get.
func (t *talk) watch(ctx context.Context) {
	again(ctx, t.a, func(api messenger.API) (nothing, error) {
		return only(api.Watch(ctx, func(c messenger.Change) error {
			m := c.Message
			if m == nil || m.Contact != t.contact || m.Direction != "out" || m.Kind != "text" {
				return nil
			}
			if m.State != messenger.Queued {
				t.mu.Lock()
				delete(t.waiting, m.ID)
				t.mu.Unlock()
			}
			if m.State == messenger.Queued && !t.a.json {
				return nil
			}
			return t.a.result(m, func() string {
				return fmt.Sprintf("%12s%s: %s\n", "", stateText(*m), shorten(m.Text, 40))
			})
		}))
	})
}

// finish waits until what was written is at a relay.
func (t *talk) finish(ctx context.Context, limit time.Duration) error {
	t.mu.Lock()
	var ids []string
	for id := range t.waiting {
		ids = append(ids, id)
	}
	t.mu.Unlock()
	end := time.Now().Add(limit)
	for _, id := range ids {
		m, err := t.a.follow(ctx, messenger.Message{ID: id}, "relay", time.Until(end))
		if err != nil {
			return err
		}
		if m.State == messenger.Failed {
			return fmt.Errorf("%w: %s", errFailed, m.Error)
		}
	}
	return nil
}

// shorten is the beginning of a text, on one line.
func shorten(s string, n int) string {
	r := []rune(term.Line(s))
	if len(r) <= n {
		return string(r)
	}
	return string(r[:n-1]) + "…"
}

// lines reads what the user types, line by line. At a terminal the line being
// typed stays below what is printed meanwhile.
func (a *app) lines(prompt string) (<-chan string, func(), error) {
	read := func() (string, error) {
		s, err := a.in.ReadString('\n')
		if errors.Is(err, io.EOF) && s != "" {
			err = nil
		}
		return strings.TrimRight(s, "\r\n"), err
	}
	restore := func() {}
	if a.inTTY && term.IsTerminal(os.Stdout) && !a.json {
		fd := int(os.Stdin.Fd())
		before, err := xterm.MakeRaw(fd)
		if err != nil {
			return nil, nil, fmt.Errorf("terminal: %w", err)
		}
		t := xterm.NewTerminal(struct {
			io.Reader
			io.Writer
		}{a.in, os.Stdout}, prompt)
		if w, h, err := xterm.GetSize(fd); err == nil {
			t.SetSize(w, h)
		}
		out, errOut := a.out, a.err
		a.out, a.err, read = t, t, t.ReadLine
		restore = func() {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.out, a.err = out, errOut
			xterm.Restore(fd, before)
			fmt.Fprintln(out)
		}
	}
	lines := make(chan string)
	go func() {
		defer close(lines)
		for {
			s, err := read()
			if err != nil {
				return
			}
			lines <- s
		}
	}()
	return lines, restore, nil
}
