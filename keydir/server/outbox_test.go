package server

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	smtpserver "github.com/emersion/go-smtp"
)

// Mails reach a real server by every way that a URL can name, and say what they must.
func TestMailServer(t *testing.T) {
	for _, x := range []struct {
		name, user, scheme string
		secure, implicit   bool
	}{
		{"STARTTLS and AUTH", "keys@dir.example", "smtp", true, false},
		{"TLS and AUTH", "keys@dir.example", "smtps", true, true},
		{"loopback in clear with AUTH", "keys", "smtp", false, false},
		{"loopback in clear", "", "smtp", false, false},
	} {
		t.Run(x.name, func(t *testing.T) {
			p := newPostOffice(t, x.user, x.secure, x.implicit)
			w := newWorld(t, Options{Mail: p.mail(t, x.scheme, postPassword)})
			k := pairOf("alice").keys()
			if rec := w.ask("POST", "/users", registration("alice", "alice+x@mail.example", k, nil)); rec.Code != 201 {
				t.Fatal(rec.Code, rec.Body)
			}
			w.send()
			got := <-p.got
			if got.from != "keys@dir.example" || got.to != "alice+x@mail.example" || got.tls != x.secure || got.as != x.user {
				t.Errorf("%+v", got)
			}
			h, plain, html := parts(t, got.text)
			links := linksIn(plain)
			if len(links) != 2 || !strings.Contains(html, links[0]) || !strings.Contains(html, links[1]) || !strings.Contains(plain, testURL+links[0]) {
				t.Fatalf("%q\n%s\n%s", links, plain, html)
			}
			if h.Get("Auto-Submitted") == "" || h.Get("Date") == "" || !strings.HasSuffix(h.Get("Message-Id"), "@dir.example>") || h.Get("User-Agent") != "" {
				t.Errorf("%v", h)
			}
			if !strings.Contains(plain, "2 May 2026, 12:00 UTC") || !strings.Contains(html, `"alice"`) && !strings.Contains(html, "<b>alice</b>") {
				t.Errorf("%s", plain)
			}
			w.want("POST", links[0], "", 200, "user activated\n")
			w.want("POST", links[1], "", 200, "user deleted\n")
		})
	}
}

// What is wrong with the mail server puts mails off; what it refuses for good is
// dropped; no fault that is told names an address or a password.
func TestMailTrouble(t *testing.T) {
	var told []string
	trouble := func(what string, err error) { told = append(told, what+": "+err.Error()) }
	k := pairOf("alice").keys()
	start := func(m *Mail) *world {
		w := newWorld(t, Options{Mail: m, Trouble: trouble})
		if rec := w.ask("POST", "/users", registration("alice", "alice@mail.example", k, nil)); rec.Code != 201 {
			t.Fatal(rec.Code, rec.Body)
		}
		told = nil
		w.send()
		return w
	}
	rows := func(w *world, table string) (n int64) {
		w.d.store.read(func(c *conn) (err error) { n, err = c.Int64("SELECT count(*) FROM " + table); return err })
		return n
	}
	good := newPostOffice(t, "", false, false)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().(*net.TCPAddr)
	l.Close()
	login := newPostOffice(t, "keys", true, false)

	untrusted := login.mail(t, "smtp", postPassword)
	untrusted.Roots = x509.NewCertPool() // with nothing in it
	name := *login.mail(t, "smtp", postPassword)
	name.Host = "localhost" // which the certificate does not name
	plain := good.mail(t, "smtp", "").Port
	busy, greets := newScripted(t, "421 alice@mail.example come back later"), newScripted(t, "554 alice@mail.example not you")
	for what, x := range map[string]struct {
		m    *Mail
		says string
	}{
		"nobody listens":         {&Mail{Host: "127.0.0.1", Port: closed.Port, From: "a@b"}, "nothing listens at that port"},
		"wrong password":         {login.mail(t, "smtp", "wrong hunter2"), "refuses the user or the password (code 535)"},
		"unknown certificate":    {untrusted, "not trusted: nobody whom"},
		"another's certificate":  {&name, "not trusted: it is for another name"},
		"TLS where there is no":  {&Mail{Host: "127.0.0.1", Port: plain, From: "a@b", TLS: true}, "does not speak TLS at that port"},
		"AUTH where there is no": {&Mail{Host: "127.0.0.1", Port: plain, From: "a@b", User: "x", Password: "secret"}, "offers no login (AUTH)"},
		"busy":                   {busy.mail(), "not available now (code 421)"},
		"turns away":             {greets.mail(), "turns us away (code 554)"},
		"not SMTP":               {newScripted(t, "hello there").mail(), "not SMTP where it should greet"},
		"ends":                   {newScripted(t, "").mail(), "closes the connection where it should greet"},
		"no such name":           {&Mail{Host: "mail.invalid", Port: 25, From: "a@b"}, "name cannot be resolved"},
	} {
		w := start(x.m)
		if rows(w, "outbox") != 1 || rows(w, "link") != 0 || len(told) != 1 {
			t.Errorf("%s: %d mails wait, %d tokens, told %q", what, rows(w, "outbox"), rows(w, "link"), told)
		}
		s := strings.Join(told, " ")
		if !strings.Contains(s, x.says) {
			t.Errorf("%s: told %s", what, s)
		}
		if strings.Contains(s, "alice") || strings.Contains(s, "secret") || strings.Contains(s, "hunter2") || strings.Contains(s, "invalid") {
			t.Errorf("%s: told %s", what, s)
		}
		// Given up after a day; the address is gone.
		for range 200 {
			w.clock.add(30 * time.Minute)
			w.send()
		}
		if rows(w, "outbox") != 0 {
			t.Errorf("%s: the mail waits for ever", what)
		}
	}

	good.setRefuse(&smtpserver.SMTPError{Code: 451, EnhancedCode: smtpserver.EnhancedCode{4, 7, 1}, Message: "alice@mail.example: come again"})
	w := start(good.mail(t, "smtp", ""))
	if rows(w, "outbox") != 1 || len(told) != 1 || strings.Contains(told[0], "alice") || !strings.Contains(told[0], "451") {
		t.Errorf("greylisted: %d wait, told %q", rows(w, "outbox"), told)
	}
	w.clock.add(retryMin - time.Millisecond)
	w.send()
	good.setRefuse(nil)
	select {
	case <-good.got:
		t.Error("tried before its time")
	default:
	}
	w.clock.add(time.Millisecond)
	w.send()
	if _, plain, _ := parts(t, (<-good.got).text); len(linksIn(plain)) != 2 || rows(w, "outbox") != 0 {
		t.Errorf("%s", plain)
	}

	good.setRefuse(&smtpserver.SMTPError{Code: 550, EnhancedCode: smtpserver.EnhancedCode{5, 1, 1}, Message: "no alice@mail.example here"})
	w = start(good.mail(t, "smtp", ""))
	if rows(w, "outbox") != 0 || len(told) != 1 || strings.Contains(told[0], "alice") {
		t.Errorf("refused: %d wait, told %q", rows(w, "outbox"), told)
	}
}

