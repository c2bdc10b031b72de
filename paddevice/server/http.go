package server

import (
	"io"
	stdlog "log"
	"net"
	"net/http"
	"sync"
	"time"

	"parley/internal/term"
	"parley/paddevice"
)

// Bounds of what a client can make the device hold. A question may wait for minutes, so
// nothing bounds the time between a request and its reply but the question's own.
const (
	headerTime = 10 * time.Second
	bodyTime   = 60 * time.Second
	replyTime  = 60 * time.Second
	idleTime   = 2 * time.Minute
	maxConns   = 64
	maxHeader  = 16 << 10
	largeBody  = 256 << 10
	maxLarge   = 2
)

// large are the places for long bodies, which the device holds several times over.
var large = make(chan struct{}, maxLarge)

func httpServer(h http.HandlerFunc) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: headerTime, IdleTimeout: idleTime, MaxHeaderBytes: maxHeader,
		ErrorLog: quiet, // a client's noise is not for the terminal
	}
}

// readBody reads a request's body, within bounds of time and room. When it returns an
// error the answer has been given.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	c := http.NewResponseController(w)
	c.SetReadDeadline(time.Now().Add(bodyTime))
	if r.ContentLength < 0 || r.ContentLength > largeBody {
		select {
		case large <- struct{}{}:
			defer func() { <-large }()
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, paddevice.MaxRequest))
	if err != nil {
		http.Error(w, "the body is too long, or has not come whole", http.StatusRequestEntityTooLarge)
		return nil, err
	}
	c.SetReadDeadline(time.Time{}) // from here on only a client that goes ends it
	return b, nil
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
