package groupdb

import (
	"errors"
	"fmt"

	"github.com/ncruces/go-sqlite3"
)

// A Conn is a connection to the database with its prepared statements. It belongs to
// the function that got it, until that returns.
//
// Parameters of statements are nil, int64, bool, string or []byte; any other type is a
// mistake in the program and panics.
type Conn struct {
	conn  *sqlite3.Conn
	stmts map[string]*sqlite3.Stmt
}

func (c *Conn) close() error {
	var err error
	for _, s := range c.stmts {
		err = errors.Join(err, s.Close())
	}
	return errors.Join(err, c.conn.Close())
}

// Each carries out a statement, which stays prepared, and calls f for each row. What
// the row has is f's until it returns.
func (c *Conn) Each(sql string, f func(*sqlite3.Stmt) error, args ...any) error {
	s := c.stmts[sql]
	if s == nil {
		var err error
		if s, _, err = c.conn.PrepareFlags(sql, sqlite3.PREPARE_PERSISTENT); err != nil {
			return err
		}
		c.stmts[sql] = s
	}
	defer func() {
		s.Reset()
		s.ClearBindings() // they may hold what nobody should keep
	}()
	for i, a := range args {
		if err := bind(s, i+1, a); err != nil {
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

func bind(s *sqlite3.Stmt, i int, a any) error {
	switch a := a.(type) {
	case nil:
		return s.BindNull(i)
	case int64:
		return s.BindInt64(i, a)
	case bool:
		return s.BindBool(i, a)
	case string:
		return s.BindText(i, a)
	case []byte:
		return s.BindBlob(i, a)
	}
	panic(fmt.Sprintf("a parameter of type %T", a)) // a mistake of the caller
}

// Exec carries out a statement, which stays prepared.
func (c *Conn) Exec(sql string, args ...any) error {
	return c.Each(sql, func(*sqlite3.Stmt) error { return nil }, args...)
}

// Int64 reads the only row of one number; without a row it is 0.
func (c *Conn) Int64(sql string, args ...any) (n int64, err error) {
	err = c.Each(sql, func(s *sqlite3.Stmt) error { n = s.ColumnInt64(0); return nil }, args...)
	return n, err
}

// Script carries out several statements once.
func (c *Conn) Script(sql string) error { return c.conn.Exec(sql) }

// LastInsertRowID is the number of the row that was inserted last.
func (c *Conn) LastInsertRowID() int64 { return c.conn.LastInsertRowID() }

// transaction carries out several writes in one commit. A write that fails is undone
// and has its own error; an error of the commit is that of all.
func (c *Conn) transaction(all []*write) error {
	if err := c.Exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	for _, w := range all {
		if err := c.part(w); err != nil {
			return errors.Join(err, c.undo())
		}
	}
	if err := c.Exec("COMMIT"); err != nil {
		return errors.Join(err, c.undo())
	}
	return nil
}

// part carries out one write of several.
func (c *Conn) part(w *write) error {
	if err := c.Exec("SAVEPOINT part"); err != nil {
		return err
	}
	if w.err = w.do(c); w.err != nil {
		if err := c.Exec("ROLLBACK TO part"); err != nil {
			return errors.Join(w.err, err) // SQLite has undone all: w's error is everybody's
		}
	}
	return c.Exec("RELEASE part")
}

func (c *Conn) undo() error {
	if c.conn.GetAutocommit() {
		return nil // SQLite has undone it itself
	}
	return c.Exec("ROLLBACK")
}
