// Package smpbare is SMP's own end-to-end layer of October 2020 and nothing above
// it, STP 68: the packet is the text's decryptedBody (seeds/smp-2020-10, "Send
// message command"), which the carrier encrypts to the recipient's key EK:
//
//	decryptedBody = reserved LF clientBody LF
//
// Any client that follows the text can be at the other end. The price: EK's
// encryption keeps outsiders and relays from reading, and that is all. Anybody
// who knows EK can write, alter or repeat, nothing old stays closed once EK's
// private half is stolen, and receipts, edits and groups can't be said.
//
// We write the message ID as 24 characters of base64 into reserved, which the
// text leaves to later use, so that a resend over another path is recognised.
package smpbare

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf8"

	"parley"
)

const (
	// MaxText is the longest text in bytes.
	MaxText = 1 << 20
	// MaxReserved is the longest reserved part that Open takes, in bytes.
	MaxReserved = 1024
)

// Transport is the plug-in; its zero value is ready. It keeps nothing in State.
type Transport struct{}

var _ parley.SecureTransport = Transport{}

// New returns the plug-in.
func New() Transport { return Transport{} }

// Guarantees: outsiders can't read. Nothing else.
func (Transport) Guarantees() parley.Guarantee { return parley.Confidential }

// Seal writes m's ID and body. The body must be UTF-8 text ([parley.TextPlain]) of
// at most [MaxText] bytes, without a group: all else is [parley.ErrRefused], since
// the format can't say it. Seq and Sent are not carried.
func (Transport) Seal(_ context.Context, _ *parley.Conversation, m *parley.Message) ([]byte, error) {
	switch {
	case m.AMP != parley.TextPlain:
		return nil, fmt.Errorf("smpbare: only plain text can be sent on a bare line, not message type %d.%d: %w", m.AMP.Type, m.AMP.Version, parley.ErrRefused)
	case len(m.Group) > 0:
		return nil, fmt.Errorf("smpbare: a bare line carries no group: %w", parley.ErrRefused)
	case len(m.Body) > MaxText:
		return nil, fmt.Errorf("smpbare: text of %d bytes, at most %d: %w", len(m.Body), MaxText, parley.ErrRefused)
	case !utf8.Valid(m.Body):
		return nil, fmt.Errorf("smpbare: the text is not UTF-8: %w", parley.ErrRefused)
	}
	p := make([]byte, 0, idSize+1+len(m.Body)+1)
	p = base64.StdEncoding.AppendEncode(p, m.ID[:])
	p = append(p, '\n')
	p = append(p, m.Body...)
	return append(p, '\n'), nil
}

// idSize is the length of a message ID in base64.
var idSize = base64.StdEncoding.EncodedLen(16)

// Open reads a decryptedBody with any reserved of VCHAR. From stays empty: nothing
// is proven. Sent is the Conversation's Now. If reserved is not an ID as Seal
// writes it, the ID is derived from the packet and Now, so that equal texts of
// other clients stay apart; such a message may show twice if it comes twice. A
// body that is not UTF-8, which the text allows, is shown with U+FFFD in place of
// what can't be read, rather than lost. Anything else is [parley.ErrMalformed].
func (Transport) Open(_ context.Context, c *parley.Conversation, packet []byte) (*parley.Message, error) {
	reserved, body, found := bytes.Cut(packet, []byte{'\n'})
	switch {
	case !found:
		return nil, malformed("no line end after the reserved part")
	case len(reserved) > MaxReserved:
		return nil, malformed("a reserved part of %d bytes, at most %d", len(reserved), MaxReserved)
	case len(body) == 0 || body[len(body)-1] != '\n':
		return nil, malformed("no line end after the text")
	case len(body)-1 > MaxText:
		return nil, malformed("a text of %d bytes, at most %d", len(body)-1, MaxText)
	}
	for _, b := range reserved {
		if b < 0x21 || b > 0x7e {
			return nil, malformed("a reserved part with byte %#x", b)
		}
	}
	text := strings.ToValidUTF8(string(body[:len(body)-1]), "\ufffd")
	return &parley.Message{
		ID: messageID(reserved, packet, c), AMP: parley.TextPlain, Sent: c.Now,
		To: []parley.Name{c.Self}, Body: []byte(text),
	}, nil
}

// messageID reads the ID from reserved, or derives one.
func messageID(reserved, packet []byte, c *parley.Conversation) (id [16]byte) {
	if len(reserved) == idSize {
		if b, err := base64.StdEncoding.Strict().DecodeString(string(reserved)); err == nil && len(b) == len(id) {
			return [16]byte(b)
		}
	}
	h := sha256.New()
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(c.Now.UnixNano())))
	h.Write(packet)
	return [16]byte(h.Sum(nil))
}

func malformed(format string, a ...any) error {
	return fmt.Errorf("smpbare: %w: %s", parley.ErrMalformed, fmt.Sprintf(format, a...))
}
