package profile

import (
	"bytes"
	"database/sql"
	"iter"
	"maps"
	"strings"

	"parley"
)

// A Bucket is what one line's protocol remembers, as one transaction sees it: a
// [parley.Bucket]. It is read whole and verified when it is opened. Keys and
// values are any bytes. Nothing is written before Flush.
type Bucket struct {
	t     *Tx
	line  int64
	head  head
	rows  map[string]row // what a reader sees
	disk  map[string]row // what the transaction has in the table
	saved []map[string]row
}

var _ parley.Bucket = (*Bucket)(nil)

// Bucket opens the state of a line; it is empty if there is none. The same line
// has one bucket in a transaction. State that is not what was written last is a
// [*TamperedError].
func (p *Profile) Bucket(t *Tx, line int64) (*Bucket, error) {
	if b := t.buckets[line]; b != nil {
		return b, nil
	}
	b := &Bucket{t: t, line: line}
	if err := b.load(); err != nil {
		return nil, err
	}
	t.buckets[line] = b
	return b, nil
}

// Bucket is [Profile.Bucket].
func (t *Tx) Bucket(line int64) (*Bucket, error) { return t.p.Bucket(t, line) }

// Get returns a copy of the value, nil if there is none.
func (b *Bucket) Get(key string) []byte {
	r, ok := b.rows[key]
	if !ok {
		return nil
	}
	return append([]byte{}, r.value...)
}

// Put stores a copy of the value.
func (b *Bucket) Put(key string, value []byte) {
	b.rows[key] = row{value: append([]byte{}, value...)}
}

// Delete removes the key, if it is there.
func (b *Bucket) Delete(key string) { delete(b.rows, key) }

// Scan yields copies of what has that prefix when it begins, in the order of
// keys. The bucket may be written meanwhile.
func (b *Bucket) Scan(prefix string) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		rows := maps.Clone(b.rows)
		for _, k := range sortedKeys(rows) {
			if strings.HasPrefix(k, prefix) && !yield(k, append([]byte{}, rows[k].value...)) {
				return
			}
		}
	}
}

// Savepoint remembers the bucket as it is. They nest.
func (b *Bucket) Savepoint() { b.saved = append(b.saved, maps.Clone(b.rows)) }

// Rollback returns to the last Savepoint and drops it; without one, to the last
// Flush.
func (b *Bucket) Rollback() {
	if n := len(b.saved); n > 0 {
		b.rows, b.saved = b.saved[n-1], b.saved[:n-1]
		return
	}
	b.rows = maps.Clone(b.disk)
}

// changed reports whether a key is not as the table has it.
func (b *Bucket) changed(key string) bool {
	have, was := b.disk[key]
	want, is := b.rows[key]
	return was != is || !bytes.Equal(have.value, want.value)
}

func (b *Bucket) dirty() bool {
	for k := range b.rows {
		if b.changed(k) {
			return true
		}
	}
	for k := range b.disk {
		if b.changed(k) {
			return true
		}
	}
	return false
}

// Flush writes what has changed into the transaction and drops all savepoints.
// If it fails, the transaction must fail.
func (b *Bucket) Flush() error {
	b.saved = nil
	if !b.dirty() {
		return nil
	}
	ctx := b.t.ctx
	version := b.head.version + 1
	for k := range b.disk {
		if _, stays := b.rows[k]; stays {
			continue
		}
		if _, err := b.t.ExecContext(ctx, "DELETE FROM line_state WHERE line = ? AND key = ?", b.line, []byte(k)); err != nil {
			return err
		}
	}
	for k, r := range b.rows {
		if !b.changed(k) {
			b.rows[k] = b.disk[k]
			continue
		}
		r.version = version
		r.mac = b.rowMAC(k, r)
		b.rows[k] = r
		_, err := b.t.ExecContext(ctx, `INSERT INTO line_state (line, key, version, value, mac) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET version = excluded.version, value = excluded.value, mac = excluded.mac`,
			b.line, []byte(k), r.version, r.value, r.mac[:])
		if err != nil {
			return err
		}
	}
	next := head{version: version}
	next.mac = b.headMAC(version, b.rows)
	_, err := b.t.ExecContext(ctx, `INSERT INTO line_head (line, version, mac) VALUES (?, ?, ?)
		ON CONFLICT DO UPDATE SET version = excluded.version, mac = excluded.mac`, b.line, next.version, next.mac[:])
	if err != nil {
		return err
	}
	if err := b.t.replaceHead(b.line, b.head, next); err != nil {
		return err
	}
	b.head = next
	b.disk = maps.Clone(b.rows)
	return nil
}

// Forget removes the state of a line that will not be used again.
func (t *Tx) Forget(line int64) error {
	b, err := t.Bucket(line)
	if err != nil {
		return err
	}
	for _, q := range []string{"DELETE FROM line_state WHERE line = ?", "DELETE FROM line_head WHERE line = ?"} {
		if _, err := t.ExecContext(t.ctx, q, line); err != nil {
			return err
		}
	}
	delete(t.buckets, line)
	return t.replaceHead(line, b.head, head{})
}

// load reads and verifies the line.
func (b *Bucket) load() error {
	b.disk = map[string]row{}
	var sum []byte
	err := b.t.QueryRowContext(b.t.ctx, "SELECT version, mac FROM line_head WHERE line = ?", b.line).Scan(&b.head.version, &sum)
	if err != nil && err != sql.ErrNoRows {
		return err
	}
	known := err == nil
	rows, err := b.t.QueryContext(b.t.ctx, "SELECT key, version, value, mac FROM line_state WHERE line = ?", b.line)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var key, sum []byte
		var r row
		if err := rows.Scan(&key, &r.version, &r.value, &sum); err != nil {
			return err
		}
		r.mac = b.rowMAC(string(key), r)
		if !known || !equal(r.mac, sum) {
			return &TamperedError{b.line}
		}
		b.disk[string(key)] = r
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if known {
		if b.head.mac = b.headMAC(b.head.version, b.disk); b.head.version < 1 || !equal(b.head.mac, sum) {
			return &TamperedError{b.line}
		}
	}
	b.rows = maps.Clone(b.disk)
	return nil
}

// Changed reports whether something was written since the last Flush that makes
// a difference.
func (b *Bucket) Changed() bool { return b.dirty() }
