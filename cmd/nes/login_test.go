package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
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

// A broker with TLS that wants a user and a password.
func TestLoginAndTLS(t *testing.T) {
	t.Parallel()
	mosquitto, passwd := parleytest.Need(t, "mosquitto"), parleytest.Need(t, "mosquitto_passwd")
	dir, port := t.TempDir(), freePort(t)
	file := func(name string) string { return filepath.Join(dir, name) }
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "broker"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"cert": {Type: "CERTIFICATE", Bytes: cert}, "key": {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(file(name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command(passwd, "-b", "-c", file("users"), "alice", "p@ss word").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	conf := fmt.Sprintf("user root\nlistener %d 127.0.0.1\ncertfile %s\nkeyfile %s\npassword_file %s\nallow_anonymous false\n", port, file("cert"), file("key"), file("users"))
	if err := os.WriteFile(file("conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, dir, mosquitto, "-c", file("conf"), "-v").await("running")

	v := loadVectors(t)
	url, providerKey := v.original(t, "", nil)
	alice := v.person(t, "alice", &broker{port: port}, url, providerKey)
	pin := sha256.Sum256(cert)
	at := fmt.Sprintf("127.0.0.1:%d?cert-sha256=%s", port, hex.EncodeToString(pin[:]))
	with := func(address string) *person {
		p := *alice
		p.flags = []string{"-u", "alice", "-b", address, "-p", url, "-P", providerKey}
		return &p
	}
	good := with("ssl://alice:p%40ss%20word@" + at)
	l := good.listen()
	good.send("alice", "to myself")
	l.await("alice > to myself")
	l.enter()
	for _, bad := range []string{
		"ssl://alice:wrong@" + at,
		"ssl://" + at,
		fmt.Sprintf("ssl://alice:p%%40ss%%20word@127.0.0.1:%d", port),                      // signed by nobody
		fmt.Sprintf("ssl://alice:p%%40ss%%20word@127.0.0.1:%d?cert-sha256=%064d", port, 1), // another
		fmt.Sprintf("tcp://alice:p%%40ss%%20word@127.0.0.1:%d", port),                      // no TLS
	} {
		errs := with(bad).fails(4, "listen")
		if strings.Contains(errs, "p@ss") || strings.Contains(errs, "p%40ss") || strings.Contains(errs, "wrong") {
			t.Errorf("the password is shown: %s", errs)
		}
	}
}