// A link to delete an account goes to its own address and to no other; the answer
// is the same.
func TestDeletionMail(t *testing.T) {
	w := newWorld(t, Options{Limits: Limits{RegistrationsPerHour: 1e9, RegistrationBurst: 1e9, LookupBurst: 1e9, MailsPerDay: 3}})
	w.enrol("alice", pairOf("alice"))
	waiting, _ := w.register("waits", pairOf("bob"))
	for _, x := range [][2]string{{"alice", "mallory@mail.example"}, {"nobody", "alice@mail.example"}, {"waits", "waits@mail.example"}} {
		w.want("POST", "/users/"+x[0]+"/mail", `{"email":"`+x[1]+`"}`, 202, "")
	}
	if all := w.mails(); len(all) != 0 {
		t.Errorf("%d mails to strangers", len(all))
	}
	for range 5 { // one was spent at the registration
		w.want("POST", "/users/alice/mail", `{"email":"Alice@Mail.Example"}`, 202, "")
	}
	all := w.mails()
	if len(all) != 2 {
		t.Fatalf("%d mails", len(all))
	}
	w.clock.add(24*time.Hour + time.Second)
	w.want("POST", "/users/alice/mail", `{"email":"alice@mail.example"}`, 202, "")
	if n := len(w.mails()); n != 3 {
		t.Errorf("%d mails on the next day", n)
	}
	links := linksIn(all[0])
	if len(links) != 1 {
		t.Fatalf("%q", links)
	}
	w.want("POST", links[0], "", 200, "user deleted\n")
	w.want("POST", waiting, "", 410, "activate token expired\n")
	w.want("POST", "/users/alice/mail", `{}`, 400, "email validation error\n")
	w.want("POST", "/users/alice/mail", `[`, 400, "email validation error\n")
	w.want("POST", "/users/al/mail", `{"email":"a@b"}`, 404, "404 page not found\n")
}

// Many links to delete an account are not kept for ever.
func TestLinksAreBounded(t *testing.T) {
	w := newWorld(t, Options{})
	first := w.enrol("alice", pairOf("alice"))
	for range maxLinks + 3 {
		w.clock.add(time.Second)
		w.want("POST", "/users/alice/mail", `{"email":"alice@mail.example"}`, 202, "")
		w.send()
	}
	all := w.mails()
	if len(all) != maxLinks+3 {
		t.Fatalf("%d mails", len(all))
	}
	var n int64
	w.d.store.read(func(c *conn) (err error) { n, err = c.Int64("SELECT count(*) FROM link"); return err })
	if n != maxLinks+1 {
		t.Errorf("%d links", n)
	}
	good := 0
	for _, mail := range all {
		if w.ask("GET", linksIn(mail)[0], "").Code == 200 {
			good++
		}
	}
	if good != maxLinks {
		t.Errorf("%d of the links that were asked for are good", good)
	}
	// The first mail's is good as long as they are, also after a start.
	w.restart()
	w.want("POST", first, "", 200, "user deleted\n")
}

