package client_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"

	"parley/carrier/mqtt/client"
)

// A lossyConn ends after so many bytes, in the middle of whatever they are.
type lossyConn struct {
	net.Conn
	mu   sync.Mutex
	left int
}

func (c *lossyConn) spend(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n = min(n, c.left)
	c.left -= n
	return n
}

func (c *lossyConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if k := c.spend(n); k < n {
		c.Conn.Close()
		return k, err
	}
	return n, err
}

func (c *lossyConn) Write(b []byte) (int, error) {
	if k := c.spend(len(b)); k < len(b) {
		c.Conn.Write(b[:k])
		c.Conn.Close()
		return k, net.ErrClosed
	}
	return c.Conn.Write(b)
}

// lossy dials connections that soon end. A few must be long enough for all that a
// broker sends at once, or nobody would ever get anywhere.
func lossy(most int) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		nc, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &lossyConn{Conn: nc, left: 300 + rand.IntN(most)}, nil
	}
}

// Over connections that end all the time, QoS 1 loses nothing and QoS 2 brings
// everything once, with handlers that fail now and then.
func TestLossy(t *testing.T) {
	brokers(t, func(t *testing.T, m testBroker, v int) {
		for _, qos := range []byte{1, 2} {
			t.Run(fmt.Sprint("qos", qos), func(t *testing.T) {
				count := 300
				if testing.Short() {
					count = 100
				}
				topic := "lossy/" + t.Name()
				o := session(m.broker(), v, fmt.Sprint("lossya", v, qos))
				o.Dial, o.Start = lossy(8000), client.Background
				a := dial(t, o)
				o.ClientID = fmt.Sprint("lossyb", v, qos)
				b := dial(t, o)
				got := make(chan string, 100_000)
				var n int
				check(t, b.Subscribe(wait(t), topic, qos, func(x client.Message) error {
					if n++; n%7 == 0 {
						return fmt.Errorf("no")
					}
					got <- string(x.Payload)
					return nil
				}))
				errs := make(chan error, count)
				few := make(chan struct{}, 8) // at once
				go func() {
					for i := range count {
						few <- struct{}{}
						go func() {
							errs <- a.Publish(wait(t), client.Message{Topic: topic, Payload: fmt.Append(nil, i), QoS: qos})
							<-few
						}()
					}
				}()
				seen := make(map[string]int)
				for len(seen) < count {
					seen[get(t, got)]++
				}
				for range count {
					check(t, get(t, errs))
				}
				check(t, a.Publish(wait(t), client.Message{Topic: topic, Payload: []byte("end"), QoS: qos}))
				for x := get(t, got); x != "end"; x = get(t, got) {
					seen[x]++
				}
				for x, k := range seen {
					if qos == 2 && k != 1 {
						t.Errorf("%s came %d times", x, k)
					}
				}
				shut(a)
				shut(b)
			})
		}
	})
}
