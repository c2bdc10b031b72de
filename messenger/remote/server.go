package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"parley/messenger"
)

// A Server lets other processes use api.
type Server struct {
	api     messenger.API
	profile string
	more    Sentinels

	ctx  context.Context // ends when the grace of Shutdown is over
	stop context.CancelFunc
	slow context.Context // for what waits without changing anything: ends at once
	drop context.CancelFunc

	mu      sync.Mutex
	closing bool
	ln      net.Listener
	peers   map[*peer]bool
	done    sync.WaitGroup // peers
	calls   sync.WaitGroup // requests under way, on all connections
}

// NewServer makes a server for api; profile is told to clients, for their texts.
func NewServer(api messenger.API, profile string, more Sentinels) *Server {
	s := &Server{api: api, profile: profile, more: more, peers: make(map[*peer]bool)}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.slow, s.drop = context.WithCancel(s.ctx)
	return s
}

// Serve takes connections from l until Shutdown, then returns nil. Connections
// of other users and those beyond MaxClients are closed.
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		l.Close()
		return nil
	}
	s.ln = l
	s.mu.Unlock()
	for {
		conn, err := l.Accept()
		if err != nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.closing {
				return nil
			}
			return fmt.Errorf("socket: %w", err)
		}
		if sameUser(conn) != nil {
			conn.Close()
			continue
		}
		go s.ServeConn(conn)
	}
}

// ServeConn serves one connection until it ends.
func (s *Server) ServeConn(conn net.Conn) {
	defer conn.Close()
	p := &peer{s: s, wire: newWire(conn), running: make(map[uint64]context.CancelFunc), shows: make(map[uint64]chan *frame)}
	s.mu.Lock()
	if s.closing || len(s.peers) >= MaxClients {
		s.mu.Unlock()
		return
	}
	s.peers[p] = true
	s.done.Add(1)
	s.mu.Unlock()
	p.serve()
	s.mu.Lock()
	delete(s.peers, p)
	s.mu.Unlock()
	s.done.Done()
}

// Shutdown ends the server: no new connection and no new request is taken, what
// only waits ends with ErrClosing, what changes something is finished until ctx
// ends; then the connections close. The messenger stays open.
func (s *Server) Shutdown(ctx context.Context) {
	s.mu.Lock()
	s.closing = true
	if s.ln != nil {
		s.ln.Close()
	}
	s.mu.Unlock()
	s.drop()
	finished := make(chan struct{})
	go func() {
		s.calls.Wait()
		close(finished)
	}()
	orderly := true
	select {
	case <-finished:
	case <-ctx.Done():
		orderly = false
	}
	s.stop()
	s.mu.Lock()
	peers := slices.Collect(maps.Keys(s.peers))
	s.mu.Unlock()
	var byes sync.WaitGroup
	for _, p := range peers {
		byes.Go(func() {
			if orderly { // whatever is not answered by now was never begun
				p.wire.write(&frame{Method: "bye"})
			}
			p.wire.conn.Close()
		})
	}
	byes.Wait()
	s.done.Wait()
	<-finished
}

// begin counts a request in, unless the server is closing.
func (s *Server) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	s.calls.Add(1)
	return true
}

// A peer is one connection.
type peer struct {
	s    *Server
	wire *wire

	mu      sync.Mutex
	running map[uint64]context.CancelFunc // requests of theirs, by ID
	shows   map[uint64]chan *frame        // requests of ours, by ID
	next    uint64
}

func (p *peer) serve() {
	ctx, cancel := context.WithCancel(p.s.ctx)
	var calls sync.WaitGroup
	defer calls.Wait()
	defer cancel()
	// Somebody who connects and says nothing does not stay.
	p.wire.conn.SetReadDeadline(time.Now().Add(helloTimeout))
	greeted := false
	for {
		f, err := p.wire.read()
		if err != nil {
			switch {
			case errors.Is(err, errInvalid):
				p.wire.put(lastWord{"2.0", nil, &Error{Code: codeParse, Message: err.Error()}})
			case errors.Is(err, errLong):
				p.wire.put(lastWord{"2.0", nil, &Error{Code: codeRequest, Message: err.Error()}})
			}
			return
		}
		switch {
		case f.Method == "" && f.ID == nil:
			return // the client could not read what we sent
		case f.Method == "":
			p.answered(f)
		case f.ID == nil:
			p.notified(f)
		case !greeted:
			if !p.greet(f) {
				return
			}
			greeted = true
			p.wire.conn.SetReadDeadline(time.Time{})
		default:
			p.begin(ctx, &calls, f)
		}
	}
}

