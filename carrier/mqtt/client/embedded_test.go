package client_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"parley/carrier/mqtt"
	"parley/carrier/mqtt/server"
)

// A testBroker is a real one, which can be stopped and started again.
type testBroker interface {
	broker() mqtt.Broker
	start()
	stop()    // in good order: it keeps everything
	restart() // both
}

// An embedded broker is Parley's own.
type embedded struct {
	t      testing.TB
	o      server.Options
	port   int
	s      *server.Server
	served chan error
}

func newEmbedded(t testing.TB) *embedded { return newEmbeddedWith(t, server.Options{}) }

func newEmbeddedWith(t testing.TB, o server.Options) *embedded {
	t.Helper()
	o.Dir, o.Limits.Packet = t.TempDir(), 8<<20
	b := &embedded{t: t, o: o, port: freePort(t)}
	b.start()
	t.Cleanup(func() {
		if b.s != nil {
			b.stop()
		}
	})
	return b
}

func (b *embedded) start() {
	b.t.Helper()
	s, err := server.New(b.o)
	check(b.t, err)
	l, err := net.Listen("tcp", b.broker().HostPort())
	check(b.t, err)
	b.s, b.served = s, make(chan error, 1)
	go func() { b.served <- s.Serve(l) }()
}

func (b *embedded) stop() {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	check(b.t, b.s.Shutdown(ctx))
	if err := <-b.served; !errors.Is(err, server.ErrShutdown) {
		b.t.Errorf("Serve: %v", err)
	}
	b.s = nil
}

func (b *embedded) restart() {
	b.stop()
	b.start()
}

func (b *embedded) broker() mqtt.Broker { return mqtt.Broker{Host: "127.0.0.1", Port: uint16(b.port)} }

// brokers runs a test on both, in both versions of the protocol. Without Mosquitto
// one half is skipped.
func brokers(t *testing.T, f func(t *testing.T, m testBroker, version int)) {
	for name, start := range map[string]func(t testing.TB) testBroker{
		"embedded":  func(t testing.TB) testBroker { return newEmbedded(t) },
		"mosquitto": func(t testing.TB) testBroker { return newMosquitto(t) },
	} {
		t.Run(name, func(t *testing.T) {
			m := start(t)
			versions(t, func(t *testing.T, v int) { f(t, m, v) })
		})
	}
}
