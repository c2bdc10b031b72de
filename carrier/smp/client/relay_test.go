package smpclient_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"net"
	"sync"
	"testing"
	"time"

	"parley"
	"parley/broker"
	"parley/carrier/smp"
	smpclient "parley/carrier/smp/client"
	smpserver "parley/carrier/smp/server"
	"parley/parleytest"
)

var relayKey = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

// A relay is the real server front on a broker with a store in memory.
type relay struct {
	t      testing.TB
	b      *broker.Broker
	plain  bool
	o      smpserver.Options
	addr   string // of the listener, the same after each restart
	server *smpserver.Server
	served chan error
}

func newRelay(t testing.TB, plain bool, bo broker.Options, so smpserver.Options) *relay {
	t.Helper()
	r := &relay{t: t, plain: plain, o: so, addr: "127.0.0.1:0", b: broker.New(parleytest.NewStore(), bo)}
	r.start()
	t.Cleanup(func() {
		r.stop()
		r.b.Close()
	})
	return r
}

func (r *relay) start() {
	r.t.Helper()
	l, err := net.Listen("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.addr = l.Addr().String()
	if r.server, err = smpserver.New(r.b, relayKey(), r.o); err != nil {
		r.t.Fatal(err)
	}
	r.served = make(chan error, 1)
	go func(s *smpserver.Server, served chan error) {
		if r.plain {
			served <- s.ServePlain(l)
		} else {
			served <- s.Serve(l)
		}
	}(r.server, r.served)
}

func (r *relay) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := r.server.Shutdown(ctx); err != nil {
		r.t.Error(err)
	}
	<-r.served
}

func (r *relay) restart() {
	r.stop()
	r.start()
}

func (r *relay) address() parley.Address {
	host, port, err := smp.SplitHostPort(r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	s := smp.Server{Host: host, Port: port, Plain: r.plain}
	if !r.plain {
		s.KeyHash = r.server.KeyHash()
	}
	return parley.Address(s.String())
}

func newClient(t testing.TB, o smpclient.Options) *smpclient.Client {
	c := smpclient.New(o)
	t.Cleanup(func() { c.Close() })
	return c
}

// quick lets a client find a restarted relay soon.
var quick = smpclient.Options{BackoffMin: 5 * time.Millisecond, BackoffMax: 50 * time.Millisecond}

func withTimeout(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}
