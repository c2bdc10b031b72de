package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"parley/internal/filelock"
	"parley/internal/live"
	"parley/internal/term"
	"parley/messenger"
)

type topicSubCmd struct {
	topicAt
	topicSelf
	admission
	Count    int           `placeholder:"N" help:"End after N messages."`
	Timeout  time.Duration `placeholder:"D" help:"End after D; with --count and fewer messages the exit code is 9."`
	Retained bool          `help:"Show the message that the broker has stored also when it was shown before: it still counts."`
	Raw      bool          `help:"Only the texts, one a line: as they are, but made safe on a terminal."`
}

// topicMessage is one message in JSON.
type topicMessage struct {
	From     string    `json:"from"`
	Text     string    `json:"text,omitempty"`
	Base64   string    `json:"base64,omitempty"` // if it is not UTF-8
	Sent     time.Time `json:"sent,omitzero"`
	Retained bool      `json:"retained,omitempty"`
	Again    bool      `json:"again,omitempty"`
}

func (c *topicSubCmd) Run(ctx context.Context, a *app) error {
	if c.Count < 0 || c.Timeout < 0 {
		return usage("--count and --timeout are not negative")
	}
	h, err := c.topicAt.open(a, &c.topicSelf)
	if err != nil {
		return err
	}
	defer h.close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	t := &taking{a: a, h: h}
	if err := t.admission(&c.admission); err != nil {
		return err
	}
	count := 0
	show := func(m live.Message) error {
		if c.Count > 0 && count >= c.Count {
			return errEnough // it comes again
		}
		if err := c.print(a, m); err != nil {
			return err
		}
		if count++; count == c.Count {
			cancel(errEnough)
		}
		return nil
	}
	soon, stop := context.WithTimeout(ctx, lockPatience)
	unlock, err := h.lock(soon, "listen", false)
	stop()
	if errors.Is(err, filelock.ErrLocked) && ctx.Err() == nil {
		return &kindError{messenger.ErrState, fmt.Errorf("another parley topic sub listens with %s: end it first; a second device needs an identity of its own", h.file.Path())}
	}
	if err != nil {
		return cmp.Or(ctx.Err(), err)
	}
	defer unlock()
	if err := t.start(ctx, c.Hex, &c.topicSelf, "listen", show, c.Retained); err != nil {
		return err
	}
	defer t.end()
	if c.Timeout > 0 {
		defer time.AfterFunc(c.Timeout, func() { cancel(errOver) }).Stop()
	}
	err = t.session.Run(ctx)
	switch cause := context.Cause(ctx); {
	case c.Count > 0 && count >= c.Count:
		return nil
	case errors.Is(cause, errOver) && c.Count > 0:
		return fmt.Errorf("%w: %d of %d messages came in %v", errQueued, count, c.Count, c.Timeout)
	case errors.Is(cause, errOver):
		return nil
	}
	return err
}

func (c *topicSubCmd) print(a *app, m live.Message) error {
	if a.json {
		out := topicMessage{From: m.From.String(), Sent: m.Sent, Retained: m.Retained, Again: m.Again}
		if utf8.Valid(m.Body) {
			out.Text = string(m.Body)
		} else {
			out.Base64 = base64.StdEncoding.EncodeToString(m.Body)
		}
		return a.emit(out)
	}
	if c.Raw && a.outTTY() {
		return a.print(term.Indent(string(m.Body), "") + "\n")
	}
	if c.Raw {
		return a.print(string(m.Body) + "\n")
	}
	text := string(m.Body)
	if !utf8.ValidString(text) {
		text = "(base64) " + base64.StdEncoding.EncodeToString(m.Body)
	}
	when := time.Now()
	if !m.Sent.IsZero() {
		when = m.Sent
	}
	mark := ""
	if m.Retained {
		mark = " (stored)"
	}
	return a.printf("%s  %s%s: %s\n", clock(when, time.Now()), short(m.From), mark, term.Indent(text, "    "))
}

type topicPubCmd struct {
	topicAt
	topicSelf
	Text    []string      `arg:"" optional:"" help:"The text; without it standard input is read."`
	Lines   bool          `help:"Each line of standard input is a message."`
	Retain  bool          `help:"The broker keeps it for those who come later; when the topic gets a new key, it is said again."`
	Unsure  bool          `help:"Say it also when a new topic key may have been missed and nobody answers: who was removed may then read it."`
	Timeout time.Duration `default:"1m" help:"How long to wait for the broker; what it has not taken by then goes out next time (exit code 9)."`
}

