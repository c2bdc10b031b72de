package client

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"testing"

	"parley/carrier/mqtt"
)

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
