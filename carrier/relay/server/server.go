// Package server is One Time Chat's message relay as a service (seeds/one-time-chat
// §6.5), durable, with mailboxes that belong to somebody and with limits. It keeps
// packets that it cannot read and links nothing that could. docs/otc-relay.md describes
// what it answers.
package server

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"time"

	"parley/internal/frontlimit"
)

// ErrShutdown is what [Server.Serve] returns after [Server.Shutdown].
var ErrShutdown = errors.New("the relay is shut down")

// Options say how a relay behaves.
type Options struct {
	Dir string // its folder; made, mode 0700
	// Mischief serves /mischief, with which everybody can drop, corrupt, repeat and
	// swap messages: for tests of clients.
	Mischief bool
	Metrics  bool           // GET /metrics for all, not only for loopback clients
	Proxies  []netip.Prefix // whose X-Forwarded-For is believed
	Limits   Limits
	Now      func() time.Time             // nil: the wall clock
	Trouble  func(what string, err error) // told of the machine's faults, never of clients; nil: nobody
}

// A Server is a running relay.
type Server struct {
	o       Options
	store   store
	waiting *waiting
	limits  *limiters
	counts  counts
	told    sync.Map // with Mischief: by mailbox, the highest number that a client of ours knows
	http    *http.Server

	ctx   context.Context
	stop  context.CancelFunc
	begin sync.Once
	tasks sync.WaitGroup
	once  sync.Once
	err   error
}

// quiet keeps what net/http says of clients out of the log.
var quiet = log.New(io.Discard, "", 0)

// maxHeader bounds the header of a request in bytes (net/http adds 4 KiB to it).
const maxHeader = 8 << 10

// New opens a relay. Serve starts it; Shutdown ends all.
func New(o Options) (*Server, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Trouble == nil {
		o.Trouble = func(string, error) {}
	}
	o.Limits = o.Limits.withDefaults()
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, err
	}
	s := &Server{o: o, waiting: newWaiting(o.Limits.Waiting), limits: newLimiters(o.Limits)}
	var err error
	if s.store, err = openStore(o.Dir); err != nil {
		return nil, err
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.http = &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: o.Limits.Header, ReadTimeout: o.Limits.Read, WriteTimeout: o.Limits.Write, IdleTimeout: o.Limits.Idle,
		MaxHeaderBytes: maxHeader, ErrorLog: quiet,
	}
	return s, nil
}

// Serve answers on a listener until Shutdown; then the error is [ErrShutdown].
func (s *Server) Serve(l net.Listener) error {
	s.begin.Do(func() {
		s.tasks.Go(func() { s.store.SweepHourly(s.ctx, s.sweep, s.trouble("the sweep of One Time Chat's relay")) })
		s.tasks.Go(func() { s.store.RunCheckpoints(s.ctx, s.trouble("the database of One Time Chat's relay")) })
	})
	err := s.http.Serve(frontlimit.Listen(l, frontlimit.Conns{
		All: s.o.Limits.Connections, PerNetwork: s.o.Limits.ConnectionsPerHost, Proxies: s.o.Proxies, Refused: func() { s.counts.limited.Add(1) },
	}))
	if errors.Is(err, http.ErrServerClosed) {
		return ErrShutdown
	}
	return err
}

// trouble tells of faults of one thing.
func (s *Server) trouble(what string) func(error) {
	return func(err error) { s.o.Trouble(what, err) }
}

// Shutdown answers those who wait for messages, lets requests under way end, until ctx
// does, and closes everything. It may be repeated.
func (s *Server) Shutdown(ctx context.Context) error {
	s.once.Do(func() {
		s.stop()
		if s.http.Shutdown(ctx) != nil {
			s.http.Close() // cutting off those who are slow is part of the plan
		}
		s.tasks.Wait()
		s.err = s.store.Close()
	})
	return s.err
}