func (c *topicPubCmd) Run(ctx context.Context, a *app) error {
	self := &c.topicSelf
	if c.Topic == "" {
		self = nil // without a topic key there is nothing to say yet
	}
	h, err := c.topicAt.open(a, self)
	if err != nil {
		return err
	}
	defer h.close()
	if c.Lines && len(c.Text) > 0 {
		return usage("--lines reads standard input: leave the text out")
	}
	return h.talk(ctx, talking{hexed: c.Hex, self: &c.topicSelf, patience: c.Timeout, later: true, unsure: c.Unsure}, func(s *live.Session, flush func() error) error {
		switch {
		case len(c.Text) > 0:
			return sayAll(s, flush, []byte(strings.Join(c.Text, " ")), c.Retain)
		case !c.Lines:
			body, err := io.ReadAll(io.LimitReader(a.in, maxTopicText+1))
			if err != nil {
				return err
			}
			if len(body) > maxTopicText {
				return usage("the text is longer than %d bytes", maxTopicText)
			}
			return sayAll(s, flush, body, c.Retain)
		}
		lines := bufio.NewScanner(a.in)
		lines.Buffer(nil, maxTopicText)
		for lines.Scan() {
			if err := sayAll(s, flush, lines.Bytes(), c.Retain); err != nil {
				return err
			}
		}
		return lines.Err()
	})
}

// maxTopicText is the longest text that pub reads, in bytes.
const maxTopicText = 16 << 20

func sayAll(s *live.Session, flush func() error, body []byte, retain bool) error {
	if err := s.Say(body, retain); err != nil {
		return err
	}
	return flush()
}

// talk lets do say something, after what has changed in the topic was taken in,
// and sees it off. Messages are left to a process that shows them. When the broker
// cannot be reached, later says whether do may still say something, to go out next
// time.
func (h *here) talk(ctx context.Context, how talking, do func(s *live.Session, flush func() error) error) error {
	t := &taking{a: h.a, h: h, unsure: how.unsure}
	key := make(chan struct{}, 1)
	t.joined = func() {
		select {
		case key <- struct{}{}:
		default:
		}
	}
	dialling, cancel := context.WithTimeout(ctx, how.patience)
	defer cancel()
	unlock, locked := h.lock(dialling, "talk", true)
	if locked == nil {
		defer unlock()
	} else if ctx.Err() != nil || !errors.Is(locked, filelock.ErrLocked) {
		return cmp.Or(ctx.Err(), locked)
	}
	err := t.start(dialling, how.hexed, how.self, "talk", nil, false)
	defer t.end()
	if locked != nil && t.session != nil {
		err = fmt.Errorf("another command is at it with %s: %w", h.file.Path(), context.DeadlineExceeded)
	}
	if err != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		if !how.later {
			return fmt.Errorf("%w, and nothing was changed: %w", errQueued, err)
		}
		if err := do(t.session, func() error { return nil }); err != nil {
			return err
		}
		return fmt.Errorf("%w: it goes out next time: %w", errQueued, err)
	}
	if err != nil {
		return err
	}
	st, err := t.session.Status()
	if err != nil {
		return err
	}
	if !st.HasKey {
		return live.ErrNotJoined
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- t.session.Run(running) }()
	limited, cancel := context.WithTimeout(ctx, how.patience)
	defer cancel()
	if err = t.session.Settled(limited); err == nil {
		err = do(t.session, func() error { return t.flush(limited, key) })
	}
	stop()
	if runErr := <-ended; err == nil && !errors.Is(runErr, context.Canceled) {
		err = runErr
	}
	return err
}

// talking says how to say something.
type talking struct {
	hexed    bool
	self     *topicSelf
	patience time.Duration
	later    bool // it may wait for the next time
	unsure   bool
}

// flush sees off what was said, and waits for a newer key if there is one.
func (t *taking) flush(ctx context.Context, key <-chan struct{}) error {
	for {
		err := t.session.Flush(ctx)
		if errors.Is(err, live.ErrWaits) {
			t.asks.Do(func() { t.a.note("A new topic key may have been missed: asking the members for the present one.") })
			select {
			case <-key:
				continue
			case <-ctx.Done():
				return fmt.Errorf("%w: a new topic key may have been missed, and no member has told the present one: it goes out when one does (or with --unsure)", errQueued)
			}
		}
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("%w: the broker has not taken it: it goes out next time: %w", errQueued, err)
		}
		return err
	}
}
