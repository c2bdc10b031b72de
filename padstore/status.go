package padstore

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"parley"
	"parley/secure/otp"
)

// Status implements [otp.Pad].
func (p *Pad) Status(ctx context.Context, peer parley.Name) (s otp.Status, err error) {
	if err := p.right(peer, 0); err != nil {
		return s, err
	}
	s = otp.Status{Version: p.version, Self: p.self, Peer: p.peer, Size: p.size}
	if p.version == otp.V2 {
		s.ID, s.Unconditional, s.Source = p.header.ID, p.header.Unconditional(), sources(p.header)
		s.Mailbox, s.Lane = p.header.Mailbox, int(p.lane)
	} else {
		s.Source = p.meta.RService
	}
	if p.whole {
		s.Held = "this is a whole pad: \"parley pad split\" makes the two people's files of it"
		return s, nil
	}
	err = p.do(ctx, false, func(b *batch) error {
		if err := b.glance(); err != nil {
			return err
		}
		if b.held {
			s.Held = markMissing
			if p.version == otp.V2 {
				s.Held += fmt.Sprintf(". (As far as is known here, at least %d bytes of your side were used.)", p.l.top)
			}
		}
		var largest int64
		s.Left, largest = p.l.left()
		s.Theirs = p.l.theirLeft()
		s.Largest = longest(p.version, largest)
		return nil
	})
	return s, err
}

// glance is look for those who only want to see: a pad that was never used gets no mark.
func (b *batch) glance() error {
	p := b.p
	if p.version == otp.V1 && len(p.l.mark) < nameLen {
		name, err := p.ownName(false)
		switch {
		case err != nil:
			return err
		case name != nil && p.marked(name):
			if !p.readOnly {
				return b.look()
			}
			p.l.mark = name
		case len(p.l.mark) == 0:
			b.held = p.used()
			return nil
		}
	}
	if p.mark == nil {
		f, err := openMark(p.d, p.markPath(), false)
		if err != nil {
			return fmt.Errorf("the mark of the pad: %w", err)
		}
		if f == nil {
			b.held = p.used()
			return nil
		}
		p.mark = f
	}
	return b.look()
}

// longest is the longest message that n bytes of pad are enough for, or 0.
func longest(v otp.Version, n int64) int64 {
	if v == otp.V1 {
		n = (n - otp.UseV1(0)) / 2
	} else {
		n = (n-32)/64*64 - 16
	}
	return min(max(n, 0), MaxMessage)
}

func sources(h *otp.PadHeader) string {
	var all []string
	for _, s := range h.Sources {
		text := s.Kind
		if s.Name != "" {
			text += " " + s.Name
		}
		if s.Assessed {
			text += " (assessed)"
		}
		all = append(all, text)
	}
	return strings.Join(all, " + ")
}

// Layout returns a picture of the pad.
func (p *Pad) Layout() (pic Layout, err error) {
	pic = Layout{Size: p.size, Split: p.split}
	if p.whole {
		pic.Ranges = []Range{{0, p.size, Unsplit}}
		return pic, nil
	}
	err = p.do(context.Background(), false, func(b *batch) error {
		if err := b.glance(); err != nil {
			return err
		}
		l := p.l
		pic.Ranges = l.ranges()
		pic.Pending = len(l.sent) + len(l.opened)
		pic.Sent, pic.Received = l.seq, l.received
		if high := l.seqs.top(); high > 0 {
			pic.MissingSeqs = uint64(high - 1 - l.seqs.count())
		}
		return nil
	})
	return pic, err
}

// ranges draws the ledger: first what is whose, then what has become of it.
func (l *ledger) ranges() []Range {
	var d drawing
	peer := l.peer()
	d.put(span{0, l.size}, Unused)
	d.put(l.positions(peer, span{0, l.half[peer]}), TheirsLeft)
	for _, x := range l.given {
		d.put(l.positions(l.own, x), TheirsGranted)
	}
	for i, e := range l.room {
		kind := OursGranted
		if i == 0 {
			kind = OursLeft
		}
		d.put(l.positions(l.own, span{e.pos, e.end}), kind)
		d.put(l.positions(l.own, span{e.start, e.pos}), OursBurned)
	}
	for _, r := range l.sent {
		d.put(l.positions(l.own, span{r.t, r.t + r.use}), OursUsed)
	}
	d.put(l.positions(peer, span{0, min(max(l.seen.top(), l.theirTop), l.half[peer])}), TheirsMissing)
	for _, x := range l.given {
		if part := l.seen.within(l.positions(peer, l.positions(l.own, x))); len(part) > 0 {
			d.put(l.positions(peer, span{l.positions(peer, l.positions(l.own, x)).start, part.top()}), TheirsMissing)
		}
	}
	for _, x := range l.taken { // also what the peer has granted is below the top
		d.redo(l.positions(peer, x), l)
	}
	for _, x := range l.seen {
		d.put(l.positions(peer, x), TheirsBurned)
	}
	for _, r := range l.opened {
		d.put(l.positions(peer, span{r.t, r.t + r.use}), TheirsUsed)
	}
	return d.ranges()
}

// A drawing is layers of ranges: the last one that covers a position counts.
type drawing struct {
	at    []span
	kinds []string
}

func (d *drawing) put(at span, kind string) {
	if at.start < at.end {
		d.at, d.kinds = append(d.at, at), append(d.kinds, kind)
	}
}

// redo draws our room in a range once more.
func (d *drawing) redo(at span, l *ledger) {
	for _, e := range l.room[1:] {
		own := l.positions(l.own, span{e.start, e.end})
		if own.start >= at.start && own.end <= at.end {
			d.put(l.positions(l.own, span{e.pos, e.end}), OursGranted)
			d.put(l.positions(l.own, span{e.start, e.pos}), OursBurned)
		}
	}
	for _, r := range l.sent {
		own := l.positions(l.own, span{r.t, r.t + r.use})
		if own.start >= at.start && own.end <= at.end {
			d.put(own, OursUsed)
		}
	}
}

// ranges flattens the layers, from the last one to the first.
func (d *drawing) ranges() (all []Range) {
	var covered spans
	for i := len(d.at) - 1; i >= 0; i-- {
		free := d.at[i].start
		for _, c := range append(covered.within(d.at[i]), span{d.at[i].end, d.at[i].end}) {
			if free < c.start {
				all = append(all, Range{free, c.start, d.kinds[i]})
			}
			free = c.end
		}
		covered.add(d.at[i])
	}
	slices.SortFunc(all, func(a, b Range) int {
		if a.Start < b.Start {
			return -1
		}
		return 1
	})
	joined := all[:0]
	for _, r := range all {
		if n := len(joined); n > 0 && joined[n-1].Kind == r.Kind {
			joined[n-1].End = r.End
		} else {
			joined = append(joined, r)
		}
	}
	return joined
}
