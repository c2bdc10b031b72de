package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"parley"
	"parley/carrier/mqtt"
	"parley/carrier/mqtt/client"
)

func TestPublishAndSubscribe(t *testing.T) {
	brokers(t, func(t *testing.T, m testBroker, v int) {
		for qos := range byte(3) {
			t.Run(fmt.Sprint("qos", qos), func(t *testing.T) {
				o := quick(m.broker())
				o.Version = v
				a, b := dial(t, o), dial(t, o)
				if a.Version() != v {
					t.Fatalf("the connection speaks %d", a.Version())
				}
				topic := "t/" + t.Name()
				got := collect(t, b, topic+"/+", qos)
				for i := range 100 {
					check(t, a.Publish(wait(t), client.Message{Topic: topic + "/x", Payload: fmt.Appendf(nil, "%d\x00\r\n", i), QoS: qos}))
				}
				check(t, a.Publish(wait(t), client.Message{Topic: topic + "/y", QoS: qos})) // an empty one
				for i := range 100 {
					x := get(t, got)
					if string(x.Payload) != fmt.Sprintf("%d\x00\r\n", i) || x.Topic != topic+"/x" || x.QoS != qos || x.Retain || x.Duplicate {
						t.Fatalf("message %d is %+v", i, x)
					}
				}
				if x := get(t, got); len(x.Payload) != 0 || x.Topic != topic+"/y" {
					t.Fatalf("got %+v", x)
				}
				check(t, b.Unsubscribe(wait(t), topic+"/+"))
				check(t, a.Publish(wait(t), client.Message{Topic: topic + "/x", QoS: qos, Payload: []byte("late")}))
				check(t, b.Subscribe(wait(t), topic+"/end", qos, func(client.Message) error { return nil }))
				if len(got) > 0 {
					t.Fatalf("%+v came after Unsubscribe", <-got)
				}
			})
		}
	})
}

func TestVersionIsFound(t *testing.T) {
	m := newEmbedded(t)
	if v := dial(t, quick(m.broker())).Version(); v != mqtt.V5 {
		t.Fatalf("version %d", v)
	}
}

func TestBigPayloads(t *testing.T) {
	brokers(t, func(t *testing.T, m testBroker, v int) {
		o := quick(m.broker())
		o.Version, o.MaxPacket = v, 4<<20
		c := dial(t, o)
		got := collect(t, c, "big", 1)
		for _, n := range []int{127, 128, 16383, 16384, 2097151, 4<<20 - 100} {
			p := bytes.Repeat([]byte{byte(n)}, n)
			check(t, c.Publish(wait(t), client.Message{Topic: "big", Payload: p, QoS: 1}))
			if x := get(t, got); !bytes.Equal(x.Payload, p) {
				t.Fatalf("%d bytes came as %d", n, len(x.Payload))
			}
		}
		err := c.Publish(wait(t), client.Message{Topic: "big", Payload: make([]byte, 4<<20), QoS: 1})
		if !errors.Is(err, parley.ErrRefused) {
			t.Fatalf("larger than MaxPacket: %v", err)
		}
	})
}

// What is larger than our MaxPacket is let go, and what follows comes.
func TestTooBigToReceive(t *testing.T) {
	brokers(t, func(t *testing.T, m testBroker, v int) {
		for qos := range byte(3) {
			o := quick(m.broker())
			o.Version = v
			a := dial(t, o)
			o.MaxPacket = 1000
			b := dial(t, o)
			topic := fmt.Sprintf("%s/%d", t.Name(), qos)
			got := collect(t, b, topic, qos)
			for _, n := range []int{10, 100_000, 20} {
				check(t, a.Publish(wait(t), client.Message{Topic: topic, Payload: make([]byte, n), QoS: qos}))
			}
			for _, n := range []int{10, 20} {
				if x := get(t, got); len(x.Payload) != n {
					t.Fatalf("%d bytes came, want %d", len(x.Payload), n)
				}
			}
			shut(a)
			shut(b)
		}
	})
}

