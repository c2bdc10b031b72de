package client

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"parley"
	"parley/carrier/mqtt"
)

// connected is a connection that the broker has accepted.
type connected struct {
	nc     net.Conn
	r      *bufio.Reader
	codec  codec
	limits limits
	// present: the broker has the session of before.
	present bool
}

// attempt connects and logs in, in the version o asks for or the first of both
// that the broker speaks. clean throws the session away that is there.
func attempt(ctx context.Context, o *Options, version int, clean bool) (*connected, error) {
	ctx, cancel := context.WithTimeout(ctx, o.DialTimeout)
	defer cancel()
	if version != 0 {
		return login(ctx, o, version, clean)
	}
	c, err := login(ctx, o, mqtt.V5, clean)
	if err == nil || !speaksNot5(err) || ctx.Err() != nil {
		return c, err
	}
	return login(ctx, o, mqtt.V311, clean)
}

// speaksNot5 reports whether a broker may have meant that by its answer: many of
// 3.1.1 just close the connection.
func speaksNot5(err error) bool {
	var r ReasonError
	return errors.As(err, &r) && reason(r.Code) == reasonVersion || errors.Is(err, errWire) || errors.Is(err, errHangup)
}

// login makes one connection. A session of 3.1.1 that is to begin anew and then to
// last needs two: that version has one flag for both.
func login(ctx context.Context, o *Options, version int, clean bool) (*connected, error) {
	if version == mqtt.V311 && clean && o.SessionExpiry > 0 {
		c, err := handshake(ctx, o, version, true)
		if err != nil {
			return nil, err
		}
		if err := c.leave(o); err != nil {
			return nil, err
		}
		clean = false
	}
	return handshake(ctx, o, version, clean || version == mqtt.V311 && o.SessionExpiry < 0)
}

func handshake(ctx context.Context, o *Options, version int, clean bool) (*connected, error) {
	nc, err := o.open(ctx)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	c, err := exchange(nc, o, version, clean)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		nc.Close()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, offline(fmt.Errorf("connecting to %s: %w", o.Broker.Address(), err))
	}
	nc.SetDeadline(time.Time{}) // if it fails, whoever reads will see
	return c, nil
}

// exchange sends CONNECT and reads CONNACK.
func exchange(nc net.Conn, o *Options, version int, clean bool) (*connected, error) {
	c := &connected{nc: nc, r: bufio.NewReader(nc), codec: codecOf(version)}
	hello, err := c.codec.encode(&packet{kind: kConnect, connect: o.connect(clean)})
	if err != nil {
		return nil, err
	}
	if _, err := nc.Write(hello); err != nil {
		return nil, hangup(err)
	}
	frame, _, err := readFrame(c.r, o.MaxPacket, version == mqtt.V5)
	if err != nil {
		return nil, hangup(err)
	}
	p, err := decode(c.codec, frame)
	switch {
	case err != nil:
		return nil, err
	case p.kind != kConnack:
		return nil, errWire
	case p.code >= 0x80:
		return nil, refusal(p.code)
	case p.code != 0:
		return nil, errWire
	}
	c.limits, c.present = p.limits, p.present && !clean
	return c, nil
}

func (o *Options) connect(clean bool) *connect {
	c := &connect{
		clientID: o.ClientID, user: o.Broker.User, password: o.Broker.Password, clean: clean,
		keepAlive: uint16(o.KeepAlive / time.Second), window: uint16(o.Window),
		maxPacket: uint32(o.MaxPacket), will: o.Will,
	}
	if o.SessionExpiry > 0 {
		s := (o.SessionExpiry + time.Second - 1) / time.Second
		c.expiry = uint32(min(s, 0xFFFFFFFF)) // the largest is for ever
	}
	return c
}

// hangup tells the end of a connection in one way, whichever way it came.
func hangup(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || strings.Contains(err.Error(), "reset by peer") ||
		strings.Contains(err.Error(), "broken pipe") {
		return errHangup
	}
	return err
}

// open makes the connection below MQTT.
func (o *Options) open(ctx context.Context) (net.Conn, error) {
	nc, err := o.Dial(ctx, "tcp", o.Broker.HostPort())
	if err != nil {
		return nil, offline(fmt.Errorf("connecting to %s: %w", o.Broker.Address(), err))
	}
	if !o.Broker.TLS {
		return nc, nil
	}
	conf, other := o.tls()
	tc := tls.Client(nc, conf)
	if err := tc.HandshakeContext(ctx); err != nil {
		nc.Close()
		var bad *tls.CertificateVerificationError
		switch {
		case *other:
			return nil, &CertificateError{Broker: o.Broker.Address(), Pinned: true}
		case errors.As(err, &bad):
			return nil, &CertificateError{Broker: o.Broker.Address(), Err: bad.Err}
		}
		return nil, offline(fmt.Errorf("TLS with %s: %w", o.Broker.Address(), err))
	}
	return tc, nil
}

// tls returns the configuration; other will say that the certificate is not the
// pinned one.
func (o *Options) tls() (conf *tls.Config, other *bool) {
	conf, other = &tls.Config{}, new(bool)
	if o.TLS != nil {
		conf = o.TLS.Clone()
	}
	if conf.MinVersion == 0 {
		conf.MinVersion = tls.VersionTLS12
	}
	if conf.ServerName == "" {
		conf.ServerName = o.Broker.Host
	}
	pin := o.Broker.CertSHA256
	if len(pin) == 0 {
		return conf, other
	}
	conf.InsecureSkipVerify = true // in place of it:
	conf.VerifyConnection = func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) > 0 {
			if sum := sha256.Sum256(s.PeerCertificates[0].Raw); bytes.Equal(sum[:], pin) {
				return nil
			}
		}
		*other = true
		return parley.ErrOffline
	}
	return conf, other
}

// newClientID makes one that every broker accepts (3.1.1 §3.1.3.1): 23 characters
// of a to z and 2 to 7, with 85 random bits.
func newClientID() string { return "parley" + strings.ToLower(rand.Text()[:17]) }
