package padstore

import (
	"cmp"
	"slices"
)

// A span is the numbers from start to before end.
type span struct{ start, end int64 }

func (s span) len() int64 { return s.end - s.start }

// spans is a set of numbers: spans in order that neither overlap nor touch. What comes
// in order is added at the end, however many there were before.
type spans []span

// at returns the index of the first span that ends behind n.
func (s spans) at(n int64) int {
	if k := len(s); k == 0 || s[k-1].end <= n {
		return k
	}
	i, _ := slices.BinarySearchFunc(s, n, func(x span, n int64) int {
		if x.end <= n {
			return -1
		}
		return 1
	})
	return i
}

// overlaps reports whether one of the numbers is in the set.
func (s spans) overlaps(x span) bool {
	i := s.at(x.start)
	return x.start < x.end && i < len(s) && s[i].start < x.end
}

// add puts numbers into the set.
func (s *spans) add(x span) {
	if x.start >= x.end {
		return
	}
	i := s.at(x.start - 1) // one that only touches, too
	j := i
	for j < len(*s) && (*s)[j].start <= x.end {
		x.start, x.end = min(x.start, (*s)[j].start), max(x.end, (*s)[j].end)
		j++
	}
	if j == i+1 {
		(*s)[i] = x
		return
	}
	*s = slices.Replace(*s, i, j, x)
}

// top is the end of the last span, or 0.
func (s spans) top() int64 {
	if len(s) == 0 {
		return 0
	}
	return s[len(s)-1].end
}

// count is how many numbers are in the set.
func (s spans) count() (n int64) {
	for _, x := range s {
		n += x.len()
	}
	return n
}

// within returns the part of the set inside a span.
func (s spans) within(x span) (part spans) {
	for i := s.at(x.start); x.start < x.end && i < len(s) && s[i].start < x.end; i++ {
		part = append(part, span{max(s[i].start, x.start), min(s[i].end, x.end)})
	}
	return part
}

// spansOf makes a set of spans in any order.
func spansOf(all []span) (s spans) {
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b span) int { return cmp.Compare(a.start, b.start) })
	for _, x := range all {
		s.add(x)
	}
	return s
}
