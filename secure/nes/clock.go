package nes

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"

	"parley"
)

// A clock gives each message to a peer a timestamp of its own. A message has no number
// and no ID in this format: who keeps duplicates out knows two messages apart by their
// signed bytes alone, and "ok" said twice in a millisecond would be one. The other way
// round, what is sealed again must have the same bytes, or it would be shown twice: the
// timestamps of the last [resends] messages are remembered by ID.
//
// In State: "sent" has the last timestamp and the next slot, "sent/SLOT" the ID of a
// message, "sent/ID" its timestamp.
type clock struct {
	begun bool
	last  int64
	slot  uint32
}

// resends is how many messages can be sealed again with their first timestamp.
const resends = 256

const clockRow = "sent"

func slotRow(slot uint32) string { return fmt.Sprintf("%s/%03d", clockRow, slot) }
func idRow(id []byte) string     { return clockRow + "/" + hex.EncodeToString(id) }

// errClock passes for no error of a packet.
var errClock = fmt.Errorf("nes: timestamps: %w", ErrDamaged)

func readClock(b parley.Bucket) (k clock, err error) {
	row := b.Get(clockRow)
	if row == nil {
		return k, nil
	}
	if len(row) != 12 {
		return k, errClock
	}
	k = clock{true, int64(binary.BigEndian.Uint64(row)), binary.BigEndian.Uint32(row[8:])}
	if k.slot >= resends {
		return clock{}, errClock
	}
	return k, nil
}

// at returns the timestamp of a message that was written at a time in Unix milliseconds,
// and whether it had that already.
func (k *clock) at(b parley.Bucket, id [16]byte, ms int64) (at int64, known bool, err error) {
	switch row := b.Get(idRow(id[:])); {
	case len(row) == 8:
		return int64(binary.BigEndian.Uint64(row)), true, nil
	case row != nil:
		return 0, false, errClock
	case !k.begun:
		return ms, false, nil
	case k.last == math.MaxInt64:
		return 0, false, refused("all timestamps are used up")
	}
	return max(ms, k.last+1), false, nil
}

// used remembers a timestamp, and forgets the oldest.
func (k *clock) used(b parley.Bucket, id [16]byte, at int64) {
	if old := b.Get(slotRow(k.slot)); old != nil {
		b.Delete(idRow(old))
	}
	b.Put(slotRow(k.slot), id[:])
	b.Put(idRow(id[:]), binary.BigEndian.AppendUint64(nil, uint64(at)))
	k.slot = (k.slot + 1) % resends
	k.passed(b, at)
}

// passed notes a timestamp that nobody will ask for again, as that of a presence.
func (k *clock) passed(b parley.Bucket, at int64) {
	row := binary.BigEndian.AppendUint64(nil, uint64(at))
	b.Put(clockRow, binary.BigEndian.AppendUint32(row, k.slot))
}
