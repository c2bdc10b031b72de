package rsakey_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"parley/internal/rsakey"
	"parley/parleytest"
)

// key is made once: that takes a while.
var key = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsakey.Generate(rsakey.DefaultBits)
	if err != nil {
		panic(err)
	}
	return k
})

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// number returns a public key with a modulus of that many bits, all ones.
func number(bits int, e int) *rsa.PublicKey {
	n := new(big.Int).Lsh(big.NewInt(1), uint(bits))
	return &rsa.PublicKey{N: n.Sub(n, big.NewInt(1)), E: e}
}

func TestGenerate(t *testing.T) {
	if k := key(); k.N.BitLen() != 2048 || rsakey.Check(&k.PublicKey) != nil {
		t.Error(k.N.BitLen())
	}
	for _, bits := range []int{-1, 0, 512, 1024, 2040, 2047, 2049, 4095, 16392, 1 << 30} {
		if k, err := rsakey.Generate(bits); !errors.Is(err, rsakey.ErrKey) || k != nil {
			t.Errorf("%d bits: %v", bits, err)
		}
	}
}

// Keys of the form the original client writes, and of openssl's newer one, are read as
// they were written.
func TestRoundTrip(t *testing.T) {
	k := key()
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	must(t, err)
	for name, text := range map[string][]byte{
		"PKCS 1": rsakey.EncodePrivate(k), "PKCS 8": block("PRIVATE KEY", pkcs8), "text around": append([]byte("a comment\n"), append(rsakey.EncodePrivate(k), " \n\r\n"...)...),
		"CRLF": bytes.ReplaceAll(rsakey.EncodePrivate(k), []byte("\n"), []byte("\r\n")),
	} {
		if got, err := rsakey.ParsePrivate(text); err != nil || !got.Equal(k) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, text := range map[string][]byte{
		"SPKI": rsakey.EncodePublic(&k.PublicKey), "text around": append([]byte("a comment\n"), append(rsakey.EncodePublic(&k.PublicKey), '\n')...),
	} {
		if got, err := rsakey.ParsePublic(text); err != nil || !got.Equal(&k.PublicKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got, err := rsakey.ParsePublicDER(rsakey.DER(&k.PublicKey)); err != nil || !got.Equal(&k.PublicKey) {
		t.Error(err)
	}
	if !strings.HasPrefix(string(rsakey.EncodePrivate(k)), "-----BEGIN RSA PRIVATE KEY-----\n") || !strings.HasPrefix(string(rsakey.EncodePublic(&k.PublicKey)), "-----BEGIN PUBLIC KEY-----\n") {
		t.Error("other PEM blocks than the original's")
	}
}

func TestCheck(t *testing.T) {
	for name, test := range map[string]struct {
		key  *rsa.PublicKey
		good bool
	}{
		"shortest": {number(2048, 65537), true}, "longest": {number(16384, 3), true}, "one bit less": {number(2047, 65537), false},
		"512": {number(512, 65537), false}, "1024": {number(1024, 65537), false}, "one bit more": {number(16385, 65537), false},
		"none": {&rsa.PublicKey{}, false}, "zero": {&rsa.PublicKey{N: new(big.Int), E: 65537}, false},
		"negative": {&rsa.PublicKey{N: new(big.Int).Neg(number(2048, 3).N), E: 65537}, false},
		"even":     {&rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 2048), E: 65537}, false},
		"e 0":      {number(2048, 0), false}, "e 1": {number(2048, 1), false}, "e 2": {number(2048, 2), false}, "e even": {number(2048, 65536), false}, "e -1": {number(2048, -1), false},
	} {
		if err := rsakey.Check(test.key); (err == nil) != test.good || err != nil && !errors.Is(err, rsakey.ErrKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	k := key()
	elliptic, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	otherPublic, err := x509.MarshalPKIXPublicKey(&elliptic.PublicKey)
	must(t, err)
	otherPrivate, err := x509.MarshalPKCS8PrivateKey(elliptic)
	must(t, err)
	private, public := rsakey.EncodePrivate(k), rsakey.EncodePublic(&k.PublicKey)
	locked := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-128-CBC,00"}, Bytes: []byte("x")})
	short := x509.MarshalPKCS1PublicKey(&k.PublicKey)
	common := map[string][]byte{
		"nothing": nil, "no PEM": []byte("hello"), "NULs": make([]byte, 1000), "cut": private[:len(private)/2], "cut public": public[:len(public)/2],
		"two blocks": append(append([]byte{}, private...), private...), "two public": append(append([]byte{}, public...), public...),
		"something behind": append(append([]byte{}, private...), 'x'), "something behind public": append(append([]byte{}, public...), 'x'),
		"certificate": block("CERTIFICATE", rsakey.DER(&k.PublicKey)), "too long": append(bytes.Repeat([]byte{'\n'}, rsakey.MaxPEM), private...),
		"too long public": append(bytes.Repeat([]byte{'\n'}, rsakey.MaxPEM), public...), "empty block": block("PUBLIC KEY", nil), "empty private": block("RSA PRIVATE KEY", nil),
		"control characters": block("\x1b[2J", nil),
	}
	for name, text := range common {
		if got, err := rsakey.ParsePrivate(text); !errors.Is(err, rsakey.ErrKey) || got != nil {
			t.Errorf("private, %s: %v", name, err)
		} else if strings.ContainsAny(err.Error(), "\n\x1b") {
			t.Errorf("private, %s: %q", name, err)
		}
		if got, err := rsakey.ParsePublic(text); !errors.Is(err, rsakey.ErrKey) || got != nil {
			t.Errorf("public, %s: %v", name, err)
		} else if strings.ContainsAny(err.Error(), "\n\x1b") {
			t.Errorf("public, %s: %q", name, err)
		}
	}
	damaged := x509.MarshalPKCS1PrivateKey(k)
	damaged[len(damaged)-5] ^= 1
	for name, text := range map[string][]byte{
		"a public key": public, "another algorithm": block("PRIVATE KEY", otherPrivate), "encrypted": locked,
		"encrypted, PKCS 8": block("ENCRYPTED PRIVATE KEY", []byte("x")), "PKCS 8 as PKCS 1": block("RSA PRIVATE KEY", otherPrivate),
		"damaged": block("RSA PRIVATE KEY", damaged), "damaged PKCS 8": block("PRIVATE KEY", damaged), "DER": damaged,
	} {
		if got, err := rsakey.ParsePrivate(text); !errors.Is(err, rsakey.ErrKey) || got != nil {
			t.Errorf("private, %s: %v", name, err)
		}
	}
	for name, text := range map[string][]byte{
		"a private key": private, "another algorithm": block("PUBLIC KEY", otherPublic), "PKCS 1": block("RSA PUBLIC KEY", short), "PKCS 1 as SPKI": block("PUBLIC KEY", short),
		"something behind in it": block("PUBLIC KEY", append(rsakey.DER(&k.PublicKey), 0)),
	} {
		if got, err := rsakey.ParsePublic(text); !errors.Is(err, rsakey.ErrKey) || got != nil {
			t.Errorf("public, %s: %v", name, err)
		}
	}
	for _, err := range []error{second(rsakey.ParsePrivate(block("RSA PRIVATE KEY", []byte("secret")))), second(rsakey.ParsePrivate(locked))} {
		if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "c2Vj") {
			t.Errorf("the error repeats the key: %v", err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// Defect 9: the original takes keys of 512 bits.
func TestDefect9WeakKeys(t *testing.T) {
	for _, bits := range []int{512, 768, 1024, 2047} {
		if k, err := rsakey.ParsePublicDER(rsakey.DER(number(bits, 65537))); !errors.Is(err, rsakey.ErrKey) {
			t.Errorf("%d bits: %v, %v", bits, k, err)
		}
	}
}

func TestFingerprint(t *testing.T) {
	k := &key().PublicKey
	f := rsakey.Of(k)
	if f != sha256.Sum256(rsakey.DER(k)) || len(f.Hex()) != 64 || strings.ReplaceAll(f.String(), " ", "") != f.Hex() || len(strings.Fields(f.String())) != 16 {
		t.Error(f)
	}
	if rsakey.Of(number(2048, 65537)) == rsakey.Of(number(2048, 3)) {
		t.Error("one fingerprint of two keys")
	}
}

func TestSign(t *testing.T) {
	k, msg := key(), []byte("a message")
	sig, err := rsakey.Sign(k, msg)
	must(t, err)
	must(t, rsakey.Verify(&k.PublicKey, msg, sig))
	digest := sha256.Sum256(msg)
	// The longest salt, as the original makes it: 256 - 32 - 2.
	must(t, rsa.VerifyPSS(&k.PublicKey, crypto.SHA256, digest[:], sig, &rsa.PSSOptions{SaltLength: 222}))
	for _, salt := range []int{1, 20, 32, 222} {
		sig, err := rsa.SignPSS(rand.Reader, k, crypto.SHA256, digest[:], &rsa.PSSOptions{SaltLength: salt})
		must(t, err)
		if err := rsakey.Verify(&k.PublicKey, msg, sig); err != nil {
			t.Errorf("a salt of %d: %v", salt, err)
		}
	}
	pkcs1, err := rsa.SignPKCS1v15(nil, k, crypto.SHA256, digest[:])
	must(t, err)
	flipped := bytes.Clone(sig)
	flipped[100] ^= 1
	for name, test := range map[string]struct{ msg, sig []byte }{
		"none": {msg, nil}, "another message": {[]byte("another"), sig}, "PKCS 1 v1.5": {msg, pkcs1}, "a bit": {msg, flipped},
		"cut": {msg, sig[:255]}, "longer": {msg, append(bytes.Clone(sig), 0)}, "zeros": {msg, make([]byte, 256)},
	} {
		if err := rsakey.Verify(&k.PublicKey, test.msg, test.sig); !errors.Is(err, rsakey.ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := rsakey.Verify(number(2048, 65537), msg, sig); !errors.Is(err, rsakey.ErrSignature) {
		t.Errorf("another key: %v", err)
	}
}

func TestBase64(t *testing.T) {
	for _, b := range [][]byte{nil, {0}, {0xff, 0xfe}, {0xfb, 0xff, 0xbf}, make([]byte, 1000)} {
		s := rsakey.EncodeBase64(b)
		if got, err := rsakey.DecodeBase64(s); err != nil || !bytes.Equal(got, b) || s != base64.URLEncoding.EncodeToString(b) {
			t.Errorf("%x: %q, %v", b, s, err)
		}
	}
	for _, s := range []string{"A", "AA", "AAA", "AA=", "AAAA=", "AA==A", "AA==AA==", "AB==", "AAB=", "A+AA", "A/AA", "AA AA", "AAAA\n", "\r\nAAAA", "AA\nAA", "=", "====", "AAAA!", "é"} {
		if b, err := rsakey.DecodeBase64(s); err == nil {
			t.Errorf("%q: %x", s, b)
		}
	}
}

// openssl reads our keys and we read its, in both forms of a private key.
func TestOpenSSL(t *testing.T) {
	tool := parleytest.Need(t, "openssl")
	dir := t.TempDir()
	run := func(args ...string) []byte {
		t.Helper()
		cmd := exec.Command(tool, args...)
		cmd.Dir = dir
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("openssl %v: %v", args, err)
		}
		return out
	}
	k := key()
	must(t, os.WriteFile(filepath.Join(dir, "ours"), rsakey.EncodePrivate(k), 0o600))
	if public := run("pkey", "-in", "ours", "-pubout"); !bytes.Equal(public, rsakey.EncodePublic(&k.PublicKey)) {
		t.Errorf("openssl writes our public key as\n%s", public)
	}
	run("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "theirs")
	for _, form := range [][]string{{"pkey", "-in", "theirs"}, {"rsa", "-in", "theirs", "-traditional"}} {
		got, err := rsakey.ParsePrivate(run(form...))
		must(t, err)
		public, err := rsakey.ParsePublic(run("pkey", "-in", "theirs", "-pubout"))
		if err != nil || !public.Equal(&got.PublicKey) {
			t.Error(err)
		}
	}
	for _, form := range [][]string{{"pkey", "-in", "theirs", "-aes256", "-passout", "pass:secret"}, {"rsa", "-in", "theirs", "-traditional", "-aes128", "-passout", "pass:secret"}} {
		if _, err := rsakey.ParsePrivate(run(form...)); !errors.Is(err, rsakey.ErrKey) || !strings.Contains(err.Error(), "password") {
			t.Errorf("%v: %v", form[0], err)
		}
	}
}

func FuzzParsePublic(f *testing.F) {
	f.Add(rsakey.EncodePublic(number(2048, 65537)))
	f.Add(rsakey.EncodePublic(number(1024, 3)))
	f.Add([]byte("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, text := range [][]byte{b, block("PUBLIC KEY", b)} {
			k, err := rsakey.ParsePublic(text)
			if err != nil {
				if !errors.Is(err, rsakey.ErrKey) {
					t.Fatal(err)
				}
				continue
			}
			again, err := rsakey.ParsePublic(rsakey.EncodePublic(k))
			if err != nil || !again.Equal(k) {
				t.Fatalf("%v", err)
			}
		}
	})
}

func FuzzParsePrivate(f *testing.F) {
	f.Add(rsakey.EncodePrivate(key()))
	f.Add(x509.MarshalPKCS1PrivateKey(key()))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, text := range [][]byte{b, block("RSA PRIVATE KEY", b), block("PRIVATE KEY", b)} {
			k, err := rsakey.ParsePrivate(text)
			if err != nil {
				if !errors.Is(err, rsakey.ErrKey) {
					t.Fatal(err)
				}
				continue
			}
			again, err := rsakey.ParsePrivate(rsakey.EncodePrivate(k))
			if err != nil || !again.Equal(k) {
				t.Fatalf("%v", err)
			}
		}
	})
}
