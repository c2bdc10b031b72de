// Package server is an MQTT broker (OASIS MQTT 3.1.1 and 5.0, and 3.1) that keeps
// what it has acknowledged: PUBACK and PUBREC go out when the message is on the
// disk in the queue of every persistent session that it matches.
//
// It knows nothing of what it carries. docs/mqtt-broker.md says what it supports,
// what is durable when, and what its limits are.
package server

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// ErrShutdown is what Serve returns after Shutdown.
var ErrShutdown = errors.New("mqtt: the broker is shut down")

// ErrPublic refuses a listener that others could reach while nobody has said who
// may connect.
var ErrPublic = errors.New("mqtt: without users, everybody who reaches the broker may do everything: " +
	"listen on 127.0.0.1 or [::1], name users, or allow anonymous clients")

// A Server is a broker.
type Server struct {
	o      Options
	lock   io.Closer
	stats  counters
	hub    atomic.Pointer[hub]
	stop   context.CancelFunc
	ground sync.WaitGroup // what runs in the background
	once   sync.Once
	err    error

	mu         sync.Mutex
	draining   bool
	listeners  map[net.Listener]struct{}
	conns      map[*conn]*list.Element // in connecting, or nil
	hosts      map[string]hostCount
	connecting list.List // *conn, the oldest first
	serving    sync.WaitGroup
}

// New opens the broker's state and starts what runs in the background. A damaged
// or locked folder is an error. What a crash has torn off the end of the log was
// acknowledged to nobody.
func New(o Options) (*Server, error) {
	o = o.withDefaults()
	if o.Dir == "" {
		return nil, errors.New("mqtt: no folder for the broker's state")
	}
	if err := o.FS.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("mqtt: %w", err)
	}
	if o.FS == vfs.Default {
		if err := os.Chmod(o.Dir, 0o700); err != nil {
			return nil, fmt.Errorf("mqtt: %w", err)
		}
	}
	lock, err := o.FS.Lock(o.FS.PathJoin(o.Dir, "LOCK"))
	if err != nil {
		return nil, fmt.Errorf("mqtt: cannot lock %s: is another broker using it? (%w)", o.Dir, err)
	}
	s := &Server{o: o, lock: lock, listeners: make(map[net.Listener]struct{}), conns: make(map[*conn]*list.Element), hosts: make(map[string]hostCount)}
	h, err := newHub(&s.o, &s.stats)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("mqtt: cannot open %s: %w", o.Dir, err), lock.Close())
	}
	s.hub.Store(h)
	var ctx context.Context
	ctx, s.stop = context.WithCancel(context.Background())
	s.ground.Go(func() { s.supervise(ctx, h) })
	return s, nil
}

// Tries to open the disk again after a failure, in the worst case.
const (
	retryFirst = 200 * time.Millisecond
	retryLast  = 30 * time.Second
)

// supervise runs lives of the state: when the disk fails, all connections are
// closed, and a new life begins as soon as the disk can be opened.
func (s *Server) supervise(ctx context.Context, h *hub) {
	for {
		life, end := context.WithCancel(ctx)
		var with sync.WaitGroup
		with.Go(func() { h.watch(life) })
		with.Go(func() { h.scrubs(life) })
		select {
		case <-ctx.Done():
		case <-h.disk.failed:
		}
		end()
		with.Wait()
		if ctx.Err() != nil {
			return
		}
		s.hub.Store(nil)
		s.o.Trouble("the broker's store failed", h.disk.cause)
		s.closeAll()
		h.disk.close()
		if h = s.reopen(ctx); h == nil {
			return
		}
		s.hub.Store(h)
	}
}

func (s *Server) reopen(ctx context.Context) *hub {
	for wait := retryFirst; ; wait = min(2*wait, retryLast) {
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-t.C:
		}
		h, err := newHub(&s.o, &s.stats)
		if err == nil {
			return h
		}
		s.o.Trouble("the broker's store cannot be opened again", err)
	}
}

// life returns the state, or nil while there is none.
func (s *Server) life() *hub {
	h := s.hub.Load()
	if h == nil {
		return nil
	}
	select {
	case <-h.disk.failed:
		return nil
	default:
		return h
	}
}

// Shutdown stops accepting, answers what was received, tells clients of MQTT 5
// that the broker ends (0x8B), closes all connections and then the store. When
// ctx ends before, connections are cut. It may be repeated.
func (s *Server) Shutdown(ctx context.Context) error {
	s.once.Do(func() {
		s.mu.Lock()
		s.draining = true
		for l := range s.listeners {
			l.Close()
		}
		var all []*conn
		for c := range s.conns {
			all = append(all, c)
		}
		s.mu.Unlock()
		for _, c := range all {
			c.drain()
		}
		served := make(chan struct{})
		go func() { s.serving.Wait(); close(served) }()
		select {
		case <-served:
		case <-ctx.Done():
			s.closeAll()
			<-served
		}
		s.stop()
		s.ground.Wait()
		if h := s.hub.Load(); h != nil {
			s.err = h.close()
		}
		s.err = errors.Join(s.err, s.lock.Close())
	})
	return s.err
}

func (s *Server) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.cut()
	}
}
