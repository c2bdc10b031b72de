package profile

import (
	"context"
	"crypto/hmac"
	"crypto/subtle"
	"database/sql"
	"encoding/binary"
	"errors"
)

// Protocol state is kept so that no part of it can be put back to what it was,
// or exchanged, without this being noticed: each row has a MAC over its line, key,
// version and value; each line's head has one over its version and its rows'
// MACs in order; and the root, one row, has one over a sum of all heads. The
// database file as a whole can be put back: there is nothing outside to compare.
const stateSchema = `
	CREATE TABLE line_state (
		line    INTEGER NOT NULL,
		key     BLOB NOT NULL,
		version INTEGER NOT NULL, -- the head's when the row was written
		value   BLOB NOT NULL,
		mac     BLOB NOT NULL,
		PRIMARY KEY (line, key)
	) WITHOUT ROWID;
	CREATE TABLE line_head (
		line    INTEGER PRIMARY KEY,
		version INTEGER NOT NULL, -- grows with each Flush
		mac     BLOB NOT NULL
	);
	CREATE TABLE line_root (
		id      INTEGER PRIMARY KEY CHECK (id = 1),
		version INTEGER NOT NULL, -- grows with each change of a head
		heads   BLOB NOT NULL,    -- XOR of a MAC of each head
		mac     BLOB NOT NULL
	)`

type row struct {
	version int64
	value   []byte
	mac     [32]byte
}

// A head with version 0 is no head.
type head struct {
	version int64
	mac     [32]byte
}

type root struct {
	version int64
	heads   [32]byte
}

func number(n int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }

func equal(mac [32]byte, stored []byte) bool { return hmac.Equal(mac[:], stored) }

func (b *Bucket) rowMAC(key string, r row) [32]byte {
	return mac(b.t.p.keys.state, "row", number(b.line), []byte(key), number(r.version), r.value)
}

func (b *Bucket) headMAC(version int64, rows map[string]row) [32]byte {
	parts := [][]byte{number(b.line), number(version)}
	for _, k := range sortedKeys(rows) {
		r := rows[k]
		parts = append(parts, []byte(k), r.mac[:])
	}
	return mac(b.t.p.keys.state, "head", parts...)
}

// term is what a head adds to the root's sum.
func (p *Profile) term(line int64, h head) [32]byte {
	if h.version == 0 {
		return [32]byte{}
	}
	return mac(p.keys.state, "term", number(line), number(h.version), h.mac[:])
}

func (p *Profile) rootMAC(r root) [32]byte {
	return mac(p.keys.state, "root", number(r.version), r.heads[:])
}

func (t *Tx) replaceHead(line int64, old, next head) error {
	if err := t.loadRoot(); err != nil {
		return err
	}
	for _, h := range []head{old, next} {
		term := t.p.term(line, h)
		subtle.XORBytes(t.root.heads[:], t.root.heads[:], term[:])
	}
	t.root.version++
	return t.saveRoot()
}

func (t *Tx) loadRoot() error {
	if t.root != nil {
		return nil
	}
	var r root
	var heads, sum []byte
	err := t.QueryRowContext(t.ctx, "SELECT version, heads, mac FROM line_root").Scan(&r.version, &heads, &sum)
	if errors.Is(err, sql.ErrNoRows) {
		return &TamperedError{}
	}
	if err != nil {
		return err
	}
	copy(r.heads[:], heads)
	if len(heads) != len(r.heads) || !equal(t.p.rootMAC(r), sum) {
		return &TamperedError{}
	}
	t.root = &r
	return nil
}

func (t *Tx) saveRoot() error {
	sum := t.p.rootMAC(*t.root)
	_, err := t.ExecContext(t.ctx, `INSERT INTO line_root (id, version, heads, mac) VALUES (1, ?, ?, ?)
		ON CONFLICT DO UPDATE SET version = excluded.version, heads = excluded.heads, mac = excluded.mac`,
		t.root.version, t.root.heads[:], sum[:])
	return err
}

// verifyRoot compares all heads with the root, when the profile is opened. The
// rows of a line are verified when its bucket is.
func (p *Profile) verifyRoot(ctx context.Context) error {
	return p.Tx(ctx, func(t *Tx) error {
		if err := t.loadRoot(); err != nil {
			return err
		}
		rows, err := t.QueryContext(ctx, "SELECT line, version, mac FROM line_head")
		if err != nil {
			return err
		}
		defer rows.Close()
		var heads [32]byte
		for rows.Next() {
			var line int64
			var h head
			var sum []byte
			if err := rows.Scan(&line, &h.version, &sum); err != nil {
				return err
			}
			if copy(h.mac[:], sum) != len(h.mac) || len(sum) != len(h.mac) || h.version < 1 {
				return &TamperedError{line}
			}
			term := p.term(line, h)
			subtle.XORBytes(heads[:], heads[:], term[:])
		}
		if err := rows.Err(); err != nil {
			return err
		}
		if heads != t.root.heads {
			return &TamperedError{}
		}
		return nil
	})
}
