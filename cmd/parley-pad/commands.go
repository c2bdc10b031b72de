package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"parley"
	"parley/internal/qr"
	"parley/internal/term"
	"parley/paddevice"
	"parley/paddevice/server"
	"parley/padstore"
)

var errUsage = errors.New("usage")

type pairCmd struct {
	folder
	Address string `placeholder:"HOST:PORT" help:"Where the client finds the device, if that is not where it listens."`
}

func (c *pairCmd) Run(io *console) error {
	code, err := server.NewCode(context.Background(), c.Dir, c.Address)
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(io.out, codeText(code, io.out))
	return err
}

// codeText is a pairing code as text and, on a terminal, as a QR code.
func codeText(code paddevice.Code, to io.Writer) string {
	var b strings.Builder
	text := code.String()
	if f, ok := to.(*os.File); ok && term.IsTerminal(f) {
		if q, err := qr.Encode(text); err == nil {
			b.WriteString(q.Draw(true))
		}
	}
	fmt.Fprintf(&b, "%s\n", text)
	fmt.Fprintf(&b, "On the computer: parley pad pair, and this code. It is good for one client, until %s.\n", time.Now().Add(paddevice.CodeLife).Format("15:04"))
	return b.String()
}

type clientsCmd struct{ folder }

func (c *clientsCmd) Run(io *console) error {
	all, err := server.Clients(c.Dir)
	if err != nil {
		return err
	}
	for _, one := range all {
		fmt.Fprintf(io.out, "%s\tkey %.16s…\tpaired %s\n", term.Line(one.Name), term.Line(one.Key), one.Paired.Local().Format("2006-01-02 15:04"))
	}
	return nil
}

type unpairCmd struct {
	marked
	Name string `arg:"" help:"The client's name."`
}

func (c *unpairCmd) Run() error {
	return c.logged(func(l *server.Log) error { return server.Unpair(context.Background(), l, c.Name) })
}

// logged does something that the event log is told of first.
func (m *marked) logged(do func(*server.Log) error) error {
	marks, err := m.marks()
	if err != nil {
		return err
	}
	if err := server.CheckMarks(m.Dir, marks); err != nil {
		return err
	}
	var warned error
	l, err := server.OpenLog(m.Dir, marks, nil, func(err error) { warned = err })
	if err != nil {
		return err
	}
	err = do(l)
	return errors.Join(err, l.Close(), warned)
}

// amount is a number of bytes: 500, 1K, 2M.
type amount int64

