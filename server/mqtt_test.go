package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"parley/carrier/mqtt"
)

// mqttConnect is a CONNECT of 3.1.1 with the client ID "secret-client".
var mqttConnect = append([]byte{0x10, 25, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 13}, "secret-client"...)

func mqttAsk(t *testing.T, c net.Conn, send, want []byte) {
	t.Helper()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Write(send); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("got % x, %v; want % x", got, err, want)
	}
}

// A life of the broker leaves nothing of clients in the log, and its addresses are
// true, the certificate's hash included; they stay the same after a restart.
func TestMQTT(t *testing.T) {
	var log bytes.Buffer
	cfg := Config{Data: t.TempDir(), MQTT: "127.0.0.1:0", MQTTTLS: "127.0.0.1:0"}
	var pins [2][]byte
	for i := range pins {
		s, err := Start(cfg, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Addresses()) != 2 {
			t.Fatalf("%q", s.Addresses())
		}
		plain, err := mqtt.ParseBroker(s.Addresses()[0])
		if err != nil || plain.TLS {
			t.Fatalf("%+v, %v", plain, err)
		}
		secure, err := mqtt.ParseBroker(s.Addresses()[1])
		if err != nil || !secure.TLS {
			t.Fatalf("%+v, %v", secure, err)
		}
		pins[i] = secure.CertSHA256
		for _, b := range []mqtt.Broker{plain, secure} {
			c, err := net.Dial("tcp", b.HostPort())
			if err != nil {
				t.Fatal(err)
			}
			if b.TLS {
				secret := tls.Client(c, &tls.Config{InsecureSkipVerify: true, VerifyConnection: func(s tls.ConnectionState) error {
					if sum := sha256.Sum256(s.PeerCertificates[0].Raw); !bytes.Equal(sum[:], b.CertSHA256) {
						t.Errorf("the certificate's hash is %s", hex.EncodeToString(sum[:]))
					}
					return s.PeerCertificates[0].VerifyHostname("127.0.0.1")
				}})
				c = secret
			}
			mqttAsk(t, c, mqttConnect, []byte{0x20, 2, 0, 0})
			// SUBSCRIBE to "t", PUBLISH "x" to it.
			mqttAsk(t, c, []byte{0x82, 6, 0, 1, 0, 1, 't', 0, 0x32, 6, 0, 1, 't', 0, 2, 'x'}, []byte{0x90, 3, 0, 1, 0})
			c.Write([]byte{0x30, 1}) // garbage
			c.Close()
		}
		shutdown(t, s)
	}
	if !bytes.Equal(pins[0], pins[1]) {
		t.Error("the certificate changes")
	}
	if log.Len() > 0 {
		t.Errorf("the log:\n%s", log.String())
	}
	files, err := os.ReadDir(cfg.Data)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, f.Name())
	}
	if got := strings.Join(names, " "); got != "lock mqtt mqtt-cert.pem mqtt-key.pem" {
		t.Errorf("the data folder holds %s", got)
	}
}

// On every interface, the log says what is to be known, once.
func TestMQTTWarnings(t *testing.T) {
	dir := t.TempDir()
	line, err := MQTTUser("alice", []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/users", []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	s, err := Start(Config{Data: dir, MQTT: "0.0.0.0:0", MQTTTLS: "0.0.0.0:0", MQTTUsers: dir + "/users"}, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	if strings.Count(log.String(), "in clear") != 1 || strings.Count(log.String(), "every interface") != 1 || strings.Contains(log.String(), "alice") {
		t.Errorf("the log:\n%s", log.String())
	}
}
