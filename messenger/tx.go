package messenger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"parley"
	"parley/messenger/profile"
)

// A tx is one commit: everything in it happens, or nothing. What it changed is
// told to subscribers after it has been committed, in the order of commits.
type tx struct {
	*profile.Tx
	m        *Messenger
	ctx      context.Context
	messages []int64 // rows of the timeline that changed, in order
	contacts []int64
	work     work
	after    []func() // run once it is committed
}

// tx runs do in one commit. step names the commit for tests that crash there.
func (m *Messenger) tx(ctx context.Context, step string, do func(*tx) error) error {
	m.commit.Lock()
	defer m.commit.Unlock()
	if err := m.alive(step + ": before"); err != nil {
		return err
	}
	t := &tx{m: m, ctx: ctx}
	var changes []Change
	err := m.p.Tx(ctx, func(pt *profile.Tx) error {
		t.Tx = pt
		if err := do(t); err != nil {
			return err
		}
		var err error
		changes, err = t.changes()
		return err
	})
	if err != nil {
		return err
	}
	if err := m.alive(step + ": after"); err != nil {
		return err
	}
	for _, f := range t.after {
		f()
	}
	if t.work != 0 {
		m.poke(t.work)
	}
	m.fan.publish(changes)
	return nil
}

// alive is where tests let the process die: from then on nothing is committed.
func (m *Messenger) alive(step string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.crashed == nil && m.o.fault != nil {
		if m.crashed = m.o.fault(step); m.crashed != nil {
			m.cancel()
		}
	}
	return m.crashed
}

// settled keeps a commit that records what has already happened elsewhere from
// being cancelled half-way.
func settled(ctx context.Context) context.Context { return context.WithoutCancel(ctx) }

func (t *tx) changed(seq int64)       { t.messages = append(t.messages, seq) }
func (t *tx) contactChanged(id int64) { t.contacts = append(t.contacts, id) }
func (t *tx) poke(w work)             { t.work |= w }
func (t *tx) then(f func())           { t.after = append(t.after, f) }
func (t *tx) now() time.Time          { return t.m.now() }
func stamp(at time.Time) int64        { return at.UnixMilli() }
func instant(ms int64) (at time.Time) { return fromMilli(ms) }
func (t *tx) stampNow() int64         { return stamp(t.now()) }
func isNone(err error) bool           { return errors.Is(err, sql.ErrNoRows) }
func stpOf(typ, version int) parley.STP {
	return parley.STP{Type: uint16(typ), Version: uint16(version)}
}

func fromMilli(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// changes loads what is to be published, as it is in this commit.
func (t *tx) changes() ([]Change, error) {
	var all []Change
	told := map[int64]bool{}
	for _, seq := range t.messages {
		if told[seq] {
			continue
		}
		told[seq] = true
		msg, err := t.message(seq)
		if isNone(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, Change{Message: &msg})
	}
	told = map[int64]bool{}
	for _, id := range t.contacts {
		if told[id] {
			continue
		}
		told[id] = true
		c, err := t.contact(id)
		if isNone(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, Change{Contact: &c})
	}
	return all, nil
}

func (t *tx) exec(q string, args ...any) error {
	_, err := t.count(q, args...)
	return err
}

// count reports how many rows a statement has changed.
func (t *tx) count(q string, args ...any) (int64, error) {
	r, err := t.ExecContext(t.ctx, q, args...)
	if err != nil {
		return 0, fmt.Errorf("messenger: the profile's database: %w", err)
	}
	return r.RowsAffected()
}

// insert returns the new row's number.
func (t *tx) insert(q string, args ...any) (int64, error) {
	r, err := t.ExecContext(t.ctx, q, args...)
	if err != nil {
		return 0, fmt.Errorf("messenger: the profile's database: %w", err)
	}
	return r.LastInsertId()
}

// row returns a function that scans the only row, or fails with [sql.ErrNoRows].
func (t *tx) row(q string, args ...any) func(...any) error {
	return t.QueryRowContext(t.ctx, q, args...).Scan
}

// each calls do for each row. do must not use the database.
func (t *tx) each(q string, args []any, do func(scan func(...any) error) error) error {
	rows, err := t.QueryContext(t.ctx, q, args...)
	if err != nil {
		return fmt.Errorf("messenger: the profile's database: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := do(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// ids returns the first column.
func (t *tx) ids(q string, args ...any) ([]int64, error) {
	var all []int64
	err := t.each(q, args, func(scan func(...any) error) error {
		var id int64
		if err := scan(&id); err != nil {
			return err
		}
		all = append(all, id)
		return nil
	})
	return all, err
}

func (t *tx) setting(key string) ([]byte, error) {
	var v []byte
	err := t.row("SELECT value FROM settings WHERE key = ?", key)(&v)
	if isNone(err) {
		return nil, nil
	}
	return v, err
}

func (t *tx) set(key string, value []byte) error {
	return t.exec("INSERT INTO settings (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", key, value)
}

// bucket is the protocol state behind a conversation made by [tx.speak].
func (t *tx) bucket(c *parley.Conversation) *profile.Bucket { return c.State.(*profile.Bucket) }
