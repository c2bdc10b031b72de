package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"parley"
	"parley/carrier/mqtt"
	"parley/carrier/mqtt/client"
	"parley/carrier/mqtt/server"
)

func topicAt(m testBroker, topic string) parley.Address {
	return mqtt.Address{Broker: m.broker(), Topic: topic}.Parley()
}

// reader receives from one mailbox until the test ends or stop is called.
func reader(t *testing.T, c *client.Client, at parley.Endpoint) (got <-chan string, stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	ch, done := make(chan string, 10000), make(chan error, 1)
	go func() {
		done <- c.Receive(ctx, []parley.Endpoint{at}, func(_ int, d parley.Delivery) error {
			ch <- string(d.Packet)
			return nil
		})
	}()
	end := func() error {
		cancel()
		err := <-done
		done <- err
		return err
	}
	t.Cleanup(func() { end() })
	return ch, end
}

// A topic is shared: everybody who claimed it gets everything, the sender too.
func TestTopicIsShared(t *testing.T) {
	brokers(t, func(t *testing.T, m testBroker, v int) {
		o := client.ClientOptions{Version: v}
		alice, bob := quickClient(t, o), quickClient(t, o)
		at := topicAt(m, fmt.Sprint("shared/ä ", v))
		a, err := alice.Claim(wait(t), at)
		check(t, err)
		b, err := bob.Claim(wait(t), at)
		check(t, err)
		to, err := alice.Join(wait(t), at)
		check(t, err)
		if to.Max != client.DefaultMax || a.Address != at {
			t.Fatalf("Max %d, address %s", to.Max, a.Address)
		}
		_, err = alice.Send(wait(t), to, []byte("hello"))
		check(t, err)
		for _, x := range []struct {
			c *client.Client
			e parley.Endpoint
		}{{alice, a}, {bob, b}} {
			got, stop := reader(t, x.c, x.e)
			if p := get(t, got); p != "hello" {
				t.Fatalf("%q came", p)
			}
			if err := stop(); !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
		}
		check(t, alice.Delete(wait(t), a))
		check(t, alice.Delete(wait(t), a)) // again
		check(t, alice.Delete(wait(t), to))
		_, err = alice.Send(wait(t), to, []byte("later"))
		check(t, err)
		got, _ := reader(t, bob, b)
		if p := get(t, got); p != "later" {
			t.Fatalf("%q came", p)
		}
	})
}

// What the broker has retained is a packet; so is what a stranger publishes, but
// not if it is too large.
func TestStrangers(t *testing.T) {
	brokers(t, func(t *testing.T, m testBroker, v int) {
		topic := fmt.Sprint("strangers/", v)
		s := dial(t, quick(m.broker()))
		check(t, s.Publish(wait(t), client.Message{Topic: topic, Payload: []byte("retained garbage"), QoS: 1, Retain: true}))
		c := quickClient(t, client.ClientOptions{Version: v, Max: 1000})
		e, err := c.Claim(wait(t), topicAt(m, topic))
		check(t, err)
		got, _ := reader(t, c, e)
		if p := get(t, got); p != "retained garbage" {
			t.Fatalf("%q came", p)
		}
		check(t, s.Publish(wait(t), client.Message{Topic: topic, Payload: bytes.Repeat([]byte("x"), 1001), QoS: 1}))
		check(t, s.Publish(wait(t), client.Message{Topic: topic, Payload: []byte("small"), QoS: 2}))
		for p := get(t, got); p != "small"; p = get(t, got) {
			if p != "retained garbage" { // 3.1.1 repeats it at each new connection
				t.Fatalf("%d bytes came", len(p))
			}
		}
	})
}

