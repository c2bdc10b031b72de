package server

import (
	"errors"
	"io"
	"log"
	"net/http"
	"slices"
	"strings"

	"parley/internal/groupdb"
	"parley/keydir"
)

// maxHeader bounds the header of a request in bytes (net/http adds 4 KiB to it).
const maxHeader = 16 << 10

// quiet keeps what net/http says of clients out of the log.
var quiet = log.New(io.Discard, "", 0)

// methods are the answers of one path to its methods. GET serves HEAD, too.
type methods map[string]http.HandlerFunc

func (m methods) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := r.Method
	if name == http.MethodHead {
		name = http.MethodGet
	}
	if f := m[name]; f != nil {
		f(w, r)
		return
	}
	var allowed []string
	for _, name := range []string{http.MethodGet, http.MethodPost} {
		if m[name] != nil {
			allowed = append(allowed, name)
		}
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	w.WriteHeader(http.StatusMethodNotAllowed) // without a body, as the original
}

// handler is the whole surface.
func (d *Directory) handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer") // a link's token is in its address
		h.Set("X-Frame-Options", "DENY")
		h.Set("Content-Security-Policy", policy)
		r.Body = http.MaxBytesReader(w, r.Body, keydir.MaxBody)
		path := d.path(r)
		if !slices.Equal(path, healthPath) && d.limited(w, r, d.limits.lookups) {
			return
		}
		if m := d.route(path, r); m != nil {
			m.ServeHTTP(w, r)
			return
		}
		d.fail(w, errNotFound)
	})
}

var healthPath = []string{"healthz"}

// body reads the whole body; what is too long is answered with 413, what does not
// come with 400.
func body(w http.ResponseWriter, r *http.Request) ([]byte, bool) {
	b, err := io.ReadAll(r.Body)
	var long *http.MaxBytesError
	switch {
	case err == nil:
		return b, true
	case errors.As(err, &long):
		http.Error(w, "the body is too long", http.StatusRequestEntityTooLarge)
	default:
		http.Error(w, "the body cannot be read", http.StatusBadRequest)
	}
	return nil, false
}

// fail answers with what an error means. Faults of ours are told to the operator
// and not to clients.
func (d *Directory) fail(w http.ResponseWriter, err error) {
	for _, known := range []error{keydir.ErrUsername, keydir.ErrEmail, keydir.ErrDecodeKey, keydir.ErrSameKey, keydir.ErrTaken} {
		if errors.Is(err, known) {
			http.Error(w, known.Error(), http.StatusBadRequest)
			return
		}
	}
	switch {
	case errors.Is(err, errNotFound):
		http.Error(w, errNotFound.Error(), http.StatusNotFound)
	case errors.Is(err, errGone):
		http.Error(w, errGone.Error(), http.StatusGone)
	case errors.Is(err, errVersion):
		http.Error(w, errVersion.Error(), http.StatusConflict)
	case errors.Is(err, keydir.ErrProof):
		http.Error(w, err.Error(), http.StatusBadRequest)
	case errors.Is(err, keydir.ErrMalformed):
		// The original answers with the words of its JSON reader alone.
		http.Error(w, strings.TrimPrefix(err.Error(), keydir.ErrMalformed.Error()+": "), http.StatusBadRequest)
	case errors.Is(err, groupdb.ErrClosed):
		http.Error(w, "the directory is shutting down", http.StatusServiceUnavailable)
	default:
		d.o.Trouble("the directory", err)
		http.Error(w, "the directory has a fault; its operator is told", http.StatusInternalServerError)
	}
}
