package server

import (
	"context"
	"time"
)

// sweep removes who never activated, links that have expired and what nobody needs
// any more. What it removes is overwritten in the files.
func (d *Directory) sweep() error {
	now := d.o.Now()
	before := func(age time.Duration) int64 { return now.Add(-age).UnixMilli() }
	return d.store.write(func(c *conn) error {
		for _, x := range []struct {
			sql string
			arg int64
		}{
			{"DELETE FROM account WHERE activated = 0 AND created < ?", before(activationTime)},
			{"DELETE FROM link WHERE expires < ? AND NOT activates", now.UnixMilli()},
			{"DELETE FROM mailed WHERE time < ?", before(24 * time.Hour)},
			{"DELETE FROM outbox WHERE created < ?", before(mailTime)},
		} {
			if err := c.exec(x.sql, x.arg); err != nil {
				return err
			}
		}
		return nil
	})
}

// sweepHourly removes what has expired, now and every hour.
func (d *Directory) sweepHourly(ctx context.Context) {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		if err := d.sweep(); err != nil {
			d.o.Trouble("the sweep of the directory", err)
		}
		d.forget()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

const (
	forgetEvery = 10 * time.Second // the write-ahead log is emptied once in this time, at most
	forgetAgain = time.Second      // and tried again after this when somebody was reading
)

// forget has what was deleted go from the write-ahead log, too.
func (d *Directory) forget() {
	select {
	case d.deleted <- struct{}{}:
	default:
	}
}

// forgetSoon empties the write-ahead log when something was deleted: at once, and not
// again for a while. It runs beside the sending of mail, which may wait for a server.
func (d *Directory) forgetSoon(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.deleted:
		}
		whole, err := d.store.checkpoint()
		if err != nil {
			d.o.Trouble("the database of the directory", err)
		}
		pause := forgetEvery
		if err == nil && !whole { // somebody was reading
			pause = forgetAgain
		}
		if err != nil || !whole {
			d.forget()
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}