func TestReceivingTwice(t *testing.T) {
	m := newEmbedded(t)
	c := quickClient(t, client.ClientOptions{})
	e, err := c.Claim(wait(t), topicAt(m, "twice"))
	check(t, err)
	got, stop := reader(t, c, e)
	to, err := c.Join(wait(t), topicAt(m, "twice"))
	check(t, err)
	_, err = c.Send(wait(t), to, []byte("x"))
	check(t, err)
	get(t, got)
	nop := func(int, parley.Delivery) error { return nil }
	if err := c.Receive(wait(t), []parley.Endpoint{e}, nop); !errors.Is(err, client.ErrReceiving) {
		t.Fatalf("twice at once: %v", err)
	}
	if err := c.Receive(wait(t), []parley.Endpoint{to}, nop); !errors.Is(err, parley.ErrRefused) {
		t.Fatalf("an end for sending: %v", err)
	}
	stop()
	got, _ = reader(t, c, e)
	_, err = c.Send(wait(t), to, []byte("y"))
	check(t, err)
	if p := get(t, got); p != "y" {
		t.Fatalf("%q came", p)
	}
	c.Close()
	if _, err := c.Send(wait(t), to, []byte("z")); !errors.Is(err, client.ErrClosed) {
		t.Fatalf("Send after Close: %v", err)
	}
	if err := c.Receive(wait(t), []parley.Endpoint{e}, nop); !errors.Is(err, client.ErrClosed) {
		t.Fatalf("Receive after Close: %v", err)
	}
	if _, err := c.Claim(wait(t), topicAt(m, "twice")); !errors.Is(err, client.ErrClosed) && !errors.Is(err, context.Canceled) {
		t.Fatalf("Claim after Close: %v", err)
	}
}

// States as a messenger is told them, and a mailbox whose session is gone.
func TestStatesAndLostSession(t *testing.T) {
	brokers(t, func(t *testing.T, m testBroker, v int) {
		type state struct {
			at  parley.Address
			up  bool
			err error
		}
		states, boxes := make(chan state, 10000), make(chan error, 10000)
		c := quickClient(t, client.ClientOptions{
			Version:   v,
			OnState:   func(at parley.Address, up bool, err error) { states <- state{at, up, err} },
			OnMailbox: func(_ parley.Endpoint, err error) { boxes <- err },
		})
		e, err := c.Claim(wait(t), topicAt(m, "states"))
		check(t, err)
		got, stop := reader(t, c, e)
		if s := get(t, states); !s.up || s.at != parley.Address(m.broker().Address()) {
			t.Fatalf("%+v", s)
		}
		to, err := c.Join(wait(t), topicAt(m, "states"))
		check(t, err)
		_, err = c.Send(wait(t), to, []byte("x"))
		check(t, err)
		get(t, got)
		if len(states) > 0 {
			t.Fatalf("a second connection is told of: %+v", <-states)
		}
		m.stop()
		if s := get(t, states); s.up || !errors.Is(s.err, parley.ErrOffline) {
			t.Fatalf("%+v", s)
		}
		if _, err := c.Send(wait(t), to, []byte("y")); !errors.Is(err, parley.ErrOffline) {
			t.Fatalf("Send without a broker: %v", err)
		}
		m.start()
		for !get(t, states).up {
		}
		stop()
		if len(boxes) > 0 {
			t.Fatalf("trouble: %v", <-boxes)
		}
		check(t, c.Delete(wait(t), e)) // as a broker that has lost it
		got, _ = reader(t, c, e)
		if err := get(t, boxes); !errors.Is(err, client.ErrSessionLost) {
			t.Fatalf("trouble: %v", err)
		}
		// What is sent before the new subscription is there reaches nobody.
		late := wait(t)
		for again := true; again; {
			if _, err := c.Send(wait(t), to, []byte("new")); err != nil && !errors.Is(err, parley.ErrOffline) {
				t.Fatal(err)
			}
			select {
			case p := <-got:
				if again = false; p != "new" {
					t.Fatalf("%q came", p)
				}
			case <-time.After(20 * time.Millisecond):
			case <-late.Done():
				t.Fatal("nothing came")
			}
		}
	})
}

// Two copies of a profile receive from one mailbox.
func TestMailboxTakenOver(t *testing.T) {
	m := newEmbedded(t)
	boxes := make(chan error, 1000)
	o := client.ClientOptions{Version: mqtt.V5, OnMailbox: func(_ parley.Endpoint, err error) { boxes <- err }}
	a, b := quickClient(t, o), quickClient(t, o)
	e, err := a.Claim(wait(t), topicAt(m, "copy"))
	check(t, err)
	reader(t, a, e)
	reader(t, b, e)
	if err := get(t, boxes); !errors.Is(err, client.ErrTakenOver) {
		t.Fatal(err)
	}
}

