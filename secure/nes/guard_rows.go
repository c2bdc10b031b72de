package nes

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strconv"

	"parley"
)

var errGuard = fmt.Errorf("nes: replay guard: %w", ErrDamaged)

// guardTotal is the row "guard": how many entries and senders there are.
type guardTotal struct{ entries, senders uint32 }

const totalRow = "guard"

func readTotal(b parley.Bucket) (t guardTotal, err error) {
	switch row := b.Get(totalRow); len(row) {
	case 0:
		return t, nil
	case 8:
		return guardTotal{binary.BigEndian.Uint32(row), binary.BigEndian.Uint32(row[4:])}, nil
	}
	return t, errGuard
}

func (t guardTotal) put(b parley.Bucket) {
	b.Put(totalRow, binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, t.entries), t.senders))
}

// A guardSender is the row "guard/from/NAME": how many of its entries there are, and the
// latest timestamp that was forgotten.
type guardSender struct {
	entries uint32
	forgot  bool
	floor   int64
}

const sendersPrefix = "guard/from/"

func senderRow(name string) string { return sendersPrefix + name }

func readSender(b parley.Bucket, name string) (s guardSender, known bool, err error) {
	row := b.Get(senderRow(name))
	if row == nil {
		return s, false, nil
	}
	s, err = parseSender(row)
	return s, true, err
}

func parseSender(row []byte) (s guardSender, err error) {
	if len(row) != 4 && len(row) != 12 {
		return s, errGuard
	}
	s.entries = binary.BigEndian.Uint32(row)
	if len(row) == 12 {
		s.forgot, s.floor = true, int64(binary.BigEndian.Uint64(row[4:]))
	}
	return s, nil
}

func (s guardSender) put(b parley.Bucket, name string) {
	row := binary.BigEndian.AppendUint32(nil, s.entries)
	if s.forgot {
		row = binary.BigEndian.AppendUint64(row, uint64(s.floor))
	}
	b.Put(senderRow(name), row)
}

// seenRow is the key of a message's entry, "guard/seen/NAME/TIME ID": those of a sender
// are in the order of their times.
func seenRow(from string, at int64, id [32]byte) string {
	return fmt.Sprintf("%s%016x%s", seenPrefix(from), uint64(at)^1<<63, base64.RawURLEncoding.EncodeToString(id[:]))
}

func seenPrefix(from string) string { return "guard/seen/" + from + "/" }

// timeOf returns the time in such a key.
func timeOf(from, row string) (int64, error) {
	n := len(seenPrefix(from))
	if len(row) < n+16 {
		return 0, errGuard
	}
	at, err := strconv.ParseUint(row[n:n+16], 16, 64)
	if err != nil {
		return 0, errGuard
	}
	return int64(at ^ 1<<63), nil
}
