package padstore

import (
	"errors"

	"parley/secure/otp"
)

// A ledger is what is known of a pad's use. It is pure: it says which bytes are next,
// and changes only by records (apply), which are what the journal keeps.
//
// It counts in travel coordinates of a lane, t: bytes from the lane's beginning in its
// direction. Lane 0 goes up from position 0, lane 1 goes down from the end, so u bytes
// at t are the positions from t on there and those before size-t here. Both versions
// are alike in this; version 1 takes the bytes of lane 1 in descending order.
type ledger struct {
	version otp.Version
	size    int64
	own     uint8    // our lane
	half    [2]int64 // how much of each lane was its owner's in the beginning

	room   []extent // what we may send with: our half, then what the peer granted
	given  spans    // of our half, granted to the peer
	top    int64    // no byte from here on has been used for sending
	seq    uint64   // of the last packet made
	commit uint64   // how many batches have used pad
	floor  int64    // below it, room that comes later may have been used by what a restored copy forgot

	seen      spans  // of the peer's lane, received
	seqs      spans  // of the peer's packets, received
	taken     spans  // of the peer's half, granted to us
	theirTop  int64  // how far the peer's messages have come
	received  uint64 // how many
	ackHigh   int64  // the highest ack of the peer's, and the first packet with it
	ackSeq    uint64
	sent      map[[16]byte]*record // packets that wait for Done
	sentBy    map[[32]byte]*record
	opened    map[[32]byte]*record
	burn      []span // positions that are used up and not yet overwritten
	log       []byte // version 1: decrypt_log
	wroteMeta [32]byte
	metaStale bool   // version 1: the metadata file is behind
	mark      []byte // version 1: the name of its mark
}

// An extent is a piece of room: from pos on it is unused.
type extent struct{ start, pos, end int64 }

func newLedger(v otp.Version, size, split int64, own uint8) *ledger {
	l := &ledger{version: v, size: size, own: own, half: [2]int64{split, size - split}}
	if v == otp.V1 { // the original never uses the last byte of a half
		l.half = [2]int64{max(split-1, 0), max(size-1-split, 0)}
	}
	l.room = []extent{{end: l.half[own]}}
	l.sent, l.sentBy, l.opened = map[[16]byte]*record{}, map[[32]byte]*record{}, map[[32]byte]*record{}
	return l
}

// positions returns where in the pad bytes of a lane are; it is its own inverse.
func (l *ledger) positions(lane uint8, t span) span {
	if lane == 0 {
		return t
	}
	return span{l.size - t.end, l.size - t.start}
}

func (l *ledger) peer() uint8 { return 1 - l.own }

// findRoom returns where u bytes of room are free, in one extent. Extents in which they do
// not fit are kept for shorter messages.
func findRoom(room []extent, u int64) (t int64, ok bool) {
	for _, e := range room {
		if e.end-e.pos >= u {
			return e.pos, true
		}
	}
	return 0, false
}

func (l *ledger) left() (n, largest int64) {
	for _, e := range l.room {
		n += e.end - e.pos
		largest = max(largest, e.end-e.pos)
	}
	return n, largest
}

// theirs reports whether bytes of the peer's lane are the peer's to use: in its half
// and not granted to us, or in one piece granted by us.
func (l *ledger) theirs(t span) bool {
	if t.start < 0 || t.end > l.size || t.start >= t.end {
		return false
	}
	if t.end <= l.half[l.peer()] {
		return !l.taken.overlaps(t)
	}
	given := l.given.within(l.positions(l.own, l.positions(l.peer(), t)))
	return len(given) == 1 && given[0].len() == t.len()
}

// theirLeft is how much the peer can still use as far as we know.
func (l *ledger) theirLeft() int64 {
	n := l.half[l.peer()] - min(max(l.seen.top(), l.theirTop), l.half[l.peer()])
	n -= l.taken.within(span{l.half[l.peer()] - n, l.half[l.peer()]}).count()
	for _, g := range l.given {
		t := l.positions(l.peer(), l.positions(l.own, g))
		n += t.end - max(t.start, min(l.seen.within(t).top(), t.end))
	}
	return n
}

// missing is how many packets between the highest received and this one have not come.
func (l *ledger) missing(seq uint64) uint64 {
	next := uint64(max(l.seqs.top(), 1))
	return max(seq, next) - next
}

// grantable reports whether the last n bytes of our half are there to give.
func (l *ledger) grantable(n int64) bool {
	return n > 0 && n <= l.room[0].end-l.room[0].pos
}

