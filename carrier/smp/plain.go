package smp

import (
	"bytes"
	"errors"
	"io"
	"net"
)

// A plainReader reads transmissions from a stream of lines, for telnet. What it
// holds is bounded by the largest body and three lines.
type plainReader struct {
	buf     []byte // buf[at:] is unread
	at      int
	skip    int  // bytes to throw away,
	lines   int  // then line ends to pass
	skipped int  // bytes thrown away for lines
	resync  bool // then look for the shape of a transmission
}

const plainBuffer = 2 << 10 // what an idle plain connection holds

// more reports whether a whole transmission, good or bad, has been read already.
func (r *plainReader) more(lim limit) bool {
	if r.skip > 0 || r.lines > 0 || r.resync || r.at == len(r.buf) {
		return false
	}
	var t Transmission
	_, err := t.parse(r.buf[r.at:], lim)
	return err != errShort
}

func (r *plainReader) read(nc net.Conn, t *Transmission, lim limit) error {
	for {
		if ready, err := r.step(); err != nil {
			return err
		} else if ready {
			n, err := t.parse(r.buf[r.at:], lim)
			r.at += n
			var rej *reject
			if errors.As(err, &rej) {
				r.skip, r.lines, r.resync, r.skipped = rej.skip, rej.lines, rej.resync, 0
				return &rej.err
			}
			if err != errShort {
				return err
			}
		}
		if err := r.fill(nc); err != nil {
			return err
		}
	}
}

// step throws away what a bad transmission left, and reports whether a
// transmission may begin at buf[at].
func (r *plainReader) step() (bool, error) {
	n := min(r.skip, len(r.buf)-r.at)
	r.at += n
	r.skip -= n
	for r.skip == 0 && r.lines > 0 {
		i := bytes.IndexByte(r.buf[r.at:], '\n')
		if i < 0 {
			i = len(r.buf) - r.at - 1
		} else {
			r.lines--
		}
		r.at += i + 1
		if r.skipped += i + 1; r.skipped > maxSkip {
			return false, ErrLine
		}
		if r.at == len(r.buf) {
			break
		}
	}
	if r.skip > 0 || r.lines > 0 {
		return false, nil
	}
	if r.resync {
		drop, found := resync(r.buf[r.at:])
		r.at += drop
		r.resync = !found
	}
	return !r.resync, nil
}

// fill reads what is there, at least a byte.
func (r *plainReader) fill(nc net.Conn) error {
	if rest := len(r.buf) - r.at; r.at > 0 {
		buf := r.buf
		if rest < plainBuffer/2 && cap(buf) > plainBuffer {
			buf = make([]byte, plainBuffer) // let the large one go
		}
		copy(buf, r.buf[r.at:])
		r.buf, r.at = buf[:rest], 0
	}
	if len(r.buf) == cap(r.buf) {
		buf := make([]byte, len(r.buf), max(plainBuffer, 2*cap(r.buf)))
		copy(buf, r.buf)
		r.buf = buf
	}
	n, err := nc.Read(r.buf[len(r.buf):cap(r.buf)])
	r.buf = r.buf[:len(r.buf)+n]
	switch {
	case n > 0:
		return nil
	case err == nil:
		return io.ErrNoProgress
	case err == io.EOF && len(r.buf) > 0:
		return io.ErrUnexpectedEOF
	}
	return err
}
