package server

import (
	"errors"
	"fmt"

	"github.com/ncruces/go-sqlite3"
)

// A conn is a connection to the database with its prepared statements. One
// goroutine uses it at a time.
type conn struct {
	*sqlite3.Conn
	stmts map[string]*sqlite3.Stmt
}

func (c *conn) close() error {
	var err error
	for _, s := range c.stmts {
		err = errors.Join(err, s.Close())
	}
	return errors.Join(err, c.Conn.Close())
}

// stmt prepares a statement once and binds its parameters.
func (c *conn) stmt(sql string, args []any) (*sqlite3.Stmt, error) {
	s := c.stmts[sql]
	if s == nil {
		var err error
		if s, _, err = c.PrepareFlags(sql, sqlite3.PREPARE_PERSISTENT); err != nil {
			return nil, err
		}
		c.stmts[sql] = s
	}
	for i, a := range args {
		var err error
		switch a := a.(type) {
		case nil:
			err = s.BindNull(i + 1)
		case int64:
			err = s.BindInt64(i+1, a)
		case bool:
			err = s.BindBool(i+1, a)
		case string:
			err = s.BindText(i+1, a)
		case []byte:
			err = s.BindBlob(i+1, a)
		default:
			panic(fmt.Sprintf("a parameter of type %T", a)) // a mistake here
		}
		if err != nil {
			return nil, err
		}
	}
	return s, nil
}

// each calls f for each row.
func (c *conn) each(sql string, f func(*sqlite3.Stmt) error, args ...any) error {
	s, err := c.stmt(sql, args)
	if err != nil {
		return err
	}
	defer func() {
		s.Reset()
		s.ClearBindings() // they may hold an address
	}()
	for s.Step() {
		if err := f(s); err != nil {
			return err
		}
	}
	return s.Err()
}

// exec carries out a statement.
func (c *conn) exec(sql string, args ...any) error {
	return c.each(sql, func(*sqlite3.Stmt) error { return nil }, args...)
}

// one reads the only row of one number; without a row it is 0.
func (c *conn) one(sql string, args ...any) (n int64, err error) {
	err = c.each(sql, func(s *sqlite3.Stmt) error { n = s.ColumnInt64(0); return nil }, args...)
	return n, err
}

// transaction carries out several writes in one commit. A write that fails is
// undone and has its own error; an error of the commit is that of all.
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

// part carries out one write of several.
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
