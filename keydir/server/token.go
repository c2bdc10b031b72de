package server

import (
	"errors"
	"mime"
	"net/http"
	"strings"

	"parley/keydir"
)

// getLink answers GET /users/U/TOKEN with a page that asks; programs that look at
// links in mails change nothing. Where the operator allows it, a client that is no
// browser acts at once, as with the original.
func (d *Directory) getLink(w http.ResponseWriter, r *http.Request) {
	if d.o.GetLinks && r.Method == http.MethodGet && !takesHTML(r) {
		d.postLink(w, r)
		return
	}
	var l *link
	name := r.PathValue("user")
	err := d.store.read(func(c *conn) (err error) { l, err = c.link(name, r.PathValue("token"), d.o.Now()); return err })
	var found *userPage
	if err == nil {
		found, err = pageOf(l.account)
	}
	if err != nil {
		d.failLink(w, r, name, err)
		return
	}
	p := &page{Title: "Delete " + name, User: name, Found: found, Activates: l.activates, Expires: day(l.expires)}
	if l.activates {
		p.Title = "Activate " + name
	}
	d.show(w, http.StatusOK, "link.html", p)
}

// postLink answers POST /users/U/TOKEN: it does what the link is for.
func (d *Directory) postLink(w http.ResponseWriter, r *http.Request) {
	name, token, now := r.PathValue("user"), r.PathValue("token"), d.o.Now()
	// Looked at before it is written, so that guesses do not make the writer busy.
	err := d.store.read(func(c *conn) error { _, err := c.link(name, token, now); return err })
	var activated bool
	if err == nil {
		err = d.store.write(func(c *conn) (err error) { activated, err = c.follow(name, token, now); return err })
	}
	if err != nil {
		d.failLink(w, r, name, err)
		return
	}
	d.answers.drop(name)
	said := "user deleted"
	if activated {
		d.counts.activations.Add(1)
		said = "user activated"
	} else {
		d.counts.deletions.Add(1)
	}
	if takesHTML(r) {
		d.show(w, http.StatusOK, "link.html", &page{Title: said, User: name, Done: true, Activates: activated, Said: said})
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Write([]byte(said + "\n"))
}

// failLink says that a link does nothing: to who has a browser, with what may have
// happened and what to do. It tells no more than a look-up of the name does.
func (d *Directory) failLink(w http.ResponseWriter, r *http.Request, name string, err error) {
	status := http.StatusNotFound
	switch {
	case errors.Is(err, errGone):
		status = http.StatusGone
	case !errors.Is(err, errNotFound):
		d.fail(w, err)
		return
	}
	if !takesHTML(r) {
		d.fail(w, err)
		return
	}
	p := &page{Title: "This link does nothing", URL: d.o.URL, Gone: status == http.StatusGone}
	if keydir.CheckUsername(name) == nil {
		p.User = name
		err := d.store.read(func(c *conn) error { _, err := c.active(name); return err })
		if p.Active = err == nil; err != nil && !errors.Is(err, errNotFound) {
			d.fail(w, err)
			return
		}
	}
	d.show(w, status, "nolink.html", p)
}

// takesHTML reports whether a client says that it takes HTML, as browsers do.
func takesHTML(r *http.Request) bool {
	for _, v := range r.Header.Values("Accept") {
		for part := range strings.SplitSeq(v, ",") {
			kind, _, err := mime.ParseMediaType(part)
			if err == nil && kind == "text/html" {
				return true
			}
		}
	}
	return false
}
