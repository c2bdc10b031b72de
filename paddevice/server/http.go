package server

import (
	"context"
	"errors"
	"io"
	stdlog "log"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"parley/internal/term"
	"parley/paddevice"
)

// Bounds of what a client can make the device hold. A question may wait for minutes, so
// nothing bounds the time between a request and its reply but the question's own.
const (
	headerTime = 10 * time.Second
	restTime   = 5 * time.Second
	slowest    = 128 << 10 // bytes a second
	replyTime  = 60 * time.Second
	idleTime   = 2 * time.Minute
	maxConns   = 64
	maxHeader  = 16 << 10
	largeBody  = 256 << 10
)

// places are for long bodies, which are held several times over while they are read. A
// stranger of the paired channel has none, and sends nothing long.
type places []chan struct{}

var (
	rpcLarge    = places{make(chan struct{}, 1)} // whoever reaches the RPC: they wait for each other
	pairedLarge = &clientPlaces{all: make(chan struct{}, 2), by: map[[32]byte]chan struct{}{}}
)

// clientPlaces has one place for each client, and two for all.
type clientPlaces struct {
	all chan struct{}
	mu  sync.Mutex
	by  map[[32]byte]chan struct{}
}

func (c *clientPlaces) of(client [32]byte) places {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.by[client] == nil {
		c.by[client] = make(chan struct{}, 1)
	}
	return places{c.by[client], c.all}
}

// take waits for a place, the client's own first.
func (p places) take(ctx context.Context) (release func(), err error) {
	taken := 0
	release = sync.OnceFunc(func() {
		for _, one := range p[:taken] {
			<-one
		}
	})
	for _, one := range p {
		select {
		case one <- struct{}{}:
			taken++
		case <-ctx.Done():
			release()
			return nil, context.Cause(ctx)
		}
	}
	return release, nil
}

func httpServer(h http.HandlerFunc) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: headerTime, IdleTimeout: idleTime, MaxHeaderBytes: maxHeader,
		ErrorLog: quiet, // a client's noise is not for the terminal
	}
}

// readBody reads a request's body, within bounds of time and room. Without large places it
// has to be short. release is called when the body is not needed any more. When there is
// an error the answer has been given.
func readBody(w http.ResponseWriter, r *http.Request, large places) (body []byte, release func(), err error) {
	release = func() {}
	most := int64(paddevice.MaxRequest)
	switch long := r.ContentLength < 0 || r.ContentLength > largeBody; {
	case large == nil:
		most = maxHeader
	case long:
		if release, err = large.take(r.Context()); err != nil {
			return nil, nil, err
		}
	}
	if body, err = readAll(w, r, most); err != nil {
		release()
		http.Error(w, "the body is too long, or has not come whole, or too slowly", http.StatusRequestEntityTooLarge)
		return nil, nil, err
	}
	http.NewResponseController(w).SetReadDeadline(time.Time{}) // from here on only a client that goes ends it
	return body, release, nil
}

// readAll reads as long as a client keeps sending: it may not rest for restTime, nor fall
// below slowest when a headerTime is over.
func readAll(w http.ResponseWriter, r *http.Request, most int64) ([]byte, error) {
	c := http.NewResponseController(w)
	from := http.MaxBytesReader(w, r.Body, most)
	begin := time.Now()
	b := make([]byte, 0, min(max(r.ContentLength, 512), most)+1)
	for {
		late := begin.Add(headerTime + time.Duration(len(b))*time.Second/slowest)
		if rest := time.Now().Add(restTime); rest.Before(late) {
			late = rest
		}
		c.SetReadDeadline(late)
		if len(b) == cap(b) {
			b = slices.Grow(b, len(b))
		}
		n, err := from.Read(b[len(b):min(cap(b), len(b)+64<<10)])
		b = b[:len(b)+n]
		if errors.Is(err, io.EOF) {
			return b, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func reply(w http.ResponseWriter, status int, v any) {
	b, err := term.JSON(v)
	if err != nil {
		http.Error(w, "no reply", http.StatusInternalServerError)
		return
	}
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(replyTime))
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	w.Write(append(b, '\n'))
}

// limited is a listener that accepts no more than maxConns connections at a time: others
// are closed at once, so that a client is told.
type limited struct {
	net.Listener
	slots chan struct{}
}

func limit(l net.Listener) net.Listener { return &limited{l, make(chan struct{}, maxConns)} }

func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case l.slots <- struct{}{}:
			return &slotted{Conn: c, free: sync.OnceFunc(func() { <-l.slots })}, nil
		default:
			c.Close()
		}
	}
}

type slotted struct {
	net.Conn
	free func()
}

func (c *slotted) Close() error {
	c.free()
	return c.Conn.Close()
}

var quiet = stdlog.New(io.Discard, "", 0)
