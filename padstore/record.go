package padstore

import (
	"encoding/binary"
	"errors"
)

// Kinds of records.
const (
	recSend    = 1 // a packet was made
	recReceive = 2 // a packet was opened
	recDone    = 3 // a packet is safe with its owner
	recBurned  = 4 // everything that was used up before is overwritten
	recJump    = 5 // room was given up
	recMeta    = 6 // version 1: the metadata file was written
)

// A record is one change of a ledger, as it stands in the journal: the kind, then its
// kind's members, numbers as varints.
type record struct {
	kind   byte
	t, use int64 // in the lane of who made the packet
	seq    uint64
	commit uint64
	ack    int64
	grant  int64 // bytes that the packet grants
	from   int64 // the lowest position of them
	id     [16]byte
	digest [32]byte // of the packet; of the metadata file
	once   bool     // nobody will say Done

	skipped, rolledBack bool
	missing             uint64

	l0, floor int64 // of a jump
}

var errEncoding = errors.New("a record is of no known form")

func (r *record) append(b []byte) []byte {
	b = append(b, r.kind)
	switch r.kind {
	case recSend:
		b = appendInts(b, r.t, r.use, int64(r.seq), int64(r.commit), r.ack, r.grant, r.from)
		b = append(append(b, r.id[:]...), r.digest[:]...)
		b = appendFlags(b, r.once)
	case recReceive:
		b = appendInts(b, r.t, r.use, int64(r.seq), r.ack, r.grant, r.from, int64(r.missing))
		b = append(b, r.digest[:]...)
		b = appendFlags(b, r.once, r.skipped, r.rolledBack)
	case recJump:
		b = appendInts(b, r.t, r.use, int64(r.seq), int64(r.commit), r.l0, r.floor)
	case recDone, recMeta:
		b = append(b, r.digest[:]...)
	}
	return b
}

// read takes a record off the front.
func (r *record) read(d *decoder) {
	r.kind = d.byte()
	switch r.kind {
	case recSend:
		d.ints(&r.t, &r.use)
		r.seq, r.commit = d.uint(), d.uint()
		d.ints(&r.ack, &r.grant, &r.from)
		d.bytes(r.id[:])
		d.bytes(r.digest[:])
		d.flags(&r.once)
	case recReceive:
		d.ints(&r.t, &r.use)
		r.seq = d.uint()
		d.ints(&r.ack, &r.grant, &r.from)
		r.missing = d.uint()
		d.bytes(r.digest[:])
		d.flags(&r.once, &r.skipped, &r.rolledBack)
	case recJump:
		d.ints(&r.t, &r.use)
		r.seq, r.commit = d.uint(), d.uint()
		d.ints(&r.l0, &r.floor)
	case recDone, recMeta:
		d.bytes(r.digest[:])
	case recBurned:
	default:
		d.bad = true
	}
}

func appendInts(b []byte, all ...int64) []byte {
	for _, n := range all {
		b = binary.AppendUvarint(b, uint64(n))
	}
	return b
}

func appendFlags(b []byte, flags ...bool) []byte {
	var x byte
	for i, f := range flags {
		if f {
			x |= 1 << i
		}
	}
	return append(b, x)
}

func appendText(b []byte, text []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

// A decoder reads what the functions above have written. After the first thing that
// cannot be, bad is set and everything is zero.
type decoder struct {
	b   []byte
	bad bool
}

// maxInt bounds every number, so that sums of two cannot overflow.
const maxInt = 1 << 61

func (d *decoder) uint() uint64 {
	n, size := binary.Uvarint(d.b)
	if size <= 0 || n > maxInt || d.bad {
		d.bad = true
		return 0
	}
	d.b = d.b[size:]
	return n
}

func (d *decoder) int() int64 { return int64(d.uint()) }

func (d *decoder) ints(to ...*int64) {
	for _, p := range to {
		*p = d.int()
	}
}

func (d *decoder) byte() byte {
	var b [1]byte
	d.bytes(b[:])
	return b[0]
}

func (d *decoder) bytes(to []byte) {
	if len(d.b) < len(to) || d.bad {
		d.bad = true
		return
	}
	d.b = d.b[copy(to, d.b):]
}

func (d *decoder) text() []byte {
	n := d.uint()
	if d.bad || n > uint64(len(d.b)) {
		d.bad = true
		return nil
	}
	t := d.b[:n:n]
	d.b = d.b[n:]
	return t
}

// count reads how many things follow, each of at least one byte.
func (d *decoder) count() int {
	n := d.uint()
	if n > uint64(len(d.b)) {
		d.bad = true
		return 0
	}
	return int(n)
}

func (d *decoder) flags(to ...*bool) {
	x := d.byte()
	for i, p := range to {
		*p = x>>i&1 == 1
	}
	if x>>len(to) != 0 {
		d.bad = true
	}
}
