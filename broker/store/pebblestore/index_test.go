package pebblestore

import (
	"maps"
	"os"
	"testing"
	"time"

	"parley/broker/store"
)

// keys counts the stored keys by their first bytes.
func keys(t *testing.T, s *Store) map[string]int {
	t.Helper()
	it, err := s.engine.Load().db.NewIter(nil)
	if err != nil {
		t.Fatal(err)
	}
	n := make(map[string]int)
	for ok := it.First(); ok; ok = it.Next() {
		k := string(it.Key()[:1])
		if k == "x" {
			k = string(it.Key()[:2])
		}
		n[k]++
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	return n
}

// The index holds one entry for a queue with messages, none for an empty one
// after a scrub, and Sweep moves on from what it has dealt with.
func TestIndex(t *testing.T) {
	dir := t.TempDir()
	open := func(active int) *Store {
		s, err := Open(dir, Options{ScrubEvery: -1, ActiveQueues: active})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open(1000)
	ctx := t.Context()
	day := time.Date(2020, 10, 1, 0, 0, 0, 0, time.UTC)
	var ids []store.ID
	for i := range 10 {
		id := store.ID{byte(i * 20), 1}
		ids = append(ids, id)
		if err := s.Create(ctx, store.Queue{ID: id, Props: []byte("p"), Expires: day.Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
	}
	cycle := func(s *Store, i int, at time.Time, ack bool) {
		t.Helper()
		l, err := s.Own(ctx, ids[i:i+1])
		if err != nil {
			t.Fatal(err)
		}
		it, err := s.Append(ctx, ids[i], 1, 100, at, []byte("body"))
		if err == nil && ack {
			err = s.Ack(ctx, l[0], it.Seq)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	check := func(want map[string]int) {
		t.Helper()
		got := keys(t, s)
		for k, n := range want {
			if got[k] != n {
				t.Errorf("%d keys %q, want %d (%v)", got[k], k, n, got)
			}
		}
	}
	for i := range ids {
		for k := range 3 {
			cycle(s, i, day.Add(time.Duration(k)*time.Minute), i >= 2)
		}
	}
	check(map[string]int{"q": 10, "xe": 10, "xm": 10, "i": 6, "f": 10})
	if err := s.Scrub(ctx); err != nil {
		t.Fatal(err)
	}
	check(map[string]int{"q": 10, "xe": 10, "xm": 2, "i": 6, "f": 10})
	cycle(s, 5, day, true)
	check(map[string]int{"xm": 3})
	if err := s.Close(); err != nil { // clears up as well
		t.Fatal(err)
	}
	s = open(0)
	check(map[string]int{"xm": 2})
	cycle(s, 6, day, true)
	s.Close()

	// Cursors that were dropped leave it to the scrub to look through the index.
	s = open(1)
	defer s.Close()
	cycle(s, 7, day, true)
	check(map[string]int{"xm": 3})
	s.engine.Load().dirt.take()
	if err := s.Scrub(ctx); err != nil {
		t.Fatal(err)
	}
	check(map[string]int{"xm": 2})

	if n, err := s.Sweep(ctx, day, day.Add(time.Minute), 100); err != nil || n != 2 {
		t.Fatal(n, err)
	}
	h := &s.engine.Load().horizon
	if got := h.low[1]; got != day.Add(time.Minute).UnixMilli() {
		t.Errorf("the next sweep starts at %v", time.UnixMilli(got).UTC())
	}
	check(map[string]int{"xm": 2, "i": 4})
	if n, err := s.Sweep(ctx, day.Add(2*time.Hour), day, 100); err != nil || n != 10 {
		t.Fatal(n, err)
	}
	check(map[string]int{"q": 0, "xe": 0, "xm": 0, "i": 0, "f": 0, "v": 1, "d": 0})
}

// What a closed store still has to erase, the next life knows.
func TestDirt(t *testing.T) {
	var d, again dirt
	d.mark(prefix(kItem), store.ID{0x12, 0x3f})
	d.mark(prefix(kItem), store.ID{0xff, 0xff})
	d.mark(prefix(kAlias, 7), store.ID{0x00, 0x01})
	d.lost = true
	if !again.unpack(d.pack()) || !again.lost || len(again.area) != 2 || *again.area["i"] != *d.area["i"] {
		t.Errorf("%+v", again.area)
	}
	got := make(map[string]string)
	for _, sp := range again.spans() {
		got[string(sp.from)] = string(sp.to)
	}
	want := map[string]string{"i\x12\x30": "i\x12\x40", "i\xff\xf0": "j", "a\x07\x00\x00": "a\x07\x00\x10"}
	if !maps.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	for _, bad := range [][]byte{nil, {0, 1}, {0, 1, 'i', 0}, d.pack()[:600]} {
		if new(dirt).unpack(bad) {
			t.Errorf("%d bytes were taken", len(bad))
		}
	}
	all := new(dirt)
	all.all()
	if n := len(all.spans()); n != 19*areas/spanAreas {
		t.Errorf("%d spans", n)
	}

	dir := t.TempDir()
	s, err := Open(dir, Options{ScrubEvery: -1})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(s.engine.Load().dirt.area); n != 0 {
		t.Errorf("a new store has %d areas to erase", n)
	}
	if err := s.Create(t.Context(), store.Queue{ID: store.ID{1}, Props: []byte("p")}); err != nil {
		t.Fatal(err)
	}
	if err := s.Update(t.Context(), store.Queue{ID: store.ID{1}, Version: 1, Props: []byte("r")}); err != nil {
		t.Fatal(err)
	}
	crashed := t.TempDir() + "/db"
	if err := os.CopyFS(crashed, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]int{dir: 1, crashed: 19} {
		if s, err = Open(dir, Options{ScrubEvery: -1}); err != nil {
			t.Fatal(err)
		}
		if n := len(s.engine.Load().dirt.area); n != want {
			t.Errorf("%d areas to erase, want %d", n, want)
		}
		if err := s.Scrub(t.Context()); err != nil {
			t.Error(err)
		}
		if n := len(s.engine.Load().dirt.area); n != 0 {
			t.Errorf("%d areas left", n)
		}
		s.Close()
	}
}
