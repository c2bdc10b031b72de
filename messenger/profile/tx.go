package profile

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
)

// A Tx is one commit under way. It belongs to one goroutine.
type Tx struct {
	p       *Profile
	ctx     context.Context
	tx      *sql.Tx
	buckets map[int64]*Bucket
	root    *root // as this transaction has it; nil until it is needed
}

// Tx is the only way to write. It runs do in a transaction and commits if do
// returns nil: then everything in it is on disk. Else nothing has happened. One
// runs at a time; a Tx inside of a Tx waits for ever. A protocol's bucket that
// was written and neither flushed nor rolled back is an error.
func (p *Profile) Tx(ctx context.Context, do func(*Tx) error) error {
	sqlTx, err := p.writer.BeginTx(ctx, nil)
	if err != nil {
		return p.damaged(err)
	}
	defer sqlTx.Rollback() // after a panic too
	t := &Tx{p: p, ctx: ctx, tx: sqlTx, buckets: map[int64]*Bucket{}}
	if err := do(t); err != nil {
		return p.damaged(err)
	}
	for line, b := range t.buckets {
		if b.dirty() {
			return fmt.Errorf("profile: the state of line %d was written and not flushed", line)
		}
	}
	return sqlTx.Commit()
}

// ExecContext is [sql.Tx.ExecContext].
func (t *Tx) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	return t.tx.ExecContext(ctx, query, args...)
}

// QueryContext is [sql.Tx.QueryContext]. Close its rows before the next call.
func (t *Tx) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return t.tx.QueryContext(ctx, query, args...)
}

// QueryRowContext is [sql.Tx.QueryRowContext].
func (t *Tx) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	return t.tx.QueryRowContext(ctx, query, args...)
}

// migrations of this package's own tables.
var migrations = []string{stateSchema}

// migrate brings all tables up to date, each step in a transaction of its own.
func (p *Profile) migrate(callers []string) error {
	ctx := context.Background()
	err := p.Tx(ctx, func(t *Tx) error {
		_, err := t.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS schema (
			owner TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID`)
		return err
	})
	if err != nil {
		return databaseError(p.dir, err)
	}
	for _, set := range []struct {
		owner string
		steps []string
	}{{"profile", migrations}, {"messenger", callers}} {
		for done := false; !done; {
			err := p.Tx(ctx, func(t *Tx) (err error) {
				done, err = t.migrate(set.owner, set.steps)
				return err
			})
			if err != nil {
				return fmt.Errorf("%s: %w", p.dir, err)
			}
		}
	}
	return nil
}

func (t *Tx) migrate(owner string, steps []string) (done bool, err error) {
	var version int
	err = t.QueryRowContext(t.ctx, "SELECT version FROM schema WHERE owner = ?", owner).Scan(&version)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return false, err
	}
	if version > len(steps) {
		return false, fmt.Errorf("%w: tables of %q in version %d, known are %d", ErrNewer, owner, version, len(steps))
	}
	if version == len(steps) {
		return true, nil
	}
	if _, err := t.ExecContext(t.ctx, steps[version]); err != nil {
		return false, fmt.Errorf("profile: step %d of the tables of %q: %w", version+1, owner, err)
	}
	if owner == "profile" && version == 0 {
		t.root = &root{}
		if err := t.saveRoot(); err != nil {
			return false, err
		}
	}
	_, err = t.ExecContext(t.ctx, "INSERT INTO schema VALUES (?, ?) ON CONFLICT DO UPDATE SET version = excluded.version", owner, version+1)
	return false, err
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
