package smp

import (
	"net"
	"sync"
)

// A Conn is either end of a connection: encrypted blocks or plain lines. One
// goroutine reads; any may write. It sets no deadlines: SetReadDeadline and
// SetWriteDeadline of [Conn.NetConn] are the caller's.
type Conn struct {
	nc     net.Conn
	limit  limit
	blocks *blockReader // nil when plain
	lines  *plainReader // nil when encrypted

	mu  sync.Mutex // writing
	out half
}

// Plain makes an end of a connection in clear. Bodies of up to [MaxBodyPlain]
// bytes are taken; body, if not 0, lowers that.
func Plain(nc net.Conn, side Side, body int) *Conn {
	if body <= 0 || body > MaxBodyPlain {
		body = MaxBodyPlain
	}
	return &Conn{nc: nc, limit: limit{side, body}, lines: new(plainReader)}
}

func encrypted(nc net.Conn, side Side, in, out half) *Conn {
	return &Conn{nc: nc, limit: limit{side, MaxBodyBlock}, blocks: &blockReader{half: in}, out: out}
}

// NetConn returns the connection beneath.
func (c *Conn) NetConn() net.Conn { return c.nc }

// Encrypted reports whether the connection is one of blocks.
func (c *Conn) Encrypted() bool { return c.blocks != nil }

// Close closes the connection; Next and Send end with an error.
func (c *Conn) Close() error { return c.nc.Close() }

// Next reads the next transmission into t, whose slices stay valid until the next
// call. A [*SyntaxError] concerns one transmission: answer it (a server) and go
// on. After any other error the connection is of no use; io.EOF means that the
// peer has closed it between two transmissions.
func (c *Conn) Next(t *Transmission) error {
	if c.blocks != nil {
		return c.blocks.read(c.nc, t, c.limit)
	}
	return c.lines.read(c.nc, t, c.limit)
}

// More reports whether Next will return at once, with another transmission that
// came along with the last, so that both can be answered in one block.
func (c *Conn) More() bool {
	if c.blocks != nil {
		return c.blocks.more()
	}
	return c.lines.more(c.limit)
}

// Send writes transmissions in order, as many as fit in each block. It is safe
// for concurrent use; the transmissions of one call stay together.
func (c *Conn) Send(ts ...*Transmission) error {
	return c.write(len(ts), func(dst []byte, i int) []byte { return ts[i].Append(dst) })
}

// SendRaw is Send for transmissions that were formatted before, by
// [Transmission.Append], each of them whole.
func (c *Conn) SendRaw(raw ...[]byte) error {
	return c.write(len(raw), func(dst []byte, i int) []byte { return append(dst, raw[i]...) })
}

// write packs n transmissions. One that is too long for a block is [ErrTooLarge];
// then those before it have been written, and the connection can go on.
func (c *Conn) write(n int, app func(dst []byte, i int) []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.blocks == nil {
		var b []byte
		for i := range n {
			b = app(b, i)
		}
		_, err := c.nc.Write(b)
		return err
	}
	b := buffers.Get().(*buffer)
	defer buffers.Put(b)
	used := TagSize
	for i := 0; i < n; {
		// What does not fit lands in a new array, and b is as before up to used.
		if s := app(b[:used:BlockSize], i); len(s) <= BlockSize {
			used = len(s)
			i++
			continue
		}
		if used == TagSize {
			return ErrTooLarge
		}
		if err := c.flush(b, used); err != nil {
			return err
		}
		used = TagSize
	}
	if used == TagSize {
		return nil
	}
	return c.flush(b, used)
}

// flush pads, seals and writes the block b[:used].
func (c *Conn) flush(b *buffer, used int) error {
	for i := used; i < BlockSize; i++ {
		b[i] = '#'
	}
	err := c.out.seal(b)
	if err == nil {
		_, err = c.nc.Write(b[:BlockSize])
	}
	if err != nil {
		c.nc.Close() // half a block, or no key left: nothing may follow
	}
	return err
}
