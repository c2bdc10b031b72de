package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"parley/carrier/smp"
)

// handshakeTime bounds a client's handshake; relays bound theirs themselves.
const handshakeTime = 30 * time.Second

// replyTime bounds the wait for anything a relay must say at once: a relay that
// is silent for so long has lost something.
const replyTime = 30 * time.Second

// A link is a client's connection to a relay, that counts its bytes. One
// goroutine uses it.
type link struct {
	*smp.Conn
	n traffic
	t smp.Transmission // what next returned last
}

// traffic is bytes, as the client sees them.
type traffic struct{ in, out int64 }

func (a *traffic) add(b traffic) { a.in += b.in; a.out += b.out }

type countedConn struct {
	net.Conn
	n *traffic
}

func (c countedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.n.in += int64(n)
	return n, err
}

func (c countedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.n.out += int64(n)
	return n, err
}

// dial connects to a relay and does the handshake.
func dial(ctx context.Context, srv smp.Server) (*link, error) {
	nc, err := (&net.Dialer{Timeout: handshakeTime}).DialContext(ctx, "tcp", srv.HostPort())
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	defer stop()
	l := &link{}
	counted := countedConn{nc, &l.n}
	if srv.Plain {
		l.Conn = smp.Plain(counted, smp.ClientSide, 0)
		return l, nil
	}
	if err = nc.SetDeadline(time.Now().Add(handshakeTime)); err == nil {
		l.Conn, err = smp.Connect(counted, srv.KeyHash)
	}
	if err == nil {
		err = nc.SetDeadline(time.Time{})
	}
	if err != nil {
		nc.Close()
		return nil, err
	}
	return l, nil
}

func (l *link) close()           { l.Conn.Close() }
func (l *link) traffic() traffic { return l.n }

// send writes transmissions that need no answer yet.
func (l *link) send(ts ...*smp.Transmission) error { return l.Conn.Send(ts...) }

// next reads what the relay says; it is valid until the next call.
func (l *link) next() (*smp.Transmission, error) {
	err := l.Conn.Next(&l.t)
	return &l.t, err
}

// call sends one command on a connection where nothing else is under way.
func (l *link) call(t *smp.Transmission) (*smp.Transmission, error) {
	if err := l.send(t); err != nil {
		return nil, err
	}
	r, err := l.next()
	if err == nil && r.Verb == smp.ERR {
		err = r.Code
	}
	return r, err
}

// ok is call for a command that is answered OK.
func (l *link) ok(t *smp.Transmission) error {
	r, err := l.call(t)
	if err == nil && (r.Verb != smp.OK || r.ID != t.ID) {
		err = unexpected(t.Verb.String(), r)
	}
	return err
}

// patience makes the connection fail when the relay is silent for replyTime.
func (l *link) patience() error {
	return l.NetConn().SetReadDeadline(time.Now().Add(replyTime))
}

var errUnexpected = errors.New("not what the relay should say now")

func unexpected(to string, t *smp.Transmission) error {
	if t.Verb == smp.ERR {
		return fmt.Errorf("%s: %w", to, t.Code)
	}
	return fmt.Errorf("%s: %w: %v", to, errUnexpected, t.Verb)
}
