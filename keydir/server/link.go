package server

import (
	"time"

	"github.com/ncruces/go-sqlite3"

	"parley/keydir"
)

// A link is what a token is good for.
type link struct {
	account   *account
	activates bool
	expires   int64
}

// link returns what a token of a name does. The error is errNotFound, also for one
// that does nothing now, or errGone.
func (c *conn) link(name, token string, now time.Time) (l *link, err error) {
	if len(token) != tokenText {
		return nil, errNotFound
	}
	err = c.Each("SELECT "+accountColumns+`, l.activates, l.expires FROM link l JOIN account a ON a.id = l.account
		WHERE l.hash = ? AND a.name = ?`, func(s *sqlite3.Stmt) error {
		l = &link{scanAccount(s), s.ColumnBool(13), s.ColumnInt64(14)}
		return nil
	}, tokenHash(token), name)
	switch {
	case err != nil:
		return nil, err
	case l == nil || l.activates == (l.account.activated != 0):
		return nil, errNotFound
	case now.UnixMilli() > l.expires && l.activates:
		return nil, errGone
	case now.UnixMilli() > l.expires:
		return nil, errNotFound
	}
	return l, nil
}

// follow does what a link is for and reports whether that was to activate.
func (c *conn) follow(name, token string, now time.Time) (activated bool, err error) {
	l, err := c.link(name, token, now)
	if err != nil {
		return false, err
	}
	a := l.account
	if !l.activates {
		if _, err := c.appendLog(keydir.Removed, name, a.version, keydir.Keys{}, now); err != nil {
			return false, err
		}
		return false, c.Exec("DELETE FROM account WHERE id = ?", a.id)
	}
	k, err := a.keys()
	if err != nil {
		return false, err
	}
	version, err := c.lastVersion(name)
	if err != nil {
		return false, err
	}
	h, err := c.appendLog(keydir.Published, name, version+1, k, now)
	if err != nil {
		return false, err
	}
	if err := c.Exec("UPDATE account SET activated = ?, version = ?, log_seq = ?, log_hash = ? WHERE id = ?",
		now.UnixMilli(), version+1, h.Size, h.Hash, a.id); err != nil {
		return false, err
	}
	return true, c.Exec("DELETE FROM link WHERE account = ? AND activates", a.id)
}

// A linkKind is why a link was made.
type linkKind int

const (
	activationLink linkKind = iota
	welcomeLink             // deletes; in the first mail, which people keep for it
	requestedLink           // deletes
)

// addLink stores the hash of a token. Of each kind, the last ones of an account stay
// good: who asks for many links does not take the first mail's from its owner.
func (c *conn) addLink(account int64, hash []byte, kind linkKind, expires time.Time) error {
	activates, welcome := kind == activationLink, kind == welcomeLink
	if err := c.Exec("INSERT INTO link (hash, account, activates, welcome, expires) VALUES (?, ?, ?, ?, ?)",
		hash, account, activates, welcome, expires.UnixMilli()); err != nil {
		return err
	}
	return c.Exec(`DELETE FROM link WHERE account = ?1 AND activates = ?2 AND welcome = ?3 AND hash NOT IN
		(SELECT hash FROM link WHERE account = ?1 AND activates = ?2 AND welcome = ?3 ORDER BY expires DESC, hash = ?4 DESC LIMIT ?5)`,
		account, activates, welcome, hash, int64(maxLinks))
}
