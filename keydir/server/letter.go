package server

import (
	"crypto/rand"
	"embed"
	"fmt"
	html "html/template"
	"strings"
	"text/template"
	"time"

	gomail "github.com/wneessen/go-mail"

	"parley/internal/rsakey"
)

//go:embed letters
var letterFiles embed.FS

var (
	letterText = template.Must(template.ParseFS(letterFiles, "letters/*.txt"))
	letterHTML = html.Must(html.ParseFS(letterFiles, "letters/*.html"))
)

// A letter is what a mail says.
type letter struct {
	User, Base          string
	Activate, Delete    string // links; Activate is empty when the account is active
	Expires             string // when Activate ends
	MessageKey, SignKey string // fingerprints
}

// letter makes a letter about an account.
func (d *Directory) letter(a *account, activate, remove string) (*letter, error) {
	k, err := a.keys()
	if err != nil {
		return nil, err
	}
	at := func(token string) string { return d.o.URL + "/users/" + a.name + "/" + token }
	l := &letter{User: a.name, Base: d.o.URL, Delete: at(remove), MessageKey: rsakey.Of(k.Message).String(), SignKey: rsakey.Of(k.Sign).String()}
	if activate != "" {
		l.Activate = at(activate)
		l.Expires = time.UnixMilli(a.created).Add(activationTime).UTC().Format("2 January 2006, 15:04 UTC")
	}
	return l, nil
}

// message makes the mail, as text and as HTML.
func (l *letter) message(from, to string, form gomail.Encoding, now time.Time) (*gomail.Msg, error) {
	name, subject := "welcome", fmt.Sprintf("Activate %q in the key directory", l.User)
	if l.Activate == "" {
		name, subject = "deletion", fmt.Sprintf("Delete %q from the key directory", l.User)
	}
	var text, page strings.Builder
	if err := letterText.ExecuteTemplate(&text, name+".txt", l); err != nil {
		return nil, err
	}
	if err := letterHTML.ExecuteTemplate(&page, name+".html", l); err != nil {
		return nil, err
	}
	m := gomail.NewMsg(gomail.WithEncoding(form), gomail.WithNoDefaultUserAgent())
	if err := m.From(from); err != nil {
		return nil, err
	}
	if err := m.To(to); err != nil {
		return nil, err
	}
	m.Subject(subject)
	m.SetDateWithValue(now)
	_, host, _ := strings.Cut(from, "@")
	m.SetMessageIDWithValue(rand.Text() + "@" + host)  // the library's would name this machine
	m.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834: nobody's machine is to answer
	m.SetBodyString(gomail.TypeTextPlain, text.String())
	m.AddAlternativeString(gomail.TypeTextHTML, page.String())
	return m, nil
}
