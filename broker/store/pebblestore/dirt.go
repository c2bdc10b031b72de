package pebblestore

import (
	"encoding/binary"
	"math/bits"
	"sync"

	"parley/broker/store"
)

// dirt remembers where something has been deleted or replaced since the last
// scrub: for each key prefix one bit for each value of the first twelve bits of
// an ID. Half a kilobyte says which part of the files to rewrite.
type dirt struct {
	mu   sync.Mutex
	area map[string]*area
	lost bool // the index by age may hold more than the cursors know
}

const areas = 1 << 12

type area [areas / 64]uint64

// prefix is what keys of a kind begin with, before the ID.
func prefix(k ...byte) string { return string(k) }

func bucket(id store.ID) int { return int(id[0])<<4 | int(id[1])>>4 }

func (d *dirt) mark(prefix string, id store.ID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	b := bucket(id)
	d.get(prefix)[b/64] |= 1 << (b % 64)
}

func (d *dirt) get(prefix string) *area {
	if d.area == nil {
		d.area = make(map[string]*area)
	}
	a := d.area[prefix]
	if a == nil {
		a = new(area)
		d.area[prefix] = a
	}
	return a
}

// all marks everything.
func (d *dirt) all() {
	d.mu.Lock()
	defer d.mu.Unlock()
	names := []string{prefix(kRecord), prefix(kCount), prefix(kItem)}
	for r := range 16 { // more roles than there will be; an empty range costs nothing
		names = append(names, prefix(kAlias, byte(r)))
	}
	for _, p := range names {
		for i := range d.get(p) {
			d.get(p)[i] = ^uint64(0)
		}
	}
	d.lost = true
}

// take empties d into a new one.
func (d *dirt) take() *dirt {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := &dirt{area: d.area, lost: d.lost}
	d.area, d.lost = nil, false
	return t
}

// put gives back what take took.
func (d *dirt) put(t *dirt) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for p, a := range t.area {
		for i := range a {
			d.get(p)[i] |= a[i]
		}
	}
	d.lost = d.lost || t.lost
}

// pack writes d down, for the next life: whether the index may be stale, then for
// each area its prefix behind its length, and the bits.
func (d *dirt) pack() []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	b := []byte{0}
	if d.lost {
		b[0] = 1
	}
	for p, a := range d.area {
		b = append(append(b, byte(len(p))), p...)
		for _, w := range a {
			b = binary.BigEndian.AppendUint64(b, w)
		}
	}
	return b
}

// unpack is the reverse; false means that it can't be read.
func (d *dirt) unpack(b []byte) bool {
	if len(b) == 0 {
		return false
	}
	t := &dirt{lost: b[0] != 0}
	for b = b[1:]; len(b) > 0; {
		n := int(b[0])
		if b = b[1:]; len(b) < n+areas/8 {
			return false
		}
		a := t.get(string(b[:n]))
		b = b[n:]
		for i := range a {
			a[i] = binary.BigEndian.Uint64(b)
			b = b[8:]
		}
	}
	d.put(t)
	return true
}

// A span is a range of keys.
type span struct{ from, to []byte }

// spanAreas is how many areas one span has at most: a rewrite needs as much free
// space as the files that it replaces.
const spanAreas = 64

// spans returns the marked ranges.
func (d *dirt) spans() []span {
	var out []span
	for p, a := range d.area {
		for b := 0; b < areas; {
			if a[b/64]>>(b%64)&1 == 0 {
				b += max(1, min(bits.TrailingZeros64(a[b/64]>>(b%64)), 64-b%64))
				continue
			}
			first := b
			for b < areas && b-first < spanAreas && a[b/64]>>(b%64)&1 == 1 {
				b++
			}
			out = append(out, span{from: edge(p, first), to: edge(p, b)})
		}
	}
	return out
}

// edge is the first key of an area.
func edge(p string, b int) []byte {
	if b == areas {
		return after([]byte(p))
	}
	return append([]byte(p), byte(b>>4), byte(b<<4))
}
