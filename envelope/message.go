package envelope

import (
	"encoding/binary"
	"fmt"
	"time"

	"parley"
)

// MaxGroup is the longest group ID in bytes.
const MaxGroup = 64

// HeaderSize is the size of the inner header in bytes, without the group ID.
const HeaderSize = 1 + 16 + 1 + 2 + 2 + 4 + 8

// headerVersion opens every inner header.
const headerVersion = 1

// Years 1 to 9999, in milliseconds: what every text form of a time can show.
const (
	minSent = -62135596800000
	maxSent = 253402300799999
)

// MarshalMessage puts the inner header before m.Body: for secure transports
// whose own format has no place for an ID, a group or a content type. From and
// To are left out: the one is proven, the other known. Sent is cut to
// milliseconds. There is exactly one form of each message. Use [CheckMessage]
// first where m is not known to be within bounds: ParseMessage refuses others.
func MarshalMessage(m *parley.Message) []byte {
	b := make([]byte, 0, HeaderSize+len(m.Group)+len(m.Body))
	b = append(b, headerVersion)
	b = append(b, m.ID[:]...)
	b = append(b, byte(min(len(m.Group), 255)))
	b = append(b, m.Group...)
	b = binary.BigEndian.AppendUint16(b, m.AMP.Type)
	b = binary.BigEndian.AppendUint16(b, m.AMP.Version)
	b = binary.BigEndian.AppendUint32(b, m.Seq)
	b = binary.BigEndian.AppendUint64(b, uint64(m.Sent.UnixMilli()))
	return append(b, m.Body...)
}

// CheckMessage reports what in m the inner header cannot carry: a group ID
// longer than [MaxGroup] bytes, or a time outside the years 1 to 9999.
func CheckMessage(m *parley.Message) error {
	if len(m.Group) > MaxGroup {
		return fmt.Errorf("envelope: group ID of %d bytes, at most %d", len(m.Group), MaxGroup)
	}
	if y := m.Sent.UTC().Year(); y < 1 || y > 9999 {
		return fmt.Errorf("envelope: time of sending is outside the years 1 to 9999")
	}
	return nil
}

// ParseMessage reads what MarshalMessage wrote, and nothing else: all other
// bytes are [parley.ErrMalformed]. Group and Body are copies; Sent is in UTC;
// an empty Group or Body is nil.
func ParseMessage(b []byte) (*parley.Message, error) {
	if len(b) < HeaderSize {
		return nil, malformed("inner header of %d bytes, at least %d", len(b), HeaderSize)
	}
	if b[0] != headerVersion {
		return nil, malformed("inner header version %d, known is %d", b[0], headerVersion)
	}
	group := int(b[17])
	if group > MaxGroup {
		return nil, malformed("group ID of %d bytes, at most %d", group, MaxGroup)
	}
	if len(b) < HeaderSize+group {
		return nil, malformed("the inner header is cut short")
	}
	m := new(parley.Message)
	copy(m.ID[:], b[1:17])
	m.Group = append([]byte(nil), b[18:18+group]...)
	b = b[18+group:]
	m.AMP.Type = binary.BigEndian.Uint16(b)
	m.AMP.Version = binary.BigEndian.Uint16(b[2:])
	m.Seq = binary.BigEndian.Uint32(b[4:])
	ms := int64(binary.BigEndian.Uint64(b[8:]))
	if ms < minSent || ms > maxSent {
		return nil, malformed("time of sending is outside the years 1 to 9999")
	}
	m.Sent = time.UnixMilli(ms).UTC()
	m.Body = append([]byte(nil), b[16:]...)
	return m, nil
}
