package client_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"parley/carrier/mqtt"
	"parley/carrier/mqtt/client"
	"parley/parleytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 30 * time.Second

// A mosquitto is a real broker in a process of its own.
type mosquitto struct {
	t    testing.TB
	bin  string
	dir  string
	port int
	tls  bool
	pin  []byte

	mu  sync.Mutex
	cmd *exec.Cmd
	log *bytes.Buffer
}

// newMosquitto starts one; extra lines go into its configuration.
func newMosquitto(t testing.TB, extra ...string) *mosquitto {
	t.Helper()
	m := prepareMosquitto(t, extra...)
	m.start()
	return m
}

// prepareMosquitto is newMosquitto without the start.
func prepareMosquitto(t testing.TB, extra ...string) *mosquitto {
	t.Helper()
	m := &mosquitto{t: t, bin: parleytest.Need(t, "mosquitto"), dir: t.TempDir(), port: freePort(t)}
	me, err := user.Current()
	check(t, err)
	lines := []string{
		"user " + me.Username, "persistence true", "persistence_location " + m.dir + "/", "autosave_interval 1800",
		"log_dest stderr", "max_queued_messages 0", "listener " + strconv.Itoa(m.port) + " 127.0.0.1",
	}
	anonymous := "allow_anonymous true"
	for _, l := range extra {
		if strings.HasPrefix(l, "allow_anonymous") {
			anonymous = ""
		}
		lines = append(lines, strings.ReplaceAll(l, "DIR", m.dir))
	}
	lines = append(lines, anonymous, "")
	m.write("mosquitto.conf", strings.Join(lines, "\n"))
	t.Cleanup(func() { m.end(syscall.SIGKILL) })
	return m
}

func (m *mosquitto) write(name, text string) {
	check(m.t, os.WriteFile(filepath.Join(m.dir, name), []byte(text), 0o600))
}

func (m *mosquitto) start() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.log = new(bytes.Buffer)
	m.cmd = exec.Command(m.bin, "-c", filepath.Join(m.dir, "mosquitto.conf"))
	m.cmd.Stderr = m.log
	check(m.t, m.cmd.Start())
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		nc, err := net.Dial("tcp", m.address())
		if err == nil {
			nc.Close()
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			m.t.Fatalf("mosquitto did not start: %s", m.log)
		}
	}
}

// end sends a signal to the one process and waits for its end.
func (m *mosquitto) end(s syscall.Signal) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cmd == nil {
		return
	}
	m.cmd.Process.Signal(s)
	m.cmd.Wait()
	m.cmd = nil
}

func (m *mosquitto) stop() { m.end(syscall.SIGTERM) }
func (m *mosquitto) kill() { m.end(syscall.SIGKILL) }

// restart stops it in good order, so that it keeps everything, and starts it.
func (m *mosquitto) restart() {
	m.stop()
	m.start()
}

func (m *mosquitto) address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(m.port)) }

func (m *mosquitto) broker() mqtt.Broker {
	return mqtt.Broker{Host: "127.0.0.1", Port: uint16(m.port), TLS: m.tls, CertSHA256: m.pin}
}

// users makes Mosquitto let in NAME PASSWORD pairs only.
func (m *mosquitto) users(pairs ...string) {
	tool := parleytest.Need(m.t, "mosquitto_passwd")
	file := filepath.Join(m.dir, "passwords")
	for i := 0; i < len(pairs); i += 2 {
		args := []string{"-b", file, pairs[i], pairs[i+1]}
		if i == 0 {
			args = append([]string{"-c"}, args...)
		}
		if out, err := exec.Command(tool, args...).CombinedOutput(); err != nil {
			m.t.Fatalf("mosquitto_passwd: %v %s", err, out)
		}
	}
}

// certificate makes a self-signed one for 127.0.0.1 and returns its hash.
func (m *mosquitto) certificate() (pin []byte, ca *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(m.t, err)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	check(m.t, err)
	priv, err := x509.MarshalPKCS8PrivateKey(key)
	check(m.t, err)
	m.write("cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	m.write("key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: priv})))
	cert, err := x509.ParseCertificate(der)
	check(m.t, err)
	ca = x509.NewCertPool()
	ca.AddCert(cert)
	sum := sha256.Sum256(der)
	m.tls = true
	return sum[:], ca
}

func freePort(t testing.TB) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// quick are options whose pauses do not hold tests up.
func quick(b mqtt.Broker) client.Options {
	return client.Options{
		Broker: b, BackoffMin: time.Millisecond, BackoffMax: 20 * time.Millisecond, Displaced: 20 * time.Millisecond,
		RetryMin: time.Millisecond, RetryMax: 5 * time.Millisecond, ReplyTimeout: 10 * time.Second,
	}
}

func dial(t testing.TB, o client.Options) *client.Conn {
	t.Helper()
	c, err := client.Dial(wait(t), o)
	check(t, err)
	t.Cleanup(func() { shut(c) })
	return c
}

func shut(c *client.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	c.Close(ctx)
}

func wait(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// get receives from a channel, or fails.
func get[T any](t testing.TB, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatal("nothing came")
		panic(0)
	}
}

// collect subscribes and returns what comes.
func collect(t testing.TB, c *client.Conn, filter string, qos byte) <-chan client.Message {
	t.Helper()
	ch := make(chan client.Message, 10000)
	check(t, c.Subscribe(wait(t), filter, qos, func(m client.Message) error { ch <- m; return nil }))
	return ch
}

// versions runs a test with both versions of the protocol.
func versions(t *testing.T, f func(t *testing.T, version int)) {
	for _, v := range []int{mqtt.V311, mqtt.V5} {
		t.Run(fmt.Sprint("v", v), func(t *testing.T) { f(t, v) })
	}
}
