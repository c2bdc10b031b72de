package server

import (
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"

	"parley/internal/rsakey"
	"parley/keydir"
)

//go:embed pages
var pageFiles embed.FS

var (
	style  = must(pageFiles.ReadFile("pages/style.css"))
	pages  = template.Must(template.New("").Funcs(template.FuncMap{"style": func() template.CSS { return template.CSS(style) }}).ParseFS(pageFiles, "pages/*.html"))
	policy = contentPolicy()
)

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err) // of an embedded file
	}
	return b
}

// contentPolicy lets a page have the style that stands in it and forms that post to
// us, and nothing else: no script, no frame, nothing from elsewhere.
func contentPolicy() string {
	sum := sha256.Sum256(style)
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
}

// A page is what the templates show.
type page struct {
	Title, Base string // Base: the path before ours, without a slash at its end

	Key, Fingerprint, URL string // of the directory
	User                  string
	Found                 *userPage // the account, in full
	Activates, Done       bool
	Gone, Active          bool // of a link that does nothing: it came too late; the name is active
	Expires               string
	Said                  string // one line
}

type userPage struct {
	MessageKey, SignKey, Since string
	MessageBits, SignBits      int
	Version                    int64
	Proven, Rotated            bool
}

func pageOf(a *account) (*userPage, error) {
	k, err := a.keys()
	if err != nil {
		return nil, err
	}
	return &userPage{
		MessageKey: rsakey.Of(k.Message).String(), SignKey: rsakey.Of(k.Sign).String(),
		MessageBits: k.Message.N.BitLen(), SignBits: k.Sign.N.BitLen(), Version: a.version, Proven: a.proven, Rotated: a.rotation != "",
		Since: day(a.activated),
	}, nil
}

func day(ms int64) string { return time.UnixMilli(ms).UTC().Format("2 January 2006, 15:04 UTC") }

// show sends a page.
func (d *Directory) show(w http.ResponseWriter, status int, name string, p *page) {
	p.Base = d.base
	var b strings.Builder
	if err := pages.ExecuteTemplate(&b, name, p); err != nil {
		d.fail(w, fmt.Errorf("the page %s: %w", name, err))
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	w.Write([]byte(b.String()))
}

// getHome answers GET /.
func (d *Directory) getHome(w http.ResponseWriter, r *http.Request) {
	base := d.o.URL
	if base == "" {
		base = "http://" + r.Host
	}
	d.show(w, http.StatusOK, "home.html", &page{Title: "Key directory", URL: base, Key: string(d.keyPEM), Fingerprint: rsakey.Of(d.PublicKey()).String()})
}

// getLookup answers GET /lookup?user=U with a page.
func (d *Directory) getLookup(w http.ResponseWriter, r *http.Request) {
	d.counts.lookups.Add(1)
	p := &page{Title: "Look-up", User: strings.TrimSpace(r.URL.Query().Get("user"))}
	if keydir.CheckUsername(p.User) != nil {
		p.User, p.Said = "", "A name has 3 to 32 of the characters a-z, 0-9, _ and -."
		d.show(w, http.StatusBadRequest, "lookup.html", p)
		return
	}
	var a *account
	err := d.store.read(func(c *conn) (err error) { a, err = c.active(p.User); return err })
	if errors.Is(err, errNotFound) {
		p.Said = "Nobody has this name here."
		d.show(w, http.StatusNotFound, "lookup.html", p)
		return
	}
	if err == nil {
		p.Found, err = pageOf(a)
	}
	if err != nil {
		d.fail(w, err)
		return
	}
	d.show(w, http.StatusOK, "lookup.html", p)
}
