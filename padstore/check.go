package padstore

import (
	"context"
	"fmt"

	"parley"
)

// checkChunk is how much is read at once: the lock is free in between.
const checkChunk = 4 << 20

// zeroBlock is how many zero bytes in a row, at a multiple of it, are damage.
const zeroBlock = 4096

// Check reads all of the pad that is left, and reports a block of zeros there: then it was
// not copied to its end, is damaged, or was burned by something else. Opening has checked
// header, sizes and journal. progress may be nil.
func (p *Pad) Check(ctx context.Context, progress func(done, total int64)) error {
	pic, err := p.Layout()
	if err != nil {
		return err
	}
	var total, done, bad int64
	first := int64(-1)
	for _, r := range pic.Ranges {
		if left(r.Kind) {
			total += r.End - r.Start
		}
	}
	b := make([]byte, checkChunk)
	for _, r := range pic.Ranges {
		if !left(r.Kind) {
			continue
		}
		for at := r.Start; at < r.End; {
			if err := ctx.Err(); err != nil {
				return err
			}
			n := min(checkChunk-at%zeroBlock, r.End-at)
			if _, err := p.pad.ReadAt(b[:n], p.base+at); err != nil {
				return fmt.Errorf("the pad cannot be read at %d: %w", at, err)
			}
			for i := int64(0); i < n; i += zeroBlock {
				block := b[i:min(i+zeroBlock, n)]
				if len(block) >= 32 && allZero(block) {
					bad++
					if first < 0 {
						first = at + i
					}
				}
			}
			at += n
			done += n
			if progress != nil {
				progress(done, total)
			}
		}
	}
	if bad == 0 {
		return nil
	}
	// What was used meanwhile, here or in another process, is no damage.
	if now, err := p.Layout(); err == nil && !unchanged(pic, now) {
		return p.Check(ctx, progress)
	}
	return fmt.Errorf("%w: %d blocks of the unused pad are zeros, the first at %d: the pad is damaged, or was not copied whole", parley.ErrMalformed, bad, first)
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
