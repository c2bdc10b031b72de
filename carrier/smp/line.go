package smp

import (
	"bytes"
	"errors"
)

var (
	errBase64  = errors.New("smp: not base64 with padding")
	errBodyEnd = errors.New("smp: no line end after the body")
)

// line returns the line at b[from:] without its end, LF or CRLF, and where the
// next one begins. most is the longest allowed, in bytes.
func line(b []byte, from, most int) (text []byte, next int, err error) {
	rest := b[from:]
	i := bytes.IndexByte(rest[:min(len(rest), most+2)], '\n')
	switch {
	case i >= 0:
		next = from + i + 1
		if i > 0 && rest[i-1] == '\r' {
			i--
		}
		return rest[:i], next, nil
	case len(rest) >= most+2:
		return nil, 0, ErrLine
	}
	return nil, 0, errShort
}

// lineEnd returns the position after the LF or CRLF at b[n].
func lineEnd(b []byte, n int) (int, error) {
	rest := b[n:]
	switch {
	case len(rest) == 0 || len(rest) == 1 && rest[0] == '\r':
		return n, errShort
	case rest[0] == '\n':
		return n + 1, nil
	case rest[0] == '\r' && rest[1] == '\n':
		return n + 2, nil
	}
	return n, errBodyEnd
}

// parseSize reads 1*DIGIT; what is beyond any limit stays so.
func parseSize(s []byte) (int, bool) {
	size := 0
	for _, c := range s {
		if c < '0' || c > '9' {
			return 0, false
		}
		size = min(size*10+int(c-'0'), maxSkip+1)
	}
	return size, len(s) > 0
}

// decode appends what strict, padded base64 stands for.
func decode(dst, text []byte) ([]byte, error) {
	if bytes.ContainsAny(text, "\r\n") {
		return dst, errBase64 // encoding/base64 would pass over them
	}
	out, err := base64s.AppendDecode(dst, text)
	if err != nil {
		return dst, errBase64
	}
	return out, nil
}

func parseID(text []byte) (ID, error) {
	var buf [maxLine]byte
	b, err := decode(buf[:0], text)
	if err != nil {
		return ID{}, err
	}
	return MakeID(b)
}

// resync looks for the next thing that has the shape of a transmission, after a
// size that says nothing about the body behind it. It returns how many bytes to
// throw away, and whether a transmission begins there; if not, more are needed.
func resync(b []byte) (drop int, found bool) {
	for {
		first, next, err := line(b, drop, maxLine)
		if err == ErrLine {
			return len(b), false
		}
		if err != nil {
			return drop, false
		}
		second, third, err := line(b, next, maxLine)
		if err == errShort {
			return drop, false
		}
		if err == nil && credential(first) && credential(second) {
			switch ok, more := verbShape(b[third:]); {
			case more:
				return drop, false
			case ok:
				return drop, true
			}
		}
		drop = next
	}
}

// credential reports whether text could be a signature or an ID: empty or base64.
func credential(text []byte) bool {
	var buf [maxLine]byte
	_, err := decode(buf[:0], text)
	return err == nil
}

// verbShape reports whether b begins with a word of letters that a space or the
// line's end follows, or that more bytes are needed to know.
func verbShape(b []byte) (ok, more bool) {
	for i, c := range b {
		switch {
		case i == 16:
			return false, false
		case c|0x20 >= 'a' && c|0x20 <= 'z':
		default:
			return i > 0 && (c == ' ' || c == '\n' || c == '\r'), false
		}
	}
	return false, true
}
