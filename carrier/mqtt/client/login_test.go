package client_test

import (
	"crypto/tls"
	"errors"
	"strings"
	"testing"
	"time"

	"parley"
	"parley/carrier/mqtt/client"
)

func TestWrongPassword(t *testing.T) {
	m := prepareMosquitto(t, "allow_anonymous false", "password_file DIR/passwords")
	m.users("alice", "right")
	m.start()
	versions(t, func(t *testing.T, v int) {
		for _, s := range []client.Start{client.Once, client.Retry} {
			for _, login := range [][2]string{{"alice", "hunter2"}, {"nobody", "hunter2"}, {"", ""}} {
				o := quick(m.broker())
				o.Version, o.Start = v, s
				o.Broker.User, o.Broker.Password = login[0], login[1]
				err := dialError(t, o)
				if !errors.Is(err, parley.ErrDenied) || strings.Contains(err.Error(), "hunter2") {
					t.Fatalf("%v with %v: %v", v, login, err)
				}
			}
		}
		o := quick(m.broker())
		o.Version = v
		o.Broker.User, o.Broker.Password = "alice", "right"
		c := dial(t, o)
		check(t, c.Publish(wait(t), client.Message{Topic: "a", QoS: 1}))
	})
}

func TestTLS(t *testing.T) {
	m := prepareMosquitto(t, "certfile DIR/cert.pem", "keyfile DIR/key.pem")
	pin, ca := m.certificate()
	m.start()
	wrong := append([]byte{pin[0] ^ 1}, pin[1:]...)
	for _, c := range []struct {
		name string
		pin  []byte
		conf *tls.Config
		good bool
	}{
		{"pin", pin, nil, true},
		{"authority", nil, &tls.Config{RootCAs: ca}, true},
		{"pin, and an authority that did not sign", pin, &tls.Config{}, true},
		{"wrong pin", wrong, nil, false},
		{"wrong pin, signed", wrong, &tls.Config{RootCAs: ca}, false},
		{"nobody's", nil, nil, false},
		{"other name", nil, &tls.Config{RootCAs: ca, ServerName: "other"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := quick(m.broker())
			o.Broker.CertSHA256, o.TLS, o.Start = c.pin, c.conf, client.Retry
			conn, err := client.Dial(wait(t), o)
			if c.good {
				check(t, err)
				check(t, conn.Publish(wait(t), client.Message{Topic: "a", QoS: 1}))
				shut(conn)
				return
			}
			var bad *client.CertificateError
			if !errors.As(err, &bad) || bad.Pinned != (c.pin != nil) || !errors.Is(err, parley.ErrOffline) {
				t.Fatalf("got %v", err)
			}
		})
	}
	o := quick(m.broker())
	o.Broker.TLS, o.Broker.CertSHA256 = false, nil
	if err := dialError(t, o); !errors.Is(err, parley.ErrOffline) {
		t.Errorf("without TLS: %v", err)
	}
	plain := newMosquitto(t)
	o = quick(plain.broker())
	o.Broker.TLS = true
	o.DialTimeout = time.Second
	if err := dialError(t, o); !errors.Is(err, parley.ErrOffline) {
		t.Errorf("TLS with a broker that has none: %v", err)
	}
}