func (a *amount) UnmarshalText(b []byte) error {
	s, unit := strings.ToUpper(string(b)), int64(1)
	for i, suffix := range []string{"K", "M", "G"} {
		if t, ok := strings.CutSuffix(strings.TrimSuffix(strings.TrimSuffix(s, "B"), "I"), suffix); ok {
			s, unit = t, 1<<(10*(i+1))
			break
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > (1<<50)/unit {
		return fmt.Errorf("a number of bytes, such as 500, 1K or 2M")
	}
	*a = amount(n * unit)
	return nil
}

type allowCmd struct {
	marked
	Peer string        `arg:"" help:"The contact whose pad may be used."`
	Self string        `placeholder:"NAME" help:"Whose end of it, if the folder has pads of several people with that contact."`
	Op   string        `default:"package" enum:"package,unpackage" help:"What may be done: package (send) or unpackage (open). Default: ${default}"`
	UpTo amount        `name:"up-to" required:"" placeholder:"SIZE" help:"Longest message, such as 1K."`
	For  time.Duration `placeholder:"TIME" help:"For how long, such as 1h; for ever if not given."`
}

func (c *allowCmd) Run(io *console) error {
	if c.For < 0 {
		return fmt.Errorf("%w: --for is a time to come", errUsage)
	}
	self, err := c.self()
	if err != nil {
		return err
	}
	r := server.Rule{Self: self, Peer: parley.Name(c.Peer), Op: c.Op, UpTo: int64(c.UpTo)}
	if c.For > 0 {
		r.Until = time.Now().Add(c.For).UTC().Truncate(time.Second)
	}
	err = c.logged(func(l *server.Log) error { return server.Allow(context.Background(), l, r) })
	if err == nil {
		fmt.Fprintf(io.out, "Allowed without asking: %s\n", term.Line(r.String()))
	}
	return err
}

// self is whose pad a rule is about: a rule never holds for people who were not meant.
func (c *allowCmd) self() (parley.Name, error) {
	if c.Self != "" {
		return parley.Name(c.Self), nil
	}
	marks, err := c.marks()
	if err != nil {
		return "", err
	}
	damaged := ""
	d, err := padstore.OpenDir(c.Dir, padstore.Options{Marks: marks, Event: func(e padstore.Event) {
		if e.Kind == padstore.Damaged {
			damaged = "; of those that are here, one cannot be opened: " + term.Line(e.Text)
		}
	}})
	if err != nil {
		return "", err
	}
	defer d.Close()
	var all []string
	for _, p := range d.All() {
		if p.Peer() == parley.Name(c.Peer) {
			all = append(all, string(p.Self()))
		}
	}
	switch len(all) {
	case 1:
		return parley.Name(all[0]), nil
	case 0:
		return "", fmt.Errorf("%w: there is no pad with %q here: give --self to set a rule before the pad comes%s", parley.ErrNoKey, c.Peer, damaged)
	}
	return "", fmt.Errorf("%w: %s have pads with %q: give --self", errUsage, strings.Join(all, ", "), c.Peer)
}

type rulesCmd struct{ folder }

func (c *rulesCmd) Run(io *console) error {
	all, err := server.Rules(c.Dir)
	for _, r := range all {
		fmt.Fprintln(io.out, term.Line(r.String()))
	}
	return err
}

type forbidCmd struct {
	marked
	Peer string `arg:"" help:"The contact."`
	Self string `placeholder:"NAME" help:"Only for this person's pad."`
	Op   string `default:"" enum:",package,unpackage" help:"Only this: package or unpackage."`
}

func (c *forbidCmd) Run() error {
	return c.logged(func(l *server.Log) error {
		return server.Forbid(context.Background(), l, parley.Name(c.Self), parley.Name(c.Peer), c.Op)
	})
}

type logCmd struct {
	marked
	JSON  bool `help:"The lines as they are."`
	Check bool `help:"Only check, and show nothing."`
}

func (c *logCmd) Run(io *console) error {
	marks, err := c.marks()
	if err != nil {
		return err
	}
	if _, err := os.Stat(c.Dir); err != nil {
		return err
	}
	var failed error
	err = server.ReadLog(c.Dir, marks, func(e *server.Entry) {
		if c.Check || failed != nil {
			return
		}
		line := []byte(e.String())
		if c.JSON {
			line, failed = term.JSON(e)
		}
		if failed == nil {
			_, failed = fmt.Fprintf(io.out, "%s\n", line)
		}
	})
	return errors.Join(err, failed)
}

type showCmd struct{ marked }

func (c *showCmd) Run(io *console) error {
	marks, err := c.marks()
	if err != nil {
		return err
	}
	damaged := false
	d, err := padstore.OpenDir(c.Dir, padstore.Options{Marks: marks, Event: func(e padstore.Event) {
		damaged = damaged || e.Kind == padstore.Damaged
		fmt.Fprintf(io.err, "%s: %s\n", e.Kind, term.Line(e.Text))
	}})
	if err != nil {
		return err
	}
	defer d.Close()
	w := tabwriter.NewWriter(io.out, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "OURS\tPEER\tFORMAT\tLEFT TO SEND\tLONGEST\tLEFT TO THEM\tSIZE\t\n")
	for _, p := range d.All() {
		st, err := p.Status(context.Background(), p.Peer())
		if err != nil {
			return err
		}
		note := ""
		if st.Held != "" {
			note = "HELD: " + term.Line(st.Held)
		}
		fmt.Fprintf(w, "%s\t%s\tv%d\t%d\t%d\t%d\t%d\t%s\n", term.Line(string(st.Self)), term.Line(string(st.Peer)), st.Version, st.Left, st.Largest, st.Theirs, st.Size, note)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if damaged {
		return fmt.Errorf("%w: not all pads can be opened", parley.ErrMalformed)
	}
	return nil
}
