package padstore

import (
	"context"
	"errors"
	"fmt"

	"parley"
	"parley/secure/otp"
)

// Unpackage implements [otp.Pad]. A packet whose pad was used before, for this one or
// another, is [parley.ErrSeen], in version 1 too.
func (p *Pad) Unpackage(ctx context.Context, peer parley.Name, packet []byte) (*otp.Opened, error) {
	if err := p.right(peer, 0); err != nil {
		return nil, err
	}
	return p.open(ctx, packet, false)
}

// UnpackageOnce opens a packet that nobody will open again: its pad is burned before the
// message is returned.
func (p *Pad) UnpackageOnce(ctx context.Context, packet []byte) (*otp.Opened, error) {
	return p.open(ctx, packet, true)
}

func (p *Pad) open(ctx context.Context, packet []byte, once bool) (opened *otp.Opened, err error) {
	err = p.act(ctx, receiving, once, func(b *batch) (err error) {
		opened, err = p.stageOpen(b, packet, once)
		return err
	})
	if err != nil {
		return nil, err
	}
	return opened, nil
}

// parse returns where a packet's pad is in the peer's lane, and its number.
func (p *Pad) parse(packet []byte) (t span, seq uint64, err error) {
	if p.version == otp.V1 {
		index, m, err := otp.ParseV1(packet)
		if err != nil {
			return t, 0, err
		}
		if m > MaxMessage {
			return t, 0, fmt.Errorf("%w: a package of %d bytes", parley.ErrMalformed, len(packet))
		}
		if p.l.peer() == 1 {
			index = p.size - 1 - index
		}
		return span{index, index + otp.UseV1(m)}, 0, nil
	}
	h, use, err := otp.Parse(packet)
	switch {
	case err != nil:
		return t, 0, err
	case h.PadID != p.header.ID:
		return t, 0, fmt.Errorf("%w: a packet of another pad", parley.ErrMalformed)
	case h.Lane != p.l.peer():
		return t, 0, fmt.Errorf("%w: a packet of our own", parley.ErrMalformed)
	case h.Offset > uint64(p.size) || h.Seq == 0 || h.Seq > maxInt:
		return t, 0, fmt.Errorf("%w: a packet that names no part of the pad", parley.ErrMalformed)
	}
	return p.l.positions(h.Lane, span{int64(h.Offset), int64(h.Offset) + use}), h.Seq, nil
}

func (p *Pad) stageOpen(b *batch, packet []byte, once bool) (*otp.Opened, error) {
	l := p.l
	t, seq, err := p.parse(packet)
	if err == nil && !l.theirs(t) {
		err = fmt.Errorf("%w: the packet names pad that is not its sender's to use", parley.ErrMalformed)
	}
	if err != nil {
		p.event(Malformed, "a packet of %d bytes was refused: %v", len(packet), err)
		return nil, err
	}
	digest := otp.Digest(packet)
	if r := l.opened[digest]; r != nil {
		in, err := p.openAt(packet, t)
		if err != nil {
			return nil, err
		}
		if once {
			err = b.stage(&record{kind: recDone, digest: digest})
		}
		return p.answer(r, in), err
	}
	if l.seen.overlaps(t) {
		p.event(Reuse, "a packet uses pad that was used before (%d bytes at %d): it was refused", t.len(), l.positions(l.peer(), t).start)
		return nil, fmt.Errorf("%w: its pad was used before", parley.ErrSeen)
	}
	in, err := p.openAt(packet, t)
	if err != nil {
		if errors.Is(err, parley.ErrForged) {
			p.event(Forged, "a packet of %d bytes is not the peer's, or was changed on its way", len(packet))
		}
		return nil, err
	}
	r := &record{kind: recReceive, t: t.start, use: t.len(), seq: seq, digest: digest, once: once}
	if p.version == otp.V1 {
		if len(l.mark) < nameLen { // so that the journal says of which pad it is
			if err := b.name(); err != nil {
				return nil, err
			}
		}
		r.skipped = t.start > l.theirTop
		if r.skipped {
			p.event(Skip, "%d bytes of pad before a message were used for others that have not come", t.start-l.theirTop)
		}
	} else if err := p.judge(b, r, in); err != nil {
		return nil, err
	}
	return p.answer(r, in), b.stage(r)
}

