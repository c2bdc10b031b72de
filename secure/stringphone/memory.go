package stringphone

import (
	"encoding/binary"
	"iter"
	"slices"
	"strings"

	"parley"
)

// A Memory is a Bucket in memory: for devices, which save it with MarshalBinary
// after each call and before they send, and for tests. It holds the keys, so what
// is saved is as secret as they are. The zero value is empty. It is not safe for
// concurrent use.
type Memory struct {
	values map[string][]byte
	keys   []string // sorted
}

var _ parley.Bucket = (*Memory)(nil)

// Get returns a copy of the value, nil if there is none.
func (m *Memory) Get(key string) []byte {
	v, ok := m.values[key]
	if !ok {
		return nil
	}
	return append([]byte{}, v...)
}

// Put sets a value.
func (m *Memory) Put(key string, value []byte) {
	if m.values == nil {
		m.values = make(map[string][]byte)
	}
	if _, known := m.values[key]; !known {
		at, _ := slices.BinarySearch(m.keys, key)
		m.keys = slices.Insert(m.keys, at, key)
	}
	m.values[key] = append([]byte{}, value...)
}

// Delete removes a value, if there is one.
func (m *Memory) Delete(key string) {
	if at, known := slices.BinarySearch(m.keys, key); known {
		m.keys = slices.Delete(m.keys, at, at+1)
		clear(m.values[key]) // it may have been a key
		delete(m.values, key)
	}
}

// Scan yields the entries whose keys begin with prefix, in the order of keys.
func (m *Memory) Scan(prefix string) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		at, _ := slices.BinarySearch(m.keys, prefix)
		for _, k := range slices.Clone(m.keys[at:m.end(at, prefix)]) {
			if !yield(k, m.Get(k)) {
				return
			}
		}
	}
}

// end finds where the keys with a prefix end, from where they begin.
func (m *Memory) end(at int, prefix string) int {
	for at < len(m.keys) && strings.HasPrefix(m.keys[at], prefix) {
		at++
	}
	return at
}

const memoryVersion = 1

// MarshalBinary returns version 1 and for each entry, in the order of keys, key and
// value, each with its length in 4 bytes, big endian.
func (m *Memory) MarshalBinary() ([]byte, error) {
	size := 1
	for k, v := range m.values {
		size += 8 + len(k) + len(v)
	}
	b := append(make([]byte, 0, size), memoryVersion)
	for _, k := range m.keys {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(k))), k...)
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(m.values[k]))), m.values[k]...)
	}
	return b, nil
}

// UnmarshalBinary reads what MarshalBinary wrote, and nothing else. The error is
// [ErrMalformed].
func (m *Memory) UnmarshalBinary(b []byte) error {
	if len(b) == 0 || b[0] != memoryVersion {
		return badFormat("a saved topic of a version that is not known")
	}
	var n Memory
	c := cursor{rest: b[1:]}
	field := func() []byte {
		size := c.uint32()
		if int64(size) > int64(len(c.rest)) {
			c.bad = true
			return nil
		}
		return c.take(int(size))
	}
	for len(c.rest) > 0 && !c.bad {
		k, v := string(field()), field()
		if c.bad || len(n.keys) > 0 && n.keys[len(n.keys)-1] >= k {
			return badFormat("a saved topic that was damaged")
		}
		n.Put(k, v)
	}
	if c.bad {
		return badFormat("a saved topic that was damaged")
	}
	*m = n
	return nil
}
