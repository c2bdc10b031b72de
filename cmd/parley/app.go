package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"parley/internal/term"
	"parley/messenger"
)

// app is what every command needs: where to print, whom to ask, and the way to
// the messenger.
type app struct {
	json     bool
	profile  string // absolute
	passFile string
	in       *bufio.Reader
	out, err io.Writer
	colour   bool // standard output is a terminal that knows colours
	inTTY    bool
	access   *access
	exited   int // what kong wants to exit with after --help, or -1

	mu sync.Mutex // one line at a time
}

func newApp(json bool) *app {
	return &app{
		json: json, exited: -1, in: bufio.NewReader(os.Stdin), out: os.Stdout, err: os.Stderr,
		colour: term.IsTerminal(os.Stdout) && os.Getenv("TERM") != "dumb",
		inTTY:  term.IsTerminal(os.Stdin),
	}
}

func (a *app) configure(c *commands) (err error) {
	a.json, a.passFile, a.profile = c.JSON, c.PassphraseFile, c.Profile
	if a.profile == "" {
		// Without a home there is none, and many commands need none: who does is told.
		a.profile, _ = defaultProfile()
	}
	if a.profile != "" {
		if a.profile, err = filepath.Abs(a.profile); err != nil {
			return usage("profile: %w", err)
		}
	}
	a.access = &access{a: a}
	return nil
}

func (a *app) close() error {
	if a.access == nil {
		return nil
	}
	return a.access.close()
}

// emit prints v as one line of JSON.
func (a *app) emit(v any) error {
	b, err := term.JSON(v)
	if err != nil {
		return err
	}
	return a.print(string(b) + "\n")
}

// print writes s as it is. What comes from others must be clean by now.
func (a *app) print(s string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, err := io.WriteString(a.out, s)
	return err
}

func (a *app) printf(format string, args ...any) error {
	return a.print(fmt.Sprintf(format, args...))
}

// result prints v with --json, else what human returns.
func (a *app) result(v any, human func() string) error {
	if a.json {
		return a.emit(v)
	}
	return a.print(human())
}

// note tells the user something beside the result, on standard error.
func (a *app) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.json {
		b, _ := term.JSON(map[string]string{"note": text})
		fmt.Fprintf(a.err, "%s\n", b)
		return
	}
	fmt.Fprintln(a.err, term.Text(text))
}

// fail tells about err and returns its exit code.
func (a *app) fail(err error) int {
	code := exitCode(err)
	if err == nil {
		return code
	}
	text := err.Error()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.json {
		b, _ := term.JSON(struct {
			Error string `json:"error"`
			Code  int    `json:"code"`
		}{text, code})
		fmt.Fprintf(a.err, "%s\n", b)
		return code
	}
	fmt.Fprintf(a.err, "parley: %s\n", term.Text(text))
	return code
}

// loud is for what nobody may overlook: a changed key.
func (a *app) loud(text string) {
	if a.json {
		a.note("%s", text)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	from, to := "", ""
	if f, ok := a.err.(*os.File); ok && term.IsTerminal(f) && os.Getenv("TERM") != "dumb" {
		from, to = "\x1b[1;97;41m", "\x1b[0m"
	}
	fmt.Fprintf(a.err, "%s!!! %s !!!%s\n", from, term.Line(text), to)
}

// ask asks a question of somebody at the terminal.
func (a *app) ask(ctx context.Context, question string) (string, error) {
	s, err := term.Ask(ctx, a.in, a.err, question)
	if errors.Is(err, io.EOF) {
		return "", nil
	}
	return s, err
}

// clock is how times of day are shown: with the date unless it is today.
func clock(t, now time.Time) string {
	t, now = t.Local(), now.Local()
	if t.IsZero() {
		return "never"
	}
	if t.Year() == now.Year() && t.YearDay() == now.YearDay() {
		return t.Format("15:04:05")
	}
	return t.Format("2006-01-02 15:04")
}

// line is how one message is shown to people.
func line(m messenger.Message) string {
	who, when := author(m), m.Received
	if m.Direction == "out" {
		who, when = "you", m.Sent
	}
	if when.IsZero() {
		when = m.Sent
	}
	head := fmt.Sprintf("%s  %s: ", clock(when, time.Now()), who)
	if m.Kind == "notice" {
		head = fmt.Sprintf("%s  * %s: ", clock(when, time.Now()), author(m))
	}
	return head + term.Indent(m.Text, "    ") + "\n"
}
