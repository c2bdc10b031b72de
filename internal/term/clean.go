// Package term is what a line-oriented face needs from a terminal: text from
// others made safe to show, questions, and passphrases read without echo.
package term

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Text makes a text from somebody else safe to show on a terminal: escape
// sequences and control characters are taken out, line ends become LF, a tab
// stays, and characters that change the direction of the text are written out
// (‹U+202E›), so that nobody can make a line read as what it is not. Bytes that
// are not UTF-8 become U+FFFD.
func Text(s string) string { return clean(s, true) }

// Line is Text for what must stay on one line, such as a name: line ends and
// tabs become spaces.
func Line(s string) string { return strings.TrimSpace(clean(s, false)) }

// Indent is Text with every line but the first moved in, so that a message
// cannot look like the next line of the program that shows it.
func Indent(s, by string) string {
	return strings.ReplaceAll(Text(s), "\n", "\n"+by)
}

func clean(s string, lines bool) string {
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == 0x1b:
			n = escape(s[i:])
		case r == '\r' && strings.HasPrefix(s[i+n:], "\n"):
			// The LF that follows is the line end.
		case r == '\n' || r == '\r' || r == 0x85 || r == 0x2028 || r == 0x2029:
			b.WriteByte(pick(lines, '\n'))
		case r == '\t':
			b.WriteByte(pick(lines, '\t'))
		case 0x80 <= r && r < 0xa0:
			n = control(s[i:], r, n)
		case r < 0x20 || r == 0x7f:
		case Misleading(r):
			fmt.Fprintf(&b, "‹U+%04X›", r)
		default:
			b.WriteRune(r)
		}
		i += n
	}
	return b.String()
}

func pick(lines bool, c byte) byte {
	if lines {
		return c
	}
	return ' '
}

// Misleading reports whether r changes how its neighbours are shown without
// being visible itself: the marks and overrides of bidirectional text, and
// interlinear annotations.
func Misleading(r rune) bool {
	switch {
	case r == 0x061c, r == 0x200e, r == 0x200f:
		return true
	case 0x202a <= r && r <= 0x202e, 0x2066 <= r && r <= 0x2069:
		return true
	case 0xfff9 <= r && r <= 0xfffb:
		return true
	}
	return false
}

// escape returns the length of the escape sequence that s starts with
// (ECMA-48): CSI to its final byte, strings (OSC, DCS, SOS, PM, APC) to their
// terminator, else ESC, intermediate bytes and a final byte.
func escape(s string) int {
	if len(s) < 2 {
		return 1
	}
	switch s[1] {
	case '[':
		return 2 + parameters(s[2:])
	case ']', 'P', 'X', '^', '_':
		return 2 + untilTerminator(s[2:])
	}
	i := 1
	for i < len(s) && 0x20 <= s[i] && s[i] <= 0x2f {
		i++
	}
	if i < len(s) && 0x30 <= s[i] && s[i] <= 0x7e {
		i++
	}
	return i
}

// control does the same for a sequence that starts with a C1 character.
func control(s string, r rune, n int) int {
	switch r {
	case 0x9b:
		return n + parameters(s[n:])
	case 0x9d, 0x90, 0x98, 0x9e, 0x9f:
		return n + untilTerminator(s[n:])
	}
	return n
}

func parameters(s string) int {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case 0x40 <= c && c <= 0x7e:
			return i + 1
		case c < 0x20 || c > 0x3f: // not part of a control sequence: it ends here
			return i
		}
	}
	return len(s)
}

// untilTerminator stops at BEL or ST, and at a line end: without a terminator,
// a string must not swallow what the reader should see.
func untilTerminator(s string) int {
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == 0x07:
			return i + 1
		case s[i] == '\n':
			return i
		case s[i] == 0x1b:
			if i+1 < len(s) && s[i+1] == '\\' {
				return i + 2
			}
			return i
		case strings.HasPrefix(s[i:], "\u009c"):
			return i + len("\u009c")
		}
	}
	return len(s)
}
