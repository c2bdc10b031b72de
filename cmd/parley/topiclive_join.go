package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	mqttclient "parley/carrier/mqtt/client"
	"parley/internal/filelock"
	"parley/internal/live"
	"parley/secure/stringphone"
)

// admission says who is let in, and from whom the topic key is taken.
type admission struct {
	Pair  time.Duration `placeholder:"D" help:"Pairing window: for this long everybody who asks is let in, and the first who answers is believed. Open it when only your own devices can speak."`
	Allow []string      `placeholder:"PUBKEY" sep:"none" help:"Let this key in without asking: base64, or @FILE. Repeatable."`
}

type topicJoinCmd struct {
	topicAt
	topicSelf
	admission
	New     bool          `help:"Make a new topic, with a new topic key."`
	Stay    bool          `help:"Stay when we have joined, to let others in."`
	Timeout time.Duration `placeholder:"D" help:"Give up after D without an answer (exit code 9)."`
}

func (c *topicJoinCmd) Run(ctx context.Context, a *app) error {
	c.found = c.New
	if c.New && c.Topic != "" {
		return usage("--new makes a topic key, and --topic gives one: choose")
	}
	h, err := c.topicAt.open(a, &c.topicSelf)
	if err != nil {
		return err
	}
	defer h.close()
	if c.New && !h.made {
		return usage("this topic is known already (%s): leave --new out, or give another --state", h.file.Path())
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	t := &taking{a: a, h: h}
	if err := t.admission(&c.admission); err != nil {
		return err
	}
	t.joined = func() {
		if !c.Stay {
			cancel(errJoined)
		}
	}
	if err := t.start(ctx, c.Hex, &c.topicSelf, "join", nil, false); err != nil {
		return err
	}
	defer t.end()
	st, err := t.session.Status()
	if err != nil {
		return err
	}
	a.note("You are %s in %s (%s).", st.ID, c.Name, t.fingerprint(st.Key))
	switch {
	case st.Joined && c.Pair > 0 && !c.Stay:
		a.note("Letting everybody in for %v.", c.Pair)
		defer time.AfterFunc(c.Pair, func() { cancel(errOver) }).Stop()
	case st.Joined:
		a.note("You have the topic key. Waiting for others; end with Ctrl-C.")
	default:
		a.note("Asking for the topic key until somebody answers.")
	}
	if c.Timeout > 0 && !st.Joined {
		defer time.AfterFunc(c.Timeout, func() { cancel(errQueued) }).Stop()
	}
	if err := t.prepare(ctx, st.ID, "listen", "talk"); err != nil {
		return err
	}
	err = t.session.Run(ctx)
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errJoined):
		flushed, stop := context.WithTimeout(context.WithoutCancel(ctx), closeGrace)
		defer stop()
		if err := t.session.Flush(flushed); err != nil {
			a.note("What is still to be said goes out next time: %v", err)
		}
		return t.report()
	case errors.Is(cause, errOver):
		return t.report()
	case errors.Is(cause, errQueued):
		return fmt.Errorf("%w: nobody has given us the topic key within %v; is somebody there who may (parley topic join … --pair)?", errQueued, c.Timeout)
	}
	return err
}

var errJoined = errors.New("joined")

// prepare lets the broker keep messages from now on for other commands that come
// later: it makes their sessions and acknowledges nothing in them. While one of those
// runs there is nothing to prepare, and taking its session over would disturb it.
func (t *taking) prepare(ctx context.Context, id stringphone.ID, purposes ...string) error {
	if !t.h.made {
		return nil
	}
	for _, purpose := range purposes {
		c := t.h.channel(id, purpose, nil)
		if err := c.dial(ctx); err != nil {
			return err
		}
		err := c.conn.Subscribe(ctx, c.topic, c.qos, func(mqttclient.Message) error { return errLater })
		c.close()
		if err != nil {
			return fmt.Errorf("the topic %s: %w", c.topic, err)
		}
		if _, err := t.session.Subscribed(purpose); err != nil {
			return err
		}
	}
	return nil
}

var errLater = errors.New("for a later process")

