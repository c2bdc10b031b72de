package pebblestore

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"time"

	"parley/broker/store"
)

// The key space, by first byte. Bodies are under 'i' alone, so that freeing
// their space touches nothing else.
//
//	v                      format version of this layout
//	q id                   record of a queue
//	a role id              ID of the queue that an alias names
//	f id                   counters of a queue that has had messages
//	i id seq(8)            message: time(8) body
//	x kind time(8) id      what Sweep may have to look at, by time
//	d                      what a closed store still has to erase
const (
	kFormat = 'v'
	kRecord = 'q'
	kAlias  = 'a'
	kCount  = 'f'
	kItem   = 'i'
	kIndex  = 'x'
	kDirt   = 'd'

	byExpiry = 'e' // the queue's Expires
	byAge    = 'm' // no message of the queue is older
)

// format is the value under 'v'.
const format = "parley queues 1"

var errCorrupt = errors.New("a stored entry is damaged")

func idKey(k byte, id store.ID) []byte {
	return append(append(make([]byte, 0, 1+store.IDSize), k), id[:]...)
}

func aliasKey(r store.Role, id store.ID) []byte {
	return append([]byte{kAlias, byte(r)}, id[:]...)
}

func itemKey(id store.ID, seq uint64) []byte {
	b := make([]byte, 0, 1+store.IDSize+8)
	b = append(append(b, kItem), id[:]...)
	return binary.BigEndian.AppendUint64(b, seq)
}

// itemEnd is the first key behind all items of a queue.
func itemEnd(id store.ID) []byte {
	return after(idKey(kItem, id))
}

// after is the first key that does not begin with p; p does not consist of 0xff.
func after(p []byte) []byte {
	p = slices.Clone(p)
	for i := len(p) - 1; i >= 0; i-- {
		if p[i]++; p[i] != 0 {
			return p[:i+1]
		}
	}
	return nil
}

func itemSeq(key []byte) (uint64, error) {
	if len(key) != 1+store.IDSize+8 {
		return 0, errCorrupt
	}
	return binary.BigEndian.Uint64(key[1+store.IDSize:]), nil
}

// Times are milliseconds since 1970; none stands for the zero time.
const none = math.MinInt64

func toMilli(t time.Time) int64 {
	if t.IsZero() {
		return none
	}
	return t.UnixMilli()
}

func fromMilli(ms int64) time.Time {
	if ms == none {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

func indexKey(kind byte, ms int64, id store.ID) []byte {
	return append(indexFrom(kind, ms), id[:]...)
}

// indexFrom is the first key of a kind at that time; the flipped sign bit makes
// times sort.
func indexFrom(kind byte, ms int64) []byte {
	b := make([]byte, 0, 2+8+store.IDSize)
	return binary.BigEndian.AppendUint64(append(b, kIndex, kind), uint64(ms)^1<<63)
}

func splitIndex(key []byte) (ms int64, id store.ID, err error) {
	if len(key) != 2+8+store.IDSize {
		return 0, id, errCorrupt
	}
	copy(id[:], key[10:])
	return int64(binary.BigEndian.Uint64(key[2:]) ^ 1<<63), id, nil
}

func appendItem(b []byte, ms int64, body []byte) []byte {
	return append(binary.BigEndian.AppendUint64(b, uint64(ms)), body...)
}

func itemTime(v []byte) (int64, error) {
	if len(v) < 8 {
		return 0, errCorrupt
	}
	return int64(binary.BigEndian.Uint64(v)), nil
}

// A record is version, expiry, aliases and props: about 60 bytes and the props.
func appendRecord(b []byte, q store.Queue) []byte {
	b = binary.AppendUvarint(b, q.Version)
	b = binary.AppendVarint(b, toMilli(q.Expires))
	b = append(b, byte(len(q.Alias)))
	for r := 0; r < 256 && len(q.Alias) > 0; r++ {
		if id, ok := q.Alias[store.Role(r)]; ok {
			b = append(append(b, byte(r)), id[:]...)
		}
	}
	return append(b, q.Props...)
}

// head is the part of a record that Append needs.
type recordHead struct {
	version uint64
	expires int64
}

func splitHead(v []byte) (h recordHead, rest []byte, err error) {
	var n int
	if h.version, n = binary.Uvarint(v); n <= 0 {
		return h, nil, errCorrupt
	}
	v = v[n:]
	if h.expires, n = binary.Varint(v); n <= 0 {
		return h, nil, errCorrupt
	}
	return h, v[n:], nil
}

func splitRecord(id store.ID, v []byte) (store.Queue, error) {
	h, v, err := splitHead(v)
	if err != nil || len(v) == 0 {
		return store.Queue{}, errCorrupt
	}
	q := store.Queue{ID: id, Version: h.version, Expires: fromMilli(h.expires)}
	n := int(v[0])
	if v = v[1:]; len(v) < n*(1+store.IDSize) {
		return store.Queue{}, errCorrupt
	}
	if n > 0 {
		q.Alias = make(map[store.Role]store.ID, n)
	}
	for range n {
		q.Alias[store.Role(v[0])] = store.ID(v[1 : 1+store.IDSize])
		v = v[1+store.IDSize:]
	}
	q.Props = slices.Clone(v)
	return q, nil
}

// counts are what must outlive the messages of a queue: every sequence number up
// to floor is gone, tail was the last one given out, and indexed is the time
// under which the queue stands in the index by age (none: it does not).
type counts struct {
	floor, tail uint64
	indexed     int64
}

func (c counts) append(b []byte) []byte {
	b = binary.AppendUvarint(b, c.floor)
	b = binary.AppendUvarint(b, c.tail-c.floor)
	return binary.AppendVarint(b, c.indexed)
}

func splitCounts(v []byte) (c counts, err error) {
	var n int
	if c.floor, n = binary.Uvarint(v); n <= 0 {
		return c, errCorrupt
	}
	v = v[n:]
	d, n := binary.Uvarint(v)
	if n <= 0 {
		return c, errCorrupt
	}
	c.tail = c.floor + d
	if c.indexed, n = binary.Varint(v[n:]); n <= 0 {
		return c, errCorrupt
	}
	return c, nil
}
