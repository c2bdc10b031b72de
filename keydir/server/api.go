package server

import (
	"errors"
	"io"
	"log"
	"net/http"
	"net/url"
	"strings"

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

// handler is the whole surface. Patterns have no method: the mux would answer a
// wrong one with a text.
func (d *Directory) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/users", methods{"POST": d.postUser})
	mux.Handle("/users/{user}", methods{"GET": d.getUser})
	mux.Handle("/users/{user}/keys", methods{"POST": d.postKeys})
	mux.Handle("/users/{user}/mail", methods{"POST": d.postMail})
	mux.Handle("/users/{user}/{token}", methods{"GET": d.getLink, "POST": d.postLink})
	mux.Handle("/log", methods{"GET": d.getLog})
	mux.Handle("/log/head", methods{"GET": d.getHead})
	mux.Handle("/key", methods{"GET": d.getKey})
	mux.Handle("/healthz", methods{"GET": d.getHealth})
	mux.Handle("/metrics", methods{"GET": d.getMetrics})
	mux.Handle("/lookup", methods{"GET": d.getLookup})
	mux.Handle("/{$}", methods{"GET": d.getHome})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer") // a link's token is in its address
		h.Set("X-Frame-Options", "DENY")
		h.Set("Content-Security-Policy", policy)
		r.Body = http.MaxBytesReader(w, r.Body, keydir.MaxBody)
		r = d.withoutPrefix(r)
		if r.URL.Path != "/healthz" && d.limited(w, r, d.limits.lookups) {
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// withoutPrefix takes the path of the directory's URL from a request's, for a proxy
// that leaves it there.
func (d *Directory) withoutPrefix(r *http.Request) *http.Request {
	rest, ok := strings.CutPrefix(r.URL.Path, d.prefix)
	if d.prefix == "" || !ok || (rest != "" && rest[0] != '/') {
		return r
	}
	if rest == "" {
		rest = "/"
	}
	r2 := new(http.Request)
	*r2 = *r
	r2.URL = &url.URL{Path: rest, RawQuery: r.URL.RawQuery}
	return r2
}

func pathOf(base string) string {
	u, err := url.Parse(base)
	if err != nil {
		return ""
	}
	return strings.TrimRight(u.Path, "/")
}

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
	case errors.Is(err, errClosed):
		http.Error(w, "the directory is shutting down", http.StatusServiceUnavailable)
	default:
		d.o.Trouble("the directory", err)
		http.Error(w, "the directory has a fault; its operator is told", http.StatusInternalServerError)
	}
}