// report prints who is in the topic.
func (t *taking) report() error {
	st, err := t.session.Status()
	if err != nil {
		return err
	}
	return t.a.result(statusOf(st), func() string { return statusText(st) })
}

// taking is a command that takes part in a topic.
type taking struct {
	a       *app
	h       *here
	session *live.Session
	channel *channel
	joined  func()

	pair  time.Duration
	until time.Time
	allow map[stringphone.ID]bool
	pins  map[stringphone.ID]bool

	mu    sync.Mutex
	lost  bool
	asked sync.Mutex // one question at a time

	unsure bool
	asks   sync.Once

	waiting int // questions
	told    int // who asks, and cannot be decided about here
}

// mostQuestions is how many people may wait for an answer at the terminal, and how
// many are told about where nobody can answer: a flood of strangers is no reason
// to show nothing else.
const mostQuestions = 16

func (t *taking) admission(c *admission) error {
	keys, err := publicKeys("--allow", c.Allow)
	if err != nil {
		return err
	}
	t.allow = map[stringphone.ID]bool{}
	for _, k := range keys {
		t.allow[stringphone.IDOf(k)] = true
	}
	t.pair = c.Pair
	return nil
}

// start connects and makes the session. show is nil for commands that leave
// messages to another.
func (t *taking) start(ctx context.Context, hexed bool, self *topicSelf, purpose string, show func(live.Message) error, retained bool) error {
	o := live.Options{
		State: t.h.file, Channel: notYet{}, Hex: hexed, Announce: hexed && purpose != "talk", Retained: retained,
		Show: show, Note: t.note,
	}
	if purpose != "talk" {
		o.Admit, o.Trust = t.admit, t.trust
	}
	o.Rejoin = purpose == "join"
	probe, err := live.New(o)
	if err != nil {
		return err
	}
	t.session = probe
	if self != nil {
		if err := self.adjust(t.h, probe); err != nil {
			return err
		}
		pins, err := publicKeys("--pin", self.Pin)
		if err != nil {
			return err
		}
		t.pins = map[stringphone.ID]bool{}
		for _, k := range pins {
			t.pins[stringphone.IDOf(k)] = true
		}
	}
	st, err := probe.Status()
	if err != nil {
		return err
	}
	t.channel = t.h.channel(st.ID, purpose, t.state)
	if err := t.channel.dial(ctx); err != nil {
		return err
	}
	o.Channel = t.channel
	before := true
	if purpose != "join" { // whose session nobody reads later
		if before, err = probe.Subscribed(purpose); err != nil {
			return err
		}
	}
	o.Settle = func(ctx context.Context) bool {
		lost := t.channel.anew.Load() && before || !before && !t.h.made
		crowded := t.channel.quiet(ctx)
		return purpose != "join" && (lost || crowded)
	}
	if !st.Joined || purpose == "talk" {
		o.Joined = t.joined
	}
	o.Unsure = t.unsure
	o.Alone = func(ctx context.Context) (func(), error) {
		done, err := t.h.lock(ctx, "outbox", false)
		if errors.Is(err, filelock.ErrLocked) {
			err = ctx.Err()
		}
		return done, err
	}
	if t.pair > 0 {
		t.until = time.Now().Add(t.pair)
	}
	t.session, err = live.New(o)
	return err
}

// notYet is the channel before there is one.
type notYet struct{ live.Channel }

func (t *taking) end() {
	if t.channel != nil {
		t.channel.close()
	}
	if t.session == nil {
		return
	}
	c := t.session.Counts()
	for _, x := range []struct {
		n    int
		what string
	}{
		{c.Foreign, "not of this protocol"}, {c.Forged, "forged or refused"}, {c.Untrusted, "of members that we do not trust"},
		{c.Unreadable, "under a key that we lack"}, {c.Repeated, "seen before"},
	} {
		if x.n > 0 {
			t.a.note("Not shown: %d %s.", x.n, x.what)
		}
	}
}

func (t *taking) state(connected bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case !connected && err != nil && !t.lost:
		t.lost = true
		t.a.note("The broker is away, and is tried again: %v", err)
	case connected && t.lost:
		t.lost = false
		t.a.note("The broker is back.")
	}
}

