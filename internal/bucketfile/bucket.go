package bucketfile

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
	"strings"
)

// bucket implements [parley.Bucket] in memory. Inside a transaction it notes what
// each write replaced, so that the write can be undone, and appends the entry
// that repeats it.
type bucket struct {
	values map[string][]byte
	keys   []string // sorted
	size   int      // of a record that holds everything

	undo    []write
	entries []byte
}

// write is what a key had before: nil, that there was none.
type write struct {
	key string
	old []byte
}

const (
	putEntry    = 1
	deleteEntry = 2
)

func newBucket() *bucket { return &bucket{values: map[string][]byte{}} }

func (b *bucket) Get(key string) []byte {
	v, ok := b.values[key]
	if !ok {
		return nil
	}
	return append([]byte{}, v...)
}

func (b *bucket) Put(key string, value []byte) {
	v := append([]byte{}, value...)
	b.undo = append(b.undo, write{key, b.values[key]})
	b.entries = appendPut(b.entries, key, v)
	b.set(key, v)
}

func (b *bucket) Delete(key string) {
	old, ok := b.values[key]
	if !ok {
		return
	}
	b.undo = append(b.undo, write{key, old})
	b.entries = appendDelete(b.entries, key)
	b.set(key, nil)
}

// Scan yields the entries whose keys begin with prefix, in order, as they were
// when it began.
func (b *bucket) Scan(prefix string) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		from, _ := slices.BinarySearch(b.keys, prefix)
		to := from
		for to < len(b.keys) && strings.HasPrefix(b.keys[to], prefix) {
			to++
		}
		for _, k := range slices.Clone(b.keys[from:to]) {
			if v, ok := b.values[k]; ok && !yield(k, append([]byte{}, v...)) {
				return
			}
		}
	}
}

// set changes a value without a trace; nil removes it.
func (b *bucket) set(key string, value []byte) {
	old, had := b.values[key]
	if had {
		b.size -= len(appendPut(nil, key, nil)) + len(old)
	}
	at, _ := slices.BinarySearch(b.keys, key)
	switch {
	case value == nil && had:
		delete(b.values, key)
		b.keys = slices.Delete(b.keys, at, at+1)
	case value != nil:
		if !had {
			b.keys = slices.Insert(b.keys, at, key)
		}
		b.values[key] = value
		b.size += len(appendPut(nil, key, nil)) + len(value)
	}
}

// begin forgets the notes of the last transaction, rollback undoes it.
func (b *bucket) begin() { b.undo, b.entries = nil, nil }

func (b *bucket) rollback() {
	for _, w := range slices.Backward(b.undo) {
		b.set(w.key, w.old)
	}
	b.begin()
}

// all returns the entries that make this bucket out of an empty one.
func (b *bucket) all() []byte {
	out := make([]byte, 0, b.size)
	for _, k := range b.keys {
		out = appendPut(out, k, b.values[k])
	}
	return out
}

// apply carries out the entries of a record.
func (b *bucket) apply(entries []byte) error {
	for len(entries) > 0 {
		kind := entries[0]
		key, rest, ok := cutField(entries[1:])
		if !ok {
			return ErrDamaged
		}
		switch kind {
		case putEntry:
			var value []byte
			if value, rest, ok = cutField(rest); !ok {
				return ErrDamaged
			}
			b.set(string(key), append([]byte{}, value...))
		case deleteEntry:
			b.set(string(key), nil)
		default:
			return fmt.Errorf("%w: entry of kind %d", ErrDamaged, kind)
		}
		entries = rest
	}
	return nil
}

func appendPut(b []byte, key string, value []byte) []byte {
	return appendField(appendField(append(b, putEntry), []byte(key)), value)
}

func appendDelete(b []byte, key string) []byte {
	return appendField(append(b, deleteEntry), []byte(key))
}

func appendField(b, field []byte) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(field))), field...)
}

func cutField(b []byte) (field, rest []byte, ok bool) {
	if len(b) < 4 {
		return nil, nil, false
	}
	n := binary.BigEndian.Uint32(b)
	if uint64(n) > uint64(len(b)-4) {
		return nil, nil, false
	}
	return bytes.Clone(b[4 : 4+n]), b[4+n:], true
}