func TestCredentials(t *testing.T) {
	m := prepareMosquitto(t, "allow_anonymous false", "password_file DIR/passwords", "acl_file DIR/acl")
	m.users("alice", "right")
	m.write("acl", "user alice\ntopic readwrite ours/#\n")
	m.start()
	versions(t, func(t *testing.T, v int) {
		password := "wrong-hunter2"
		c := quickClient(t, client.ClientOptions{Version: v, Credentials: func(b mqtt.Broker) (string, string) {
			if b.Address() != m.broker().Address() {
				t.Errorf("asked for %s", b)
			}
			return "alice", password
		}})
		_, err := c.Claim(wait(t), topicAt(m, "ours/x"))
		if !errors.Is(err, parley.ErrDenied) || strings.Contains(err.Error(), "hunter2") {
			t.Fatalf("wrong password: %v", err)
		}
		password = "right"
		e, err := c.Claim(wait(t), topicAt(m, "ours/x"))
		check(t, err)
		if strings.Contains(string(e.Address), "alice") {
			t.Fatalf("the address tells the user: %s", e.Address)
		}
		to, err := c.Join(wait(t), topicAt(m, "ours/x"))
		check(t, err)
		_, err = c.Send(wait(t), to, []byte("x"))
		check(t, err)
		// Without anybody to ask, the endpoints know.
		d := quickClient(t, client.ClientOptions{Version: v})
		got, _ := reader(t, d, e)
		if p := get(t, got); p != "x" {
			t.Fatalf("%q came", p)
		}
		_, err = d.Send(wait(t), to, []byte("y"))
		check(t, err)
		if _, err := d.Claim(wait(t), topicAt(m, "ours/x")); !errors.Is(err, parley.ErrDenied) {
			t.Fatalf("without credentials: %v", err)
		}
		other, err := c.Join(wait(t), topicAt(m, "theirs"))
		check(t, err)
		if _, err := c.Send(wait(t), other, []byte("x")); v == mqtt.V5 && !errors.Is(err, parley.ErrDenied) {
			t.Fatalf("a topic that is not ours: %v", err)
		}
	})
}

// The embedded broker says no to what Mosquitto lets pass in silence.
func TestDeniedTopic(t *testing.T) {
	users, err := server.ParseUsers(strings.NewReader("allow anonymous readwrite ours/#\n"))
	check(t, err)
	m := newEmbeddedWith(t, server.Options{Users: users})
	versions(t, func(t *testing.T, v int) {
		c := quickClient(t, client.ClientOptions{Version: v})
		if _, err := c.Claim(wait(t), topicAt(m, "theirs/x")); !errors.Is(err, parley.ErrDenied) {
			t.Errorf("Claim: %v", err)
		}
		_, err := c.Claim(wait(t), topicAt(m, "ours/x"))
		check(t, err)
	})
}

// An unused connection for sending ends.
func TestLinger(t *testing.T) {
	m := newEmbedded(t)
	down := make(chan bool, 10)
	c := quickClient(t, client.ClientOptions{Linger: 20 * time.Millisecond, OnState: func(_ parley.Address, up bool, _ error) {
		if !up {
			down <- true
		}
	}})
	to, err := c.Join(wait(t), topicAt(m, "x"))
	check(t, err)
	for range 2 {
		_, err = c.Send(wait(t), to, []byte("x"))
		check(t, err)
		get(t, down)
	}
}

func FuzzSecret(f *testing.F) {
	c := client.New(client.ClientOptions{})
	e, err := c.Join(context.Background(), "mqtt://h/t")
	check(f, err)
	f.Add(e.Secret)
	f.Add([]byte(`{"v":1,"at":"mqtt://h/t","max":-1}`))
	f.Add([]byte(`{"v":1,"at":"mqtt://h/+","max":1}`))
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	f.Fuzz(func(t *testing.T, secret []byte) {
		e := parley.Endpoint{Secret: secret}
		if _, err := c.Send(gone, e, nil); err == nil {
			t.Fatal("sent")
		}
		if err := c.Receive(gone, []parley.Endpoint{e}, nil); err == nil {
			t.Fatal("received")
		}
		c.Delete(gone, e)
	})
}
