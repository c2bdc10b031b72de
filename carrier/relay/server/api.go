package server

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"parley/carrier/relay"
	"parley/internal/groupdb"
)

// methods are the answers of one path to its methods. GET serves HEAD, too.
type methods map[string]http.HandlerFunc

func (s *Server) routes() map[string]methods {
	all := map[string]methods{
		"/":                   {"GET": s.getHome},
		relay.PathCheck:       {"GET": s.getCheck},
		relay.PathSend:        {"POST": s.postSend},
		relay.PathGetMessages: {"GET": s.getMessages},
		relay.PathGetNextRef:  {"GET": s.getNextRef},
		relay.PathV2Send:      {"POST": s.postV2Send},
		relay.PathV2Claim:     {"POST": s.postClaim},
		relay.PathV2Done:      {"POST": s.postDone},
		"/healthz":            {"GET": s.getHealth},
		"/metrics":            {"GET": s.getMetrics},
	}
	if s.o.Mischief {
		all[relay.PathMischief] = methods{"GET": s.getMischief, "POST": s.postMischief}
	}
	return all
}

// handler is the whole surface. A path counts in its plain form alone: another
// spelling of it must not lead past a proxy's rules.
func (s *Server) handler() http.Handler {
	routes := s.routes()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Content-Security-Policy", "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
		m, known := routes[r.URL.EscapedPath()]
		if r.URL.Path != "/healthz" {
			if wait, ok := s.limits.requests.Allow(s.clientOf(r), s.o.Now()); !ok {
				s.tooMany(w, wait)
				return
			}
		}
		if !known {
			s.refuse(w, http.StatusNotFound, "there is nothing here")
			return
		}
		name := r.Method
		if name == http.MethodHead {
			name = http.MethodGet
		}
		f := m[name]
		if f == nil {
			var allowed []string
			for name := range m {
				allowed = append(allowed, name)
			}
			slices.Sort(allowed)
			h.Set("Allow", strings.Join(allowed, ", "))
			http.Error(w, "this path is not asked so", http.StatusMethodNotAllowed)
			return
		}
		f(w, r)
	})
}

func (s *Server) answer(w http.ResponseWriter, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		s.fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(b)+1))
	w.Write(append(b, '\n'))
}

func (s *Server) refuse(w http.ResponseWriter, code int, said string) {
	b, _ := json.Marshal(relay.Failure{Code: code, Message: said})
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	w.Write(append(b, '\n'))
}

func (s *Server) tooMany(w http.ResponseWriter, wait time.Duration) {
	s.counts.limited.Add(1)
	w.Header().Set("Retry-After", strconv.Itoa(int(min(wait/time.Second, 3600))+1))
	s.refuse(w, http.StatusTooManyRequests, "too many requests; try again later")
}

// fail answers with what an error means. Faults of ours are told to the operator and
// not to clients.
func (s *Server) fail(w http.ResponseWriter, err error) {
	for _, x := range []struct {
		err  error
		code int
	}{
		{errUsed, http.StatusConflict}, {errConflict, http.StatusConflict}, {errUnowned, http.StatusConflict},
		{errBoxFull, http.StatusInsufficientStorage}, {errFull, http.StatusInsufficientStorage},
	} {
		if errors.Is(err, x.err) {
			s.refuse(w, x.code, x.err.Error())
			return
		}
	}
	switch {
	case errors.Is(err, errToken):
		w.Header().Set("WWW-Authenticate", "Bearer")
		s.refuse(w, http.StatusUnauthorized, errToken.Error())
	case errors.Is(err, groupdb.ErrClosed):
		s.refuse(w, http.StatusServiceUnavailable, "the relay is shutting down")
	case errors.Is(err, groupdb.ErrDiskFull):
		s.o.Trouble("the relay of One Time Chat", err)
		s.refuse(w, http.StatusInsufficientStorage, errFull.Error())
	default:
		s.o.Trouble("the relay of One Time Chat", err)
		s.refuse(w, http.StatusInternalServerError, "the relay has a fault; its operator is told")
	}
}

// body reads a body of that kind whole, or answers why not.
func (s *Server) body(w http.ResponseWriter, r *http.Request, kind string, most int64) ([]byte, bool) {
	if got, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || got != kind {
		s.refuse(w, http.StatusUnsupportedMediaType, "the body must be "+kind)
		return nil, false
	}
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	var long *http.MaxBytesError
	switch {
	case err == nil:
		return b, true
	case errors.As(err, &long):
		s.refuse(w, http.StatusRequestEntityTooLarge, "the body is too long")
	default:
		s.refuse(w, http.StatusBadRequest, "the body cannot be read")
	}
	return nil, false
}

const (
	formBody = "application/x-www-form-urlencoded"
	jsonBody = "application/json"
	small    = 64 << 10 // bytes of a body without contents
)

// object reads a body of JSON, or answers why not.
func (s *Server) object(w http.ResponseWriter, r *http.Request, most int64, v any) bool {
	b, ok := s.body(w, r, jsonBody, most)
	if !ok {
		return false
	}
	if err := relay.DecodeRequest(b, v); err != nil {
		s.refuse(w, http.StatusBadRequest, err.Error())
		return false
	}
	return true
}

// token returns the bearer token of a request; several, or in another form, are none.
func token(r *http.Request) string {
	all := r.Header.Values("Authorization")
	if len(all) != 1 {
		return ""
	}
	t, ok := strings.CutPrefix(all[0], "Bearer ")
	if !ok || !relay.IsToken(t) {
		return ""
	}
	return t
}

// mayMake reports whether a client may make one more mailbox, or answers that it may not.
func (s *Server) mayMake(w http.ResponseWriter, r *http.Request, uid string) bool {
	var there bool
	err := s.store.read(func(c *conn) error {
		b, err := c.mailbox(uid)
		there = b != nil
		return err
	})
	if err != nil {
		s.fail(w, err)
		return false
	}
	if there {
		return true
	}
	wait, ok := s.limits.mailboxes.Allow(s.clientOf(r), s.o.Now())
	if !ok {
		s.tooMany(w, wait)
	}
	return ok
}
