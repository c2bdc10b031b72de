package store

import (
	"slices"
	"sync"
	"testing"
)

// drained returns what Wake would yield without waiting.
func drained(t *Leases) (out []Lease) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for {
		l, ok := t.first()
		if !ok {
			return out
		}
		out = append(out, l)
	}
}

func TestLeases(t *testing.T) {
	a, b := ID{1}, ID{2}
	for name, c := range map[string]struct {
		do   func(*Leases)
		want []Lease
	}{
		"nothing":         {func(l *Leases) { l.Own(a) }, nil},
		"nobody owns":     {func(l *Leases) { l.Ready(a) }, nil},
		"ready once":      {func(l *Leases) { l.Own(a); l.Ready(a); l.Ready(a) }, []Lease{{a, 1}}},
		"in order":        {func(l *Leases) { l.Own(a); l.Own(b); l.Ready(b); l.Ready(a); l.Ready(b) }, []Lease{{b, 2}, {a, 1}}},
		"fenced":          {func(l *Leases) { l.Own(a); l.Own(a) }, []Lease{{a, 1}}},
		"fenced, latest":  {func(l *Leases) { l.Own(a); l.Own(a); l.Own(a) }, []Lease{{a, 2}}},
		"fenced, ready":   {func(l *Leases) { l.Own(a); l.Own(a); l.Ready(a) }, []Lease{{a, 1}, {a, 2}}},
		"ready, fenced":   {func(l *Leases) { l.Own(a); l.Ready(a); l.Own(a) }, []Lease{{a, 1}}},
		"released":        {func(l *Leases) { x := l.Own(a); l.Ready(a); l.Release(x) }, nil},
		"released, again": {func(l *Leases) { x := l.Own(a); l.Ready(a); l.Release(x); l.Own(a); l.Ready(a) }, []Lease{{a, 2}}},
		"dropped":         {func(l *Leases) { l.Own(a); l.Ready(a); l.Drop(a) }, []Lease{{a, 1}}},
		"stale release":   {func(l *Leases) { x := l.Own(a); l.Own(a); l.Release(x); l.Ready(a) }, []Lease{{a, 1}, {a, 2}}},
		"all":             {func(l *Leases) { l.Own(a); l.ReadyAll() }, []Lease{{a, 1}}},
	} {
		l := NewLeases()
		c.do(l)
		if got := drained(l); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
		if len(l.due) != 0 {
			t.Errorf("%s: %d left over", name, len(l.due))
		}
	}
}

func TestLeasesHold(t *testing.T) {
	l := NewLeases()
	x := l.Own(ID{1})
	y := l.Own(ID{1})
	if l.Holds(x) || !l.Holds(y) || l.Holds(Lease{}) || l.Holds(Lease{Queue: ID{2}}) {
		t.Error("fencing")
	}
	l.Release(Lease{Queue: ID{1}})
	l.Release(x)
	if !l.Holds(y) {
		t.Error("released by another")
	}
	l.Drop(ID{1})
	l.Drop(ID{1})
	if l.Holds(y) {
		t.Error("held after Drop")
	}
}

// However many are woken without a reader, each comes once.
func TestLeasesMany(t *testing.T) {
	l := NewLeases()
	const n = 200_000 // beyond where the order is moved up
	want := make(map[Lease]bool)
	for i := range n {
		want[l.Own(ID{byte(i), byte(i >> 8), byte(i >> 16)})] = true
	}
	var all sync.WaitGroup
	all.Go(func() {
		for got := range l.Wake() {
			if !want[got] {
				t.Errorf("%v twice, or never owned", got)
			}
			if delete(want, got); len(want) == 0 {
				return
			}
		}
	})
	l.ReadyAll()
	all.Wait()
	l.Close()
	for range l.Wake() {
		t.Error("a wake-up after Close")
	}
}
