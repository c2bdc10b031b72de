package padstore

import (
	"context"
	"errors"
	"fmt"

	"parley"
	"parley/secure/otp"
)

// Package implements [otp.Pad]. Also [otp.ErrDepleted] (with [parley.ErrRefused]) and
// [otp.ErrHeld] (with [parley.ErrDenied]) are its errors.
func (p *Pad) Package(ctx context.Context, id [16]byte, peer parley.Name, msg []byte) ([]byte, error) {
	if err := p.right(peer, len(msg)); err != nil {
		return nil, err
	}
	return p.seal(ctx, sealing{id: id, body: msg})
}

// PackageOnce seals a message that nobody asks for again: its pad is burned before the
// packet is returned. When the caller loses it, it is lost, and the peer sees a gap.
func (p *Pad) PackageOnce(ctx context.Context, msg []byte) ([]byte, error) {
	if err := p.right(p.peer, len(msg)); err != nil {
		return nil, err
	}
	return p.seal(ctx, sealing{body: msg, once: true})
}

// Grant gives n bytes of our half, those nearest to the peer's, to the peer for ever. The
// packet says so to the peer; it is for the same id the same until Done, and uses pad like
// a message. Version 1 cannot: [parley.ErrRefused].
func (p *Pad) Grant(ctx context.Context, id [16]byte, n int64) ([]byte, error) {
	if p.version != otp.V2 {
		return nil, fmt.Errorf("%w: a pad of version 1 cannot grant", parley.ErrRefused)
	}
	if n <= 0 {
		return nil, fmt.Errorf("%w: a grant of %d bytes", parley.ErrRefused, n)
	}
	return p.seal(ctx, sealing{id: id, grant: n})
}

func (p *Pad) right(peer parley.Name, m int) error {
	switch {
	case peer != p.peer:
		return fmt.Errorf("%w: this pad is shared with %q", parley.ErrNoKey, p.peer)
	case m > MaxMessage:
		return fmt.Errorf("%w: a message of %d bytes; at most %d", parley.ErrRefused, m, MaxMessage)
	}
	return nil
}

// Need returns how many bytes of pad a message of m bytes uses.
func (p *Pad) Need(m int) int64 { return need(p.version, m) }

func need(v otp.Version, m int) int64 {
	if v == otp.V1 {
		return otp.UseV1(m)
	}
	return otp.Use(m)
}

type sealing struct {
	id    [16]byte
	body  []byte
	grant int64
	once  bool
}

func (p *Pad) seal(ctx context.Context, s sealing) (packet []byte, err error) {
	err = p.act(ctx, sending, s.once, func(b *batch) (err error) {
		packet, err = p.stageSeal(b, s)
		return err
	})
	if err != nil {
		return nil, err
	}
	return packet, nil
}

var errOtherMessage = fmt.Errorf("%w: this id was used for another message", parley.ErrRefused)

func (p *Pad) stageSeal(b *batch, s sealing) ([]byte, error) {
	l := p.l
	if r := l.sent[s.id]; r != nil && !s.once {
		return p.sealAgain(r, s)
	}
	if err := b.look(); err != nil {
		return nil, err
	}
	if b.held {
		return nil, errHeldWith(markMissing)
	}
	r := &record{kind: recSend, seq: l.seq + 1, commit: b.commit, ack: max(l.seen.top(), l.theirTop), id: s.id, once: s.once, grant: s.grant}
	room := l.room
	if s.grant > 0 {
		if !l.grantable(s.grant) {
			return nil, fmt.Errorf("%w: %w: %d bytes are left of our own half", parley.ErrRefused, otp.ErrDepleted, l.room[0].end-l.room[0].pos)
		}
		room = append([]extent(nil), l.room...)
		room[0].end -= s.grant
		r.from = l.positions(l.own, span{room[0].end, l.room[0].end}).start
		s.body = otp.MarshalGrant(r.from, s.grant)
	}
	r.use = p.Need(len(s.body))
	t, ok := findRoom(room, r.use)
	if !ok {
		left, largest := l.left()
		return nil, fmt.Errorf("%w: %w: the message needs %d bytes of pad; %d are left, %d of them in one piece", parley.ErrRefused, otp.ErrDepleted, r.use, left, largest)
	}
	r.t = t
	packet, err := p.sealAt(r, s.body)
	if err != nil {
		return nil, err
	}
	r.digest = otp.Digest(packet)
	return packet, b.stage(r)
}

