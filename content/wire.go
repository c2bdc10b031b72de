package content

import (
	"bytes"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// Writing: fields in ascending order; zeros and empty strings are left out.

func putUint(b []byte, n protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), v)
}

func putBytes(b []byte, n protowire.Number, v []byte) []byte {
	if len(v) == 0 {
		return b
	}
	return putElement(b, n, v)
}

// putElement writes an entry of a list, even an empty one.
func putElement(b []byte, n protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), v)
}

func putString(b []byte, n protowire.Number, v string) []byte { return putBytes(b, n, []byte(v)) }

func putStrings[S ~string](b []byte, n protowire.Number, list []S) []byte {
	for _, v := range list {
		b = putElement(b, n, []byte(v))
	}
	return b
}

func putIDs(b []byte, n protowire.Number, list [][16]byte) []byte {
	for _, v := range list {
		b = putElement(b, n, v[:])
	}
	return b
}

// Reading.

// A slot says where a field goes.
type slot struct {
	typ      protowire.Type
	repeated bool
	set      func(u uint64, b []byte) error
}

type slots map[protowire.Number]slot

// parse fills the slots from a protobuf message. Unknown fields are skipped; a
// known one with the wrong wire type, or twice when it may come once, is an error.
func parse(b []byte, s slots) error {
	seen := make(map[protowire.Number]bool, len(s))
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return fmt.Errorf("a field tag cannot be read")
		}
		b = b[n:]
		to, ok := s[num]
		if !ok {
			if n = protowire.ConsumeFieldValue(num, typ, b); n < 0 {
				return fmt.Errorf("field %d is cut short", num)
			}
			b = b[n:]
			continue
		}
		if typ != to.typ {
			return fmt.Errorf("field %d has wire type %d, not %d", num, typ, to.typ)
		}
		if seen[num] && !to.repeated {
			return fmt.Errorf("field %d comes twice", num)
		}
		seen[num] = true
		var u uint64
		var v []byte
		if typ == protowire.VarintType {
			u, n = protowire.ConsumeVarint(b)
		} else {
			v, n = protowire.ConsumeBytes(b)
		}
		if n < 0 {
			return fmt.Errorf("field %d is cut short", num)
		}
		b = b[n:]
		if err := to.set(u, v); err != nil {
			return fmt.Errorf("field %d: %w", num, err)
		}
	}
	return nil
}

func toUint[U ~uint8 | ~uint16 | ~uint32 | ~uint64](p *U) slot {
	return slot{typ: protowire.VarintType, set: func(u uint64, _ []byte) error {
		if uint64(U(u)) != u {
			return fmt.Errorf("the number %d is too large", u)
		}
		*p = U(u)
		return nil
	}}
}

func toBytes(p *[]byte, limit int) slot {
	return slot{typ: protowire.BytesType, set: func(_ uint64, b []byte) error {
		if len(b) > limit {
			return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLong, len(b), limit)
		}
		*p = bytes.Clone(b)
		return nil
	}}
}

// toString leaves the text to check.
func toString[S ~string](p *S) slot {
	return slot{typ: protowire.BytesType, set: func(_ uint64, b []byte) error {
		*p = S(b)
		return nil
	}}
}

// toArray takes exactly len(p) bytes.
func toArray(p []byte) slot {
	return slot{typ: protowire.BytesType, set: func(_ uint64, b []byte) error {
		if len(b) != len(p) {
			return fmt.Errorf("%d bytes, not %d", len(b), len(p))
		}
		copy(p, b)
		return nil
	}}
}

// toList reads each entry with one and stops at MaxList.
func toList[T any](p *[]T, one func(b []byte) (T, error)) slot {
	return slot{typ: protowire.BytesType, repeated: true, set: func(_ uint64, b []byte) error {
		if len(*p) == MaxList {
			return fmt.Errorf("the list is %w: at most %d entries", ErrTooLong, MaxList)
		}
		v, err := one(b)
		if err != nil {
			return fmt.Errorf("entry %d: %w", len(*p)+1, err)
		}
		*p = append(*p, v)
		return nil
	}}
}

func asString[S ~string](b []byte) (S, error) { return S(b), nil }

func asID(b []byte) (id [16]byte, err error) {
	if len(b) != len(id) {
		return id, fmt.Errorf("%d bytes, not %d", len(b), len(id))
	}
	return [16]byte(b), nil
}