// greet answers the first request, which must be hello with our version.
func (p *peer) greet(f *frame) bool {
	var h Hello
	if f.Method != "hello" || decode(f.Params, &h) != nil {
		p.fail(*f.ID, &Error{Code: codeRequest, Message: "say hello first"})
		return false
	}
	if h.Version != Version {
		p.fail(*f.ID, fmt.Errorf("%w: it speaks version %d", ErrVersion, Version))
		return false
	}
	p.reply(*f.ID, Hello{Version: Version, PID: os.Getpid(), Profile: p.s.profile})
	return true
}

// begin starts a request of its own goroutine.
func (p *peer) begin(ctx context.Context, calls *sync.WaitGroup, f *frame) {
	id := *f.ID
	m, ok := methods[f.Method]
	if !ok {
		p.fail(id, &Error{Code: codeMethod, Message: "no such method: " + f.Method})
		return
	}
	if !p.s.begin() {
		p.fail(id, ErrClosing)
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	p.mu.Lock()
	_, twice := p.running[id]
	full := len(p.running) >= MaxRequests
	if !twice && !full {
		p.running[id] = cancel
	}
	p.mu.Unlock()
	if twice || full {
		cancel()
		p.s.calls.Done()
		text := fmt.Sprintf("more than %d requests under way", MaxRequests)
		if twice {
			text = "the ID of a request that is still under way"
		}
		p.fail(id, &Error{Code: codeRequest, Message: text})
		return
	}
	release := func() bool { return true }
	if m.waits {
		release = context.AfterFunc(p.s.slow, cancel)
	}
	calls.Add(1)
	go func() {
		defer calls.Done()
		defer p.s.calls.Done()
		result, err := m.do(ctx, p.s.api, &request{p, id, f.Params})
		if err != nil && m.waits && p.s.slow.Err() != nil {
			err = ErrClosing
		}
		p.mu.Lock()
		delete(p.running, id)
		p.mu.Unlock()
		release()
		cancel()
		if err != nil {
			p.fail(id, err)
			return
		}
		p.reply(id, result)
	}()
}

// notified handles "cancel", the only notification a client sends.
func (p *peer) notified(f *frame) {
	var s streamed
	if f.Method != "cancel" || decode(f.Params, &s) != nil {
		return // JSON-RPC 2.0: a notification is never answered
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if cancel, ok := p.running[s.Stream]; ok {
		cancel()
	}
}

// answered gives a response to the show that waits for it.
func (p *peer) answered(f *frame) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c, ok := p.shows[*f.ID]; ok {
		delete(p.shows, *f.ID)
		c <- f // has room for one
	}
}

func (p *peer) reply(id uint64, result any) {
	err := p.wire.write(&frame{ID: &id, Result: encode(result)})
	if errors.Is(err, errLong) {
		p.fail(id, err)
	}
}

func (p *peer) fail(id uint64, err error) {
	p.wire.write(&frame{ID: &id, Error: toWire(err, p.s.more)})
}

// A request is what a method may know of the one that asked.
type request struct {
	p      *peer
	id     uint64
	params json.RawMessage
}

// send makes a notification that belongs to the request.
func (r *request) send(method string, v any) error {
	return r.p.wire.write(&frame{Method: method, Params: encode(streamed{r.id, encode(v)})})
}

// show asks the client to show m and waits for its answer.
func (r *request) show(ctx context.Context, m messenger.Message) error {
	c := make(chan *frame, 1)
	r.p.mu.Lock()
	r.p.next++
	id := r.p.next
	r.p.shows[id] = c
	r.p.mu.Unlock()
	defer func() {
		r.p.mu.Lock()
		delete(r.p.shows, id)
		r.p.mu.Unlock()
	}()
	err := r.p.wire.write(&frame{ID: &id, Method: "show", Params: encode(streamed{r.id, encode(m)})})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrGone, err)
	}
	timer := time.NewTimer(showTimeout)
	defer timer.Stop()
	select {
	case f := <-c:
		if f.Error != nil {
			return f.Error
		}
		return nil
	case <-timer.C:
		return fmt.Errorf("%w: a message was not shown within %v", ErrSlow, showTimeout)
	case <-ctx.Done():
		select {
		case f := <-c: // it was shown first
			if f.Error == nil {
				return nil
			}
		default:
		}
		return context.Cause(ctx)
	}
}
