package bench

import (
	"fmt"
	"strings"
	"time"
)

const barWidth = 40

// bar draws v as part of full, at most barWidth wide; anything above zero shows.
func bar(v, full float64) string {
	if v <= 0 || full <= 0 {
		return ""
	}
	n := int(min(v/full, 1)*barWidth*2 + 0.5)
	s := strings.Repeat("█", n/2)
	if n%2 == 1 {
		s += "▌"
	}
	if s == "" {
		return "▏"
	}
	return s
}

// Chart draws a histogram, one line for each doubling of the latency.
func Chart(h *Histogram) string {
	if h.n == 0 {
		return ""
	}
	// Doublings from 16 µs up; what is below or above goes to the ends.
	const first = 16 * time.Microsecond
	var rows [24]uint64
	last, begin := 0, len(rows)
	for i, c := range h.counts {
		if c == 0 {
			continue
		}
		r := 0
		for limit := first; r < len(rows)-1 && top(i) > uint64(limit); limit *= 2 {
			r++
		}
		rows[r] += c
		last, begin = max(last, r), min(begin, r)
	}
	most := uint64(0)
	for _, c := range rows {
		most = max(most, c)
	}
	var b strings.Builder
	for r := begin; r <= last; r++ {
		fmt.Fprintf(&b, "  ≤ %-8s %6.2f %%  %s\n", first<<r, float64(rows[r])*100/float64(h.n), bar(float64(rows[r]), float64(most)))
	}
	return b.String()
}
