package main

import (
	"strings"

	"parley/padstore"
)

// padKind is how one kind of range is drawn and explained.
type padKind struct {
	kind   string
	cell   rune
	colour string
	text   string
}

var padKinds = []padKind{
	{padstore.OursLeft, '█', "32", "left for SELF to send with"},
	{padstore.OursGranted, '▓', "92", "granted by PEER: left for SELF to send with"},
	{padstore.OursUsed, 'o', "33", "sent by SELF, and not burned yet"},
	{padstore.OursBurned, '·', "2", "used by SELF, and burned"},
	{padstore.TheirsLeft, '░', "34", "left for PEER to send with"},
	{padstore.TheirsGranted, '▒', "94", "granted by SELF: left for PEER to send with"},
	{padstore.TheirsUsed, 'i', "33", "received from PEER, and not burned yet"},
	{padstore.TheirsBurned, ',', "2", "used by PEER, and burned"},
	{padstore.TheirsMissing, '?', "31", "of messages of PEER that have not come"},
	{padstore.Unused, '|', "2", "never used (the last byte of each half)"},
	{padstore.Unsplit, '=', "36", "fresh, for both"},
}

const padCells = 64

// drawPad draws a pad from its first to its last byte. Each cell shows what most of its
// bytes are. A kind that would not show at all takes the cell where most of it is.
func drawPad(l padstore.Layout, colour bool) string {
	if l.Size <= 0 {
		return "[]"
	}
	cells := int64(padCells)
	if l.Size < cells {
		cells = l.Size
	}
	drawn := make([]string, cells)
	best := make(map[string]struct{ cell, bytes int64 })
	i := 0
	for c := range cells {
		from, to := bound(l.Size, c, cells), bound(l.Size, c+1, cells)
		most := int64(0)
		share := make(map[string]int64)
		for i < len(l.Ranges) && l.Ranges[i].End <= from {
			i++
		}
		for j := i; j < len(l.Ranges) && l.Ranges[j].Start < to; j++ {
			r := l.Ranges[j]
			share[r.Kind] += min(r.End, to) - max(r.Start, from)
			n := share[r.Kind]
			if n > most || n == most && r.Kind < drawn[c] {
				most, drawn[c] = n, r.Kind
			}
			if n > best[r.Kind].bytes {
				best[r.Kind] = struct{ cell, bytes int64 }{c, n}
			}
		}
	}
	hidden := func(kind string) bool {
		for _, d := range drawn {
			if d == kind {
				return false
			}
		}
		return best[kind].bytes > 0
	}
	for _, k := range padKinds {
		if k.kind != padstore.Unused && hidden(k.kind) {
			drawn[best[k.kind].cell] = k.kind
		}
	}
	var b strings.Builder
	b.WriteByte('[')
	for c := 0; c < len(drawn); {
		n := 1
		for c+n < len(drawn) && drawn[c+n] == drawn[c] {
			n++
		}
		b.WriteString(paint(kindOf(drawn[c]), n, colour))
		c += n
	}
	b.WriteByte(']')
	return b.String()
}

// bound is size*c/cells, also where the product is more than an int64 holds.
func bound(size, c, cells int64) int64 { return size/cells*c + size%cells*c/cells }

func paint(k padKind, n int, colour bool) string {
	s := strings.Repeat(string(k.cell), n)
	if !colour || k.colour == "" {
		return s
	}
	return "\x1b[" + k.colour + "m" + s + "\x1b[0m"
}
