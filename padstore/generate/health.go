package generate

import (
	"bytes"
	"errors"
	"fmt"
)

// The health tests of NIST SP 800-90B §4.4, on bytes that claim 8 bits of entropy each,
// with a chance of 2^-64 that a good source fails a test.
const (
	// RepetitionCutoff is how many equal bytes in a row stop a source (§4.4.1):
	// 1 + 64/8.
	RepetitionCutoff = 9
	// Window is how many bytes the adaptive proportion test looks at (§4.4.2).
	Window = 512
	// ProportionCutoff is how often the first byte of a window may not come in it.
	ProportionCutoff = 26
	// StartUp is how many bytes of each source pass the tests before the first is used.
	StartUp = 4096
)

// ErrUnhealthy means that a source has failed a test.
var ErrUnhealthy = errors.New("this is not random")

// A Health is the state of the tests over one source. They find a source that is stuck or
// strongly biased, or that has only letters; they do not prove that one is random: what a
// bad generator makes of a known beginning passes.
type Health struct {
	bits bitHealth

	last byte
	run  int // how many of last were the latest bytes

	first byte // of the window
	seen  int  // bytes of the window so far
	count int  // of first among them
}

// Test goes on with the source's next bytes. It looks at every one of them. The error is
// [ErrUnhealthy], and names the test.
func (h *Health) Test(p []byte) error {
	if h.repeats(p) {
		return fmt.Errorf("%w: it has failed the repetition count test: %d equal bytes in a row", ErrUnhealthy, RepetitionCutoff)
	}
	if h.crowds(p) {
		return fmt.Errorf("%w: it has failed the adaptive proportion test: one value %d times in %d bytes", ErrUnhealthy, ProportionCutoff, Window)
	}
	if h.bits.sticks(p) {
		return fmt.Errorf("%w: it has failed the repetition count test of a bit: %d bytes in a row have one bit the same", ErrUnhealthy, BitRepetitionCutoff)
	}
	if h.bits.leans(p) {
		return fmt.Errorf("%w: it has failed the proportion test of a bit: it is the same in %d of %d bytes", ErrUnhealthy, BitProportionCutoff, BitWindow)
	}
	return nil
}

// repeats looks only at one pair of neighbours in eight: a run of nine has eight pairs
// one after the other, and so one of those.
func (h *Health) repeats(p []byte) bool {
	if len(p) == 0 {
		return false
	}
	lead := 0
	if h.run > 0 {
		for lead < len(p) && p[lead] == h.last {
			lead++
		}
		if h.run+lead >= RepetitionCutoff {
			return true
		}
	}
	for i := 0; i+1 < len(p); i += RepetitionCutoff - 1 {
		if p[i] == p[i+1] && runAt(p, i) >= RepetitionCutoff {
			return true
		}
	}
	if lead == len(p) {
		h.run += lead
		return false
	}
	h.last, h.run = p[len(p)-1], 1
	for i := len(p) - 2; i >= 0 && p[i] == h.last; i-- {
		h.run++
	}
	return false
}

// runAt is the length of the run of equal bytes that p[i] is in.
func runAt(p []byte, i int) int {
	from, to := i, i+1
	for from > 0 && p[from-1] == p[i] {
		from--
	}
	for to < len(p) && p[to] == p[i] {
		to++
	}
	return to - from
}

func (h *Health) crowds(p []byte) bool {
	for len(p) > 0 {
		if h.seen == 0 {
			h.first, h.count = p[0], 0
		}
		n := min(len(p), Window-h.seen)
		h.count += bytes.Count(p[:n], []byte{h.first})
		if h.count >= ProportionCutoff {
			return true
		}
		h.seen, p = (h.seen+n)%Window, p[n:]
	}
	return false
}
