package smpclient

import (
	"time"

	"parley/carrier/smp"
)

// probe asks, after a time of silence, something that any relay answers at once
// and that changes nothing: SUB without credentials is ERR SYNTAX 3. SMP has no
// other no-op, and a repeated SUB would redeliver.
func (c *Conn) probe() {
	quiet := time.Since(time.Unix(0, c.heard.Load()))
	c.mu.Lock()
	dead := c.probing
	ask := quiet >= c.o.ProbeAfter && !dead
	switch {
	case c.err != nil:
		c.mu.Unlock()
		return
	case ask:
		c.probing = true
		c.timer.Reset(c.o.ReplyTimeout)
	case !dead:
		c.timer.Reset(max(c.o.ProbeAfter-quiet, time.Millisecond))
	}
	c.mu.Unlock()
	if dead {
		c.fail(errSilent)
		return
	}
	if ask {
		ping := smp.Transmission{Verb: smp.SUB}
		c.Start(ping.ID, ping.Append(nil), c.probed)
	}
}

func (c *Conn) probed(Reply, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.probing = false
	if c.err == nil {
		c.timer.Reset(c.o.ProbeAfter)
	}
}
