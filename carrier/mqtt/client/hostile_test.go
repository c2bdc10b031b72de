package client

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"parley"
	"parley/carrier/mqtt"
)

// A hostile broker sends anything to a Conn that publishes and subscribes. Nothing
// panics, all ends, and nothing is called a success that no broker said.
func FuzzHostileBroker(f *testing.F) {
	yes := map[bool]string{false: "\x20\x02\x00\x00", true: "\x20\x03\x00\x00\x00"}
	for _, v5 := range []bool{false, true} {
		for _, s := range []string{
			"", "\x90\x03\x00\x01\x00", "\x90\x04\x00\x01\x00\x00", "\x90\x09\x00\x01\x00\x00\x00\x00\x00\x00\x00", "\xb0\x02\x00\x01", "\xb0\x03\x00\x01\x00",
			"\x40\x02\x00\x02", "\x50\x02\x00\x03", "\x62\x02\x00\x03", "\x70\x02\x00\x03", "\x30\x04\x00\x01tx", "\x32\x06\x00\x01t\x00\x01x", "\x34\x07\x00\x01t\x00\x01\x00x",
			"\xe0\x00", "\xe0\x02\x8e\x00", "\xd0\x00", "\x3d\xff\xff\xff\x7f", "\x30\x06\x00\x01t\x03\x23\x00\x01", "\xf0\x00", "\x10\x00", "\x20\x0a\x00\x00\x07\x15\x00\x04xxxx",
		} {
			f.Add(v5, []byte(yes[v5]+s))
		}
		f.Add(v5, []byte("\x20\x02\x00\x05"))
		f.Add(v5, []byte("\x20\x0d\x00\x00\x0a\x22\x00\x0a\x21\x00\x14\x27\x00\x00\x00\x05"))
	}
	f.Fuzz(func(t *testing.T, v5 bool, data []byte) {
		if len(data) > 1<<16 {
			return
		}
		here, there := net.Pipe()
		conns := make(chan net.Conn, 1)
		conns <- here
		var shown int
		o := Options{
			Broker: mqtt.Broker{Host: "desk", Port: 1}, ClientID: "me", Version: mqtt.V311, Start: Background,
			BackoffMin: time.Hour, BackoffMax: time.Hour, RetryMin: time.Nanosecond, RetryMax: time.Nanosecond, MaxPacket: 4096,
			Jitter: func() float64 { return 0.5 },
			Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
				select {
				case nc := <-conns:
					return nc, nil
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			},
			Rest: func(Message) error { shown++; return nil },
		}
		if v5 {
			o.Version = mqtt.V5
		}
		c, err := Dial(context.Background(), o)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 4)
		go func() { done <- c.Subscribe(ctx, "t", 1, func(Message) error { shown++; return nil }) }()
		go func() { done <- c.Publish(ctx, Message{Topic: "t", QoS: 1}) }()
		go func() { done <- c.Publish(ctx, Message{Topic: "t", QoS: 2}) }()
		go func() { done <- c.Unsubscribe(ctx, "u") }()
		drained := make(chan struct{})
		go func() {
			defer close(drained)
			io.Copy(io.Discard, there)
		}()
		there.SetWriteDeadline(time.Now().Add(5 * time.Second))
		there.Write(data)
		there.Close()
		cancel()
		for range 4 {
			if err := <-done; err == nil && len(data) < 8 {
				t.Fatalf("%x was taken for an agreement", data)
			}
		}
		slam(c)
		<-drained
		if shown > len(data) {
			t.Fatalf("%d messages of %d bytes", shown, len(data))
		}
	})
}

// What decodes as a PUBLISH is one when encoded again.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{"\x30\x04\x00\x01tx", "\x34\x07\x00\x01t\x00\x01\x00x", "\x90\x03\x00\x01\x00", "\x20\x03\x00\x00\x00", "\xe0\x00", "\x40\x03\x00\x01\x97"} {
		f.Add(false, []byte(s))
		f.Add(true, []byte(s))
	}
	f.Fuzz(func(t *testing.T, v5 bool, data []byte) {
		v := mqtt.V311
		if v5 {
			v = mqtt.V5
		}
		frame, _, err := readFrame(bufio.NewReader(bytes.NewReader(data)), 4096, v5)
		if err != nil {
			return
		}
		p, err := decode(codecOf(v), frame)
		if err != nil {
			if !errors.Is(err, errWire) {
				t.Fatalf("%x: %v", frame, err)
			}
			return
		}
		if p.kind != kPublish {
			return
		}
		again, err := codecOf(v).encode(p)
		if err != nil {
			t.Fatal(err)
		}
		q, err := decode(codecOf(v), again)
		if err != nil || q.id != p.id || q.msg.Topic != p.msg.Topic || !bytes.Equal(q.msg.Payload, p.msg.Payload) || q.msg.QoS != p.msg.QoS {
			t.Fatalf("%x became %x: %+v, %v", frame, again, q, err)
		}
		if len(again) > p.msg.size() {
			t.Fatalf("a packet of %d bytes is said to be at most %d", len(again), p.msg.size())
		}
	})
}

