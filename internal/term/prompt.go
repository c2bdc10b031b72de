package term

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	xterm "golang.org/x/term"
)

// ErrNoTerminal says that there is nobody to ask.
var ErrNoTerminal = errors.New("no terminal to ask at")

// IsTerminal reports whether f is a terminal.
func IsTerminal(f *os.File) bool { return f != nil && xterm.IsTerminal(int(f.Fd())) }

// Width returns the columns of the terminal f, or 80.
func Width(f *os.File) int {
	if w, _, err := xterm.GetSize(int(f.Fd())); err == nil && w > 0 {
		return w
	}
	return 80
}

// Passphrase asks at the terminal, without echo. It uses standard input if that
// is a terminal, else the controlling terminal as long as standard error shows
// the question; with neither it returns ErrNoTerminal. The terminal's state is
// put back when ctx ends.
func Passphrase(ctx context.Context, prompt string) (string, error) {
	tty := os.Stdin
	if !IsTerminal(os.Stdin) {
		if !IsTerminal(os.Stderr) {
			return "", ErrNoTerminal
		}
		f, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
		if err != nil {
			return "", ErrNoTerminal
		}
		defer f.Close()
		tty = f
	}
	fd := int(tty.Fd())
	before, err := xterm.GetState(fd)
	if err != nil {
		return "", fmt.Errorf("terminal: %w", err)
	}
	fmt.Fprint(os.Stderr, prompt)
	type answer struct {
		text []byte
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		b, err := xterm.ReadPassword(fd)
		got <- answer{b, err}
	}()
	select {
	case a := <-got:
		fmt.Fprintln(os.Stderr)
		if a.err != nil {
			return "", fmt.Errorf("read the passphrase: %w", a.err)
		}
		return string(a.text), nil
	case <-ctx.Done():
		// The read cannot be interrupted; the process is about to end.
		xterm.Restore(fd, before)
		fmt.Fprintln(os.Stderr)
		return "", context.Cause(ctx)
	}
}

// Ask prints a question and returns the line that answers it, without its end.
func Ask(ctx context.Context, in *bufio.Reader, out io.Writer, question string) (string, error) {
	fmt.Fprint(out, question)
	type answer struct {
		text string
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		s, err := in.ReadString('\n')
		if errors.Is(err, io.EOF) && s != "" {
			err = nil
		}
		got <- answer{strings.TrimRight(s, "\r\n"), err}
	}()
	select {
	case a := <-got:
		return a.text, a.err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}
