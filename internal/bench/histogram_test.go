package bench

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestHistogramStepsAreWithoutGap(t *testing.T) {
	for i := 0; i < len(Histogram{}.counts)-1; i++ {
		if step(top(i)) != i || step(top(i)+1) != i+1 {
			t.Fatalf("step %d ends at %d, which falls into %d; the next value falls into %d", i, top(i), step(top(i)), step(top(i)+1))
		}
	}
}

func TestHistogramQuantiles(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var h, half Histogram
	var all []time.Duration
	for i := range 10_000 {
		d := time.Duration(rng.ExpFloat64() * 1e6)
		all = append(all, d)
		if i%2 == 0 {
			h.Add(d)
		} else {
			half.Add(d)
		}
	}
	h.Merge(&half)
	slices.Sort(all)
	for _, q := range []float64{0, 0.01, 0.5, 0.9, 0.99, 0.999, 1} {
		want := all[max(0, int(q*float64(len(all))+0.9999999)-1)]
		got := h.Quantile(q)
		if got < want || float64(got) > float64(want)*1.033+1 {
			t.Errorf("quantile %v is %v, want %v or up to 3.2 %% more", q, got, want)
		}
	}
	if h.Count() != 10_000 || h.Max() != all[len(all)-1] {
		t.Errorf("count %d max %v, want 10000 and %v", h.Count(), h.Max(), all[len(all)-1])
	}
	var sum time.Duration
	for _, d := range all {
		sum += d
	}
	if h.Mean() != sum/10_000 {
		t.Errorf("mean %v, want %v", h.Mean(), sum/10_000)
	}
}

func TestHistogramEdges(t *testing.T) {
	var h Histogram
	if h.Quantile(0.5) != 0 || h.Mean() != 0 || h.Max() != 0 {
		t.Error("an empty histogram is not all zero")
	}
	h.Add(-time.Second)
	h.Add(1<<63 - 1)
	if h.Quantile(0) != 0 || h.Quantile(1) != 1<<63-1 {
		t.Errorf("got %v and %v", h.Quantile(0), h.Quantile(1))
	}
}

func TestChart(t *testing.T) {
	var h Histogram
	for range 90 {
		h.Add(time.Millisecond)
	}
	for range 10 {
		h.Add(9 * time.Millisecond)
	}
	lines := strings.Split(strings.TrimRight(Chart(&h), "\n"), "\n")
	if len(lines) < 2 || strings.Count(lines[0], "█") <= strings.Count(lines[len(lines)-1], "█") {
		t.Errorf("the chart does not show where the latencies are:\n%s", strings.Join(lines, "\n"))
	}
	for _, l := range lines {
		if n := len([]rune(l)); n > 79 {
			t.Errorf("line of %d columns: %q", n, l)
		}
	}
	if Chart(&Histogram{}) != "" {
		t.Error("an empty histogram has a chart")
	}
}