// sealAgain makes the packet of a record once more.
func (p *Pad) sealAgain(r *record, s sealing) ([]byte, error) {
	if r.grant != s.grant {
		return nil, errOtherMessage
	}
	if r.grant > 0 {
		s.body = otp.MarshalGrant(r.from, r.grant)
	}
	if p.Need(len(s.body)) != r.use {
		return nil, errOtherMessage
	}
	packet, err := p.sealAt(r, s.body)
	if err == nil && otp.Digest(packet) != r.digest {
		return nil, errOtherMessage
	}
	return packet, err
}

// sealAt seals with the pad that a record names. It does not leave yet.
func (p *Pad) sealAt(r *record, body []byte) ([]byte, error) {
	pad, err := p.read(p.lane, span{r.t, r.t + r.use})
	if err != nil {
		return nil, err
	}
	defer clear(pad)
	at := p.l.positions(p.lane, span{r.t, r.t + r.use})
	if p.version == otp.V1 {
		if p.lane == 1 {
			at.start = at.end - 1
		}
		return otp.SealV1(at.start, body, pad)
	}
	in := otp.Inner{Kind: otp.KindMessage, Ack: uint64(r.ack), Body: body}
	if r.grant > 0 {
		in.Kind = otp.KindGrant
	}
	return otp.Seal(otp.Header{Lane: p.lane, PadID: p.header.ID, Offset: uint64(at.start), Seq: r.seq}, in, pad)
}

var errHole = errors.New("the pad is not random there: it is damaged, or something else has burned it")

// read returns pad in the order in which it is used. It is overwritten by the next read.
//
// Pad that is not random is refused. To seal, the whole of it passes the repetition count
// test, as it did when it was made. To open, only what is all zeros is refused: a genuine
// packet of a peer that does not test, such as the original, may have been sealed with
// anything else, and what it was sealed with has left already; but under a key of zeros
// everybody could make one.
func (p *Pad) read(lane uint8, t span) ([]byte, error) {
	n := int(t.len())
	if cap(p.buf) < n {
		p.buf = make([]byte, n, n+n/4)
	}
	b := p.buf[:n]
	at := p.l.positions(lane, t)
	if _, err := p.pad.ReadAt(b, p.base+at.start); err != nil {
		return nil, fmt.Errorf("the pad cannot be read: %w", err)
	}
	if p.version == otp.V1 && lane == 1 {
		for i, j := 0, n-1; i < j; i, j = i+1, j-1 {
			b[i], b[j] = b[j], b[i]
		}
	}
	i := -1
	if lane == p.lane {
		i = repeated(b)
	}
	if i >= 0 || hollow(b, p.version) {
		p.event(Hole, "the pad is not random at %d", at.start)
		if lane != p.lane {
			return nil, fmt.Errorf("%w: %w: at %d, on the peer's side: the message cannot be opened", parley.ErrRefused, errHole, at.start)
		}
		return nil, fmt.Errorf("%w: %w: within %d bytes from %d on; \"parley pad check FILE\" finds out how much, \"parley pad skip FILE --hole\" goes past it", parley.ErrRefused, errHole, n, at.start)
	}
	return b, nil
}

// hollow reports whether 32 bytes in a row are zero, which in random bytes never happens,
// or the key is, of version 1 the last 16 bytes, or the whole is.
func hollow(b []byte, v otp.Version) bool {
	const run = 32
	var zero [run]byte
	for i := 0; i+run <= len(b); i += run {
		if [run]byte(b[i:]) == zero {
			return true
		}
	}
	if v == otp.V1 && len(b) >= 16 && allZero(b[len(b)-16:]) {
		return true
	}
	return allZero(b[max(0, len(b)-run):])
}

// Done implements [otp.Pad].
func (p *Pad) Done(ctx context.Context, peer parley.Name, packet [32]byte) error {
	if err := p.right(peer, 0); err != nil {
		return err
	}
	return p.act(ctx, finishing, true, func(b *batch) error {
		if p.l.sentBy[packet] == nil && p.l.opened[packet] == nil {
			return nil
		}
		return b.stage(&record{kind: recDone, digest: packet})
	})
}

// Skip gives up the next n bytes of our room, and ends a hold: the owner says by it that
// this is the only copy of the pad. n may be 0.
func (p *Pad) Skip(n int64) error {
	if n < 0 {
		return fmt.Errorf("%w: to skip %d bytes", parley.ErrRefused, n)
	}
	return p.act(context.Background(), skipping, true, func(b *batch) error {
		b.create, b.looked = true, false
		if err := b.look(); err != nil {
			return err
		}
		return b.jump(n)
	})
}

// jump gives up the next n bytes.
func (b *batch) jump(n int64) error {
	l := b.p.l
	return b.stage(&record{kind: recJump, use: n, seq: l.seq, commit: b.commit, l0: l.room[0].end})
}
