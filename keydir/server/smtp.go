package server

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"strconv"
	"time"

	gomail "github.com/wneessen/go-mail"
	gosmtp "github.com/wneessen/go-mail/smtp"
)

// mailPatience is how long a mail server may take to let us in, and then for each
// mail; quitPatience is how long for its good-bye, when the mails are with it.
const (
	mailPatience = 30 * time.Second
	quitPatience = time.Second
)

// smtp is a mail server.
type smtp struct{ m *Mail }

func (smtp) form() gomail.Encoding { return gomail.EncodingQP }

// A smtpTrip is a connection to a mail server, which may carry several mails. The
// end of its context cuts it off, whatever it waits for.
type smtpTrip struct {
	m      *Mail
	conn   net.Conn // beneath TLS
	stop   func() bool
	c      *gosmtp.Client
	broken bool
}

func (s smtp) open(ctx context.Context) (trip, error) {
	dialing, cancel := context.WithTimeout(ctx, s.m.waits())
	defer cancel()
	conn, err := new(net.Dialer).DialContext(dialing, "tcp", net.JoinHostPort(s.m.Host, strconv.Itoa(s.m.Port)))
	if err != nil {
		return nil, faultOf(connecting, err)
	}
	t := &smtpTrip{m: s.m, conn: conn, stop: context.AfterFunc(ctx, func() { conn.Close() })}
	if err := t.logIn(); err != nil {
		t.broken = true
		t.close()
		return nil, err
	}
	return t, nil
}

// logIn does what comes before the first mail.
func (t *smtpTrip) logIn() error {
	t.patience(t.m.waits())
	conn := t.conn
	if t.m.TLS {
		secure := tls.Client(conn, t.m.tlsConfig())
		if err := secure.Handshake(); err != nil {
			return faultOf(securing, err)
		}
		conn = secure
	}
	var err error
	if t.c, err = gosmtp.NewClient(conn, t.m.Host); err != nil {
		return faultOf(greeting, err)
	}
	name, err := os.Hostname()
	if err != nil {
		name = "localhost"
	}
	if err := t.c.Hello(name); err != nil {
		return faultOf(greeting, err)
	}
	if offered, _ := t.c.Extension("STARTTLS"); offered && !t.m.TLS {
		if err := t.c.StartTLS(t.m.tlsConfig()); err != nil {
			return faultOf(securing, err)
		}
	} else if !t.m.TLS && !isLoopback(t.m.Host) {
		return &mailFault{what: "the mail server offers no STARTTLS, and nothing is sent to it in clear"}
	}
	if t.m.User == "" {
		return nil
	}
	offered, kinds := t.c.Extension("AUTH")
	auth := t.m.auth(kinds)
	switch {
	case !offered:
		return &mailFault{what: "the mail server offers no login (AUTH), but a user is given"}
	case auth == nil:
		return &mailFault{what: "the mail server offers no kind of login (AUTH) that is known here"}
	}
	if err := t.c.Auth(auth); err != nil {
		return faultOf(loggingIn, err)
	}
	return nil
}

func (t *smtpTrip) patience(d time.Duration) { t.conn.SetDeadline(time.Now().Add(d)) }

// send sends a mail. When the server refuses one it may be asked for the next.
func (t *smtpTrip) send(m *gomail.Msg, from, to, _ string) error {
	t.patience(t.m.waits())
	f := t.transaction(m, from, to)
	if f == nil {
		return nil
	}
	// Without a code it is the connection that failed; 421 says that it ends.
	if t.broken = f.code == 0 || f.code == unavailable; !t.broken {
		t.broken = t.c.Reset() != nil
	}
	return f
}

func (t *smtpTrip) transaction(m *gomail.Msg, from, to string) *mailFault {
	if err := t.c.Mail("<" + from + ">"); err != nil {
		return faultOf(naming, err)
	}
	if err := t.c.Rcpt("<" + to + ">"); err != nil {
		return faultOf(addressing, err)
	}
	w, err := t.c.Data()
	if err != nil {
		return faultOf(sending, err)
	}
	if _, err := m.WriteTo(w); err != nil {
		return faultOf(sending, err)
	}
	if err := w.Close(); err != nil {
		return faultOf(sending, err)
	}
	return nil
}

func (t *smtpTrip) over() bool { return t.broken }

// close says good-bye (RFC 5321 §4.1.1.10), but does not wait long for the answer.
func (t *smtpTrip) close() {
	if !t.broken {
		t.patience(quitPatience)
		t.c.Quit()
	}
	t.stop()
	t.conn.Close()
}
