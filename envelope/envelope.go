package envelope

import (
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"parley"
)

// An Envelope says which secure transport made its payload. Nothing protects
// it: a receiver compares STP with the number its line uses, and never chooses
// by it.
type Envelope struct {
	STP     parley.STP
	Seq     uint32 // 0 if not counted; released PhoneX clients never write it
	Payload []byte
}

// Fields of MessageProtocolEnvelope.
const (
	fieldType    protowire.Number = 1
	fieldVersion protowire.Number = 2
	fieldSeq     protowire.Number = 3
	fieldPayload protowire.Number = 4
)

// Marshal returns e's bytes: fields in ascending order, zeros and an empty
// payload left out. A payload of n bytes in an envelope of ours without Seq
// takes at most n + 15 bytes.
func Marshal(e Envelope) []byte {
	b := make([]byte, 0, len(e.Payload)+24)
	b = appendVarint(b, fieldType, uint64(e.STP.Type))
	b = appendVarint(b, fieldVersion, uint64(e.STP.Version))
	b = appendVarint(b, fieldSeq, uint64(e.Seq))
	if len(e.Payload) > 0 {
		b = protowire.AppendTag(b, fieldPayload, protowire.BytesType)
		b = protowire.AppendBytes(b, e.Payload)
	}
	return b
}

func appendVarint(b []byte, n protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), v)
}

// Parse reads an envelope; what released PhoneX clients write is accepted. The
// order of fields is free and absent ones are zero. Refused with
// [parley.ErrMalformed]: a field that comes twice or is unknown, a wrong wire
// type, a type or version outside 0 to 65535, a sequence number above 32 bits,
// and anything cut short or left over. Payload shares b's memory.
func Parse(b []byte) (Envelope, error) {
	var e Envelope
	var have [fieldPayload + 1]bool
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return Envelope{}, malformed("a field tag cannot be read")
		}
		b = b[n:]
		if num > fieldPayload {
			return Envelope{}, malformed("field %d is unknown", num)
		}
		if have[num] {
			return Envelope{}, malformed("field %d comes twice", num)
		}
		have[num] = true
		if num == fieldPayload {
			if typ != protowire.BytesType {
				return Envelope{}, malformed("field %d has wire type %d", num, typ)
			}
			v, n := protowire.ConsumeBytes(b)
			if n < 0 {
				return Envelope{}, malformed("the payload is cut short")
			}
			e.Payload, b = v, b[n:]
			continue
		}
		if typ != protowire.VarintType {
			return Envelope{}, malformed("field %d has wire type %d", num, typ)
		}
		v, n := protowire.ConsumeVarint(b)
		if n < 0 {
			return Envelope{}, malformed("field %d is cut short or too long", num)
		}
		b = b[n:]
		limit := uint64(math.MaxUint16)
		if num == fieldSeq {
			limit = math.MaxUint32
		}
		if v > limit {
			return Envelope{}, malformed("field %d is %d, above %d", num, v, limit)
		}
		switch num {
		case fieldType:
			e.STP.Type = uint16(v)
		case fieldVersion:
			e.STP.Version = uint16(v)
		case fieldSeq:
			e.Seq = uint32(v)
		}
	}
	return e, nil
}

func malformed(format string, a ...any) error {
	return fmt.Errorf("envelope: %w: %s", parley.ErrMalformed, fmt.Sprintf(format, a...))
}