// admit decides about somebody who asks for the topic key.
func (t *taking) admit(ctx context.Context, r live.Request) live.Verdict {
	switch {
	case t.allow[r.ID], time.Now().Before(t.until):
		return live.Yes
	case t.pair > 0:
		t.a.note("%s asks for the topic key after the pairing window has closed.", short(r.ID))
		return live.No
	}
	return t.question(ctx, fmt.Sprintf("%s asks for the topic key: it could then read everything.\n  fingerprint: %s\nCompare it with what that device shows. Let it in? [y/N] ", short(r.ID), t.fingerprint(r.Key)))
}

// trust decides about somebody who offers us the topic key.
func (t *taking) trust(ctx context.Context, r live.Answer) live.Verdict {
	switch {
	case len(t.pins) > 0 && (!t.pins[r.ID] || !r.Signed):
		t.a.note("%s offers the topic key, and is not the pinned one.", short(r.ID))
		return live.No
	case len(t.pins) > 0:
		return live.Yes
	case t.allow[r.ID] && r.Signed, time.Now().Before(t.until):
		return live.Yes
	}
	about := ""
	if !r.Signed {
		about = "\nNOBODY SIGNED THIS: anybody could have made it. Only the original's devices answer so."
	}
	return t.question(ctx, fmt.Sprintf("%s offers the topic key.%s\n  fingerprint: %s\nCompare it with what that device shows. Join its topic? [y/N] ", short(r.ID), about, t.fingerprint(r.Key)))
}

func (t *taking) question(ctx context.Context, text string) live.Verdict {
	if !t.a.inTTY && os.Getenv("PARLEY_ASK") == "" {
		return live.Later
	}
	t.mu.Lock()
	t.waiting++
	crowd := t.waiting > mostQuestions
	t.mu.Unlock()
	defer func() {
		t.mu.Lock()
		t.waiting--
		t.mu.Unlock()
	}()
	if crowd {
		return live.Later
	}
	t.asked.Lock()
	defer t.asked.Unlock()
	answer, err := t.a.ask(ctx, text)
	if err != nil {
		return live.Later
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return live.Yes
	}
	return live.No
}

func (t *taking) fingerprint(key []byte) string { return words13(key) }

// note tells what happens beside messages.
func (t *taking) note(n live.Note) {
	who := short(n.ID)
	switch n.Kind {
	case live.NoteRequest, live.NoteAnswer:
		t.mu.Lock()
		t.told++
		told := t.told
		t.mu.Unlock()
		if told == mostQuestions {
			t.a.note("More ask, and are not told about one by one: parley topic members lists them.")
		}
		if told >= mostQuestions {
			return
		}
	}
	switch n.Kind {
	case live.NoteRequest:
		t.a.note("%s asks for the topic key (fingerprint: %s). To let it in: --allow %s", who, t.fingerprint(n.Key), keyLine(n.Key))
	case live.NoteAnswer:
		t.a.note("%s offers the topic key (fingerprint: %s). To take it: --pin %s", who, t.fingerprint(n.Key), keyLine(n.Key))
	case live.NoteAdmitted:
		t.a.note("%s has been given the topic key (fingerprint: %s).", who, t.fingerprint(n.Key))
	case live.NoteDenied:
		t.a.note("%s was not let in.", who)
	case live.NoteJoined:
		t.a.note("Joined: %s gave us the topic key (fingerprint: %s).", who, t.fingerprint(n.Key))
	case live.NoteRotated:
		t.a.note("The topic has a new key.")
	case live.NoteRemoved:
		t.a.loud("You have been removed from this topic")
	case live.NoteUntrusted:
		t.a.note("Not shown, and kept for now: a message of %s, whom we do not trust.", who)
	case live.NoteForged:
		t.a.note("Refused: %v.", n.Err)
	case live.NoteTrouble:
		t.a.note("The broker does not take it, and is tried again: %v", n.Err)
	case live.NoteUnreadable:
		t.a.note("A message cannot be read yet: %v.", n.Err)
	case live.NoteForeign, live.NoteRepeated: // counted, and told at the end
	}
}