// Packets that a client can fall over. The first two end a process that runs the
// sessions of Paho's own clients, whose goroutines nobody can guard: that is why
// only its packets are used here.
func TestPacketsThatKill(t *testing.T) {
	for name, c := range map[string]struct {
		v        int
		bytes    string
		harmless bool
	}{
		"SUBACK with more codes, 3.1.1": {mqtt.V311, "\x20\x02\x00\x00\x90\x05\x00\x01\x00\x00\x00", false},
		"AuthMethod unasked, 5":         {mqtt.V5, "\x20\x07\x00\x00\x04\x15\x00\x01x", true},
		"AUTH unasked":                  {mqtt.V5, "\x20\x03\x00\x00\x00\xf0\x00", false},
		"UNSUBACK for SUBSCRIBE":        {mqtt.V5, "\x20\x03\x00\x00\x00\xb0\x04\x00\x01\x00\x00", true},
		"CONNACK twice":                 {mqtt.V5, "\x20\x03\x00\x00\x00\x20\x03\x00\x00\x00", false},
		"PUBCOMP before PUBREC":         {mqtt.V5, "\x20\x03\x00\x00\x00\x70\x02\x00\x02", false},
	} {
		t.Run(name, func(t *testing.T) {
			d, o := newDesk(t, c.v)
			down := make(chan error, 100)
			o.OnState = func(up bool, err error) {
				if !up {
					down <- err
				}
			}
			conn := open(t, o, &subscription{filter: "t", kept: true, handle: func(Message) error { return nil }})
			go conn.Publish(soon(t), Message{Topic: "t", QoS: 2})
			p := d.take()
			go io.Copy(io.Discard, p.nc)
			p.nc.Write([]byte(c.bytes))
			if c.harmless {
				p.nc.Close()
			}
			if err := await(t, down); !errors.Is(err, parley.ErrOffline) {
				t.Fatalf("the connection ended with %v", err)
			}
		})
	}
}

// A library that panics is an error of the connection, no more.
func TestDecoderPanics(t *testing.T) {
	if _, err := decode(panicky{}, []byte{0}); !errors.Is(err, errWire) {
		t.Fatal(err)
	}
}

type panicky struct{ codec5 }

func (panicky) decode([]byte) (*packet, error) { panic("index out of range") }

func TestRefusals(t *testing.T) {
	for code, want := range map[reason]error{
		0x80: parley.ErrOffline, 0x84: parley.ErrRefused, 0x85: parley.ErrRefused, 0x86: parley.ErrDenied, 0x87: parley.ErrDenied, 0x88: parley.ErrOffline,
		0x8A: parley.ErrDenied, 0x8E: ErrTakenOver, 0x8F: parley.ErrRefused, 0x90: parley.ErrRefused, 0x95: parley.ErrRefused, 0x97: parley.ErrFull,
		0x9A: parley.ErrRefused, 0x9B: parley.ErrRefused, 0xFE: parley.ErrRefused,
	} {
		err := refusal(code)
		if !errors.Is(err, want) || !strings.Contains(err.Error(), "0x") || offline(err) != err {
			t.Errorf("%x: %v", code, err)
		}
	}
	if refusal(0x10) != nil {
		t.Error("no subscribers is a refusal")
	}
	d, o := newDesk(t, mqtt.V5)
	c := open(t, o)
	p := d.accept(false)
	done := make(chan error, 1)
	for code, want := range map[byte]error{0x87: parley.ErrDenied, 0x97: parley.ErrFull, 0x90: parley.ErrRefused, 0x10: nil} {
		for _, qos := range []byte{1, 2} {
			go func() { done <- c.Publish(soon(t), Message{Topic: "t", QoS: qos}) }()
			x := p.want(kPublish)
			p.ack(0x30+0x10*qos, x.id, code)
			if code == 0x10 && qos == 2 {
				p.want(kPubrel)
				p.ack(0x70, x.id)
			}
			if err := await(t, done); !errors.Is(err, want) {
				t.Errorf("PUBACK %x: %v", code, err)
			}
		}
	}
	for code, want := range map[byte]error{0x87: parley.ErrDenied, 0x97: parley.ErrFull, 0x8F: parley.ErrRefused, 0x00: parley.ErrRefused, 0x03: errWire} {
		go func() { done <- c.Subscribe(soon(t), "x", 1, func(Message) error { return nil }) }()
		p.grant(code)
		if err := await(t, done); !errors.Is(err, want) {
			t.Errorf("SUBACK %x: %v", code, err)
		}
	}
}

