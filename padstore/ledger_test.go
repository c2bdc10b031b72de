package padstore

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"parley/secure/otp"
)

// TestSpans compares the set with one that is a map.
func TestSpans(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s spans
		m := map[int64]bool{}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			start := rapid.Int64Range(0, 60).Draw(t, "start")
			x := span{start, start + rapid.Int64Range(0, 9).Draw(t, "length")}
			want := false
			for i := x.start; i < x.end; i++ {
				want = want || m[i]
			}
			if s.overlaps(x) != want {
				t.Fatalf("%v overlaps %v: %v", s, x, !want)
			}
			if part := s.within(x); len(part) > 0 != want || part.count() > x.len() {
				t.Fatalf("%v within %v: %v", s, x, part)
			}
			s.add(x)
			for i := x.start; i < x.end; i++ {
				m[i] = true
			}
			if s.count() != int64(len(m)) || s.overlaps(x) != (x.len() > 0) {
				t.Fatalf("%v after %v", s, x)
			}
			for i := 1; i < len(s); i++ {
				if s[i-1].end >= s[i].start {
					t.Fatalf("%v is not merged", s)
				}
			}
			if !slices.Equal(spansOf(s), s) {
				t.Fatal("spansOf")
			}
		}
	})
}

// An end is one ledger with what it sent; the property test plays what the store does.
type end struct {
	*ledger
	out []*record // packets that were made, in order
	got map[uint64]bool
}

func (e *end) make(t *rapid.T, use, grant int64) {
	room := e.room
	r := &record{kind: recSend, seq: e.seq + 1, commit: e.commit + 1, ack: e.seen.top(), grant: grant, use: use}
	if grant > 0 {
		if !e.grantable(grant) {
			return
		}
		room = slices.Clone(room)
		room[0].end -= grant
		r.from = e.positions(e.own, span{room[0].end, room[0].end + grant}).start
	}
	at, ok := findRoom(room, use)
	if !ok {
		return
	}
	r.t, r.id, r.digest = at, id(int(r.seq)), [32]byte{e.own, byte(r.seq), byte(r.seq >> 8)}
	if err := e.apply(r); err != nil {
		t.Fatalf("its own record: %v", err)
	}
	e.out = append(e.out, r)
}

// take gives a packet of the other end's to this one, and checks its verdicts.
func (e *end) take(t *rapid.T, s *record) {
	x := span{s.t, s.t + s.use}
	if !e.theirs(x) {
		t.Fatalf("a genuine packet at %v is out of its sender's room", x)
	}
	if seen := e.seen.overlaps(x); seen != e.got[s.seq] {
		t.Fatalf("packet %d: seen %v, want %v", s.seq, seen, e.got[s.seq])
	}
	if e.got[s.seq] {
		return
	}
	high := uint64(0)
	for q := range e.got {
		high = max(high, q)
	}
	want := uint64(0)
	if s.seq > high {
		want = s.seq - high - 1
	}
	if got := e.missing(s.seq); e.version == otp.V2 && got != want {
		t.Fatalf("packet %d: %d are missing, want %d", s.seq, got, want)
	}
	r := &record{kind: recReceive, t: s.t, use: s.use, seq: s.seq, ack: s.ack, digest: s.digest, grant: s.grant, from: s.from}
	if s.grant > 0 && !e.mayTake(span{s.from, s.from + s.grant}) {
		t.Fatalf("a genuine grant of %d at %d cannot be taken", s.grant, s.from)
	}
	if err := e.apply(r); err != nil {
		t.Fatalf("a genuine packet: %v", err)
	}
	e.got[s.seq] = true
}

