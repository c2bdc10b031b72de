package frontlimit

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
)

// A door is a listener to which the connections come that the test puts there.
type door struct{ next []net.Conn }

func (d *door) Accept() (net.Conn, error) {
	if len(d.next) == 0 {
		return nil, net.ErrClosed
	}
	c := d.next[0]
	d.next = d.next[1:]
	return c, nil
}

func (d *door) Close() error   { return nil }
func (d *door) Addr() net.Addr { return nil }

type visitor struct {
	net.Conn
	remote net.Addr
}

func (v visitor) RemoteAddr() net.Addr { return v.remote }

func TestListen(t *testing.T) {
	d := &door{}
	refused := 0
	l := Listen(d, Conns{All: 6, PerNetwork: 2, Proxies: Proxies{netip.MustParsePrefix("10.0.0.0/8")}, Refused: func() { refused++ }})
	come := func(remote string, want bool) net.Conn {
		t.Helper()
		near, far := net.Pipe()
		t.Cleanup(func() { near.Close() })
		address := net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(remote), 1234))
		d.next = append(d.next, visitor{far, address})
		before := refused
		c, err := l.Accept()
		if (err == nil) != want || err != nil && !errors.Is(err, net.ErrClosed) {
			t.Fatalf("%s: %v", remote, err)
		}
		if want {
			return c
		}
		if _, err := near.Read(make([]byte, 1)); err != io.EOF || refused != before+1 {
			t.Errorf("%s: what is refused is not closed: %v; refused %d times", remote, err, refused-before)
		}
		return nil
	}
	first := come("2001:db8::1", true)
	come("2001:db8::2", true)
	come("2001:db8::3", false) // of one network
	first.Close()
	first.Close() // twice frees one place
	third := come("2001:db8::3", true)
	come("2001:db8::4", false)
	come("::ffff:192.0.2.1", true)
	for range 3 { // a proxy speaks for many
		come("10.1.2.3", true)
	}
	come("192.0.2.2", false) // of all
	come("10.1.2.3", false)
	third.Close()
	come("192.0.2.2", true)
	come("192.0.2.3", false)
	if n := l.(*listener).byNetwork[netip.MustParsePrefix("2001:db8::/64")]; n != 1 {
		t.Errorf("%d connections of a network are open", n)
	}
}

// Who has left is not remembered, and nobody need be told.
func TestListenForgets(t *testing.T) {
	d := &door{}
	l := Listen(d, Conns{All: 1, PerNetwork: 1})
	for i := range 100 {
		_, far := net.Pipe()
		_, more := net.Pipe()
		d.next = []net.Conn{visitor{far, &net.TCPAddr{IP: net.IPv4(192, 0, 2, byte(i)), Port: 1}}, visitor{more, &net.UnixAddr{}}}
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Fatal(err)
		}
		c.Close()
	}
	if x := l.(*listener); len(x.byNetwork) != 0 || x.open != 0 {
		t.Errorf("%d networks, %d connections", len(x.byNetwork), x.open)
	}
}
