package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"path/filepath"
	"time"

	"parley/internal/keyfile"
)

// The self-signed certificate of MQTT over TLS, in the data folder.
const (
	certName    = "mqtt-cert.pem" // "CERTIFICATE"
	certKeyName = "mqtt-key.pem"  // PKCS #8, "PRIVATE KEY"
	certKind    = "CERTIFICATE"
)

// A certificate is what TLS listeners show. Pin is the SHA-256 of a self-signed
// one (DER), for its address; nil for one that others vouch for.
type certificate struct {
	pair tls.Certificate
	pin  []byte
}

func (c *certificate) listener(l net.Listener) net.Listener {
	return tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{c.pair}, MinVersion: tls.VersionTLS12})
}

// loadCertificate reads the configured files, or those of the data folder, which
// the first start makes.
func loadCertificate(cfg *Config) (certificate, error) {
	if cfg.MQTTCert != "" {
		pair, err := tls.LoadX509KeyPair(cfg.MQTTCert, cfg.MQTTKey)
		if err != nil {
			return certificate{}, fmt.Errorf("%w: mqtt_cert and mqtt_key: %w", ErrConfig, err)
		}
		return certificate{pair: pair}, nil
	}
	key, err := certificateKey(filepath.Join(cfg.Data, certKeyName))
	if err != nil {
		return certificate{}, fmt.Errorf("the key of MQTT over TLS: %w", err)
	}
	path := filepath.Join(cfg.Data, certName)
	der, err := keyfile.ReadPEM(path, certKind)
	if errors.Is(err, fs.ErrNotExist) {
		if der, err = signCertificate(key, cfg.Host, cfg.MQTTTLS); err == nil {
			err = keyfile.CreatePEM(path, certKind, der)
		}
	}
	if err != nil {
		return certificate{}, fmt.Errorf("the certificate of MQTT over TLS: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil || !key.PublicKey.Equal(leaf.PublicKey) {
		return certificate{}, fmt.Errorf("%s is damaged, or not the certificate of %s; restore both, or remove both for new ones (the address changes)", path, certKeyName)
	}
	sum := sha256.Sum256(der)
	return certificate{tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, sum[:]}, nil
}

// certificateKey reads or makes a key of ECDSA over P-256.
func certificateKey(path string) (*ecdsa.PrivateKey, error) {
	der, err := keyfile.ReadPEM(path, pemKind)
	if errors.Is(err, fs.ErrNotExist) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		if der, err = x509.MarshalPKCS8PrivateKey(key); err != nil {
			return nil, err
		}
		return key, keyfile.CreatePEM(path, pemKind, der)
	}
	if err != nil {
		return nil, err
	}
	k, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	key, ok := k.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s: not an ECDSA key", path)
	}
	return key, nil
}

// signCertificate makes a certificate for the names that clients may use. It does
// not end (RFC 5280 §4.1.2.5) and does not tell when it was made: clients know it
// by its hash.
func signCertificate(key *ecdsa.PrivateKey, host, listen string) ([]byte, error) {
	serial := make([]byte, 16)
	rand.Read(serial)
	serial[0] &= 0x7f
	t := &x509.Certificate{
		SerialNumber:          new(big.Int).SetBytes(serial),
		Subject:               pkix.Name{CommonName: "parleyd"},
		NotBefore:             time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:              time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		DNSNames:              []string{"localhost"},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	listenHost, _, _ := net.SplitHostPort(listen)
	for _, h := range []string{host, listenHost} {
		if ip := net.ParseIP(h); ip != nil && !ip.IsUnspecified() && !ip.IsLoopback() {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else if ip == nil && h != "" && h != "localhost" {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	return x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
}
