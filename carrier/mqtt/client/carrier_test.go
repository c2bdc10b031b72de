package client_test

import (
	"context"
	"fmt"
	"testing"

	"parley"
	"parley/carrier/mqtt"
	"parley/carrier/mqtt/client"
	"parley/parleytest"
)

func quickClient(t testing.TB, o client.ClientOptions) *client.Client {
	q := quick(mqtt.Broker{})
	o.BackoffMin, o.BackoffMax, o.Displaced, o.RetryMin, o.RetryMax = q.BackoffMin, q.BackoffMax, q.Displaced, q.RetryMin, q.RetryMax
	c := client.New(o)
	t.Cleanup(func() { c.Close() })
	return c
}

// The conformance suite: both versions, both QoS, against Mosquitto with
// persistence and against the broker of our own.
func TestCarrier(t *testing.T) {
	for name, start := range map[string]func(t testing.TB) testBroker{
		"embedded":  func(t testing.TB) testBroker { return newEmbedded(t) },
		"mosquitto": func(t testing.TB) testBroker { return newMosquitto(t) },
	} {
		t.Run(name, func(t *testing.T) {
			versions(t, func(t *testing.T, v int) {
				for qos := byte(1); qos <= 2; qos++ {
					if testing.Short() && int(qos) != v-3 {
						continue
					}
					t.Run(fmt.Sprint("qos", qos), func(t *testing.T) {
						parleytest.Carrier(t, func(t *testing.T) parleytest.CarrierFixture {
							m := start(t)
							o := client.ClientOptions{Version: v, QoS: qos}
							return parleytest.CarrierFixture{
								Carrier: apart{quickClient(t, o), new(int)}, Other: quickClient(t, o),
								At:      mqtt.Address{Broker: m.broker(), Topic: "suite"}.Parley(),
								Restart: m.restart, Duplicates: true,
							}
						})
					})
				}
			})
		})
	}
}

// apart claims a topic of its own each time: the suite's At is a server at which a
// mailbox is made; a topic is a full address, which all who claim it share.
type ctx = context.Context

type apart struct {
	*client.Client
	n *int
}

func (c apart) Claim(ctx ctx, at parley.Address) (parley.Endpoint, error) {
	*c.n++
	return c.Client.Claim(ctx, at+parley.Address(fmt.Sprint("/", *c.n)))
}
