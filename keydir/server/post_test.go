package server

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/mail"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mime/multipart"
	"mime/quotedprintable"

	"github.com/emersion/go-sasl"
	smtpserver "github.com/emersion/go-smtp"
)

// A postOffice is a mail server on a loopback address.
type postOffice struct {
	srv   *smtpserver.Server
	addr  string
	got   chan letterGot
	user  string // asks for AUTH if not empty
	cert  tls.Certificate
	roots string // file of its certificate

	mu     sync.Mutex
	refuse error // of recipients
}

type letterGot struct {
	from, to string
	tls      bool
	as       string // who has logged in
	text     string // the whole mail
}

func newPostOffice(t *testing.T, user string, secure, implicit bool) *postOffice {
	t.Helper()
	p := &postOffice{got: make(chan letterGot, 100), user: user}
	p.srv = smtpserver.NewServer(p)
	p.srv.Domain, p.srv.AllowInsecureAuth = "mail.example", !secure
	p.srv.ErrorLog = quiet
	if secure {
		p.certificate(t)
		p.srv.TLSConfig = &tls.Config{Certificates: []tls.Certificate{p.cert}}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.addr = l.Addr().String()
	if implicit {
		l = tls.NewListener(l, p.srv.TLSConfig)
	}
	done := make(chan struct{})
	go func() { p.srv.Serve(l); close(done) }()
	t.Cleanup(func() { p.srv.Close(); <-done })
	return p
}

func (p *postOffice) certificate(t *testing.T) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mail.example"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	p.cert = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	p.roots = filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(p.roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// url is what --smtp gets.
func (p *postOffice) url(scheme, password string) string {
	u := url.URL{Scheme: scheme, Host: p.addr, RawQuery: url.Values{"from": {"keys@dir.example"}}.Encode()}
	if p.user != "" {
		u.User = url.UserPassword(p.user, password)
	}
	if p.roots != "" {
		u.RawQuery += "&ca=" + url.QueryEscape(p.roots)
	}
	return u.String()
}

func (p *postOffice) mail(t *testing.T, scheme, password string) *Mail {
	t.Helper()
	m, err := ParseMail(p.url(scheme, password))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (p *postOffice) setRefuse(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = err
}

func (p *postOffice) NewSession(c *smtpserver.Conn) (smtpserver.Session, error) {
	return &postSession{p: p, c: c}, nil
}

const postPassword = "correct horse: @/?%"

type postSession struct {
	p        *postOffice
	c        *smtpserver.Conn
	as       string
	from, to string
}

func (s *postSession) AuthMechanisms() []string {
	if s.p.user == "" {
		return nil
	}
	return []string{sasl.Plain}
}

func (s *postSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != s.p.user || password != postPassword {
			return smtpserver.ErrAuthFailed
		}
		s.as = user
		return nil
	}), nil
}

func (s *postSession) Mail(from string, _ *smtpserver.MailOptions) error {
	if s.p.user != "" && s.as == "" {
		return smtpserver.ErrAuthRequired
	}
	s.from = from
	return nil
}

func (s *postSession) Rcpt(to string, _ *smtpserver.RcptOptions) error {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	s.to = to
	return s.p.refuse
}

func (s *postSession) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	_, secure := s.c.TLSConnectionState()
	s.p.got <- letterGot{s.from, s.to, secure, s.as, string(b)}
	return nil
}

func (s *postSession) Reset()        {}
func (s *postSession) Logout() error { return nil }

// parts returns the text and the HTML of a mail as its reader sees them.
func parts(t *testing.T, text string) (header mail.Header, plain, html string) {
	t.Helper()
	m, err := mail.ReadMessage(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	_, boundary, _ := strings.Cut(m.Header.Get("Content-Type"), "boundary=")
	r := multipart.NewReader(m.Body, strings.Trim(boundary, `"`))
	for {
		p, err := r.NextRawPart()
		if errors.Is(err, io.EOF) {
			return m.Header, plain, html
		}
		if err != nil {
			t.Fatal(err)
		}
		var body io.Reader = p
		if p.Header.Get("Content-Transfer-Encoding") == "quoted-printable" {
			body = quotedprintable.NewReader(p)
		}
		var b bytes.Buffer
		if _, err := b.ReadFrom(body); err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(p.Header.Get("Content-Type"), "text/html") {
			html = b.String()
		} else {
			plain = b.String()
		}
	}
}
