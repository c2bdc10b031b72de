package padstore

import (
	"context"
	"fmt"

	"parley"
	"parley/secure/otp"
)

// What follows repeats an answer that was given before. None of it ever uses pad, so that
// who must be asked before pad is used need not be asked for these.

// Again returns the packet that [Pad.Package] has made for an id and that is not Done. ok
// is false when there is none. The same id with another message is [parley.ErrRefused].
func (p *Pad) Again(ctx context.Context, id [16]byte, msg []byte) (packet []byte, ok bool, err error) {
	if err := p.right(p.peer, len(msg)); err != nil {
		return nil, false, err
	}
	return p.again(ctx, sealing{id: id, body: msg})
}

// GrantAgain returns the packet that [Pad.Grant] has made for an id and that is not Done.
// ok is false when there is none. The same id with another size is [parley.ErrRefused].
func (p *Pad) GrantAgain(ctx context.Context, id [16]byte, n int64) (packet []byte, ok bool, err error) {
	if n <= 0 {
		return nil, false, fmt.Errorf("%w: a grant of %d bytes", parley.ErrRefused, n)
	}
	return p.again(ctx, sealing{id: id, grant: n})
}

func (p *Pad) again(ctx context.Context, s sealing) (packet []byte, ok bool, err error) {
	err = p.do(ctx, false, func(b *batch) (err error) {
		r := p.l.sent[s.id]
		if r == nil {
			return nil
		}
		packet, err = p.sealAgain(r, s)
		ok = err == nil
		return err
	})
	if err != nil {
		return nil, false, err
	}
	return packet, ok, nil
}

// Reopen returns the answer of [Pad.Unpackage] to a packet that was opened and is not
// Done. ok is false when it was not opened, or is Done; it may then be anything.
func (p *Pad) Reopen(ctx context.Context, packet []byte) (opened *otp.Opened, ok bool, err error) {
	digest := otp.Digest(packet)
	err = p.do(ctx, false, func(b *batch) error {
		r := p.l.opened[digest]
		if r == nil {
			return nil
		}
		in, err := p.openAt(packet, span{r.t, r.t + r.use})
		if err != nil {
			return err
		}
		opened, ok = p.answer(r, in), true
		return nil
	})
	if err != nil {
		return nil, false, err
	}
	return opened, ok, nil
}
