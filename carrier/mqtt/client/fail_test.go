package client_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"parley"
	"parley/carrier/mqtt"
	"parley/carrier/mqtt/client"
)

// session are options for a session that lasts.
func session(b mqtt.Broker, v int, id string) client.Options {
	o := quick(b)
	o.Version, o.ClientID = v, id
	return o
}

// A handler that fails is called again with the same message; nothing overtakes
// it, and nothing is acknowledged: a crash brings it back.
func TestHandlerFails(t *testing.T) {
	brokers(t, func(t *testing.T, m testBroker, v int) {
		for _, qos := range []byte{1, 2} {
			topic := fmt.Sprint("fails/", v, qos)
			a := dial(t, quick(m.broker()))
			b := dial(t, session(m.broker(), v, fmt.Sprint("fails", v, qos)))
			calls := make(chan string, 100)
			var fail atomic.Bool
			fail.Store(true)
			handle := func(x client.Message) error {
				calls <- string(x.Payload)
				if fail.Load() {
					return errors.New("the disk is full")
				}
				return nil
			}
			check(t, b.Subscribe(wait(t), topic, qos, handle))
			check(t, a.Publish(wait(t), client.Message{Topic: topic, Payload: []byte("one"), QoS: qos}))
			check(t, a.Publish(wait(t), client.Message{Topic: topic, Payload: []byte("two"), QoS: qos}))
			for range 5 {
				if x := get(t, calls); x != "one" {
					t.Fatalf("%q overtook", x)
				}
			}
			shut(b)
			for len(calls) > 0 {
				<-calls
			}
			fail.Store(false)
			b = dial(t, session(m.broker(), v, fmt.Sprint("fails", v, qos)))
			check(t, b.Subscribe(wait(t), topic, qos, handle))
			for _, want := range []string{"one", "two"} {
				if x := get(t, calls); x != want {
					t.Fatalf("after the crash %q came, want %q", x, want)
				}
			}
			shut(b)
			shut(a)
		}
	})
}

// What was published while nobody was connected waits in the session.
func TestSessionCollects(t *testing.T) {
	brokers(t, func(t *testing.T, m testBroker, v int) {
		topic, id := fmt.Sprint("collects/", v), fmt.Sprint("collects", v)
		b := dial(t, session(m.broker(), v, id))
		collect(t, b, topic, 1)
		shut(b)
		a := dial(t, quick(m.broker()))
		for i := range 50 {
			check(t, a.Publish(wait(t), client.Message{Topic: topic, Payload: fmt.Append(nil, i), QoS: 1}))
		}
		o := session(m.broker(), v, id)
		had := make(chan bool, 1)
		o.OnSession = func(present bool) { had <- present }
		b = dial(t, o)
		if !get(t, had) {
			t.Fatal("the session is gone")
		}
		// They may be here before anybody asks for them: then they are put aside.
		got := collect(t, b, topic, 1)
		for i := range 50 {
			if x := get(t, got); string(x.Payload) != fmt.Sprint(i) {
				t.Fatalf("%q came, want %d", x.Payload, i)
			}
		}
		check(t, b.Forget(wait(t)))
		check(t, a.Publish(wait(t), client.Message{Topic: topic, Payload: []byte("forgotten"), QoS: 1}))
		b = dial(t, o)
		if get(t, had) {
			t.Fatal("Forget left the session")
		}
		o.CleanStart = true
		shut(b)
		dial(t, o)
		if get(t, had) {
			t.Fatal("CleanStart left the session")
		}
	})
}

// Rest takes what no Subscribe of this process asks for.
func TestRest(t *testing.T) {
	m := newEmbedded(t)
	o := session(m.broker(), 0, "rest")
	b := dial(t, o)
	collect(t, b, "old", 1)
	shut(b)
	a := dial(t, quick(m.broker()))
	check(t, a.Publish(wait(t), client.Message{Topic: "old", Payload: []byte("x"), QoS: 1}))
	rest := make(chan client.Message, 10)
	o.Rest = func(x client.Message) error { rest <- x; return nil }
	dial(t, o)
	if x := get(t, rest); x.Topic != "old" {
		t.Fatalf("got %+v", x)
	}
}

// SIGKILL in mid-conversation: publishers wait, subscribers come back, although
// the broker has lost every session.
func TestBrokerKilled(t *testing.T) {
	m := newMosquitto(t)
	versions(t, func(t *testing.T, v int) {
		for qos := range byte(3) {
			topic := fmt.Sprint("killed/", v, qos)
			a := dial(t, session(m.broker(), v, fmt.Sprint("a", v, qos)))
			b := dial(t, session(m.broker(), v, fmt.Sprint("b", v, qos)))
			got := collect(t, b, topic, qos)
			for round := range 4 {
				want := fmt.Sprint(round)
				say := func() error {
					return a.Publish(wait(t), client.Message{Topic: topic, Payload: []byte(want), QoS: qos})
				}
				for { // one that the broker lost when it died is said again, as a device would
					err := say()
					if err != nil && (qos > 0 || !errors.Is(err, parley.ErrOffline)) {
						t.Fatal(err)
					}
					if heard(got, want) {
						break
					}
				}
				m.kill()
				m.start()
			}
			shut(a)
			shut(b)
		}
	})
}

// heard waits a moment for a message.
func heard(got <-chan client.Message, want string) bool {
	timer := time.NewTimer(100 * time.Millisecond)
	defer timer.Stop()
	for {
		select {
		case x := <-got:
			if string(x.Payload) == want {
				return true
			}
		case <-timer.C:
			return false
		}
	}
}

