package server

import "time"

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
			if err := c.Exec(x.sql, x.arg); err != nil {
				return err
			}
		}
		return nil
	})
}
