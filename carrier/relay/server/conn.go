package server

import (
	"errors"
	"fmt"

	"github.com/ncruces/go-sqlite3"
)

// A conn is a connection to the database with its prepared statements. One goroutine
// uses it at a time.
type conn struct {
	*sqlite3.Conn
	stmts map[string]*sqlite3.Stmt
}

// Write-ahead log with synchronous=FULL: a commit is on disk when it returns.
// secure_delete: what is deleted is overwritten.
const pragmas = `
	PRAGMA synchronous = FULL;
	PRAGMA foreign_keys = ON;
	PRAGMA secure_delete = ON;
	PRAGMA temp_store = MEMORY;
	PRAGMA trusted_schema = OFF;
	PRAGMA cell_size_check = ON;
	PRAGMA wal_autocheckpoint = 1000;`

func openConn(source, more string) (*conn, error) {
	c, err := sqlite3.Open(source)
	if err != nil {
		return nil, err
	}
	if err = c.BusyTimeout(busyTime); err == nil {
		err = c.Exec(pragmas + more)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return &conn{Conn: c, stmts: map[string]*sqlite3.Stmt{}}, nil
}

func (c *conn) close() error {
	var err error
	for _, s := range c.stmts {
		err = errors.Join(err, s.Close())
	}
	return errors.Join(err, c.Conn.Close())
}

// each carries out a statement and calls f for each row.
func (c *conn) each(sql string, f func(*sqlite3.Stmt) error, args ...any) error {
	s := c.stmts[sql]
	if s == nil {
		var err error
		if s, _, err = c.PrepareFlags(sql, sqlite3.PREPARE_PERSISTENT); err != nil {
			return err
		}
		c.stmts[sql] = s
	}
	defer func() {
		s.Reset()
		s.ClearBindings()
	}()
	for i, a := range args {
		var err error
		switch a := a.(type) {
		case nil:
			err = s.BindNull(i + 1)
		case int64:
			err = s.BindInt64(i+1, a)
		case string:
			err = s.BindText(i+1, a)
		case []byte:
			err = s.BindBlob(i+1, a)
		default:
			panic(fmt.Sprintf("a parameter of type %T", a)) // a mistake here
		}
		if err != nil {
			return err
		}
	}
	for s.Step() {
		if err := f(s); err != nil {
			return err
		}
	}
	return s.Err()
}

func (c *conn) exec(sql string, args ...any) error {
	return c.each(sql, func(*sqlite3.Stmt) error { return nil }, args...)
}

// one reads the only row of one number; without a row it is 0.
func (c *conn) one(sql string, args ...any) (n int64, err error) {
	err = c.each(sql, func(s *sqlite3.Stmt) error { n = s.ColumnInt64(0); return nil }, args...)
	return n, err
}

// transaction carries out several writes in one commit. A write that fails is undone
// and has its own error; an error of the commit is that of all.
func (c *conn) transaction(all []*write) error {
	if err := c.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	for _, w := range all {
		if err := c.part(w); err != nil {
			return errors.Join(err, c.undo())
		}
	}
	if err := c.exec("COMMIT"); err != nil {
		return errors.Join(err, c.undo())
	}
	return nil
}

func (c *conn) part(w *write) error {
	if err := c.exec("SAVEPOINT part"); err != nil {
		return err
	}
	if w.err = w.do(c); w.err != nil {
		if err := c.exec("ROLLBACK TO part"); err != nil {
			return errors.Join(w.err, err) // SQLite has undone all: w's error is everybody's
		}
	}
	return c.exec("RELEASE part")
}

func (c *conn) undo() error {
	if c.GetAutocommit() {
		return nil // SQLite has undone it itself
	}
	return c.exec("ROLLBACK")
}
