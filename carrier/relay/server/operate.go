package server

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

var (
	// ErrNoMailbox says that there is no mailbox of that name.
	ErrNoMailbox = errors.New("no such mailbox")
	// ErrClaimed says that a mailbox belongs to somebody.
	ErrClaimed = errors.New("the mailbox belongs to somebody; release it first")
)

// Operate does what only the relay's operator may, in the folder of a relay that does not
// run: "permit" lets a mailbox that is in use be claimed, once; "release" takes it from
// its owner, and leaves what is in it; "delete" deletes it with all that is in it.
func Operate(dir, action, uid string) error {
	if _, err := os.Stat(filepath.Join(dir, databaseName)); err != nil {
		return err
	}
	s, err := openStore(dir)
	if err != nil {
		return err
	}
	err = s.write(func(c *conn) error { return operate(c, action, uid) })
	if err == nil && action == "delete" {
		_, err = s.Checkpoint()
	}
	return errors.Join(err, s.Close())
}

func operate(c *conn, action, uid string) error {
	sql := map[string]string{
		"permit":  "UPDATE mailbox SET permit = 1 WHERE uid = ? AND receive IS NULL",
		"release": "UPDATE mailbox SET receive = NULL, send = NULL, permit = 0 WHERE uid = ?",
		"delete":  "DELETE FROM mailbox WHERE uid = ?",
	}[action]
	if sql == "" {
		return fmt.Errorf("%q is none of permit, release and delete", action)
	}
	b, err := c.mailbox(uid)
	switch {
	case err != nil:
		return err
	case b == nil:
		return ErrNoMailbox
	case action == "permit" && b.claimed():
		return ErrClaimed
	}
	return c.Exec(sql, uid)
}