// judge looks at what a genuine packet of version 2 says beside its message.
func (p *Pad) judge(b *batch, r *record, in otp.Inner) error {
	l := p.l
	at := span{int64(r.seq), int64(r.seq) + 1}
	r.missing = l.missing(r.seq)
	r.skipped = r.missing > 0
	if r.skipped {
		p.event(Gap, "%d messages before this one have not come", r.missing)
	}
	if in.Ack <= uint64(p.size) {
		r.ack = int64(in.Ack)
	}
	if l.seqs.overlaps(at) || r.seq > l.ackSeq && r.ack < l.ackHigh {
		r.rolledBack = true
		p.event(Rollback, "the peer's pad was put back from an old copy: the peer may use pad again that it has used")
	}
	if in.Kind == otp.KindGrant {
		start, n, err := otp.ParseGrant(in.Body)
		own := l.positions(l.peer(), span{r.t, r.t + r.use})
		if got := (span{start, start + n}); err == nil && l.mayTake(got) && (got.end <= own.start || got.start >= own.end) {
			r.from, r.grant = start, n
		} else {
			p.event(Malformed, "the peer grants pad that it cannot grant: the grant was refused")
		}
	} else if in.Kind != otp.KindMessage {
		p.event(Malformed, "a genuine packet of an unknown kind (%d): it shows nothing", in.Kind)
	}
	if err := b.look(); err != nil {
		return err
	}
	lost := r.ack > l.top
	if lost {
		p.event(Rollback, "the peer has seen more of our pad used than we know of: this is an old copy of the pad")
	}
	switch {
	case b.held:
		return b.seenTo(r.ack)
	case lost:
		return b.catchUp(r.ack)
	}
	return nil
}

// seenTo notes how far the peer has seen our lane used while nothing is sent. It does not
// end that: whoever carries packets may have held this one back, and what was sent since
// then would be used again. The owner decides.
func (b *batch) seenTo(ack int64) error {
	l := b.p.l
	if ack <= l.top {
		return nil
	}
	r := &record{kind: recJump, t: ack, floor: ack, seq: l.seq, commit: l.commit, l0: l.room[0].end}
	raise := b.raise
	err := b.stage(r)
	b.raise = raise // there is no mark, and there must be none
	return err
}

// catchUp goes past what the peer has seen of our lane, and past a reserve for what was
// on its way, or held back by whoever carries packets. Grants of ours may be forgotten too:
// a reserve at the other end of our half counts as granted.
func (b *batch) catchUp(ack int64) error {
	l := b.p.l
	b.create, b.looked = true, false
	if err := b.look(); err != nil {
		return err
	}
	left, _ := l.left()
	r := &record{kind: recJump, t: ack, floor: ack, seq: l.seq, commit: b.commit, l0: l.room[0].end, use: min(left, reserve(left))}
	if l.room[0].end > 0 {
		own := l.room[0].end - max(l.room[0].pos, min(ack, l.room[0].end))
		r.l0 -= own / 4
	}
	return b.stage(r)
}

func reserve(left int64) int64 { return left / 2 }

// openAt opens a packet with its pad.
func (p *Pad) openAt(packet []byte, t span) (in otp.Inner, err error) {
	pad, err := p.read(p.l.peer(), t)
	if err != nil {
		return in, err
	}
	defer clear(pad)
	if p.version == otp.V2 {
		return otp.Open(packet, pad)
	}
	in.Kind = otp.KindMessage
	in.Body, err = otp.OpenV1(packet, pad)
	return in, err
}

// answer is what a genuine packet tells.
func (p *Pad) answer(r *record, in otp.Inner) *otp.Opened {
	o := &otp.Opened{Seq: r.seq, Skipped: r.skipped, Missing: r.missing, RolledBack: r.rolledBack}
	at := p.l.positions(p.l.peer(), span{r.t, r.t + r.use})
	o.Offset = at.start
	if p.version == otp.V1 && p.l.peer() == 1 {
		o.Offset = at.end - 1
	}
	if in.Kind == otp.KindMessage {
		if o.Message = in.Body; o.Message == nil {
			o.Message = []byte{}
		}
	}
	return o
}
