package padstore

import (
	"encoding/binary"
	"errors"
	"fmt"

	"parley"
	"parley/secure/otp"
)

// Recover makes a damaged journal usable again, and returns under which name the damaged
// one is kept. What whole entries and the mark say is taken; whatever is in doubt counts as
// used, also on the peer's side: what had not come below the last message received is lost. Without a
// mark a pad of version 2 is held afterwards, and for one of version 1 the error is
// [parley.ErrRefused], as it is for a journal that is whole.
func Recover(path string, o Options) (kept string, err error) {
	o.View = false
	p, err := open(path, o, false)
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	defer func() { err = errors.Join(err, p.closeFiles()) }()
	if p.whole {
		return "", errNotSplit
	}
	if err := p.lock(); err != nil {
		return "", err
	}
	kept, err = p.recover()
	if err = errors.Join(err, p.unlock()); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	p.emit()
	return kept, nil
}

func (p *Pad) recover() (kept string, err error) {
	err = p.load()
	switch {
	case err == nil && p.j == nil:
		return "", fmt.Errorf("%w: the pad has no journal, and needs none to be opened", parley.ErrRefused)
	case err == nil:
		return "", fmt.Errorf("%w: the journal is not damaged", parley.ErrRefused)
	case !errors.Is(err, errDamaged):
		return "", err
	}
	if p.j != nil {
		_ = p.j.f.Close()
		p.j = nil
	}
	f, err := p.d.open(p.journalPath, false)
	if err != nil {
		return "", err
	}
	n, err := f.size()
	b := make([]byte, min(n, maxJournal))
	if err == nil && len(b) > 0 {
		_, err = f.ReadAt(b, 0)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", err
	}
	p.events = nil
	if err := p.salvage(b); err != nil {
		return "", err
	}
	marked, err := p.hasMark()
	if err != nil {
		return "", err
	}
	if p.version == otp.V1 && !marked {
		return "", fmt.Errorf("%w: the mark of the pad is missing too, and a pad of version 1 has no other sign of how far it was used: do not use it again; make a new one", parley.ErrRefused)
	}
	// A copy first: at no time is there no journal.
	if kept, err = freeName(p.d, p.journalPath, "damaged"); err != nil {
		return "", err
	}
	if err := replace(p.d, kept, b); err != nil {
		return "", err
	}
	if err := p.writeJournal(); err != nil {
		return "", err
	}
	p.event(Recovered, "the journal was damaged: what it cannot tell any more counts as used")
	return kept, nil
}

// hasMark reports whether there is a mark of the pad, under whatever name it should have.
func (p *Pad) hasMark() (bool, error) {
	l := p.l
	if p.version == otp.V1 && len(l.mark) == 0 {
		name, err := p.ownName(false)
		if err != nil || name == nil {
			return false, err
		}
		l.mark = name
	}
	f, err := openMark(p.d, p.markPath(), false)
	if f == nil {
		return false, err
	}
	_, ok, err := readMark(f)
	return ok, errors.Join(err, f.Close())
}

// salvage makes a ledger of what is left of a journal.
func (p *Pad) salvage(b []byte) error {
	name, snapshot, rest, err := parseJournal(b)
	var l *ledger
	var label []byte
	if err == nil {
		l, label, err = parseSnapshot(snapshot)
	}
	if err != nil { // there is only the pad itself
		if err := p.fresh(); err != nil {
			return err
		}
		if p.version == otp.V1 {
			if err := p.mergeMeta(); err != nil {
				return err
			}
		}
		p.l.commit = max(p.l.commit, 1)
		return nil
	}
	if !p.labelFits(label, l) {
		return fmt.Errorf("%w: %s is the journal of another pad", parley.ErrMalformed, p.journalPath)
	}
	p.l = l
	if p.version == otp.V1 && len(l.mark) == 0 {
		l.mark = name[:]
	}
	for next := uint64(1); len(rest) > 0; {
		body, after, ok := cutFrame(rest, name[:], next)
		if !ok {
			if body, after, next, ok = nextFrame(rest, name[:], next); !ok {
				break
			}
		}
		for d := (&decoder{b: body}); len(d.b) > 0; {
			r := &record{}
			if r.read(d); d.bad {
				break
			}
			l.allow(r)
		}
		next, rest = next+1, after
	}
	l.doubt()
	if p.version == otp.V1 {
		p.j = &journal{} // the metadata is not the only thing that is known
		err = p.mergeMeta()
		p.j, p.rewrite = nil, false
	}
	return err
}

// nextFrame looks for the next whole frame with a higher number.
func nextFrame(b, name []byte, number uint64) (body, rest []byte, n uint64, ok bool) {
	for i := 0; i+frameHead <= len(b); i++ {
		n := binary.BigEndian.Uint64(b[i+4:])
		if n <= number || n > number+1<<32 {
			continue
		}
		if body, rest, ok := cutFrame(b[i:], name, n); ok {
			return body, rest, n, true
		}
	}
	return nil, nil, 0, false
}

// allow takes a record whose predecessors may be missing.
func (l *ledger) allow(r *record) {
	if r.t+r.use > l.size || r.from+r.grant > l.size {
		return
	}
	switch r.kind {
	case recBurned: // not of what is only now known to be used
		return
	case recSend:
		if l.apply(r) == nil {
			return
		}
		l0 := l.room[0].end
		if r.grant > 0 {
			l0 = l.positions(l.own, span{r.from, r.from + r.grant}).start
		}
		_ = l.apply(&record{kind: recJump, t: r.t + r.use, seq: r.seq, commit: r.commit, l0: l0})
	case recReceive:
		if l.apply(r) != nil {
			l.seen.add(span{r.t, r.t + r.use})
			l.theirTop = max(l.theirTop, r.t+r.use)
		}
	default:
		_ = l.apply(r)
	}
}

// doubt counts as used what is not known to be unused.
func (l *ledger) doubt() {
	l.commit = max(l.commit, 1)
	peer := l.peer()
	pieces := []span{{0, l.half[peer]}}
	for _, g := range l.given {
		pieces = append(pieces, l.positions(peer, l.positions(l.own, g)))
	}
	for _, x := range pieces {
		end := l.seen.within(x).top()
		at := x.start
		for _, t := range append(l.taken.within(span{x.start, max(end, x.start)}), span{end, end}) {
			l.seen.add(span{at, t.start})
			at = max(at, t.end)
		}
	}
	if top := l.seqs.top(); top > 1 {
		l.seqs.add(span{1, top})
	}
}
