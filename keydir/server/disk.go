package server

import (
	"sync"
	"time"
)

// probeEvery is how often a database that could not be written is tried by those who
// ask how it is.
const probeEvery = 10 * time.Second

// A probe is when that was done.
type probe struct {
	mu   sync.Mutex
	last time.Time
}

// writable returns why the database cannot be written, or nil. After a fault it
// tries, with as much as a request may need: nobody else may write for hours.
func (d *Directory) writable() error {
	fault := d.store.Fault()
	if fault == nil {
		return nil
	}
	d.probe.mu.Lock()
	defer d.probe.mu.Unlock()
	now := d.o.Now()
	if age := now.Sub(d.probe.last); age >= 0 && age < probeEvery {
		return fault
	}
	d.probe.last = now
	return d.store.write(func(c *conn) error {
		if err := c.Exec("INSERT INTO mailed (mailbox, time) VALUES (zeroblob(65536), 0)"); err != nil {
			return err
		}
		return c.Exec("DELETE FROM mailed WHERE time = 0")
	})
}
