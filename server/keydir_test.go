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
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"parley/internal/keyfile"
)

// certificateFiles writes a certificate for 127.0.0.1 and its key.
func certificateFiles(t *testing.T, dir string, serial int64) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "tls-key.pem")
	for name, b := range map[string][]byte{
		cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	} {
		if err := keyfile.Replace(name, b); err != nil {
			t.Fatal(err)
		}
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool = x509.NewCertPool()
	pool.AddCert(c)
	return cert, key, pool
}

func fetch(t *testing.T, url string, pool *x509.CertPool) (int, string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}, Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	answer, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(b)
}

// The directory over TLS keeps its key over a restart, takes a new certificate without
// one, and leaves nothing of clients in the log.
func TestKeydir(t *testing.T) {
	var log bytes.Buffer
	dir := t.TempDir()
	certFile, keyFile, pool := certificateFiles(t, dir, 1)
	cfg := Config{Data: filepath.Join(dir, "data"), Keydir: "127.0.0.1:0", KeydirTLSCert: certFile, KeydirTLSKey: keyFile, KeydirURL: "https://keys.example/pubkey"}
	var keys [2]string
	for i := range keys {
		s, err := Start(cfg, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
		if err != nil {
			t.Fatal(err)
		}
		base := s.Addresses()[0]
		if len(s.Addresses()) != 1 || !strings.HasPrefix(base, "https://127.0.0.1:") {
			t.Fatalf("%q", s.Addresses())
		}
		var code int
		if code, keys[i] = fetch(t, base+"/key", pool); code != 200 || !strings.HasPrefix(keys[i], "-----BEGIN PUBLIC KEY-----") {
			t.Errorf("%d %s", code, keys[i])
		}
		if code, home := fetch(t, base+"/", pool); code != 200 || !strings.Contains(home, "https://keys.example/pubkey") {
			t.Errorf("%d %s", code, home)
		}
		if code, _ := fetch(t, base+"/users/secret-name", pool); code != 404 {
			t.Error(code)
		}
		shutdown(t, s)
	}
	if keys[0] != keys[1] {
		t.Error("the key changes")
	}
	if n := strings.Count(log.String(), "no mail server"); n != 2 || strings.Count(log.String(), "\n") != 2 || strings.Contains(log.String(), "secret-name") {
		t.Errorf("the log:\n%s", log.String())
	}

	// A certificate that was replaced is shown when the file is looked at again; a
	// damaged one is told, and the old one stays.
	log.Reset()
	f, err := newFileCertificate(certFile, keyFile, newTrouble(slog.New(slog.NewTextHandler(&log, nil))))
	if err != nil {
		t.Fatal(err)
	}
	serial := func() int64 {
		t.Helper()
		pair, err := f.get(nil)
		if err != nil {
			t.Fatal(err)
		}
		return pair.Leaf.SerialNumber.Int64()
	}
	certificateFiles(t, dir, 2)
	if err := os.Chtimes(certFile, time.Now(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if n := serial(); n != 1 {
		t.Errorf("looked at too often: %d", n)
	}
	f.looked = f.looked.Add(-certificateEvery)
	if n := serial(); n != 2 {
		t.Errorf("certificate %d", n)
	}
	if err := os.WriteFile(certFile, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.looked = f.looked.Add(-certificateEvery)
	if n := serial(); n != 2 || !strings.Contains(log.String(), "certificate of the key directory") {
		t.Errorf("certificate %d, log %s", n, log.String())
	}
}

func TestKeydirConfig(t *testing.T) {
	dir := t.TempDir()
	for what, change := range map[string]func(c *Config){
		"address":             func(c *Config) { c.Keydir = "here" },
		"URL":                 func(c *Config) { c.KeydirURL = "keys.example" },
		"URL with a query":    func(c *Config) { c.KeydirURL = "https://keys.example?x=y" },
		"URL with a space":    func(c *Config) { c.KeydirURL = "https://keys.example/a b" },
		"URL, space in host":  func(c *Config) { c.KeydirURL = "https://keys example" },
		"URL, space before":   func(c *Config) { c.KeydirURL = " https://keys.example" },
		"URL with quotes":     func(c *Config) { c.KeydirURL = `https://keys.example/"x"` },
		"URL, tag in host":    func(c *Config) { c.KeydirURL = "https://<b>" },
		"URL, line end":       func(c *Config) { c.KeydirURL = "https://keys.example/a\n" },
		"URL, not ASCII":      func(c *Config) { c.KeydirURL = "https://keys.example/ü" },
		"URL, empty query":    func(c *Config) { c.KeydirURL = "https://keys.example/?" },
		"URL, fragment":       func(c *Config) { c.KeydirURL = "https://keys.example/#x" },
		"URL, no fragment":    func(c *Config) { c.KeydirURL = "https://keys.example/#" },
		"URL, scheme":         func(c *Config) { c.KeydirURL = "ftp://keys.example" },
		"URL without host":    func(c *Config) { c.KeydirURL = "https:///x" },
		"URL, port":           func(c *Config) { c.KeydirURL = "https://keys.example:99999" },
		"URL, empty port":     func(c *Config) { c.KeydirURL = "https://keys.example:" },
		"URL, empty segment":  func(c *Config) { c.KeydirURL = "https://keys.example//x" },
		"URL, dots":           func(c *Config) { c.KeydirURL = "https://keys.example/a/../b" },
		"URL, escaped dots":   func(c *Config) { c.KeydirURL = "https://keys.example/%2e%2e" },
		"URL, bad escape":     func(c *Config) { c.KeydirURL = "https://keys.example/%zz" },
		"URL, escaped LF":     func(c *Config) { c.KeydirURL = "https://keys.example/%0a" },
		"URL with a password": func(c *Config) { c.KeydirURL = "https://u:p@keys.example" },
		"certificate alone":   func(c *Config) { c.KeydirTLSCert = "x" },
		"no certificate":      func(c *Config) { c.KeydirTLSCert, c.KeydirTLSKey = dir+"/none", dir+"/none" },
		"no key file":         func(c *Config) { c.KeydirKey = dir + "/none" },
		"proxy":               func(c *Config) { c.KeydirProxy = []string{"10.0.0.0/99"} },
		"mail server":         func(c *Config) { c.SMTP = "mail.example" },
		"two mail servers":    func(c *Config) { c.SMTP, c.SMTPFile = "smtp://h", "x" },
		"mail server's file":  func(c *Config) { c.SMTPFile = dir + "/none" },
		"negative limit":      func(c *Config) { c.KeydirLimits.Connections = -1 },
		"settings alone":      func(c *Config) { c.Keydir, c.KeydirMetrics = "", true },
		"host":                func(c *Config) { c.Host = "a/b" },
	} {
		c := Config{Data: filepath.Join(dir, "data"), Keydir: "127.0.0.1:0"}
		change(&c)
		s, err := Start(c, slog.New(slog.DiscardHandler))
		if err == nil {
			s.Shutdown(context.Background())
		}
		if !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, good := range []string{"https://keys.example", "http://127.0.0.1:8080/", "https://[::1]:8443/pubkey", "https://keys.example/a/b-c_~d/", "https://keys.example/%C3%BC"} {
		if !isBaseURL(good) {
			t.Errorf("%s is refused", good)
		}
	}
	c := Config{KeydirProxy: []string{"10.0.0.1", "fd00::/8"}}
	if p, err := c.keydirProxies(); err != nil || len(p) != 2 || p[0].Bits() != 32 {
		t.Errorf("%v, %v", p, err)
	}
}