// A publication that is under way when the broker stops arrives when it is back.
func TestPublishOutlivesConnection(t *testing.T) {
	brokers(t, func(t *testing.T, m testBroker, v int) {
		for _, qos := range []byte{1, 2} {
			topic := fmt.Sprint("outlives/", v, qos)
			down := make(chan error, 100)
			o := session(m.broker(), v, fmt.Sprint("pub", v, qos))
			o.OnState = func(up bool, err error) {
				if !up {
					down <- err
				}
			}
			a := dial(t, o)
			b := dial(t, session(m.broker(), v, fmt.Sprint("sub", v, qos)))
			got := collect(t, b, topic, qos)
			m.stop()
			if err := get(t, down); !errors.Is(err, parley.ErrOffline) {
				t.Fatalf("OnState said %v", err)
			}
			done := make(chan error, 20)
			for i := range 20 {
				go func() {
					done <- a.Publish(wait(t), client.Message{Topic: topic, Payload: fmt.Append(nil, i), QoS: qos})
				}()
			}
			short, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
			err := a.Publish(short, client.Message{Topic: topic, Payload: []byte("given up"), QoS: qos})
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, parley.ErrOffline) {
				t.Fatalf("Publish without a broker: %v", err)
			}
			if err := a.Publish(wait(t), client.Message{Topic: topic}); !errors.Is(err, parley.ErrOffline) {
				t.Fatalf("QoS 0 without a broker: %v", err)
			}
			m.start()
			seen := make(map[string]int)
			for range 20 {
				check(t, get(t, done))
			}
			for len(seen) < 20 {
				seen[string(get(t, got).Payload)]++
			}
			if seen["given up"] > 0 {
				t.Fatal("what was given up before it went out was sent")
			}
			shut(a)
			shut(b)
		}
	})
}

func TestBrokerDownAtStart(t *testing.T) {
	m := prepareMosquitto(t)
	o := quick(m.broker())
	if err := dialError(t, o); !errors.Is(err, parley.ErrOffline) {
		t.Fatalf("Once: %v", err)
	}
	o.Start = client.Retry
	short, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err := client.Dial(short, o); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, parley.ErrOffline) {
		t.Fatalf("Retry until ctx ends: %v", err)
	}
	up := make(chan *client.Conn, 1)
	go func() {
		c, err := client.Dial(wait(t), o)
		if err != nil {
			t.Error(err)
		}
		up <- c
	}()
	o.Start = client.Background
	bg := dial(t, o)
	if ok, _ := bg.Connected(); ok {
		t.Fatal("connected to nothing")
	}
	m.start()
	shut(get(t, up))
	check(t, bg.Publish(wait(t), client.Message{Topic: "a", QoS: 1}))
}

// Two clients with one ID: both are told, and neither fights.
func TestTakeOver(t *testing.T) {
	brokers(t, func(t *testing.T, m testBroker, v int) {
		told := make(chan error, 1000)
		var dials atomic.Int32
		o := session(m.broker(), v, fmt.Sprint("same", v))
		o.Displaced = time.Hour
		o.OnState = func(up bool, err error) {
			if errors.Is(err, client.ErrTakenOver) {
				told <- err
			}
		}
		o.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			dials.Add(1)
			return (&net.Dialer{}).DialContext(ctx, network, address)
		}
		a := dial(t, o)
		b := dial(t, o)
		if err := get(t, told); !errors.Is(err, parley.ErrOffline) {
			t.Fatalf("told %v", err)
		}
		if n := dials.Load(); n > 20 {
			t.Fatalf("%d connections", n)
		}
		shut(a)
		shut(b)
	})
}

// A broker of 3.1.1 that just hangs up on MQTT 5, or says so in its own way.
func TestOldBroker(t *testing.T) {
	for name, answer := range map[string]string{"hangs up": "", "says so": "\x20\x02\x00\x01"} {
		t.Run(name, func(t *testing.T) {
			m := newEmbedded(t)
			o := quick(m.broker())
			first := true
			o.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
				if !first {
					return (&net.Dialer{}).DialContext(ctx, network, address)
				}
				first = false
				here, there := net.Pipe()
				go func() {
					defer there.Close()
					there.Read(make([]byte, 1000))
					there.Write([]byte(answer))
				}()
				return here, nil
			}
			c := dial(t, o)
			if c.Version() != mqtt.V311 {
				t.Fatalf("version %d", c.Version())
			}
			check(t, c.Publish(wait(t), client.Message{Topic: "a", QoS: 1}))
		})
	}
}

// A broker that stops without closing is noticed, and a will is published.
func TestSilenceAndWill(t *testing.T) {
	m := newMosquitto(t)
	o := quick(m.broker())
	o.KeepAlive, o.ReplyTimeout = time.Second, 500*time.Millisecond
	down := make(chan error, 100)
	o.OnState = func(up bool, err error) {
		if !up {
			down <- err
		}
	}
	o.Will = &client.Message{Topic: "will", Payload: []byte("gone"), QoS: 1}
	other := dial(t, quick(m.broker()))
	got := collect(t, other, "will", 1)
	dial(t, o)
	m.cmd.Process.Signal(syscall.SIGSTOP)
	err := get(t, down)
	m.cmd.Process.Signal(syscall.SIGCONT)
	if err == nil || !errors.Is(err, parley.ErrOffline) {
		t.Fatalf("told %v", err)
	}
	if x := get(t, got); string(x.Payload) != "gone" {
		t.Fatalf("got %+v", x)
	}
}
