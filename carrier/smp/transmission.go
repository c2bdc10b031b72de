package smp

import (
	"bytes"
	"encoding/base64"
	"strconv"
	"time"
)

var base64s = base64.StdEncoding.Strict()

// TimeFormat is how MSG shows the time: RFC 3339, UTC, to the millisecond.
const TimeFormat = "2006-01-02T15:04:05.000Z"

// A Transmission is one command or response, in both directions. Which of the
// fields below Verb count depends on it.
type Transmission struct {
	Signature []byte // decoded; empty if absent
	ID        ID
	Verb      Verb

	Key               []byte    // CONN, KEY: SPKI DER
	Body              []byte    // SEND, MSG
	Time              time.Time // MSG: when the server received it
	Recipient, Sender ID        // IDS
	Code              Code      // ERR

	// Signed is what the signature is over: [connId] LF msg exactly as it came,
	// without the transmission's last line end. Only reading sets it.
	Signed []byte
}

// Clone returns a copy that stays valid when the connection reads on.
func (t *Transmission) Clone() Transmission {
	c := *t
	c.Signature, c.Key = bytes.Clone(t.Signature), bytes.Clone(t.Key)
	c.Body, c.Signed = bytes.Clone(t.Body), bytes.Clone(t.Signed)
	return c
}

// Append appends the transmission as it goes over the wire:
// [signature] LF [connId] LF msg LF.
func (t *Transmission) Append(dst []byte) []byte {
	dst = base64s.AppendEncode(dst, t.Signature)
	dst = append(dst, '\n')
	dst = t.AppendSigned(dst)
	return append(dst, '\n')
}

// AppendSigned appends what a signature is made over: [connId] LF msg.
func (t *Transmission) AppendSigned(dst []byte) []byte {
	dst = t.ID.append(dst)
	dst = append(dst, '\n')
	dst = append(dst, t.Verb.String()...)
	switch t.Verb {
	case CONN, KEY:
		dst = append(dst, ' ')
		dst = base64s.AppendEncode(dst, t.Key)
	case SEND:
		dst = append(dst, ' ')
		dst = appendBody(dst, t.Body)
	case IDS:
		dst = append(dst, ' ')
		dst = t.Recipient.append(dst)
		dst = append(dst, ' ')
		dst = t.Sender.append(dst)
	case ERR:
		dst = append(dst, ' ')
		dst = append(dst, t.Code.String()...)
	case MSG:
		dst = append(dst, ' ')
		dst = t.Time.UTC().AppendFormat(dst, TimeFormat)
		dst = append(dst, ' ')
		dst = appendBody(dst, t.Body)
	}
	return dst
}

// appendBody writes a string where the body is one, else size and bytes.
func appendBody(dst, body []byte) []byte {
	if clean(body) {
		dst = append(dst, ':')
		return append(dst, body...)
	}
	dst = strconv.AppendInt(dst, int64(len(body)), 10)
	dst = append(dst, '\n')
	dst = append(dst, body...)
	return append(dst, '\n')
}

// clean reports whether b is a string of the text: no NUL, CR or LF.
func clean(b []byte) bool {
	return bytes.IndexByte(b, 0) < 0 && bytes.IndexByte(b, '\r') < 0 && bytes.IndexByte(b, '\n') < 0
}
