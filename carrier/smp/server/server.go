// Package smpserver is the server of SMP as of October 2020: a front on
// [parley/broker]. It accepts connections, reads commands, verifies their
// signatures, has the broker carry them out and writes the responses.
//
// The files follow the flow: accept.go, conn.go (reading), lane.go (order),
// command.go (what each command does), write.go. Its limits and promises are in
// docs/broker.md. Nothing is logged: not a command, not an ID, not an address.
package smpserver

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"

	"parley/broker"
	"parley/carrier/smp"
)

// ErrShutdown is what Serve returns after Shutdown.
var ErrShutdown = errors.New("the server was shut down")

// A Server serves SMP of 2020 from one broker on any number of listeners.
type Server struct {
	b      *broker.Broker
	id     *smp.Identity
	o      Options
	crypto chan struct{} // a place for each expensive private-key operation
	memory budget
	jobs   chan job
	idle   atomic.Int32 // workers without a job
	last   sync.Once    // closes jobs

	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	conns     map[*conn]struct{}
	opening   halfOpen
	open      int                  // connections, handshakes included
	hosts     map[netip.Prefix]int // how many of them are encrypted, by host
	plain     int
	draining  bool
	running   sync.WaitGroup // accept loops, handshakes, connections
}

// New makes a server that proves itself with key, an RSA key of 2048 to 4096
// bits, which may be on a card. b stays the caller's to close.
func New(b *broker.Broker, key crypto.Decrypter, o Options) (*Server, error) {
	o.fill()
	if len(o.Creators) > MaxCreators {
		return nil, fmt.Errorf("%d keys of creators; at most %d are allowed", len(o.Creators), MaxCreators)
	}
	s := &Server{
		b: b, o: o,
		// Strangers' handshakes and CONNs leave half of the machine to others.
		jobs:      make(chan job),
		crypto:    make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
		listeners: make(map[net.Listener]struct{}),
		conns:     make(map[*conn]struct{}),
		hosts:     make(map[netip.Prefix]int),
	}
	s.memory.init(o.Memory)
	s.opening.init()
	var err error
	if s.id, err = smp.NewIdentity(gated{key, s.crypto}); err != nil {
		return nil, err
	}
	return s, nil
}

// gated is a key that works for a few at a time.
type gated struct {
	crypto.Decrypter
	places chan struct{}
}

func (g gated) Decrypt(rand io.Reader, msg []byte, opts crypto.DecrypterOpts) ([]byte, error) {
	g.places <- struct{}{}
	defer func() { <-g.places }()
	return g.Decrypter.Decrypt(rand, msg, opts)
}

// KeyHash returns what clients know the server by.
func (s *Server) KeyHash() smp.KeyHash { return s.id.KeyHash() }

// Connections counts the open connections, handshakes included.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open
}

// Shutdown stops accepting and reading, answers the commands that were received,
// and closes all connections: what is not answered when ctx ends is cut off. A
// HOLD that waits is not answered.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.draining = true
	for l := range s.listeners {
		l.Close()
	}
	for c := range s.conns {
		c.nc.wakeReader()
	}
	s.opening.closeAll()
	s.mu.Unlock()

	done := make(chan struct{})
	go func() {
		s.running.Wait() // who could start a job has ended
		s.last.Do(func() { close(s.jobs) })
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	for c := range s.conns {
		c.kill()
	}
	s.mu.Unlock()
	<-done
	return ctx.Err()
}

func (s *Server) isDraining() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.draining
}
