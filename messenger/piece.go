package messenger

import (
	"errors"
	"fmt"

	"parley"
	"parley/envelope"
)

// Bounds of the pieces that one line may have waiting for others: the oldest
// packet goes first.
const (
	maxPieces     = 4096
	maxPieceBytes = 16 << 20
)

// piece stores one piece of a packet, and returns the packet when it was the
// last that was missing.
func (t *tx) piece(l line, e envelope.Envelope) (whole []byte, v verdict, cause, err error) {
	f, cause := envelope.ParseFragment(e)
	if cause != nil {
		return nil, dropped, cause, nil
	}
	again, err := t.wasSeen(l.id, f.Digest)
	if err != nil {
		return nil, 0, nil, err
	}
	if again {
		return nil, dropped, fmt.Errorf("%w: a piece of a packet that is here already", parley.ErrSeen), nil
	}
	n, err := t.count("INSERT OR IGNORE INTO fragments (line, digest, count, idx, chunk, came) VALUES (?, ?, ?, ?, ?, ?)",
		l.id, f.Digest[:], f.Count, f.Index, f.Chunk, t.stampNow())
	if err != nil {
		return nil, 0, nil, err
	}
	if n == 0 {
		return nil, dropped, fmt.Errorf("%w: the same piece", parley.ErrSeen), nil
	}
	var have int
	if err := t.row("SELECT count(*) FROM fragments WHERE line = ? AND digest = ? AND count = ?", l.id, f.Digest[:], f.Count)(&have); err != nil {
		return nil, 0, nil, err
	}
	if have < f.Count {
		return nil, held, nil, t.boundPieces(l.id)
	}
	var all []envelope.Fragment
	err = t.each("SELECT idx, chunk FROM fragments WHERE line = ? AND digest = ? AND count = ?", []any{l.id, f.Digest[:], f.Count}, func(scan func(...any) error) error {
		g := envelope.Fragment{Digest: f.Digest, Count: f.Count}
		err := scan(&g.Index, &g.Chunk)
		all = append(all, g)
		return err
	})
	if err != nil {
		return nil, 0, nil, err
	}
	whole, cause = envelope.Assemble(all)
	if errors.Is(cause, envelope.ErrIncomplete) {
		return nil, held, nil, nil
	}
	// Other cuts of the same packet, over another path, are of no use either.
	if err := t.exec("DELETE FROM fragments WHERE line = ? AND digest = ?", l.id, f.Digest[:]); err != nil {
		return nil, 0, nil, err
	}
	if cause != nil {
		return nil, dropped, cause, nil
	}
	return whole, taken, nil, nil
}

func (t *tx) boundPieces(line int64) error {
	for {
		var n, size int64
		if err := t.row("SELECT count(*), coalesce(sum(length(chunk)), 0) FROM fragments WHERE line = ?", line)(&n, &size); err != nil {
			return err
		}
		if n <= maxPieces && size <= maxPieceBytes {
			return nil
		}
		err := t.exec("DELETE FROM fragments WHERE line = ?1 AND digest = (SELECT digest FROM fragments WHERE line = ?1 ORDER BY came LIMIT 1)", line)
		if err != nil {
			return err
		}
		t.then(t.m.countDropped)
	}
}
