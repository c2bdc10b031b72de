package server

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"embed"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"parley/internal/term"
)

//go:embed page
var pageFiles embed.FS

const (
	pollTime   = 25 * time.Second
	maxPageReq = 4096
	secretSize = 32
)

// page is where a person answers questions in a browser on the device. It is served on a
// loopback port of its own. The secret, which only the device's terminal shows, is
// exchanged for a cookie and a token: the cookie keeps scripts of other pages out, and
// the token, which stays in the tab, keeps others on this machine out who get to see the
// cookie, since a cookie is for all ports of an address.
type page struct {
	host    string // what Host must be
	secret  string
	confirm *Confirm
	log     *Log
	stop    context.Context

	mu  sync.Mutex
	tab *tab // the newest, which has ended the one before
}

type tab struct{ cookie, token [sha256.Size]byte }

func newPage(host string, c *Confirm, l *Log, stop context.Context) *page {
	return &page{host: host, secret: random(), confirm: c, log: l, stop: stop}
}

func random() string {
	b := make([]byte, secretSize)
	rand.Read(b) // does not fail: see crypto/rand
	return base64.RawURLEncoding.EncodeToString(b)
}

// url is the page's address with the secret in it.
func (p *page) url() string { return "http://" + p.host + "/#" + p.secret }

func (p *page) cookieName() string {
	return "parley-pad-" + p.host[strings.LastIndexByte(p.host, ':')+1:]
}

var pagePolicy = map[string]string{
	"Content-Security-Policy":      "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
	"X-Frame-Options":              "DENY",
	"X-Content-Type-Options":       "nosniff",
	"Referrer-Policy":              "no-referrer",
	"Cache-Control":                "no-store",
	"Cross-Origin-Opener-Policy":   "same-origin",
	"Cross-Origin-Resource-Policy": "same-origin",
	"Permissions-Policy":           "camera=(), microphone=(), geolocation=()",
}

func (p *page) serve(w http.ResponseWriter, r *http.Request) {
	for name, v := range pagePolicy {
		w.Header().Set(name, v)
	}
	origin, site := r.Header.Get("Origin"), r.Header.Get("Sec-Fetch-Site")
	if r.Host != p.host || origin != "" && origin != "http://"+p.host || r.Method != http.MethodGet && site != "" && site != "same-origin" {
		p.wrong(w, "by another name than its own, or from another site")
		return
	}
	switch r.Method + " " + r.URL.Path {
	case "GET /", "GET /page.js", "GET /page.css":
		name := strings.TrimPrefix(r.URL.Path, "/")
		if name == "" {
			name = "index.html"
		}
		http.ServeFileFS(w, r, pageFiles, "page/"+name)
	case "POST /enter":
		p.enter(w, r)
	case "POST /state":
		p.state(w, r)
	case "POST /answer":
		p.answer(w, r)
	default:
		http.NotFound(w, r)
	}
}

// wrong answers who has no business here.
func (p *page) wrong(w http.ResponseWriter, how string) {
	p.log.Add(Entry{Kind: KindPage, Text: "the confirmation page was asked " + how})
	http.Error(w, "this page needs the address that the device's terminal shows", http.StatusForbidden)
}

// request reads a request's body into v.
func (p *page) request(w http.ResponseWriter, r *http.Request, v any) bool {
	http.NewResponseController(w).SetReadDeadline(time.Now().Add(headerTime))
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPageReq))
	if err != nil || r.Header.Get("Content-Type") != "application/json" || json.Unmarshal(b, v) != nil {
		http.Error(w, "not a request of this page", http.StatusBadRequest)
		return false
	}
	http.NewResponseController(w).SetReadDeadline(time.Time{})
	return true
}

func (p *page) enter(w http.ResponseWriter, r *http.Request) {
	var q struct{ Secret string }
	if !p.request(w, r, &q) {
		return
	}
	if subtle.ConstantTimeCompare([]byte(q.Secret), []byte(p.secret)) != 1 {
		p.wrong(w, "with a wrong secret")
		return
	}
	cookie, token := random(), random()
	p.mu.Lock()
	p.tab = &tab{sha256.Sum256([]byte(cookie)), sha256.Sum256([]byte(token))}
	p.mu.Unlock()
	http.SetCookie(w, &http.Cookie{Name: p.cookieName(), Value: cookie, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
	reply(w, http.StatusOK, map[string]string{"token": token})
}

// known reports whether a request is from a tab that has shown the secret.
func (p *page) known(r *http.Request) bool {
	c, err := r.Cookie(p.cookieName())
	if err != nil {
		return false
	}
	got := tab{sha256.Sum256([]byte(c.Value)), sha256.Sum256([]byte(r.Header.Get("X-Token")))}
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.tab
	return t != nil && subtle.ConstantTimeCompare(t.cookie[:], got.cookie[:])&subtle.ConstantTimeCompare(t.token[:], got.token[:]) == 1
}

// shown is a question as the page shows it.
type shown struct {
	Number  string `json:"number"`
	From    string `json:"from"`
	What    string `json:"what"`
	Message string `json:"message"`
	Pad     string `json:"pad"`
	Left    string `json:"left"` // "": it is the peer's pad
	Within  int64  `json:"within"`
	More    int    `json:"more"`
}

func (a *Asked) shown() *shown {
	if a == nil {
		return nil
	}
	s := &shown{
		Number: a.Number, From: name(a.Client), What: term.Line(a.ask()), Message: size(a.Message), Pad: size(a.Pad),
		Left: size(a.Question.Left), Within: a.Within.Milliseconds(), More: a.More,
	}
	switch a.Op {
	case OpUnpackage:
		s.Message, s.Left = "up to "+s.Message, ""
	case OpGrant:
		s.Message = "–"
	}
	return s
}

// state answers when there is another question than the tab shows, or after a while.
func (p *page) state(w http.ResponseWriter, r *http.Request) {
	var q struct{ After int }
	if !p.known(r) {
		p.wrong(w, "without its secret")
		return
	}
	if !p.request(w, r, &q) {
		return
	}
	a, version, changed := p.confirm.Shown()
	if version == q.After {
		wait := time.NewTimer(pollTime)
		defer wait.Stop()
		select {
		case <-changed:
			a, version, _ = p.confirm.Shown()
		case <-wait.C:
		case <-r.Context().Done():
			return
		case <-p.stop.Done():
		}
		if !p.known(r) { // another tab has come meanwhile
			http.Error(w, "this page was opened again elsewhere", http.StatusForbidden)
			return
		}
	}
	reply(w, http.StatusOK, map[string]any{"version": version, "question": a.shown()})
}

func (p *page) answer(w http.ResponseWriter, r *http.Request) {
	var q struct {
		Number string
		Allow  bool
	}
	if !p.known(r) {
		p.wrong(w, "for an answer without its secret")
		return
	}
	if !p.request(w, r, &q) {
		return
	}
	if err := p.confirm.Answer(q.Number, q.Allow); err != nil {
		reply(w, http.StatusConflict, map[string]string{"error": err.Error()})
		return
	}
	reply(w, http.StatusOK, map[string]bool{"done": true})
}
