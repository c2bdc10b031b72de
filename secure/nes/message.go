package nes

import (
	"encoding/json"
	"strings"
	"unicode/utf8"

	"parley/internal/jsonobject"
	"parley/internal/rsakey"
)

// A Message is what one user says to another.
type Message struct {
	// ID is the SHA-256 of the bytes that were signed, set by [Sealed.Open]; [Seal]
	// ignores it and returns the same beside the envelope. The same message sealed
	// twice is two envelopes with one ID.
	ID       [32]byte
	From, To string
	Time     int64 // Unix milliseconds, by the sender's clock; any value
	// Text is what to show, after [Sealed.Open] valid UTF-8 of up to [MaxText] bytes.
	// It may hold control characters.
	Text string
	// Presence, if not nil, is ours and not of the original, which shows an empty
	// text: an opaque body of up to [MaxPresence] bytes. Text is "" then.
	Presence []byte
}

// plain is the plaintext in the order and with the escaping of the original.
type plain struct {
	From      string  `json:"from"`
	To        string  `json:"to"`
	Timestamp int64   `json:"timestamp"`
	Message   string  `json:"message"`
	Presence  *string `json:"presence,omitempty"`
}

// check says what is wrong with a message that is to be sent. All is
// [parley.ErrRefused].
func (m *Message) check() error {
	switch {
	case CheckName(m.From) != nil:
		return refused("the sender: %v", ErrName)
	case CheckName(m.To) != nil:
		return refused("the recipient: %v", ErrName)
	case !fits(m.Text):
		return refused("a text of %d bytes, at most %d", len(m.Text), MaxText)
	case m.Presence != nil && m.Text != "":
		return refused("a text and a presence in one message")
	case len(m.Presence) > MaxPresence:
		return refused("a presence of %d bytes, at most %d", len(m.Presence), MaxPresence)
	}
	return nil
}

// fits reports whether a text is short enough for a reader too, who gets U+FFFD, three
// bytes, for each that is not UTF-8.
func fits(text string) bool {
	if len(text) > MaxText || utf8.ValidString(text) {
		return len(text) <= MaxText
	}
	return len(string([]rune(text))) <= MaxText
}

// plaintext returns the bytes to be signed.
func (m *Message) plaintext() ([]byte, error) {
	p := plain{From: m.From, To: m.To, Timestamp: m.Time, Message: m.Text}
	if m.Presence != nil {
		s := rsakey.EncodeBase64(m.Presence)
		p.Presence = &s
	}
	return json.Marshal(p)
}

// parsePlaintext reads signed bytes: one JSON object with at least the four members, in
// any order, each once.
func parsePlaintext(b []byte) (m Message, ok bool) {
	if m, ok = usualPlaintext(b); ok {
		return m, len(m.Text) <= MaxText
	}
	return parseObject(b)
}

// parseObject is parsePlaintext for all other forms.
func parseObject(b []byte) (m Message, ok bool) {
	if !modest(b) {
		return Message{}, false
	}
	o, err := jsonobject.Parse(b)
	if err != nil || lookalike(o, "from", "to", "timestamp", "message", "presence") {
		return Message{}, false
	}
	if m.From, err = o.String("from"); err == nil {
		if m.To, err = o.String("to"); err == nil {
			if m.Time, err = o.Int("timestamp"); err == nil {
				m.Text, err = o.String("message")
			}
		}
	}
	if err != nil || CheckName(m.From) != nil || CheckName(m.To) != nil || len(m.Text) > MaxText {
		return Message{}, false
	}
	if m.Text == "" {
		m.Presence = presence(o)
	}
	return m, true
}

// presence returns the member of that name if it is what [Seal] writes. If it is not, it
// is one of the further members that other programs may add.
func presence(o jsonobject.Object) []byte {
	s, err := o.String("presence")
	if err != nil || len(s) > (MaxPresence+2)/3*4 {
		return nil
	}
	b, err := rsakey.DecodeBase64(s)
	if err != nil || len(b) > MaxPresence {
		return nil
	}
	return b
}

// lookalike reports whether a member differs from one of these names in case only. The
// original takes "From" for "from", we do not, and a signed text must not be from one
// user to it and from another to us.
func lookalike(o jsonobject.Object, names ...string) bool {
	for k := range o {
		for _, n := range names {
			if k != n && strings.EqualFold(k, n) {
				return true
			}
		}
	}
	return false
}
