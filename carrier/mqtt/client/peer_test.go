package client

import (
	"bufio"
	"context"
	"net"
	"testing"
	"time"

	"parley/carrier/mqtt"
)

const patience = 20 * time.Second

// A peer is the far end of one connection: a broker that does what a test says.
type peer struct {
	t     testing.TB
	nc    net.Conn
	r     *bufio.Reader
	codec codec
}

// A desk hands out connections to Conns and their far ends to the test.
type desk struct {
	t     testing.TB
	codec codec
	peers chan net.Conn
}

// options are for a Conn whose broker is the desk.
func newDesk(t testing.TB, version int) (*desk, Options) {
	d := &desk{t, codecOf(version), make(chan net.Conn)}
	return d, Options{
		Broker: mqtt.Broker{Host: "desk", Port: 1}, ClientID: "me", Version: version, Start: Background,
		BackoffMin: time.Millisecond, BackoffMax: time.Millisecond, RetryMin: time.Millisecond, RetryMax: time.Millisecond,
		Displaced: time.Millisecond,
		Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			here, there := net.Pipe()
			select {
			case d.peers <- there:
				return here, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		},
	}
}

// accept takes the next connection and answers CONNECT.
func (d *desk) accept(present bool) *peer {
	d.t.Helper()
	p := d.take()
	p.write(0x20, connackBody(d.codec, present)...)
	return p
}

// take takes the next connection and reads CONNECT.
func (d *desk) take() *peer {
	d.t.Helper()
	select {
	case nc := <-d.peers:
		nc.SetDeadline(time.Now().Add(patience))
		p := &peer{d.t, nc, bufio.NewReader(nc), d.codec}
		d.t.Cleanup(func() { nc.Close() })
		p.want(kConnect)
		return p
	case <-time.After(patience):
		d.t.Fatal("nobody connects")
		return nil
	}
}

func connackBody(c codec, present bool) []byte {
	body := []byte{0, 0}
	if present {
		body[0] = 1
	}
	if c.version() == mqtt.V5 {
		body = append(body, 0)
	}
	return body
}

// write sends a packet with a body of less than 128 bytes.
func (p *peer) write(first byte, body ...byte) {
	p.t.Helper()
	if _, err := p.nc.Write(append([]byte{first, byte(len(body))}, body...)); err != nil {
		p.t.Fatal(err)
	}
}

// ack sends a packet of an identifier and what follows it.
func (p *peer) ack(first byte, id uint16, more ...byte) {
	p.t.Helper()
	p.write(first, append([]byte{byte(id >> 8), byte(id)}, more...)...)
}

// publish sends a message to the topic t.
func (p *peer) publish(qos byte, id uint16, dup bool, payload string) {
	p.t.Helper()
	f, err := p.codec.encode(&packet{kind: kPublish, id: id, msg: Message{Topic: "t", Payload: []byte(payload), QoS: qos, Duplicate: dup}})
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.nc.Write(f); err != nil {
		p.t.Fatal(err)
	}
}

// want reads the next packet, which must be of that kind.
func (p *peer) want(k kind) *packet {
	p.t.Helper()
	f, _, err := readFrame(p.r, 1<<20, p.codec.version() == mqtt.V5)
	if err != nil {
		p.t.Fatalf("waiting for a packet of kind %d: %v", k, err)
	}
	if kind(f[0]>>4) != k {
		p.t.Fatalf("a packet of kind %d came, want %d", f[0]>>4, k)
	}
	switch k {
	case kSubscribe, kUnsubscribe:
		return &packet{kind: k, id: uint16(f[2])<<8 | uint16(f[3])}
	case kConnect, kDisconnect:
		return &packet{kind: k}
	}
	x, err := p.codec.decode(f)
	if err != nil {
		p.t.Fatal(err)
	}
	return x
}

// granted answers SUBSCRIBE.
func (p *peer) grant(code byte) {
	p.t.Helper()
	id := p.want(kSubscribe).id
	if p.codec.version() == mqtt.V5 {
		p.ack(0x90, id, 0, code)
	} else {
		p.ack(0x90, id, code)
	}
}

func open(t testing.TB, o Options, subs ...*subscription) *Conn {
	t.Helper()
	c, err := dial(context.Background(), o, subs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slam(c) })
	return c
}

// slam closes without ceremony.
func slam(c *Conn) {
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	c.Close(gone)
}

func both(t *testing.T, f func(t *testing.T, v int)) {
	for _, v := range []int{mqtt.V311, mqtt.V5} {
		t.Run(string(rune('0'+v)), func(t *testing.T) { f(t, v) })
	}
}

func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func await[T any](t testing.TB, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatal("nothing came")
		panic(0)
	}
}
