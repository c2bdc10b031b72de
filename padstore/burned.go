package padstore

import (
	"errors"
	"io"
)

// A pad without a journal tells by what is burned of it that it was used.

const (
	burnedRun  = 32      // zero bytes in a row that no random pad has: the least that is burned at once
	burnedRead = 1 << 20 // how much is read behind the last that was burned
	burnedMost = 16 << 20
	blockSize  = 4096
)

// burnedTo returns how far our lane is burned from a place in it on, or 0 when nothing of
// it is: what lies within a MiB of the place, or of pad that is burned, is found, and holes
// that the file system tells of. It reads 16 MiB at most: when all of that is burned, what
// comes behind is for the owner to find out.
func (p *Pad) burnedTo(from int64) (int64, error) {
	l, found := p.l, int64(0)
	end := l.half[l.own]
	b := make([]byte, 64<<10)
	for t, read := from, int64(0); t < end && read < burnedMost && t < max(from, found)+burnedRead; {
		if next := p.nextData(t, end); next >= t+burnedRun {
			found = max(found, next)
			if t = next; t >= end {
				break
			}
		}
		n := min(int64(len(b)), end-t)
		at := l.positions(l.own, span{t, t + n})
		if _, err := p.pad.ReadAt(b[:n], p.base+at.start); err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		read += n
		if to := lastRun(b[:n], l.own); to > 0 {
			found = t + to
		}
		if n < end-t {
			n -= burnedRun - 1 // a run may go on
		}
		t += n
	}
	return max(found, p.lastHole(max(from, found), end)), nil
}

// lastRun returns the end, in the direction of travel, of the last run of zeros in b.
func lastRun(b []byte, lane uint8) int64 {
	run := 0
	for i := range b {
		x := b[len(b)-1-i]
		if lane == 1 {
			x = b[i]
		}
		if x != 0 {
			run = 0
		} else if run++; run == burnedRun {
			return int64(len(b) - 1 - i + burnedRun)
		}
	}
	return 0
}

// nextData returns where a hole ends in which t is, or t.
func (p *Pad) nextData(t, end int64) int64 {
	if p.l.own == 0 {
		if next, ok := p.pad.data(p.base + t); ok {
			return min(max(next-p.base, t), end)
		}
		return t
	}
	// Downwards: the last data below.
	at := p.l.positions(p.l.own, span{t, end})
	last := at.start
	known := false
	for n, next := 0, at.start; n < 64; n++ {
		data, ok := p.pad.data(p.base + next)
		if data -= p.base; !ok || data >= at.end {
			known = ok
			break
		}
		hole, ok := p.pad.hole(p.base + data)
		if hole -= p.base; !ok {
			break
		}
		if last, next = min(hole, at.end), hole; next >= at.end {
			known = true
			break
		}
	}
	if !known {
		return t
	}
	return t + at.end - last
}

// lastHole returns the end of the last hole between two places of our lane, as far as 1024
// pieces of the file tell, or 0.
func (p *Pad) lastHole(from, to int64) (found int64) {
	at := p.l.positions(p.l.own, span{from, to})
	for n, next := 0, at.start; n < 1024 && next < at.end; n++ {
		hole, ok := p.pad.hole(p.base + next)
		if hole -= p.base; !ok || hole >= at.end {
			break
		}
		data, ok := p.pad.data(p.base + hole)
		if !ok {
			break
		}
		data = min(max(data-p.base, hole), at.end)
		if data-hole >= burnedRun {
			t := p.l.positions(p.l.own, span{hole, data})
			found = max(found, t.end)
		}
		next = max(data, hole+1)
	}
	return found
}

// zeroRun returns where in b the first nine zeros in a row are, or -1.
func zeroRun(b []byte) int {
	for i := repeated(b); i >= 0; {
		if b[i] == 0 {
			return i
		}
		for j := i; ; j++ { // behind this run
			if j == len(b) {
				return -1
			}
			if b[j] != b[i] {
				next := repeated(b[j:])
				if next >= 0 {
					next += j
				}
				i = next
				break
			}
		}
	}
	return -1
}

// repeatRun is how many equal bytes in a row no source of pad gives: the repetition count
// test of NIST SP 800-90B §4.4.1, as pads are tested when they are made.
const repeatRun = 9

// repeated returns where the first run of at least nine equal bytes begins, or -1. It
// looks at one pair of neighbours in eight: such a run has one of them.
func repeated(b []byte) int {
	for i := 0; i+1 < len(b); i += repeatRun - 1 {
		if b[i] != b[i+1] {
			continue
		}
		from, to := i, i+1
		for from > 0 && b[from-1] == b[i] {
			from--
		}
		for to < len(b) && b[to] == b[i] {
			to++
		}
		if to-from >= repeatRun {
			return from
		}
	}
	return -1
}

// wholeBlocks widens a range of the file that is burned to whole blocks, where the rest of
// them is burned too: of packets that are shorter than a block, the last one gives it back.
func (p *Pad) wholeBlocks(at span) span {
	size, err := p.pad.size()
	if err != nil {
		return at
	}
	b := make([]byte, blockSize)
	spent := func(x span) bool {
		x.end = min(x.end, size)
		if x.start >= x.end {
			return true
		}
		_, err := p.pad.ReadAt(b[:x.len()], x.start)
		return err == nil && allZero(b[:x.len()])
	}
	if start := at.start / blockSize * blockSize; spent(span{start, at.start}) {
		at.start = start
	}
	if end := (at.end + blockSize - 1) / blockSize * blockSize; spent(span{at.end, end}) {
		at.end = min(end, max(size, at.end))
	}
	return at
}
