package server

import (
	"context"
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("PARLEY_TEST_BROKER"); dir != "" {
		childBroker(dir)
		return
	}
	if os.Getenv(leaky) != "" {
		os.Exit(m.Run())
	}
	goleak.VerifyTestMain(m)
}

// leaky is set for the process in which a disk fails: the database's goroutines that
// wait for such a disk are held for good.
const leaky = "PARLEY_TEST_LEAKY"

// patience is how long tests wait for what should come at once.
const patience = 10 * time.Second

// A broker under test can be restarted.
type broker struct {
	t    testing.TB
	o    Options
	s    *Server
	addr string

	served chan error
}

func start(t testing.TB, o Options) *broker {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	b := &broker{t: t, o: o}
	b.open()
	t.Cleanup(func() {
		if b.s != nil {
			b.stop()
		}
	})
	return b
}

func (b *broker) open() {
	b.t.Helper()
	s, err := New(b.o)
	if err != nil {
		b.t.Fatal(err)
	}
	b.s = s
	b.addr, b.served = serve(b.t, s)
}

// serve serves a new listener, until Shutdown; the channel yields what Serve returns.
func serve(t testing.TB, s *Server) (string, chan error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	return l.Addr().String(), served
}

func (b *broker) stop() {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := b.s.Shutdown(ctx); err != nil {
		b.t.Errorf("Shutdown: %v", err)
	}
	if err := <-b.served; !errors.Is(err, ErrShutdown) {
		b.t.Errorf("Serve: %v", err)
	}
	b.s = nil
}

func (b *broker) restart() {
	b.t.Helper()
	b.stop()
	b.open()
}

// until waits for something that shows in the counts.
func (b *broker) until(what string, ok func(Stats) bool) {
	b.t.Helper()
	waitFor(b.t, what, func() bool { return ok(b.s.Stats()) })
}

func waitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(patience); !ok(); {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("no %s", what)
		}
	}
}

// both runs a test with 3.1.1 and 5.
func both(t *testing.T, f func(t *testing.T, v byte)) {
	for _, v := range []byte{v311, v5} {
		t.Run(map[byte]string{v311: "3.1.1", v5: "5"}[v], func(t *testing.T) { f(t, v) })
	}
}

// listenAgain listens where a listener has just been closed.
func listenAgain(t testing.TB, addr string) (l net.Listener) {
	t.Helper()
	waitFor(t, "free port", func() (ok bool) {
		var err error
		l, err = net.Listen("tcp", addr)
		return err == nil
	})
	return l
}
