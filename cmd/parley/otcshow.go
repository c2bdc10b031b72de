package main

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"parley/internal/term"
)

// say prints text, or with --json the value, if there is one.
func (c *otcChat) say(v any, format string, args ...any) error {
	if c.a.json {
		if v == nil {
			return nil
		}
		return c.a.emit(v)
	}
	return c.a.printf(format, args...)
}

// otcWidth is how wide a warning is, in characters.
const otcWidth = 64

// warn shows what nobody may overlook: white on red in a frame at a terminal, between
// lines elsewhere.
func (c *otcChat) warn(title, text string) {
	if c.a.json {
		c.a.emit(map[string]string{"warning": strings.ToLower(title), "text": text})
		return
	}
	c.a.print(otcWarning(title, text, c.a.colour))
}

func otcWarning(title, text string, colour bool) string {
	lines := append([]string{"WARNING: " + title, ""}, wrap(term.Line(text), otcWidth-4)...)
	var b strings.Builder
	if !colour {
		b.WriteString(strings.Repeat("!", otcWidth) + "\n")
		for _, l := range lines {
			b.WriteString(strings.TrimRight("!! "+l, " ") + "\n")
		}
		b.WriteString(strings.Repeat("!", otcWidth) + "\n")
		return b.String()
	}
	const on, off = "\x1b[1;97;41m", "\x1b[0m"
	bar := strings.Repeat("═", otcWidth-2)
	fmt.Fprintf(&b, "%s╔%s╗%s\n", on, bar, off)
	for _, l := range lines {
		fmt.Fprintf(&b, "%s║ %s%s ║%s\n", on, l, strings.Repeat(" ", max(0, otcWidth-4-utf8.RuneCountInString(l))), off)
	}
	fmt.Fprintf(&b, "%s╚%s╝%s\n", on, bar, off)
	return b.String()
}

// wrap breaks a text between words.
func wrap(text string, width int) (lines []string) {
	line, n := "", 0
	for _, word := range strings.Fields(text) {
		w := utf8.RuneCountInString(word)
		if n > 0 && n+1+w > width {
			lines, line, n = append(lines, line), "", 0
		}
		if n > 0 {
			line, n = line+" ", n+1
		}
		line, n = line+word, n+w
	}
	return append(lines, line)
}