// Once a mail is delivered, no file of the directory holds the address, and none
// holds a token, ever.
func TestAddressesAndTokensAreNotKept(t *testing.T) {
	p := newPostOffice(t, "", false, false)
	w := newWorld(t, Options{Mail: p.mail(t, "smtp", "")})
	const address = "unforgettable-77@mail.example"
	if rec := w.ask("POST", "/users", registration("alice", address, pairOf("alice").keys(), nil)); rec.Code != 201 {
		t.Fatal(rec.Code)
	}
	holds := func(text string) bool {
		t.Helper()
		found := false
		err := filepath.WalkDir(w.o.Dir, func(path string, e os.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			b, err := os.ReadFile(path)
			found = found || bytes.Contains(b, []byte(text))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	if !holds(address) {
		t.Fatal("the mail does not wait on disk")
	}
	w.send()
	_, plain, _ := parts(t, (<-p.got).text)
	if whole, err := w.d.store.Checkpoint(); err != nil || !whole {
		t.Fatal(whole, err)
	}
	if holds(address) || holds("unforgettable") {
		t.Error("the address is still there")
	}
	for _, link := range linksIn(plain) {
		if token := link[strings.LastIndex(link, "/")+1:]; holds(token) {
			t.Error("a token is on disk")
		}
	}
	w.want("POST", linksIn(plain)[0], "", 200, "user activated\n")
}

func TestParseMail(t *testing.T) {
	for text, want := range map[string]Mail{
		"smtp://mail.example":                             {Host: "mail.example", Port: 587},
		"smtps://mail.example/":                           {Host: "mail.example", Port: 465, TLS: true},
		"smtp://u%40x:p%3A%2F%20q@[::1]:2525?from=a@b.cd": {Host: "::1", Port: 2525, User: "u@x", Password: "p:/ q", From: "a@b.cd"},
		" smtps://u:@h:1\n":                               {Host: "h", Port: 1, TLS: true, User: "u"},
	} {
		if m, err := ParseMail(text); err != nil || *m != want {
			t.Errorf("%q: %+v, %v", text, m, err)
		}
	}
	for _, text := range []string{
		"", "mail.example", "smtp://", "http://u:hunter2@h", "smtp://u:hunter2@h:0", "smtp://u:hunter2@h:99999", "smtp://u:hunter2@h:x", "smtp://u:hunter2@h/path",
		"smtp://u:hunter2@h?from=nobody", "smtp://u:hunter2@h?from=a@b&from=c@d", "smtp://u:hunter2@h?ca=/no/such/file", "smtp://u:hunter2@h?tls=no",
		"smtp://u:hunter2@h?%zz", "smtp://u:hunter2 @h", "smtp://u:hunter2@h#x", "smtp://u:%zzhunter2@h",
	} {
		if m, err := ParseMail(text); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %+v, %v", text, m, err)
		}
	}
	for base, want := range map[string]string{"https://keys.example/x": "keydir@keys.example", "http://127.0.0.1:80": "keydir@localhost", "": "keydir@localhost"} {
		if got := (*Mail)(nil).sender(base); got != want {
			t.Errorf("%s: %s", base, got)
		}
	}
}

// The goroutine that sends mail does so as soon as there is one, and ends with the
// directory.
func TestDelivery(t *testing.T) {
	p := newPostOffice(t, "", false, false)
	w := newWorld(t, Options{Mail: p.mail(t, "smtp", "")})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error)
	go func() { served <- w.d.Serve(l) }()
	for _, name := range []string{"one", "two"} {
		if rec := w.ask("POST", "/users", registration(name, name+"@mail.example", pairOf("alice").keys(), nil)); rec.Code != 201 {
			t.Fatal(rec.Code)
		}
		if got := <-p.got; got.to != name+"@mail.example" {
			t.Errorf("%+v", got)
		}
	}
	if err := w.d.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	if err := <-served; !errors.Is(err, ErrShutdown) {
		t.Error(err)
	}
}

// A mail server that accepts and says nothing does not hold the end up.
func TestShutdownCutsMailOff(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		if c, err := l.Accept(); err == nil {
			accepted <- c
		}
	}()
	w := newWorld(t, Options{Mail: &Mail{Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, From: "a@b"}})
	w.serve()
	if rec := w.ask("POST", "/users", registration("alice", "alice@mail.example", pairOf("alice").keys(), nil)); rec.Code != 201 {
		t.Fatal(rec.Code)
	}
	c := <-accepted
	defer c.Close()
	begin := time.Now()
	if err := w.d.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("the end took %v", took)
	}
}
