package server

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"parley/parleytest"
)

// A mosquitto is a mosquitto_sub in the background.
type mosquitto struct {
	t   *testing.T
	cmd *exec.Cmd
	out bytes.Buffer
	err bytes.Buffer
}

func hostPort(addr string) []string {
	host, port, _ := net.SplitHostPort(addr)
	return []string{"-h", host, "-p", port}
}

// run runs mosquitto_pub or mosquitto_sub to its end.
func run(t *testing.T, addr, tool string, args ...string) string {
	t.Helper()
	out, err := tryRun(t, addr, tool, args...)
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", tool, args, err, out)
	}
	return out
}

func tryRun(t *testing.T, addr, tool string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, parleytest.Need(t, tool), append(hostPort(addr), args...)...).CombinedOutput()
	return string(out), err
}

// listen starts a mosquitto_sub; done waits for its end and returns its output.
func listen(t *testing.T, addr string, args ...string) *mosquitto {
	t.Helper()
	m := &mosquitto{t: t, cmd: exec.Command(parleytest.Need(t, "mosquitto_sub"), append(hostPort(addr), args...)...)}
	m.cmd.Stdout, m.cmd.Stderr = &m.out, &m.err
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *mosquitto) done() string {
	m.t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- m.cmd.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			m.t.Fatalf("%v: %s%s", err, m.out.String(), m.err.String())
		}
	case <-time.After(patience):
		m.cmd.Process.Kill()
		<-ended
		m.t.Fatalf("mosquitto_sub still waits: %s%s", m.out.String(), m.err.String())
	}
	return m.out.String()
}

// mosquitto_pub and mosquitto_sub, in both versions and each QoS.
func TestMosquittoClients(t *testing.T) {
	parleytest.Need(t, "mosquitto_pub")
	for _, v := range []string{"mqttv31", "mqttv311", "mqttv5"} {
		for q := range 3 {
			t.Run(fmt.Sprint(v, " QoS ", q), func(t *testing.T) {
				b := start(t, Options{})
				qos := fmt.Sprint(q)
				live := listen(t, b.addr, "-V", v, "-q", qos, "-t", "a/#", "-C", "2", "-F", "%t %q %p")
				b.until("subscriber", func(s Stats) bool { return subscriptions(b) == 1 })
				run(t, b.addr, "mosquitto_pub", "-V", v, "-q", qos, "-t", "a/b", "-m", "hello")
				run(t, b.addr, "mosquitto_pub", "-V", v, "-q", qos, "-t", "a/c", "-r", "-m", "kept")
				if got, want := live.done(), fmt.Sprintf("a/b %d hello\na/c %d kept\n", q, q); got != want {
					t.Errorf("got %q, want %q", got, want)
				}
				got := run(t, b.addr, "mosquitto_sub", "-V", v, "-q", qos, "-t", "a/+", "-C", "1", "-F", "%r %p")
				if got != "1 kept\n" {
					t.Errorf("retained: %q", got)
				}
				if q == 0 {
					return
				}
				// A persistent session, over a restart.
				session := []string{"-V", v, "-q", qos, "-t", "p/#", "-i", "me", "-c"}
				if v == "mqttv5" {
					session = append(session, "-x", "1000")
				}
				run(t, b.addr, "mosquitto_sub", append(session, "-E")...)
				for i := range 3 {
					run(t, b.addr, "mosquitto_pub", "-V", v, "-q", qos, "-t", "p/x", "-m", fmt.Sprint(i))
				}
				b.restart()
				if got := run(t, b.addr, "mosquitto_sub", append(session, "-C", "3")...); got != "0\n1\n2\n" {
					t.Errorf("after the restart: %q", got)
				}
			})
		}
	}
}

func subscriptions(b *broker) int {
	h := b.s.life()
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, s := range h.sessions {
		n += len(s.subs)
	}
	return n
}

func TestMosquittoWill(t *testing.T) {
	b := start(t, Options{})
	live := listen(t, b.addr, "-t", "will/#", "-C", "1", "-q", "1")
	dies := listen(t, b.addr, "-t", "x", "--will-topic", "will/x", "--will-payload", "gone", "--will-qos", "1")
	b.until("subscribers", func(s Stats) bool { return subscriptions(b) == 2 })
	dies.cmd.Process.Kill()
	dies.cmd.Wait()
	if got := live.done(); got != "gone\n" {
		t.Errorf("got %q", got)
	}
}

// Users, and what the tool says of a refusal.
func TestMosquittoAccess(t *testing.T) {
	b := start(t, Options{Users: testUsers(t)})
	alice := []string{"-u", "alice", "-P", "wonderland"}
	run(t, b.addr, "mosquitto_pub", append(alice, "-t", "home/x", "-m", "1", "-q", "1")...)
	for _, args := range [][]string{
		{"-u", "alice", "-P", "wrong", "-t", "home/x", "-m", "1", "-q", "1"},
		{"-V", "mqttv5", "-u", "alice", "-P", "wonderland", "-t", "elsewhere", "-m", "1", "-q", "1"},
	} {
		if out, err := tryRun(t, b.addr, "mosquitto_pub", args...); err == nil && !strings.Contains(out, "Not authorized") {
			t.Errorf("%q: %s", args, out)
		}
	}
	if out, err := tryRun(t, b.addr, "mosquitto_sub", append(alice, "-t", "#", "-E")...); err == nil && !strings.Contains(out, "denied") {
		t.Errorf("subscribing to everything: %s", out)
	}
}

// Over TLS, with a certificate that the client knows.
func TestMosquittoTLS(t *testing.T) {
	parleytest.Need(t, "mosquitto_pub")
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	b := start(t, Options{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served, srv := make(chan error, 1), b.s
	go func() {
		served <- srv.Serve(tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}))
	}()
	secure := l.Addr().String()
	silent, err := net.Dial("tcp", secure) // does not even begin
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	live := listen(t, b.addr, "-t", "a", "-C", "1", "-q", "2")
	b.until("subscriber", func(Stats) bool { return subscriptions(b) == 1 })
	run(t, secure, "mosquitto_pub", "--cafile", ca, "-V", "mqttv5", "-q", "2", "-t", "a", "-m", strings.Repeat("secret ", 10_000))
	if got := live.done(); got != strings.Repeat("secret ", 10_000)+"\n" {
		t.Errorf("got %d bytes", len(got))
	}
	b.stop()
	if err := <-served; !errors.Is(err, ErrShutdown) {
		t.Error(err)
	}
}
