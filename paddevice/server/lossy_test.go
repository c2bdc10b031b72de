package server

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"sync/atomic"
	"testing"
)

func parsed(t testing.TB, c tls.Certificate) []*x509.Certificate {
	t.Helper()
	cert, err := x509.ParseCertificate(c.Certificate[0])
	check(t, err)
	return []*x509.Certificate{cert}
}

// A wire is a way to a device that can lose what comes back, after the device has done
// its part.
type wire struct {
	addr   string
	losing atomic.Bool
}

func (w *wire) lose(on bool) { w.losing.Store(on) }

func lossy(t testing.TB, to string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	t.Cleanup(func() { l.Close() })
	w := &wire{addr: l.Addr().String()}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			d, err := net.Dial("tcp", to)
			if err != nil {
				c.Close()
				continue
			}
			go w.carry(c, d)
		}
	}()
	return w
}

// carry passes bytes on. The client's side of a handshake ends with its certificate; what
// the device sends after bytes have come that are no handshake's is a reply.
func (w *wire) carry(c, d net.Conn) {
	defer c.Close()
	defer d.Close()
	var asked atomic.Bool
	go func() {
		buf := make([]byte, 1<<16)
		for sent := 0; ; {
			n, err := c.Read(buf)
			if n > 0 {
				if sent > 0 { // hello has gone, this is the end of the handshake and the request
					asked.Store(true)
				}
				sent += n
				if _, err := d.Write(buf[:n]); err != nil {
					return
				}
			}
			if err != nil {
				if t, ok := d.(*net.TCPConn); ok {
					t.CloseWrite()
				}
				return
			}
		}
	}()
	buf := make([]byte, 1<<16)
	for {
		n, err := d.Read(buf)
		if n > 0 {
			if asked.Load() && w.losing.Load() {
				return
			}
			if _, err := c.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
