package server

import (
	"context"
	"crypto/hmac"
	"errors"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// Tries of a mail: the first wait, which doubles, and the longest.
const (
	retryMin = 30 * time.Second
	retryMax = time.Hour
)

// A waiting mail is a row of the outbox. It holds no token: tokens are made when
// the mail server listens, and only their hashes are kept.
type waiting struct {
	id, account  int64 // account 0: for the name, if the address is its own
	name         string
	address      string
	created, due int64
	tries        int64
}

// due returns the mails that are due, those that wait longest first, as many as one
// connection carries; and when the next is due if none is now (0: none waits).
func (c *conn) due(now time.Time) (all []*waiting, next int64, err error) {
	err = c.Each("SELECT id, coalesce(account, 0), name, address, created, due, tries FROM outbox ORDER BY due, id LIMIT ?", func(s *sqlite3.Stmt) error {
		w := &waiting{s.ColumnInt64(0), s.ColumnInt64(1), s.ColumnText(2), s.ColumnText(3), s.ColumnInt64(4), s.ColumnInt64(5), s.ColumnInt64(6)}
		if w.due <= now.UnixMilli() {
			all = append(all, w)
		} else if next == 0 {
			next = w.due
		}
		return nil
	}, int64(mailsPerTrip))
	return all, next, err
}

// poke says that mail may be waiting.
func (d *Directory) poke() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// settle takes a mail from the outbox, or puts it off. It reports whether the
// database does.
func (d *Directory) settle(ctx context.Context, w *waiting, err error) bool {
	now := d.o.Now()
	var fault *mailFault
	switch over := now.Sub(time.UnixMilli(w.created)) >= mailTime; {
	case err == nil:
	case over || errors.As(err, &fault) && fault.final:
		d.counts.mailsFailed.Add(1)
		d.o.Trouble("a mail of the directory is given up", err)
	default:
		d.o.Trouble("a mail of the directory waits", err)
		wait := min(retryMax, retryMin<<min(w.tries, 10))
		return d.outboxWrite(ctx, func(c *conn) error {
			return c.Exec("UPDATE outbox SET due = ?, tries = tries + 1 WHERE id = ?", now.Add(wait).UnixMilli(), w.id)
		})
	}
	ok := d.outboxWrite(ctx, func(c *conn) error { return c.Exec("DELETE FROM outbox WHERE id = ?", w.id) })
	if ok {
		d.store.CheckpointSoon()
	}
	return ok
}

// outboxWrite keeps a database that cannot be written from being asked without pause.
func (d *Directory) outboxWrite(ctx context.Context, do func(*conn) error) bool {
	err := d.store.write(do)
	if err == nil {
		return true
	}
	d.o.Trouble("the outbox of the directory", err)
	select {
	case <-ctx.Done():
	case <-time.After(retryMin):
	}
	return false
}

// recipient finds who a waiting mail is for: an account that is not active yet, or
// the active account of a name, if the address is its own and its mailbox has not
// had too much. The error is errNotFound or errMailbox if nobody is to get it.
func (d *Directory) recipient(w *waiting) (a *account, err error) {
	if w.account != 0 {
		err = d.store.read(func(c *conn) (err error) { a, err = c.find("a.id = ?", w.account); return err })
		if err == nil && a.activated != 0 {
			return nil, errNotFound
		}
		return a, err
	}
	err = d.store.read(func(c *conn) (err error) { a, err = c.active(w.name); return err })
	if err != nil {
		return nil, err
	}
	box := d.mailbox(w.address)
	if !hmac.Equal(box, a.mailbox) {
		return nil, errNotFound
	}
	if w.tries > 0 { // counted at the first try
		return a, nil
	}
	return a, d.store.write(func(c *conn) error { return c.countMail(box, d.o.Limits.MailsPerDay, d.o.Now()) })
}