func TestRetained(t *testing.T) {
	brokers(t, func(t *testing.T, m testBroker, v int) {
		o := quick(m.broker())
		o.Version = v
		c := dial(t, o)
		topic := t.Name()
		check(t, c.Publish(wait(t), client.Message{Topic: topic, Payload: []byte("old"), QoS: 1, Retain: true}))
		got := collect(t, c, topic, 1)
		if x := get(t, got); string(x.Payload) != "old" || !x.Retain {
			t.Fatalf("the stored one came as %+v", x)
		}
		check(t, c.Publish(wait(t), client.Message{Topic: topic, Payload: []byte("new"), QoS: 1, Retain: true}))
		if x := get(t, got); string(x.Payload) != "new" || x.Retain {
			t.Fatalf("a live one came as %+v", x)
		}
		check(t, c.Publish(wait(t), client.Message{Topic: topic, QoS: 1, Retain: true})) // deletes it
		get(t, got)
		b := dial(t, o)
		got = collect(t, b, topic, 1)
		check(t, c.Publish(wait(t), client.Message{Topic: topic, Payload: []byte("live"), QoS: 1}))
		if x := get(t, got); string(x.Payload) != "live" {
			t.Fatalf("got %+v after the stored one was deleted", x)
		}
	})
}

func TestBadArguments(t *testing.T) {
	m := newEmbedded(t)
	c := dial(t, quick(m.broker()))
	nop := func(client.Message) error { return nil }
	for name, err := range map[string]error{
		"wildcard":      c.Publish(wait(t), client.Message{Topic: "a/+"}),
		"empty topic":   c.Publish(wait(t), client.Message{}),
		"qos 3":         c.Publish(wait(t), client.Message{Topic: "a", QoS: 3}),
		"filter":        c.Subscribe(wait(t), "a#", 0, nop),
		"subscribe 3":   c.Subscribe(wait(t), "a", 3, nop),
		"unsubscribe":   c.Unsubscribe(wait(t), ""),
		"no broker":     dialError(t, client.Options{}),
		"version":       dialError(t, client.Options{Broker: m.broker(), Version: 3}),
		"client ID":     dialError(t, client.Options{Broker: m.broker(), ClientID: "a\x00"}),
		"only password": dialError(t, client.Options{Broker: mqtt.Broker{Host: "h", Port: 1, Password: "x"}}),
		"will":          dialError(t, client.Options{Broker: m.broker(), Will: &client.Message{Topic: "#"}}),
	} {
		if !errors.Is(err, parley.ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	check(t, c.Subscribe(wait(t), "twice", 0, nop))
	if err := c.Subscribe(wait(t), "twice", 0, nop); !errors.Is(err, client.ErrSubscribed) {
		t.Errorf("a filter twice: %v", err)
	}
}

func dialError(t *testing.T, o client.Options) error {
	c, err := client.Dial(wait(t), o)
	if err == nil {
		shut(c)
	}
	return err
}

func TestCancelledContexts(t *testing.T) {
	m := newEmbedded(t)
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := client.Dial(gone, quick(m.broker())); !errors.Is(err, context.Canceled) {
		t.Errorf("Dial: %v", err)
	}
	c := dial(t, quick(m.broker()))
	for name, err := range map[string]error{
		"Publish 0":   c.Publish(gone, client.Message{Topic: "a"}),
		"Publish 1":   c.Publish(gone, client.Message{Topic: "a", QoS: 1}),
		"Subscribe":   c.Subscribe(gone, "a", 1, func(client.Message) error { return nil }),
		"Unsubscribe": c.Unsubscribe(gone, "a"),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
	check(t, c.Subscribe(wait(t), "a", 1, func(client.Message) error { return nil })) // the failed one left nothing
	shut(c)
	for name, err := range map[string]error{
		"Publish 0":   c.Publish(wait(t), client.Message{Topic: "a"}),
		"Publish 1":   c.Publish(wait(t), client.Message{Topic: "a", QoS: 1}),
		"Subscribe":   c.Subscribe(wait(t), "b", 1, func(client.Message) error { return nil }),
		"Unsubscribe": c.Unsubscribe(wait(t), "a"),
	} {
		if !errors.Is(err, client.ErrClosed) || !errors.Is(err, parley.ErrOffline) {
			t.Errorf("%s after Close: %v", name, err)
		}
	}
	shut(c)
}
