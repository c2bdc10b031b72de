package generate

import (
	"encoding/binary"
	"math/bits"
)

// The same two tests on each of the eight bits of the bytes, as eight sources of one bit:
// what uses only some of a byte's values, as text does, has a bit that never changes, or
// one that is too often the same.
const (
	// BitRepetitionCutoff is how many bytes in a row with one bit the same stop a source:
	// 1 + 64/1.
	BitRepetitionCutoff = 65
	// BitWindow is how many bytes the proportion of a bit is taken from.
	BitWindow = 1024
	// BitProportionCutoff is how often neither value of a bit may come in a window.
	BitProportionCutoff = 658
)

const bitBlock = 32 // a run of 65 has a whole one of these

// bitHealth is the state of both tests for all eight bits.
type bitHealth struct {
	last byte
	run  [8]int // how many of the latest bytes have the bit as last has it

	seen int    // bytes of the window so far
	ones [8]int // among them
}

// sticks is the repetition count test.
func (h *bitHealth) sticks(p []byte) bool {
	if len(p) < 2*BitRepetitionCutoff {
		return h.follow(p)
	}
	if h.follow(p[:BitRepetitionCutoff]) {
		return true
	}
	for i := 0; i+bitBlock <= len(p); i += bitBlock {
		b := p[i : i+bitBlock]
		w, x, y, z := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint64(b[16:]), binary.LittleEndian.Uint64(b[24:])
		all, none := w&x&y&z, ^(w | x | y | z)
		all &= bits.RotateLeft64(all, 32)
		none &= bits.RotateLeft64(none, 32)
		all &= bits.RotateLeft64(all, 16)
		none &= bits.RotateLeft64(none, 16)
		if same := byte(all&(all>>8) | none&(none>>8)); same != 0 && sticksAround(p, i, same) {
			return true
		}
	}
	h.run = [8]int{}
	return h.follow(p[len(p)-BitRepetitionCutoff:])
}

// follow goes on byte by byte.
func (h *bitHealth) follow(p []byte) bool {
	for _, b := range p {
		change := b ^ h.last
		h.last = b
		for k := range h.run {
			if change>>k&1 != 0 {
				h.run[k] = 0
			}
			if h.run[k]++; h.run[k] >= BitRepetitionCutoff {
				return true
			}
		}
	}
	return false
}

// sticksAround reports whether one of the bits that are the same in the whole block at i
// is so for long enough.
func sticksAround(p []byte, i int, same byte) bool {
	for k := range 8 {
		if same>>k&1 == 0 {
			continue
		}
		from, to := i, i+bitBlock
		for from > 0 && (p[from-1]^p[i])>>k&1 == 0 && to-from < BitRepetitionCutoff {
			from--
		}
		for to < len(p) && (p[to]^p[i])>>k&1 == 0 && to-from < BitRepetitionCutoff {
			to++
		}
		if to-from >= BitRepetitionCutoff {
			return true
		}
	}
	return false
}

// leans is the proportion test.
func (h *bitHealth) leans(p []byte) bool {
	for len(p) > 0 {
		n := min(len(p), BitWindow-h.seen)
		if n == BitWindow {
			h.ones = onesOfWindow((*[BitWindow]byte)(p))
		} else {
			if h.seen == 0 {
				h.ones = [8]int{}
			}
			for _, b := range p[:n] {
				for k := range h.ones {
					h.ones[k] += int(b >> k & 1)
				}
			}
		}
		h.seen += n
		for _, ones := range h.ones {
			if max(ones, h.seen-ones) >= BitProportionCutoff {
				return true
			}
		}
		h.seen, p = h.seen%BitWindow, p[n:]
	}
	return false
}

// onesOfWindow counts the ones of each bit: 16 words at a time are added up column by
// column (a tree of carry-save adders), and the carries counted.
func onesOfWindow(p *[BitWindow]byte) (n [8]int) {
	var ones, twos, fours, eights, a, b, c, d, e uint64
	for i := 0; i < BitWindow; i += 16 * 8 {
		w := (*[16 * 8]byte)(p[i:])
		a, ones = add(ones, binary.LittleEndian.Uint64(w[0:]), binary.LittleEndian.Uint64(w[8:]))
		b, ones = add(ones, binary.LittleEndian.Uint64(w[16:]), binary.LittleEndian.Uint64(w[24:]))
		c, twos = add(twos, a, b)
		a, ones = add(ones, binary.LittleEndian.Uint64(w[32:]), binary.LittleEndian.Uint64(w[40:]))
		b, ones = add(ones, binary.LittleEndian.Uint64(w[48:]), binary.LittleEndian.Uint64(w[56:]))
		d, twos = add(twos, a, b)
		e, fours = add(fours, c, d)
		a, ones = add(ones, binary.LittleEndian.Uint64(w[64:]), binary.LittleEndian.Uint64(w[72:]))
		b, ones = add(ones, binary.LittleEndian.Uint64(w[80:]), binary.LittleEndian.Uint64(w[88:]))
		c, twos = add(twos, a, b)
		a, ones = add(ones, binary.LittleEndian.Uint64(w[96:]), binary.LittleEndian.Uint64(w[104:]))
		b, ones = add(ones, binary.LittleEndian.Uint64(w[112:]), binary.LittleEndian.Uint64(w[120:]))
		d, twos = add(twos, a, b)
		c, fours = add(fours, c, d)
		e, eights = add(eights, e, c)
		count(&n, e, 16)
	}
	count(&n, eights, 8)
	count(&n, fours, 4)
	count(&n, twos, 2)
	count(&n, ones, 1)
	return n
}

// add adds three bits in each column.
func add(a, b, c uint64) (carry, sum uint64) {
	x := a ^ b
	return a&b | x&c, x ^ c
}

// count adds the ones of each of the eight bits of the bytes of x, weight times.
func count(n *[8]int, x uint64, weight int) {
	for k := range n { // the sum of eight bytes of 0 or 1 in the highest
		n[k] += weight * int(x>>k&0x0101010101010101*0x0101010101010101>>56)
	}
}
