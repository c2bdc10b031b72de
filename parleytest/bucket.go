package parleytest

import (
	"bytes"
	"iter"
	"maps"
	"slices"
	"strings"

	"parley"
)

// A Bucket is a [parley.Bucket] in memory with transactions: what is written
// after Begin lasts only if Commit follows. Without Begin each write lasts at
// once. Values are copied both ways. It is for one goroutine at a time.
type Bucket struct {
	kept map[string][]byte
	open map[string][]byte // the transaction's view; nil outside of one

	writes int // so that Scan sees them
}

var _ parley.Bucket = (*Bucket)(nil)

// NewBucket returns an empty Bucket.
func NewBucket() *Bucket { return &Bucket{kept: map[string][]byte{}} }

func (b *Bucket) view() map[string][]byte {
	if b.open != nil {
		return b.open
	}
	return b.kept
}

// Begin opens a transaction. Calling it inside of one panics: a test's mistake.
func (b *Bucket) Begin() {
	if b.open != nil {
		panic("parleytest: Begin inside a transaction")
	}
	b.open = maps.Clone(b.kept)
}

// Commit makes last what the transaction wrote.
func (b *Bucket) Commit() { b.kept, b.open = b.view(), nil }

// Rollback forgets what the transaction wrote, as a crash before Commit does.
func (b *Bucket) Rollback() { b.open = nil }

// Changed reports whether the transaction has changed anything.
func (b *Bucket) Changed() bool {
	return b.open != nil && !maps.EqualFunc(b.open, b.kept, bytes.Equal)
}

// Get returns a copy of the value, nil if there is none.
func (b *Bucket) Get(key string) []byte {
	v, ok := b.view()[key]
	if !ok {
		return nil
	}
	return append([]byte{}, v...)
}

// Put sets a value.
func (b *Bucket) Put(key string, value []byte) {
	b.writes++
	b.view()[key] = append([]byte{}, value...)
}

// Delete removes a value, if there is one.
func (b *Bucket) Delete(key string) {
	b.writes++
	delete(b.view(), key)
}

// Scan yields the entries whose keys begin with prefix, in the order of keys. The
// Bucket must not be written meanwhile: a write ends the scan with a panic, since
// stores over a database don't allow it either.
func (b *Bucket) Scan(prefix string) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		view, writes := b.view(), b.writes
		for _, k := range slices.Sorted(maps.Keys(view)) {
			if !strings.HasPrefix(k, prefix) {
				continue
			}
			if b.writes != writes {
				panic("parleytest: Bucket written during Scan")
			}
			if !yield(k, append([]byte{}, view[k]...)) {
				return
			}
		}
	}
}

// Clone returns a copy, as a backup or a thief makes one.
func (b *Bucket) Clone() *Bucket {
	c := NewBucket()
	for k, v := range b.view() {
		c.kept[k] = bytes.Clone(v)
	}
	return c
}

// Equal reports whether both hold the same.
func (b *Bucket) Equal(o *Bucket) bool {
	return maps.EqualFunc(b.view(), o.view(), bytes.Equal)
}

// Size is the number of bytes in keys and values.
func (b *Bucket) Size() int {
	n := 0
	for k, v := range b.view() {
		n += len(k) + len(v)
	}
	return n
}
