package padstore

import (
	"context"
	"fmt"

	"parley"
)

// checkChunk is how much is read at once: the lock is free in between.
const checkChunk = 4 << 20

// nearby is how close two damaged places are one: a sector that went bad has good bytes
// among the others.
const nearby = 4096

// A Damage is pad that is not random: nine equal bytes in a row or more, which no source
// of pad gives.
type Damage struct {
	Places int64 // how many runs
	Start  int64 // position of the first one
	End    int64 // where it ends, and what is nearby
	Ours   bool  // one is in what is ours to send with: sending stops there
	Theirs bool  // one is in what is the peer's
	Hole   int64 // bytes to give up to go past the first one in our way, or 0: see [Pad.Hole]
}

// Error implements error.
func (d *Damage) Error() string {
	s := fmt.Sprintf("the unused pad is not random at %d places, the first from %d to %d: it is damaged, or was not copied whole", d.Places, d.Start, d.End)
	if d.Hole > 0 {
		s += fmt.Sprintf("; \"parley pad skip FILE --hole\" goes past the first one in the way of sending and gives up %d bytes", d.Hole)
	}
	if d.Theirs {
		s += "; what is in the peer's part hinders messages that the peer seals there"
	}
	return s
}

// Check reads all of the pad that is left, and reports what sending would refuse, as a
// [*Damage] with [parley.ErrMalformed]. Opening has checked header, sizes and journal.
// progress may be nil.
func (p *Pad) Check(ctx context.Context, progress func(done, total int64)) error {
	for {
		pic, err := p.Layout()
		if err != nil {
			return err
		}
		d, err := p.scan(ctx, pic, progress)
		if err != nil || d == nil {
			return err
		}
		// What was used meanwhile, here or in another process, is no damage.
		if now, err := p.Layout(); err == nil && !unchanged(pic, now) {
			continue
		}
		if d.Ours {
			if d.Hole, err = p.Hole(ctx); err != nil {
				return err
			}
		}
		return fmt.Errorf("%w: %w", parley.ErrMalformed, d)
	}
}

func (p *Pad) scan(ctx context.Context, pic Layout, progress func(done, total int64)) (*Damage, error) {
	var total, done int64
	for _, r := range pic.Ranges {
		if left(r.Kind) {
			total += r.End - r.Start
		}
	}
	var d *Damage
	for _, r := range pic.Ranges {
		if !left(r.Kind) {
			continue
		}
		err := p.runs(ctx, span{r.Start, r.End}, func(x span) bool {
			if d == nil {
				d = &Damage{Start: x.start, End: x.end}
			} else if x.start-d.End < nearby {
				d.End = x.end
			}
			ours := r.Kind == OursLeft || r.Kind == OursGranted
			d.Ours, d.Theirs = d.Ours || ours, d.Theirs || !ours && r.Kind != Unsplit
			d.Places++
			return true
		}, func(n int64) {
			done += n
			if progress != nil {
				progress(done, total)
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return d, nil
}

// runs finds nine equal bytes in a row, and more, in a range of positions, as long as found
// returns true.
func (p *Pad) runs(ctx context.Context, x span, found func(span) bool, read func(int64)) error {
	b := make([]byte, min(checkChunk, x.len()))
	open := span{-1, -1} // a run that may go on in the next chunk
	for at := x.start; at < x.end; {
		if err := ctx.Err(); err != nil {
			return err
		}
		c := b[:min(int64(len(b)), x.end-at)]
		if _, err := p.pad.ReadAt(c, p.base+at); err != nil {
			return fmt.Errorf("the pad cannot be read at %d: %w", at, err)
		}
		for i := 0; i < len(c); {
			j := repeated(c[i:])
			if j < 0 {
				break
			}
			i += j
			end := i
			for end < len(c) && c[end] == c[i] {
				end++
			}
			run := span{at + int64(i), at + int64(end)}
			if open.end >= run.start {
				open.end = run.end
			} else {
				if open.end > 0 && !found(open) {
					return nil
				}
				open = run
			}
			i = end
		}
		n := int64(len(c))
		if at+n < x.end { // eight bytes once more, with which a run may begin
			n -= repeatRun - 1
		}
		at += n
		read(n)
	}
	if open.end > 0 {
		found(open)
	}
	return nil
}

// Hole returns how many bytes must be given up ([Pad.Skip]) to go past the first damaged
// place in the way of sending, or 0 when there is none.
func (p *Pad) Hole(ctx context.Context) (int64, error) {
	var room []extent
	var l *ledger
	err := p.do(ctx, false, func(b *batch) error {
		if err := b.glance(); err != nil {
			return err
		}
		room, l = append(room, p.l.room...), newLedger(p.version, p.size, p.split, p.lane)
		return nil
	})
	if err != nil {
		return 0, err
	}
	before := int64(0)
	for _, e := range room {
		n, err := p.holeIn(ctx, l, e)
		if err != nil {
			return 0, err
		}
		if n > 0 {
			return before + n, nil
		}
		before += e.end - e.pos
	}
	return 0, nil
}

// holeIn returns how far behind e.pos the first damaged place of an extent ends, or 0. It
// reads in pieces, in the direction of travel.
func (p *Pad) holeIn(ctx context.Context, l *ledger, e extent) (int64, error) {
	first, end := int64(-1), int64(0)
	for t := e.pos; t < e.end; {
		piece := span{t, min(t+checkChunk, e.end)}
		var all []span
		err := p.runs(ctx, l.positions(l.own, piece), func(x span) bool {
			all = append(all, l.positions(l.own, x))
			return true
		}, func(int64) {})
		if err != nil {
			return 0, err
		}
		if l.own == 1 { // from the highest position down
			for i, j := 0, len(all)-1; i < j; i, j = i+1, j-1 {
				all[i], all[j] = all[j], all[i]
			}
		}
		for _, x := range all {
			if first >= 0 && x.start-end >= nearby {
				return end - e.pos, nil
			}
			first, end = x.start, x.end
		}
		if first >= 0 && piece.end-end >= nearby {
			return end - e.pos, nil
		}
		if t = piece.end; t < e.end {
			t -= repeatRun - 1
		}
	}
	if first < 0 {
		return 0, nil
	}
	return end - e.pos, nil
}

func left(kind string) bool {
	switch kind {
	case OursLeft, OursGranted, TheirsLeft, TheirsGranted, TheirsMissing, Unsplit:
		return true
	}
	return false
}

func unchanged(a, b Layout) bool {
	if len(a.Ranges) != len(b.Ranges) {
		return false
	}
	for i := range a.Ranges {
		if a.Ranges[i] != b.Ranges[i] {
			return false
		}
	}
	return true
}

func allZero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}
