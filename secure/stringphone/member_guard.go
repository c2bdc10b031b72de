package stringphone

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"slices"
)

// The guard of a Member keeps tags of 16 bytes in shards: a call reads and writes
// one shard, not all. Which one is decided under a key of our own, so that nobody
// can aim at a shard to push tags out of it. A shard drops its oldest. On average
// 64 of MaxGuarded tags fall into one; that some shard gets more than guardDepth of
// them happens once in 10 million fillings.
const (
	guardShards = 1024
	guardDepth  = 120
	tagLen      = 16
)

// What a tag is of.
const (
	guardBox    = 'd' // nonce, MAC and ciphertext: another member may sign them anew (Plain)
	guardID     = 'i' // sender and message ID: a resend is not shown twice
	guardAnswer = 'a' // an introduction that was answered
)

type guardTag struct {
	row string
	tag [tagLen]byte
}

func (d *draft) tag(kind byte, what ...[]byte) guardTag {
	h := hmac.New(sha256.New, d.st.guard[:])
	h.Write([]byte{kind})
	for _, w := range what {
		h.Write(w)
	}
	sum := h.Sum(nil)
	shard := binary.BigEndian.Uint16(sum[tagLen:]) % guardShards
	return guardTag{guardRow + string([]byte{kind, byte(shard >> 8), byte(shard)}), [tagLen]byte(sum)}
}

func (d *draft) seen(t guardTag) bool {
	for p := d.get(t.row); len(p) >= tagLen; p = p[tagLen:] {
		if bytes.Equal(p[:tagLen], t.tag[:]) {
			return true
		}
	}
	return false
}

func (d *draft) remember(t guardTag) {
	p := d.get(t.row)
	if over := len(p) - (guardDepth-1)*tagLen; over > 0 {
		p = p[over:]
	}
	d.put(t.row, slices.Concat(p, t.tag[:]))
}

// counters are those of one sender: floor and those above it that were seen, 8
// bytes each. At or below the floor everything counts as seen.

// freshCounter reports whether a sender's counter was not seen.
func (d *draft) freshCounter(sender ID, n uint64) bool {
	p := d.get(row(countRow, sender))
	if len(p) == 0 {
		return n > 0
	}
	if len(p)%8 != 0 || n <= binary.BigEndian.Uint64(p) {
		return false
	}
	_, seen := findCounter(p[8:], n)
	return !seen
}

// countUp remembers a counter that was fresh.
func (d *draft) countUp(sender ID, n uint64) {
	p := d.get(row(countRow, sender))
	if len(p) == 0 {
		p = make([]byte, 8)
	}
	at, _ := findCounter(p[8:], n)
	at = 8 + 8*at
	q := make([]byte, 0, len(p)+8)
	q = binary.BigEndian.AppendUint64(append(q, p[:at]...), n)
	q = append(q, p[at:]...)
	if len(q) > 8+8*MaxCounters {
		q = q[8:] // the lowest becomes the floor
	}
	d.put(row(countRow, sender), q)
}

// closeCounters makes the highest counter the floor: nothing that was sent so far
// is taken from now on.
func (d *draft) closeCounters(sender ID) {
	if p := d.get(row(countRow, sender)); len(p) > 8 {
		d.put(row(countRow, sender), p[len(p)-8:])
	}
}

func findCounter(p []byte, n uint64) (int, bool) {
	low, high := 0, len(p)/8
	for low < high {
		mid := (low + high) / 2
		if binary.BigEndian.Uint64(p[8*mid:]) < n {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low, 8*low < len(p) && binary.BigEndian.Uint64(p[8*low:]) == n
}