// mayTake reports whether positions may be granted to us: they are in the peer's half,
// unused and not granted before.
func (l *ledger) mayTake(at span) bool {
	if at.start < 0 || at.end > l.size || at.start >= at.end {
		return false
	}
	t := l.positions(l.peer(), at)
	return t.end <= l.half[l.peer()] && !l.taken.overlaps(t) && !l.seen.overlaps(t)
}

var errRecord = errors.New("a record does not fit to those before it")

// apply changes the ledger by a record. The error means that the record is not one that
// was made from this state.
func (l *ledger) apply(r *record) error {
	switch r.kind {
	case recSend:
		return l.applySend(r)
	case recReceive:
		return l.applyReceive(r)
	case recDone:
		l.done(r.digest)
	case recBurned:
		l.burn = nil
	case recJump:
		return l.applyJump(r)
	case recMeta:
		l.wroteMeta, l.metaStale = r.digest, false
	default:
		return errRecord
	}
	return nil
}

func (l *ledger) applySend(r *record) error {
	t := span{r.t, r.t + r.use}
	i := 0
	for i < len(l.room) && (l.room[i].pos != t.start || l.room[i].end < t.end) {
		i++
	}
	if i == len(l.room) || r.seq <= l.seq || r.use <= 0 || r.commit < l.commit {
		return errRecord
	}
	if r.grant > 0 {
		e := &l.room[0]
		if !l.grantable(r.grant) || i == 0 && t.end > e.end-r.grant {
			return errRecord
		}
		l.given.add(span{e.end - r.grant, e.end})
		e.end -= r.grant
	}
	l.room[i].pos = t.end
	l.top, l.seq, l.commit = max(l.top, t.end), r.seq, r.commit
	l.metaStale = l.version == otp.V1
	if r.once {
		l.burn = append(l.burn, l.positions(l.own, t))
		return nil
	}
	l.sent[r.id], l.sentBy[r.digest] = r, r
	return nil
}

func (l *ledger) applyReceive(r *record) error {
	t := span{r.t, r.t + r.use}
	if !l.theirs(t) || l.seen.overlaps(t) {
		return errRecord
	}
	l.seen.add(t)
	l.received++
	l.theirTop = max(l.theirTop, t.end)
	if l.version == otp.V1 {
		l.log = appendLogV1(l.log, l, t)
		// In the original's file it only moves on, but also with what overtakes.
		l.metaStale = true
	} else {
		l.seqs.add(span{int64(r.seq), int64(r.seq) + 1})
		if r.ack > l.ackHigh {
			l.ackHigh, l.ackSeq = r.ack, r.seq
		}
	}
	if r.grant > 0 {
		at := span{r.from, r.from + r.grant}
		if !l.mayTake(at) {
			return errRecord
		}
		l.taken.add(l.positions(l.peer(), at))
		own := l.positions(l.own, at)
		l.room = append(l.room, extent{own.start, max(own.start, min(l.floor, own.end)), own.end})
	}
	if r.once {
		l.burn = append(l.burn, l.positions(l.peer(), t))
		return nil
	}
	l.opened[r.digest] = r
	return nil
}

// applyJump gives room up: what was granted down to r.l0, every byte below r.t, then the
// next r.use bytes.
func (l *ledger) applyJump(r *record) error {
	if r.l0 < 0 || r.use < 0 || r.t < 0 {
		return errRecord
	}
	if e := &l.room[0]; r.l0 < e.end {
		l.given.add(span{max(r.l0, e.pos), e.end})
		e.end = max(r.l0, e.pos)
	}
	n := r.use
	for i := range l.room {
		e := &l.room[i]
		to := max(e.pos, min(r.t, e.end))
		more := min(n, e.end-to)
		n -= more
		if to += more; to > e.pos {
			l.burn = append(l.burn, l.positions(l.own, span{e.pos, to}))
			e.pos = to
			l.top = max(l.top, to)
		}
	}
	l.top, l.floor = max(l.top, r.t), max(l.floor, r.floor)
	l.seq, l.commit = max(l.seq, r.seq), max(l.commit, r.commit)
	l.metaStale = l.version == otp.V1
	return nil
}

func (l *ledger) done(digest [32]byte) {
	if r := l.sentBy[digest]; r != nil {
		delete(l.sentBy, digest)
		delete(l.sent, r.id)
		l.burn = append(l.burn, l.positions(l.own, span{r.t, r.t + r.use}))
	}
	if r := l.opened[digest]; r != nil {
		delete(l.opened, digest)
		l.burn = append(l.burn, l.positions(l.peer(), span{r.t, r.t + r.use}))
	}
}