// Limits that a broker names are kept without asking it.
func TestLimits(t *testing.T) {
	d, o := newDesk(t, mqtt.V5)
	c := open(t, o)
	p := d.take()
	p.write(0x20, 0, 0, 12, 0x27, 0, 0, 0, 100, 0x24, 1, 0x25, 0, 0x21, 0, 1) // 100 bytes, QoS 1, no retained, one at a time
	for name, m := range map[string]Message{
		"size":   {Topic: "t", QoS: 1, Payload: make([]byte, 100)},
		"qos":    {Topic: "t", QoS: 2},
		"retain": {Topic: "t", QoS: 1, Retain: true},
		"size 0": {Topic: "t", Payload: make([]byte, 100)},
	} {
		if err := c.Publish(soon(t), m); !errors.Is(err, parley.ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	done := make(chan error, 2)
	for range 2 {
		go func() { done <- c.Publish(soon(t), Message{Topic: "t", QoS: 1}) }()
	}
	x := p.want(kPublish)
	go c.Publish(soon(t), Message{Topic: "t", Payload: []byte("0")})
	if y := p.want(kPublish); y.msg.QoS != 0 {
		t.Fatal("a second packet of QoS 1 before the first was acknowledged")
	}
	p.ack(0x40, x.id)
	p.ack(0x40, p.want(kPublish).id)
	for range 2 {
		if err := await(t, done); err != nil {
			t.Fatal(err)
		}
	}
}

// A broker that says that another took over is believed.
func TestTakenOverBy5(t *testing.T) {
	d, o := newDesk(t, mqtt.V5)
	down := make(chan error, 10)
	o.OnState = func(up bool, err error) {
		if !up {
			down <- err
		}
	}
	o.Displaced = time.Hour
	open(t, o)
	d.accept(false).write(0xe0, 0x8e)
	if err := await(t, down); !errors.Is(err, ErrTakenOver) || !errors.Is(err, parley.ErrOffline) {
		t.Fatalf("told %v", err)
	}
	select {
	case <-d.peers:
		t.Fatal("it came back at once")
	case <-time.After(100 * time.Millisecond): // a hundred times BackoffMax
	}
}

// More than can be kept is thrown away unacknowledged, and asked for again.
func TestOverflow(t *testing.T) {
	d, o := newDesk(t, mqtt.V311)
	calls, results := make(chan string, 10000), make(chan error)
	open(t, o, &subscription{filter: "t", qos: 1, kept: true, handle: func(m Message) error {
		calls <- string(m.Payload)
		return <-results
	}})
	p := d.accept(false)
	p.grant(1)
	const n = maxInbox + 10
	for i := range n {
		p.publish(1, uint16(i+1), false, "x")
	}
	close(results)
	for i := range maxInbox {
		if x := p.want(kPuback); x.id != uint16(i+1) {
			t.Fatalf("%d was acknowledged, want %d", x.id, i+1)
		}
	}
	p.want(kDisconnect)
	p = d.accept(true)
	p.grant(1)
	for i := maxInbox; i < n; i++ {
		p.publish(1, uint16(i+1), true, "x")
		p.want(kPuback)
	}
	if len(calls) != n {
		t.Fatalf("%d calls", len(calls))
	}
}

// Back-off: by lot, doubling, bounded, and from the start after a good connection.
func TestBackoff(t *testing.T) {
	c := &Conn{o: Options{Jitter: func() float64 { return 1 }}.withDefaults()}
	for n, want := range map[int]time.Duration{0: 250 * time.Millisecond, 1: 500 * time.Millisecond, 6: 16 * time.Second, 7: 30 * time.Second, 100: 30 * time.Second} {
		if got := c.backoff(n); got != want {
			t.Errorf("pause %d is %v", n, got)
		}
	}
	c.o.Jitter = func() float64 { return 0 }
	if c.backoff(5) != 0 || c.steady(time.Minute) != 30*time.Second {
		t.Error("the lot does not count")
	}
	err := errHangup
	if n, _ := c.judge(time.Hour, &err, 9, 0); n != 0 {
		t.Error("a good connection did not end the back-off")
	}
	n, short := c.judge(time.Second, &err, 9, 0)
	if n != 9 || short != 1 {
		t.Errorf("after a bad one: %d, %d", n, short)
	}
}
