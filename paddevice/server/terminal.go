package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"parley"
	"parley/internal/term"
)

// terminal shows questions to the person at the device, one at a time, and takes the
// answers: y or n and the number that the question shows, so that neither a stray Enter
// nor an answer that comes too late does anything.
type terminal struct {
	confirm *Confirm
	pair    func() string // makes a pairing code, and what to show of it

	queue chan string
	lost  atomic.Int64 // that had no place in the queue
	ended chan struct{}
	mu    sync.Mutex // of closed
	shut  bool
}

// maxLines is how much waits for a terminal that is slow, or stopped by Ctrl-S. Nothing
// else waits for it.
const maxLines = 256

// flushTime is how long the last lines have when the device stops.
const flushTime = time.Second

func newTerminal(out io.Writer) *terminal {
	t := &terminal{queue: make(chan string, maxLines), ended: make(chan struct{})}
	go func() {
		defer close(t.ended)
		for s := range t.queue {
			io.WriteString(out, s)
			if n := t.lost.Swap(0); n > 0 {
				fmt.Fprintf(out, "%d messages were not shown here, because the terminal has not taken them: parley-pad log has what matters.\n", n)
				if a := t.shown(); a != nil {
					io.WriteString(out, a.text())
				}
			}
		}
	}()
	return t
}

// shown is the question that is open, which may be among those that were not shown.
func (t *terminal) shown() *Asked {
	if t.confirm == nil {
		return nil
	}
	a, _, _ := t.confirm.Shown()
	return a
}

// say prints for the person, and does not wait for it. What is from others has been made
// safe by then.
func (t *terminal) say(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.shut {
		return
	}
	select {
	case t.queue <- fmt.Sprintf(format, args...):
	default:
		t.lost.Add(1)
	}
}

// close waits a moment for what is still to be shown.
func (t *terminal) close() {
	t.mu.Lock()
	if !t.shut {
		t.shut = true
		close(t.queue)
	}
	t.mu.Unlock()
	select {
	case <-t.ended:
	case <-time.After(flushTime):
	}
}

// show follows the questions until ctx ends.
func (t *terminal) show(ctx context.Context) {
	last := ""
	for {
		a, _, changed := t.confirm.Shown()
		if a == nil {
			last = ""
		} else if a.Number != last {
			last = a.Number
			t.say("%s", a.text())
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// text is a question as a person reads it.
func (a *Asked) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n== Question %s, from %s ==\n%s\n", a.Number, name(a.Client), a.ask())
	fmt.Fprintf(&b, "   %s\n", a.cost())
	fmt.Fprintf(&b, "   y %s allows it, n %s denies it; without an answer it is denied in %s.", a.Number, a.Number, a.Within.Round(time.Second))
	if a.More > 0 {
		fmt.Fprintf(&b, " %d more wait.", a.More)
	}
	b.WriteString("\n")
	return b.String()
}

func name[T ~string](s T) string { return term.Line(string(s)) }

// ask and cost are what the terminal and the page show alike.
func (q Question) ask() string {
	again := ""
	if q.Again {
		again = " once more, for another client,"
	}
	switch q.Op {
	case OpPackage:
		return fmt.Sprintf("   SEND%s a message of %s from %s to %s?", again, size(q.Message), name(q.Self), name(q.Peer))
	case OpUnpackage:
		return fmt.Sprintf("   OPEN%s a message of up to %s from %s for %s?", again, size(q.Message), name(q.Peer), name(q.Self))
	}
	return fmt.Sprintf("   GIVE%s pad of %s to %s, for ever?", again, name(q.Self), name(q.Peer))
}

func (q Question) cost() string {
	if q.Again {
		return "It was allowed before, and has not been finished. No more pad is used."
	}
	if q.Op == OpUnpackage {
		return fmt.Sprintf("It uses %s of %s's pad.", size(q.Pad), name(q.Peer))
	}
	return fmt.Sprintf("It uses %s of your pad; %s are left after it.", size(q.Pad), size(q.Left))
}

func size(n int64) string {
	if n == 1 {
		return "1 byte"
	}
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s + " bytes"
}

// told says how a question ended, unless it was a yes at this terminal.
func (t *terminal) told(_ Question, number string, err error) {
	how := "allowed"
	switch {
	case errors.Is(err, errTimeout):
		how = "denied: nobody has answered in time"
	case errors.Is(err, errRejected):
		how = "denied"
	case errors.Is(err, parley.ErrOffline):
		how = "not allowed: the device is stopping"
	case err != nil:
		how = "withdrawn: the client has gone"
	}
	t.say("Question %s: %s.\n", number, how)
}

// read takes lines until the input ends.
func (t *terminal) read(in io.Reader) {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		switch word := strings.Fields(strings.ToLower(lines.Text())); {
		case len(word) == 0:
		case len(word) == 2 && (word[0] == "y" || word[0] == "n" || word[0] == "yes" || word[0] == "no"):
			if err := t.confirm.Answer(word[1], word[0][0] == 'y'); err != nil {
				t.say("Nothing done: %v.\n", err)
			}
		case len(word) == 1 && word[0] == "p" && t.pair != nil:
			t.say("%s", t.pair())
		default:
			t.say("Type y or n and the number of the question, such as: y 123%s.\n", map[bool]string{true: "; or p for a pairing code"}[t.pair != nil])
		}
	}
}
