package bench

import (
	"math/bits"
	"time"
)

// subBits gives 32 steps per power of two: a quantile is at most 3.2 % too high.
const subBits = 5

// A Histogram counts latencies in steps that grow with the value, from 1 ns to
// about 100 days. The zero value is ready. It is not safe for concurrent use:
// give each goroutine its own and Merge them.
type Histogram struct {
	counts [(64 - subBits) << subBits]uint64
	n      uint64
	sum    time.Duration
	max    time.Duration
}

// Add counts one latency; a negative one counts as zero.
func (h *Histogram) Add(d time.Duration) {
	d = max(d, 0)
	h.counts[step(uint64(d))]++
	h.n++
	h.sum += d
	h.max = max(h.max, d)
}

// step is the index of the step v falls into.
func step(v uint64) int {
	if v < 1<<subBits {
		return int(v)
	}
	shift := bits.Len64(v) - subBits - 1
	return shift<<subBits + int(v>>shift)
}

// top is the largest value of a step.
func top(i int) uint64 {
	if i < 2<<subBits {
		return uint64(i)
	}
	shift := i>>subBits - 1
	return uint64(i-shift<<subBits+1)<<shift - 1
}

// Merge adds what other has counted.
func (h *Histogram) Merge(other *Histogram) {
	for i, c := range other.counts {
		h.counts[i] += c
	}
	h.n += other.n
	h.sum += other.sum
	h.max = max(h.max, other.max)
}

// Count is how many latencies were counted.
func (h *Histogram) Count() uint64 { return h.n }

// Max is the largest latency, exactly.
func (h *Histogram) Max() time.Duration { return h.max }

// Mean is the average latency, exactly; zero when nothing was counted.
func (h *Histogram) Mean() time.Duration {
	if h.n == 0 {
		return 0
	}
	return h.sum / time.Duration(h.n)
}

// Quantile returns a latency that at least the share q (0 to 1) of all does not
// exceed; zero when nothing was counted.
func (h *Histogram) Quantile(q float64) time.Duration {
	if h.n == 0 {
		return 0
	}
	rank := max(1, uint64(q*float64(h.n)+0.9999999))
	var seen uint64
	for i, c := range h.counts {
		if seen += c; seen >= rank {
			return min(time.Duration(top(i)), h.max)
		}
	}
	return h.max
}
