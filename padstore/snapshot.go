package padstore

import (
	"fmt"

	"parley/secure/otp"
)

// snapshot returns everything that a ledger knows. pad says which pad it is.
func (l *ledger) snapshot(pad []byte) []byte {
	b := appendText(nil, pad)
	b = appendInts(b, int64(l.version), l.size, l.half[0], l.half[1], int64(l.own))
	b = appendInts(b, int64(len(l.room)))
	for _, e := range l.room {
		b = appendInts(b, e.start, e.pos, e.end)
	}
	for _, s := range []spans{l.given, l.seen, l.seqs, l.taken, l.burn} {
		b = appendInts(b, int64(len(s)))
		for _, x := range s {
			b = appendInts(b, x.start, x.end)
		}
	}
	b = appendInts(b, l.top, int64(l.seq), int64(l.commit), l.floor, l.theirTop, int64(l.received), l.ackHigh, int64(l.ackSeq))
	b = appendText(b, l.log)
	b = append(b, l.wroteMeta[:]...)
	b = appendFlags(b, l.metaStale)
	b = appendInts(b, int64(len(l.sent)+len(l.opened)))
	for _, r := range l.sent {
		b = r.append(b)
	}
	for _, r := range l.opened {
		b = r.append(b)
	}
	if l.version == otp.V1 {
		b = appendText(b, l.mark)
	}
	return b
}

// parseSnapshot reads what snapshot wrote.
func parseSnapshot(b []byte) (l *ledger, pad []byte, err error) {
	d := &decoder{b: b}
	pad = d.text()
	var version, own int64
	l = newLedger(otp.V2, 0, 0, 0)
	d.ints(&version, &l.size, &l.half[0], &l.half[1], &own)
	l.version, l.own = otp.Version(version), uint8(own)
	if d.bad || version < 1 || version > 2 || own > 1 || l.half[0]+l.half[1] > l.size {
		return nil, nil, errEncoding
	}
	l.room = l.room[:0]
	for range d.count() {
		var e extent
		d.ints(&e.start, &e.pos, &e.end)
		if e.start > e.pos || e.pos > e.end || e.end > l.size {
			d.bad = true
		}
		l.room = append(l.room, e)
	}
	for i, s := range []*spans{&l.given, &l.seen, &l.seqs, &l.taken, (*spans)(&l.burn)} {
		for range d.count() {
			var x span
			d.ints(&x.start, &x.end)
			ordered := len(*s) == 0 || (*s)[len(*s)-1].end < x.start
			if x.start >= x.end || i < 4 && !ordered || i != 2 && x.end > l.size {
				d.bad = true
			}
			*s = append(*s, x)
		}
	}
	d.ints(&l.top)
	l.seq, l.commit = d.uint(), d.uint()
	d.ints(&l.floor, &l.theirTop)
	l.received = d.uint()
	d.ints(&l.ackHigh)
	l.ackSeq = d.uint()
	l.log = d.text()
	d.bytes(l.wroteMeta[:])
	d.flags(&l.metaStale)
	for range d.count() {
		r := &record{}
		r.read(d)
		switch {
		case d.bad || r.t+r.use > l.size:
			d.bad = true
		case r.kind == recSend:
			l.sent[r.id], l.sentBy[r.digest] = r, r
		case r.kind == recReceive:
			l.opened[r.digest] = r
		default:
			d.bad = true
		}
	}
	if l.version == otp.V1 && len(d.b) > 0 { // older ones have none
		l.mark = d.text()
	}
	if d.bad || len(d.b) > 0 || len(l.room) == 0 || len(l.mark) > nameLen {
		return nil, nil, fmt.Errorf("snapshot: %w", errEncoding)
	}
	return l, pad, nil
}
