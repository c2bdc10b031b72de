package server

import (
	"context"
	"crypto/hmac"
	"errors"
	"fmt"
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

// next returns the mail that is due first, or nil.
func (c *conn) next() (w *waiting, err error) {
	err = c.each("SELECT id, coalesce(account, 0), name, address, created, due, tries FROM outbox ORDER BY due, id LIMIT 1", func(s *sqlite3.Stmt) error {
		w = &waiting{s.ColumnInt64(0), s.ColumnInt64(1), s.ColumnText(2), s.ColumnText(3), s.ColumnInt64(4), s.ColumnInt64(5), s.ColumnInt64(6)}
		return nil
	})
	return w, err
}

// poke says that mail may be waiting.
func (d *Directory) poke() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// deliver sends what waits, until ctx ends.
func (d *Directory) deliver(ctx context.Context) {
	for ctx.Err() == nil {
		var w *waiting
		err := d.store.read(func(c *conn) (err error) { w, err = c.next(); return err })
		if err != nil {
			d.o.Trouble("the outbox of the directory", err)
		}
		pause := time.Duration(-1)
		switch {
		case err != nil:
			pause = retryMin
		case w != nil:
			pause = max(0, time.UnixMilli(w.due).Sub(d.o.Now()))
		}
		if pause == 0 {
			d.handle(ctx, w)
			continue
		}
		var timer <-chan time.Time
		if pause > 0 {
			timer = time.After(pause)
		}
		select {
		case <-ctx.Done():
		case <-d.wake:
		case <-timer:
		}
	}
}

// handle sends one mail and takes it from the outbox, or puts it off.
func (d *Directory) handle(ctx context.Context, w *waiting) {
	err := d.mailOne(ctx, w)
	now := d.o.Now()
	if err != nil && ctx.Err() != nil {
		return // cut off by the end: it waits for the next start
	}
	over := now.Sub(time.UnixMilli(w.created)) >= mailTime
	switch {
	case err == nil:
	case errors.Is(err, errRefused) || over:
		d.counts.mailsFailed.Add(1)
		d.o.Trouble("a mail of the directory is given up", err)
	default:
		d.o.Trouble("a mail of the directory waits", err)
		wait := min(retryMax, retryMin<<min(w.tries, 10))
		err := d.store.write(func(c *conn) error {
			return c.exec("UPDATE outbox SET due = ?, tries = tries + 1 WHERE id = ?", now.Add(wait).UnixMilli(), w.id)
		})
		if err != nil {
			d.broken(ctx, err)
		}
		return
	}
	if err := d.store.write(func(c *conn) error { return c.exec("DELETE FROM outbox WHERE id = ?", w.id) }); err != nil {
		d.broken(ctx, err)
	}
}

// broken keeps a database that cannot be written from being asked without pause.
func (d *Directory) broken(ctx context.Context, err error) {
	d.o.Trouble("the outbox of the directory", err)
	select {
	case <-ctx.Done():
	case <-time.After(retryMin):
	}
}

// mailOne sends one mail. Without an error it is sent, or nobody is to get it.
func (d *Directory) mailOne(ctx context.Context, w *waiting) error {
	a, err := d.recipient(w)
	if errors.Is(err, errNotFound) || errors.Is(err, errMailbox) {
		return nil
	}
	if err != nil {
		return err
	}
	// Reached before tokens are made: a server that is away for a day costs none.
	t, err := d.post.open(ctx)
	if err != nil {
		return err
	}
	defer t.close()
	var activate string
	var activateHash []byte
	remove, removeHash := newToken()
	if w.account != 0 {
		activate, activateHash = newToken()
	}
	now := d.o.Now()
	if err := d.store.write(func(c *conn) error {
		if activate != "" {
			if err := c.addLink(a.id, activateHash, true, time.UnixMilli(a.created).Add(activationTime)); err != nil {
				return err
			}
		}
		return c.addLink(a.id, removeHash, false, now.Add(deletionTime))
	}); err != nil {
		return err
	}
	l, err := d.letter(a, activate, remove)
	if err != nil {
		return err
	}
	m, err := l.message(d.o.Mail.sender(d.o.URL), w.address, d.post.form(), now)
	if err != nil {
		return fmt.Errorf("%w: it cannot be written", errRefused)
	}
	if err := t.send(m, fmt.Sprintf("%s-%d", a.name, w.id)); err != nil {
		return err
	}
	d.counts.mailsSent.Add(1)
	return nil
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
