package server

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	gosmtp "github.com/wneessen/go-mail/smtp"
)

// ErrMail means that a mail server's URL is not one. It repeats nothing of it: it
// has a password.
var ErrMail = errors.New("not smtp[s]://[USER:PASSWORD@]HOST[:PORT][?from=ADDRESS&ca=FILE], the user and password percent-encoded")

// A Mail is a mail server to send by.
type Mail struct {
	Host           string
	Port           int
	User, Password string
	// TLS from the first byte (RFC 8314 §3.3) instead of STARTTLS (RFC 3207).
	// STARTTLS is a must, except to this machine itself.
	TLS   bool
	From  string         // empty: keydir@ the host of the directory's URL
	Roots *x509.CertPool // nil: the system's

	patience time.Duration // 0: mailPatience
}

// ParseMail reads the URL of a mail server: "smtp" is STARTTLS, at port 587 unless
// it says another; "smtps" is TLS, at port 465. The query may have "from", the
// address that mails come from, and "ca", a file of certificates (PEM) to trust
// instead of the system's.
func ParseMail(text string) (*Mail, error) {
	u, err := url.Parse(strings.TrimSpace(text))
	if err != nil || u.Hostname() == "" || (u.Path != "" && u.Path != "/") || u.Fragment != "" {
		return nil, ErrMail
	}
	m := &Mail{Host: u.Hostname(), User: u.User.Username()}
	m.Password, _ = u.User.Password()
	switch u.Scheme {
	case "smtp":
		m.Port = 587
	case "smtps":
		m.Port, m.TLS = 465, true
	default:
		return nil, ErrMail
	}
	if p := u.Port(); p != "" {
		if m.Port, err = strconv.Atoi(p); err != nil || m.Port < 1 || m.Port > 65535 {
			return nil, fmt.Errorf("%w: the port is not one", ErrMail)
		}
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, ErrMail
	}
	for name, v := range q {
		switch {
		case len(v) != 1:
			return nil, fmt.Errorf("%w: a parameter comes twice", ErrMail)
		case name == "from":
			if !deliverable(v[0]) {
				return nil, fmt.Errorf("%w: from is not an address", ErrMail)
			}
			m.From = v[0]
		case name == "ca":
			if m.Roots, err = certificates(v[0]); err != nil {
				return nil, err
			}
		default:
			return nil, fmt.Errorf("%w: there are no parameters but from and ca", ErrMail)
		}
	}
	return m, nil
}

func certificates(file string) (*x509.CertPool, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("certificates to trust for mail: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("certificates to trust for mail: %s holds none", file)
	}
	return roots, nil
}

// deliverable reports whether an address can stand in a mail (RFC 5322 §3.4.1).
func deliverable(address string) bool {
	a, err := mail.ParseAddress(address)
	return err == nil && a.Address == address && a.Name == ""
}

// waits is how long the server may take for one step.
func (m *Mail) waits() time.Duration {
	if m.patience > 0 {
		return m.patience
	}
	return mailPatience
}

// auth chooses how to log in from what a server offers; it is nil if none will do. A
// password goes in clear only to this machine.
func (m *Mail) auth(offered string) gosmtp.Auth {
	kinds := strings.Fields(strings.ToUpper(offered))
	here := isLoopback(m.Host)
	for _, x := range []struct {
		kind string
		auth gosmtp.Auth
	}{
		{"SCRAM-SHA-256", gosmtp.ScramSHA256Auth(m.User, m.Password)}, {"SCRAM-SHA-1", gosmtp.ScramSHA1Auth(m.User, m.Password)},
		{"CRAM-MD5", gosmtp.CRAMMD5Auth(m.User, m.Password)}, {"PLAIN", gosmtp.PlainAuth("", m.User, m.Password, m.Host, here)},
		{"LOGIN", gosmtp.LoginAuth(m.User, m.Password, m.Host, here)},
	} {
		if slices.Contains(kinds, x.kind) {
			return x.auth
		}
	}
	return nil
}

// tlsConfig verifies the server's certificate, except that of this machine's own,
// which seldom has one that others vouch for and could be reached in clear as well.
func (m *Mail) tlsConfig() *tls.Config {
	return &tls.Config{ServerName: m.Host, RootCAs: m.Roots, MinVersion: tls.VersionTLS12, InsecureSkipVerify: m.Roots == nil && isLoopback(m.Host)}
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

// sender is the address that mails come from.
func (m *Mail) sender(base string) string {
	if m != nil && m.From != "" {
		return m.From
	}
	host := "localhost"
	if u, err := url.Parse(base); err == nil && u.Hostname() != "" {
		host = u.Hostname()
	}
	if net.ParseIP(host) != nil {
		host = "localhost"
	}
	return "keydir@" + host
}
