package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
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
	mu      sync.Mutex
	out     io.Writer
}

// say prints for the person. What is from others has been made safe by then.
func (t *terminal) say(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(t.out, format, args...)
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
	switch q.Op {
	case OpPackage:
		return fmt.Sprintf("   SEND a message of %s from %s to %s?", size(q.Message), name(q.Self), name(q.Peer))
	case OpUnpackage:
		return fmt.Sprintf("   OPEN a message of up to %s from %s for %s?", size(q.Message), name(q.Peer), name(q.Self))
	}
	return fmt.Sprintf("   GIVE pad of %s to %s, for ever?", name(q.Self), name(q.Peer))
}

func (q Question) cost() string {
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
