package client

import (
	"bufio"
	"bytes"
	"context"
	"errors"
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

// The same packet goes out again after a lost connection, marked; and anew, where
// the broker has lost the session.
func TestSamePacketAgain(t *testing.T) {
	both(t, func(t *testing.T, v int) {
		d, o := newDesk(t, v)
		c := open(t, o)
		done := make(chan error, 1)
		say := func(qos byte) {
			go func() { done <- c.Publish(soon(t), Message{Topic: "t", Payload: []byte("x"), QoS: qos}) }()
		}
		p := d.accept(false)
		say(1)
		first := p.want(kPublish)
		if first.msg.Duplicate {
			t.Fatal("the first is a duplicate")
		}
		p.nc.Close()
		p = d.accept(true)
		again := p.want(kPublish)
		if again.id != first.id || !again.msg.Duplicate {
			t.Fatalf("packet %d went out again as %d, duplicate %v", first.id, again.id, again.msg.Duplicate)
		}
		p.nc.Close()
		p = d.accept(false)
		if anew := p.want(kPublish); anew.msg.Duplicate {
			t.Fatal("in a new session it is still a duplicate")
		} else {
			p.ack(0x40, anew.id)
		}
		if err := await(t, done); err != nil {
			t.Fatal(err)
		}

		say(2)
		x := p.want(kPublish)
		p.ack(0x50, x.id)
		if r := p.want(kPubrel); r.id != x.id {
			t.Fatalf("PUBREL of %d, want %d", r.id, x.id)
		}
		p.nc.Close()
		p = d.accept(true)
		if r := p.want(kPubrel); r.id != x.id {
			t.Fatalf("PUBREL of %d after a new connection, want %d", r.id, x.id)
		}
		p.ack(0x70, x.id)
		if err := await(t, done); err != nil {
			t.Fatal(err)
		}
	})
}

// A message of QoS 2 that was given up is brought to its end, or its identifier
// would stand for two messages.
func TestGivenUp(t *testing.T) {
	both(t, func(t *testing.T, v int) {
		d, o := newDesk(t, v)
		c := open(t, o)
		p := d.accept(false)
		for _, qos := range []byte{1, 2} {
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() { done <- c.Publish(ctx, Message{Topic: "t", QoS: qos}) }()
			x := p.want(kPublish)
			cancel()
			if err := await(t, done); !errors.Is(err, context.Canceled) {
				t.Fatalf("Publish: %v", err)
			}
			p.nc.Close()
			p = d.accept(true)
			if qos == 2 {
				if y := p.want(kPublish); y.id != x.id {
					t.Fatalf("%d went out, want %d", y.id, x.id)
				}
				p.ack(0x50, x.id)
				p.want(kPubrel)
				p.ack(0x70, x.id)
			}
		}
		go c.Publish(soon(t), Message{Topic: "t", Payload: []byte("next")})
		if x := p.want(kPublish); string(x.msg.Payload) != "next" {
			t.Fatalf("%q went out", x.msg.Payload)
		}
	})
}

// PUBACK and PUBREC go out after the handler has returned nil, not before.
func TestAcknowledgesAfterHandling(t *testing.T) {
	both(t, func(t *testing.T, v int) {
		for _, qos := range []byte{1, 2} {
			d, o := newDesk(t, v)
			calls, results := make(chan string, 10), make(chan error)
			c := open(t, o, &subscription{filter: "t", qos: 2, kept: true, handle: func(m Message) error {
				calls <- string(m.Payload)
				return <-results
			}})
			p := d.accept(false)
			p.grant(2)
			p.publish(qos, 9, false, "x")
			for range 2 {
				await(t, calls)
				barrier := make(chan error, 1)
				go func() { barrier <- c.Publish(soon(t), Message{Topic: "barrier"}) }()
				p.want(kPublish) // and nothing before it
				await(t, barrier)
				results <- errors.New("the disk is full")
			}
			await(t, calls)
			results <- nil
			ack := kPuback
			if qos == 2 {
				ack = kPubrec
			}
			if x := p.want(ack); x.id != 9 {
				t.Fatalf("%d was acknowledged", x.id)
			}
			close(results)
			slam(c)
		}
	})
}

// QoS 2: what was handled is not handled again, whatever the broker repeats, and
// an identifier that is free stands for another message.
func TestExactlyOnce(t *testing.T) {
	both(t, func(t *testing.T, v int) {
		d, o := newDesk(t, v)
		calls := make(chan string, 10)
		open(t, o, &subscription{filter: "t", qos: 2, kept: true, handle: func(m Message) error {
			calls <- string(m.Payload)
			return nil
		}})
		p := d.accept(false)
		p.grant(2)
		p.publish(2, 7, false, "one")
		p.want(kPubrec)
		p.nc.Close()
		p = d.accept(true)
		p.grant(2)
		p.publish(2, 7, true, "one")
		p.want(kPubrec)
		p.ack(0x62, 7)
		p.want(kPubcomp)
		p.ack(0x62, 7)
		p.want(kPubcomp)
		p.publish(2, 7, false, "two")
		p.want(kPubrec)
		if a, b := await(t, calls), await(t, calls); a != "one" || b != "two" || len(calls) > 0 {
			t.Fatalf("handled %q, %q and %d more", a, b, len(calls))
		}
	})
}

// While a handler runs the connection is lost: its message comes again, and with
// QoS 2 is only acknowledged.
func TestLostWhileHandling(t *testing.T) {
	both(t, func(t *testing.T, v int) {
		for _, qos := range []byte{1, 2} {
			d, o := newDesk(t, v)
			calls, results := make(chan bool, 10), make(chan error, 10)
			c := open(t, o, &subscription{filter: "t", qos: 2, kept: true, handle: func(m Message) error {
				calls <- m.Duplicate
				return <-results
			}})
			p := d.accept(false)
			p.grant(2)
			p.publish(qos, 3, false, "x")
			await(t, calls)
			p.nc.Close()
			p = d.accept(true)
			p.grant(2)
			p.publish(qos, 3, true, "x")
			results <- nil
			if qos == 1 {
				if !await(t, calls) {
					t.Fatal("the second time it is no duplicate")
				}
				results <- nil
				p.want(kPuback)
			} else {
				p.want(kPubrec)
				if len(calls) > 0 {
					t.Fatal("handled twice")
				}
			}
			slam(c)
		}
	})
}

// When the broker has lost the session, what it had delivered is handled all the same.
func TestLastCopy(t *testing.T) {
	d, o := newDesk(t, mqtt.V5)
	calls, results := make(chan string, 10), make(chan error, 10)
	open(t, o, &subscription{filter: "t", qos: 1, kept: true, handle: func(m Message) error {
		calls <- string(m.Payload)
		return <-results
	}})
	p := d.accept(false)
	p.grant(1)
	p.publish(1, 1, false, "one")
	p.publish(1, 2, false, "two")
	await(t, calls)
	p.nc.Close()
	p = d.accept(false)
	p.grant(1)
	results <- nil
	if x := await(t, calls); x != "two" {
		t.Fatalf("%q came", x)
	}
	results <- nil
	p.publish(1, 1, false, "three")
	await(t, calls)
	results <- nil
	if x := p.want(kPuback); x.id != 1 {
		t.Fatalf("%d was acknowledged", x.id)
	}
}

func TestFrameBounds(t *testing.T) {
	for name, b := range map[string]string{
		"endless length": "\x20\xff\xff\xff\xff\x01", "long CONNACK": "\x20\xff\xff\xff\x7f", "short": "\x30\x05\x00",
		"topic beyond the packet": "\x30\xff\x7f\xff\xff",
	} {
		if _, _, err := readFrame(bufio.NewReader(bytes.NewReader([]byte(b))), 1000, true); err == nil {
			t.Errorf("%s was read", name)
		}
	}
}
