package nes

import (
	"bytes"
	"strconv"
	"unicode/utf8"
)

// Most envelopes and plaintexts have byte for byte the form that the original and we
// write. Those are taken apart here in one pass; a general JSON parser makes several, and
// would take a third of the time that the cryptography of a long message takes. Whatever
// is not of that form is left to the general parser: nothing is refused here, and what is
// read here is what that parser would read (FuzzUsual).

// What stands before and between the members of an envelope and of a plaintext.
const (
	beforeCipherkey  = `{"cipherkey":"`
	beforeCiphertext = `","ciphertext":"`
	beforeSignature  = `","signature":"`
	beforeFrom       = `{"from":"`
	beforeTo         = `","to":"`
	beforeTimestamp  = `","timestamp":`
	beforeMessage    = `,"message":"`
	closing          = `"}`
)

// usualEnvelope returns the texts of an envelope's members. Their alphabet is looked at
// afterwards, so that it is enough to see that they have no quote and no backslash.
func usualEnvelope(b []byte, text *[3]string) bool {
	for i, before := range []string{beforeCipherkey, beforeCiphertext, beforeSignature} {
		rest, ok := bytes.CutPrefix(b, []byte(before))
		end := bytes.IndexByte(rest, '"')
		if !ok || end < 0 || bytes.IndexByte(rest[:end], '\\') >= 0 {
			return false
		}
		text[i], b = string(rest[:end]), rest[end:]
	}
	return string(b) == closing
}

// usualPlaintext reads a text message.
func usualPlaintext(b []byte) (m Message, ok bool) {
	for _, part := range []struct {
		before, end string
		to          *string
	}{{beforeFrom, `"`, &m.From}, {beforeTo, `"`, &m.To}} {
		if b, ok = bytes.CutPrefix(b, []byte(part.before)); !ok {
			return Message{}, false
		}
		end := bytes.IndexByte(b, '"')
		if end < 0 || CheckName(string(b[:end])) != nil {
			return Message{}, false
		}
		*part.to, b = string(b[:end]), b[end:]
	}
	if b, ok = bytes.CutPrefix(b, []byte(beforeTimestamp)); !ok {
		return Message{}, false
	}
	number, rest, ok := bytes.Cut(b, []byte(beforeMessage))
	if !ok || len(number) > 20 {
		return Message{}, false
	}
	var err error
	if m.Time, err = strconv.ParseInt(string(number), 10, 64); err != nil || strconv.FormatInt(m.Time, 10) != string(number) {
		return Message{}, false
	}
	text, ok := bytes.CutSuffix(rest, []byte(closing))
	if !ok {
		return Message{}, false
	}
	m.Text, ok = unquote(text)
	return m, ok
}

// unquote returns what the inside of a JSON string stands for, if it is valid UTF-8 and has
// no surrogates written as \u.
func unquote(b []byte) (string, bool) {
	if !utf8.Valid(b) {
		return "", false
	}
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		c := b[i]
		switch {
		case c < 0x20 || c == '"':
			return "", false
		case c != '\\':
			out = append(out, c)
			continue
		}
		if i++; i == len(b) {
			return "", false
		}
		switch b[i] {
		case '"', '\\', '/':
			out = append(out, b[i])
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			if len(b)-i < 5 {
				return "", false
			}
			r, ok := hex4(b[i+1 : i+5])
			if !ok || r >= 0xd800 && r < 0xe000 {
				return "", false
			}
			out = utf8.AppendRune(out, r)
			i += 4
		default:
			return "", false
		}
	}
	return string(out), true
}

func hex4(b []byte) (r rune, ok bool) {
	for _, c := range b {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}
