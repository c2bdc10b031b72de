package server

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"testing"

	"parley/carrier/smp"
)

// A recipient signs commands of one queue.
type recipient struct {
	key    *rsa.PrivateKey
	der    []byte
	public string
}

func newRecipient(t *testing.T) recipient {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := smp.MarshalKey(&k.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return recipient{k, der, base64.StdEncoding.EncodeToString(der)}
}

func (r recipient) sign(t *testing.T, signed string) string {
	t.Helper()
	h := sha256.Sum256([]byte(signed))
	sig, err := rsa.SignPSS(rand.Reader, r.key, crypto.SHA256, h[:], nil)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(sig) + "\n" + signed + "\n"
}
