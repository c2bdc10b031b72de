package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	gomail "github.com/wneessen/go-mail"

	"parley/internal/keyfile"
)

// A courier takes mails to where they go. open reaches it; send may then be called
// once, and close ends it.
type courier interface {
	// form is how bodies are written: in a file, links stay whole for its reader.
	form() gomail.Encoding
	open(ctx context.Context) (trip, error)
}

type trip interface {
	send(m *gomail.Msg, name string) error
	close()
}

// errRefused means that a mail server will not take this mail later either.
var errRefused = errors.New("the mail server refuses the mail for good")

func newCourier(o *Options) (courier, error) {
	if o.Mail != nil {
		if _, err := o.Mail.client(nil); err != nil {
			return nil, fmt.Errorf("the mail server: %w", err)
		}
		return smtp{o.Mail}, nil
	}
	dir := filepath.Join(o.Dir, mailName)
	return folder(dir), os.MkdirAll(dir, 0o700)
}

// smtp is a mail server.
type smtp struct{ m *Mail }

func (smtp) form() gomail.Encoding { return gomail.EncodingQP }

// A smtpTrip is a connection to a mail server. The end of its context cuts it off,
// whatever it waits for.
type smtpTrip struct {
	c    *gomail.Client
	conn net.Conn
	stop func() bool
}

func (s smtp) open(ctx context.Context) (trip, error) {
	t := &smtpTrip{stop: func() bool { return true }}
	c, err := s.m.client(func(dialing context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(dialing, network, address)
		if err != nil {
			return nil, err
		}
		t.conn, t.stop = conn, context.AfterFunc(ctx, func() { conn.Close() })
		if !s.m.TLS {
			return conn, nil
		}
		secure := tls.Client(conn, s.m.tlsConfig())
		return secure, secure.HandshakeContext(dialing)
	})
	if err != nil {
		return nil, err
	}
	t.c = c
	if err := c.DialWithContext(ctx); err != nil {
		if t.conn != nil { // the library leaves it open
			t.stop()
			t.conn.Close()
		}
		return nil, plain("cannot reach or log in to the mail server", err)
	}
	return t, nil
}

func (t *smtpTrip) send(m *gomail.Msg, _ string) error {
	err := t.c.Send(m)
	var e *gomail.SendError
	switch {
	case err == nil || m.IsDelivered(): // trouble after the mail was taken is none
		return nil
	case errors.As(err, &e) && e.ErrorCode() >= 500:
		return fmt.Errorf("%w (code %d)", errRefused, e.ErrorCode())
	case errors.As(err, &e) && e.ErrorCode() >= 400:
		return fmt.Errorf("the mail server does not take a mail now (code %d)", e.ErrorCode())
	}
	return plain("the mail server does not take a mail now", err)
}

func (t *smtpTrip) close() {
	t.c.Close()
	t.stop()
	t.conn.Close()
}

// plain says what is wrong without the server's words: they may have an address.
func plain(what string, err error) error {
	var op interface{ Timeout() bool }
	if errors.As(err, &op) && op.Timeout() {
		return errors.New(what + ": it takes too long")
	}
	for _, known := range []error{gomail.ErrPlainAuthNotSupported, gomail.ErrNoSupportedAuthDiscovered} {
		if errors.Is(err, known) {
			return fmt.Errorf("%s: %w", what, known)
		}
	}
	return errors.New(what)
}

// folder is where mails become files, for the operator to hand on.
type folder string

func (folder) form() gomail.Encoding { return gomail.NoEncoding }

func (f folder) open(context.Context) (trip, error) { return f, nil }

func (f folder) send(m *gomail.Msg, name string) error {
	var b bytes.Buffer
	if _, err := m.WriteTo(&b); err != nil {
		return err
	}
	err := keyfile.Create(filepath.Join(string(f), name+".eml"), b.Bytes())
	if errors.Is(err, os.ErrExist) { // written before a crash
		return keyfile.Replace(filepath.Join(string(f), name+".eml"), b.Bytes())
	}
	return err
}

func (folder) close() {}
