package paddevice

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"time"
)

// A Fingerprint is the SHA-256 of a public key in its certificate's form (SPKI). It is
// what a pairing pins, on both sides.
type Fingerprint [sha256.Size]byte

// NewKey makes the key of a device or a client.
func NewKey() (ed25519.PrivateKey, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	return key, err
}

// Certificate makes a self-signed certificate. Only its key counts: it is pinned, so
// there is no name to check, and no date that a device without a clock could get wrong.
func Certificate(key ed25519.PrivateKey) (tls.Certificate, error) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "parley pad device"},
		NotBefore:    time.Date(2015, 12, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:     time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// KeyFingerprint returns the fingerprint of a key.
func KeyFingerprint(key ed25519.PrivateKey) (Fingerprint, error) {
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	return sha256.Sum256(spki), err
}

var errNoPeer = errors.New("the other side shows no key")

// PeerFingerprint returns the fingerprint of the key that the other side of a connection
// has proven to hold.
func PeerFingerprint(c tls.ConnectionState) (Fingerprint, error) {
	if len(c.PeerCertificates) == 0 {
		return Fingerprint{}, errNoPeer
	}
	cert := c.PeerCertificates[0]
	if _, ok := cert.PublicKey.(ed25519.PublicKey); !ok {
		return Fingerprint{}, errNoPeer
	}
	return sha256.Sum256(cert.RawSubjectPublicKeyInfo), nil
}

// TLSConfig is what both sides of the paired channel begin with: TLS 1.3, no session that
// would outlive an unpairing, and check in place of a chain of certificates.
func TLSConfig(key ed25519.PrivateKey, check func(Fingerprint) error) (*tls.Config, error) {
	cert, err := Certificate(key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		Certificates:           []tls.Certificate{cert},
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{"http/1.1"},
		SessionTicketsDisabled: true,
		InsecureSkipVerify:     true, // VerifyConnection does it
		ClientAuth:             tls.RequireAnyClientCert,
		VerifyConnection: func(c tls.ConnectionState) error {
			fp, err := PeerFingerprint(c)
			if err != nil {
				return err
			}
			return check(fp)
		},
	}, nil
}
