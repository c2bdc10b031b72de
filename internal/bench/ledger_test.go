package bench

import (
	"strings"
	"testing"
)

// A script is a story of one queue: letters are steps, numbers messages.
//
//	s3 o3 r3   message 3 is sent, answered OK, refused
//	d3         it is delivered
//	a A        its ACK is written, its ACK is answered
//	x          the receiver's connection breaks
//	f          the end
func TestLedgerJudges(t *testing.T) {
	for _, c := range []struct{ name, script, want string }{
		{"all is well", "s1 o1 d1 a A s2 o2 d2 a A f", ""},
		{"delivered before the answer", "s1 d1 o1 a A f", ""},
		{"never answered, never came", "s1 s2 o2 d2 a A f", ""},
		{"never answered, came", "s1 d1 a A f", ""},
		{"comes again without ACK", "s1 o1 d1 x d1 a A f", ""},
		{"comes again, ACK unanswered", "s1 o1 d1 a x d1 a A f", ""},
		{"does not come again, ACK unanswered", "s1 o1 s2 o2 d1 a x d2 a A f", ""},
		{"twice cut", "s1 o1 d1 x x d1 x d1 a A f", ""},
		{"lost", "s1 o1 s2 o2 d2 a A f", "message 1 was acknowledged to its sender and never came"},
		{"lost at the end", "s1 o1 f", "never came"},
		{"again after ACK", "s1 o1 d1 a A d1", "message 1 came again after it was acknowledged"},
		{"again after ACK and crash", "s1 o1 d1 a A x d1", "came again after it was acknowledged"},
		{"again after a later one", "s1 o1 s2 o2 d1 a x d2 a x d1", "message 1 came again after it was acknowledged"},
		{"unacknowledged is forgotten", "s1 o1 s2 o2 d1 x d2", "message 1, received but not acknowledged, did not come again"},
		{"out of order", "s1 o1 s2 o2 d2 a A d1", "message 1 came after a later one"},
		{"out of order, unacknowledged", "s1 o1 s2 o2 d2 a x d1", "message 1 came after a later one"},
		{"second before ACK", "s1 o1 s2 o2 d1 d2", "message 2 came before 1 was acknowledged"},
		{"same before ACK", "s1 o1 d1 d1", "message 1 came before 1 was acknowledged"},
		{"second while ACK is under way", "s1 o1 s2 o2 d1 a d2", "message 2 came before 1 was acknowledged"},
		{"never sent", "s1 o1 d2", "never sent"},
		{"refused", "s1 r1 d1", "was refused, but came"},
		{"refused late", "s1 d1 r1", "delivered and then refused"},
		{"end without ACK", "s1 o1 d1 f", "never acknowledged by its receiver"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			l := &ledger{run: 7, queue: 1, wrong: func(s string) { got = append(got, s) }}
			for _, step := range strings.Fields(c.script) {
				seq := 0
				if len(step) > 1 {
					seq = int(step[1] - '0')
				}
				switch step[0] {
				case 's':
					if l.send() != seq {
						t.Fatal("numbers do not follow")
					}
				case 'o':
					l.answered(seq, stored)
				case 'r':
					l.answered(seq, refused)
				case 'd':
					l.delivered(l.body(seq))
				case 'a':
					l.acks()
				case 'A':
					l.acked()
				case 'x':
					l.broken()
				case 'f':
					l.finish()
				}
			}
			switch {
			case c.want == "" && len(got) > 0:
				t.Errorf("a right story is called wrong: %q", got)
			case c.want != "" && (len(got) != 1 || !strings.Contains(got[0], c.want)):
				t.Errorf("got %q, want one with %q", got, c.want)
			}
		})
	}
}

func TestLedgerKnowsItsBodies(t *testing.T) {
	var got []string
	l := &ledger{run: 1, wrong: func(s string) { got = append(got, s) }}
	other := &ledger{run: 2}
	l.send()
	b := l.body(1)
	for _, bad := range [][]byte{nil, b[:10], b[:len(b)-1], append(b[:len(b):len(b)], '\n'), other.body(1), l.body(2)} {
		l.delivered(bad)
	}
	if len(got) != 6 {
		t.Errorf("%d of 6 changed bodies were found", len(got))
	}
	longest := 0
	for seq := range 500 {
		longest = max(longest, len(l.body(seq)))
	}
	if longest > 24+maxFiller || longest < maxFiller/2 {
		t.Errorf("the longest of 500 bodies has %d bytes", longest)
	}
	l.delivered(b)
	if s := l.tally(); s.Sent != 1 || s.Delivered != 1 || s.Unanswered != 1 || s.Stored != 0 {
		t.Errorf("tally %+v", s)
	}
}
