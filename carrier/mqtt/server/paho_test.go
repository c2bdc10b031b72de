package server

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	old "github.com/eclipse/paho.mqtt.golang"
)

// A collector keeps what a client got.
type collector struct {
	mu  sync.Mutex
	got []string
}

func (c *collector) add(s string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got = append(c.got, s)
}

func (c *collector) all() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.got)
}

// The client of 3.1.1 reconnects by itself after a restart of the broker on the same
// port and loses nothing of what is published with QoS 1 and 2.
func TestPahoClient311(t *testing.T) {
	b := start(t, Options{})
	var got collector
	client := func(id string) old.Client {
		o := old.NewClientOptions().AddBroker("tcp://" + b.addr).SetClientID(id).SetCleanSession(false).
			SetAutoReconnect(true).SetMaxReconnectInterval(50 * time.Millisecond).SetConnectRetry(true).SetOrderMatters(true).
			SetConnectRetryInterval(20 * time.Millisecond)
		o.SetDefaultPublishHandler(func(_ old.Client, m old.Message) { got.add(string(m.Payload())) })
		c := old.NewClient(o)
		token(t, c.Connect())
		t.Cleanup(func() { c.Disconnect(100) })
		return c
	}
	sub, pub := client("sub"), client("pub")
	token(t, sub.Subscribe("p/#", 2, nil))
	const n = 60
	var tokens []old.Token
	for i := range n {
		if i == n/2 {
			addr := b.addr
			b.stop()
			b.openAt(addr)
		}
		tokens = append(tokens, pub.Publish("p/x", byte(1+i%2), false, strconv.Itoa(i)))
	}
	for _, x := range tokens {
		token(t, x)
	}
	waitFor(t, "all messages", func() bool { return distinct(got.all()) == n })
}

func token(t *testing.T, x old.Token) {
	t.Helper()
	if !x.WaitTimeout(patience) {
		t.Fatal("no answer")
	}
	if err := x.Error(); err != nil {
		t.Fatal(err)
	}
}

func distinct(list []string) int {
	slices.Sort(list)
	return len(slices.Compact(list))
}

// openAt opens the broker again on the address that it had.
func (b *broker) openAt(addr string) {
	b.t.Helper()
	s, err := New(b.o)
	if err != nil {
		b.t.Fatal(err)
	}
	b.s = s
	l := listenAgain(b.t, addr)
	b.addr, b.served = addr, make(chan error, 1)
	go func() { b.served <- s.Serve(l) }()
}

// The client of MQTT 5, likewise.
func TestPahoClient5(t *testing.T) {
	b := start(t, Options{})
	var got collector
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	defer cancel()
	u, err := url.Parse("mqtt://" + b.addr)
	if err != nil {
		t.Fatal(err)
	}
	client := func(id string) *autopaho.ConnectionManager {
		c, err := autopaho.NewConnection(ctx, autopaho.ClientConfig{
			ServerUrls: []*url.URL{u}, KeepAlive: 20, SessionExpiryInterval: 1000,
			ReconnectBackoff: func(int) time.Duration { return 20 * time.Millisecond },
			ClientConfig: paho.ClientConfig{ClientID: id, OnPublishReceived: []func(paho.PublishReceived) (bool, error){
				func(p paho.PublishReceived) (bool, error) { got.add(string(p.Packet.Payload)); return true, nil },
			}},
		})
		if err == nil {
			err = c.AwaitConnection(ctx)
		}
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	sub, pub := client("sub"), client("pub")
	if _, err := sub.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "p/#", QoS: 2}}}); err != nil {
		t.Fatal(err)
	}
	const n = 60
	for i := range n {
		if i == n/2 {
			addr := b.addr
			b.stop()
			b.openAt(addr)
		}
		for {
			err := pub.AwaitConnection(ctx)
			if err == nil {
				_, err = pub.Publish(ctx, &paho.Publish{Topic: "p/x", QoS: byte(1 + i%2), Payload: []byte(fmt.Sprint(i)),
					Properties: &paho.PublishProperties{User: paho.UserProperties{{Key: "k", Value: "v"}}}})
			}
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				t.Fatal(err)
			}
		}
	}
	waitFor(t, "all messages", func() bool { return distinct(got.all()) == n })
	for _, c := range []*autopaho.ConnectionManager{sub, pub} {
		if err := c.Disconnect(ctx); err != nil {
			t.Error(err)
		}
		<-c.Done()
	}
}