// TestLedgers: two ends with loss, other order, repeats and grants both ways never use the
// same byte, use the last one, and know the gaps exactly. A ledger read back from its
// snapshot is the same.
func TestLedgers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Int64Range(300, 6000).Draw(t, "size")
		split := rapid.Int64Range(0, size).Draw(t, "split")
		v := otp.Version(rapid.IntRange(1, 2).Draw(t, "version"))
		var ends [2]*end
		for lane := range ends {
			ends[lane] = &end{ledger: newLedger(v, size, split, uint8(lane)), got: map[uint64]bool{}}
		}
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			i := rapid.IntRange(0, 1).Draw(t, "who")
			e, other := ends[i], ends[1-i]
			switch rapid.IntRange(0, 6).Draw(t, "what") {
			case 0, 1, 2:
				e.make(t, rapid.Int64Range(48, 400).Draw(t, "use"), 0)
			case 3:
				if v == otp.V2 {
					e.make(t, 96, rapid.Int64Range(1, 600).Draw(t, "grant"))
				}
			case 4, 5: // any of the packets, in any order, again too; others never
				if n := len(other.out); n > 0 {
					e.take(t, other.out[rapid.IntRange(max(0, n-6), n-1).Draw(t, "which")])
				}
			case 6:
				l, label, err := parseSnapshot(e.snapshot([]byte("label")))
				if err != nil || string(label) != "label" {
					t.Fatal(err)
				}
				if a, b := sortedSnapshot(l), sortedSnapshot(e.ledger); a != b {
					t.Fatalf("a snapshot became\n%s\nof\n%s", a, b)
				}
				e.ledger = l
			}
		}
		for _, e := range ends { // whatever came: all that is left can be used, to the last byte
			for _, x := range e.room {
				for x.end > x.pos {
					n := min(x.end-x.pos, 97)
					e.make(t, n, 0)
					x.pos += n
				}
			}
			if n, _ := e.left(); n != 0 {
				t.Fatalf("%d bytes are left", n)
			}
		}
		owner := make([]*record, size)
		for lane, e := range ends {
			for _, r := range e.out {
				at := e.positions(uint8(lane), span{r.t, r.t + r.use})
				for p := at.start; p < at.end; p++ {
					if owner[p] != nil {
						t.Fatalf("position %d is used by two packets", p)
					}
					owner[p] = r
				}
			}
		}
		for _, e := range ends {
			at := int64(0)
			for _, r := range e.ranges() {
				if r.Start != at || r.End <= at {
					t.Fatalf("drawn as %v", e.ranges())
				}
				at = r.End
			}
			if at != size {
				t.Fatalf("drawn as %v", e.ranges())
			}
		}
	})
}

// sortedSnapshot is a snapshot's fields as text, whatever the order of its maps.
func sortedSnapshot(l *ledger) string {
	c := *l
	c.sent, c.opened, c.sentBy, c.log = nil, nil, nil, bytes.Clone(l.log)
	ids := []string{}
	for x := range l.sent {
		ids = append(ids, fmt.Sprintf("%x", x))
	}
	for x := range l.opened {
		ids = append(ids, fmt.Sprintf("%x", x))
	}
	slices.Sort(ids)
	return fmt.Sprintf("%+v %v %d", c, ids, len(l.sentBy))
}

// TestLedgerRefuses: records that were not made from the state before them.
func TestLedgerRefuses(t *testing.T) {
	fresh := func() *ledger {
		l := newLedger(otp.V2, 1000, 500, 0)
		for _, r := range []*record{
			{kind: recSend, t: 0, use: 96, seq: 1, commit: 1},
			{kind: recReceive, t: 0, use: 96, seq: 1},
		} {
			check(t, l.apply(r))
		}
		return l
	}
	for name, r := range map[string]*record{
		"unknown":             {kind: 99},
		"used already":        {kind: recSend, t: 0, use: 96, seq: 2, commit: 2},
		"not the next":        {kind: recSend, t: 100, use: 96, seq: 2, commit: 2},
		"the same number":     {kind: recSend, t: 96, use: 96, seq: 1, commit: 2},
		"an older batch":      {kind: recSend, t: 96, use: 96, seq: 2},
		"nothing used":        {kind: recSend, t: 96, seq: 2, commit: 2},
		"beyond the half":     {kind: recSend, t: 96, use: 405, seq: 2, commit: 2},
		"a grant too large":   {kind: recSend, t: 96, use: 96, seq: 2, commit: 2, grant: 405},
		"a grant of itself":   {kind: recSend, t: 96, use: 96, seq: 2, commit: 2, grant: 400},
		"received already":    {kind: recReceive, t: 50, use: 96, seq: 2},
		"of our half":         {kind: recReceive, t: 450, use: 96, seq: 2},
		"behind the end":      {kind: recReceive, t: 950, use: 96, seq: 2},
		"granted from ours":   {kind: recReceive, t: 96, use: 96, seq: 2, from: 400, grant: 50},
		"granted and used":    {kind: recReceive, t: 96, use: 96, seq: 2, from: 900, grant: 50},
		"a jump to nowhere":   {kind: recJump, t: -1},
		"a grant taken twice": {kind: recReceive, t: 96, use: 96, seq: 2, from: 500, grant: 900},
	} {
		if err := fresh().apply(r); err == nil {
			t.Errorf("%s: applied", name)
		}
	}
}
