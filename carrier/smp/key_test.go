package smp

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"math/big"
	"slices"
	"testing"
	"time"
)

func spki(t testing.TB, pub any) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func modulus(bits int) *big.Int {
	n := new(big.Int).SetBit(new(big.Int), bits-1, 1)
	return n.SetBit(n, 0, 1)
}

func TestParseKey(t *testing.T) {
	for _, bits := range []int{2048, 2056, 3072, 4096} {
		k := &rsa.PublicKey{N: modulus(bits), E: 65537}
		der, err := MarshalKey(k)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ParseKey(der); err != nil || !got.Equal(k) {
			t.Errorf("%d bits: %v", bits, err)
		}
		if _, err := ParseKey(append(der, 0)); err == nil {
			t.Errorf("%d bits: a byte after the key is accepted", bits)
		}
		if _, err := ParseKey(der[:len(der)-1]); err == nil {
			t.Errorf("%d bits: a key cut off is accepted", bits)
		}
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, der := range map[string][]byte{
		"nothing":        nil,
		"2047 bits":      spki(t, &rsa.PublicKey{N: modulus(2047), E: 65537}),
		"4097 bits":      spki(t, &rsa.PublicKey{N: modulus(4097), E: 65537}),
		"16384 bits":     spki(t, &rsa.PublicKey{N: modulus(16384), E: 65537}),
		"exponent 3":     spki(t, &rsa.PublicKey{N: modulus(2048), E: 3}),
		"exponent 1":     spki(t, &rsa.PublicKey{N: modulus(2048), E: 1}),
		"exponent large": spki(t, &rsa.PublicKey{N: modulus(2048), E: 1<<31 - 1}),
		"even modulus":   spki(t, &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 2047), E: 65537}),
		"elliptic curve": spki(t, &ec.PublicKey),
		"PKCS #1":        x509.MarshalPKCS1PublicKey(&rsa.PublicKey{N: modulus(2048), E: 65537}),
	} {
		if _, err := ParseKey(der); err != ErrKey {
			t.Errorf("%s: %v, want ErrKey", name, err)
		}
	}
}

func TestVerify(t *testing.T) {
	_, key, _ := readVectors(t)
	tr := Transmission{ID: mustID("x"), Verb: SUB}
	if err := tr.Sign(key); err != nil {
		t.Fatal(err)
	}
	signed, sig := tr.AppendSigned(nil), tr.Signature
	if !Verify(&key.PublicKey, signed, sig) {
		t.Fatal("a good signature is refused")
	}
	tooBig := bytes.Repeat([]byte{0xff}, len(sig))
	for name, bad := range map[string][]byte{
		"none": nil, "short": sig[:255], "long": append(bytes.Clone(sig), 0), "one byte": {1}, "very long": make([]byte, 5000), "above the modulus": tooBig,
	} {
		if Verify(&key.PublicKey, signed, bad) {
			t.Errorf("%s: verifies", name)
		}
		if Verify(nil, signed, bad) {
			t.Errorf("%s: verifies without a key", name)
		}
	}
	if Verify(nil, signed, sig) || Verify(&key.PublicKey, append(signed, ' '), sig) || Verify(&rsa.PublicKey{N: modulus(2048), E: 65537}, signed, sig) {
		t.Error("verifies with no key, another key or another text")
	}
}

// TestVerifyTime compares medians: whatever is wrong, a verification costs what
// one of that signature's size costs. An exit before the exponentiation, which
// takes nearly all the time, would be far outside the bounds.
func TestVerifyTime(t *testing.T) {
	if testing.Short() {
		t.Skip("measures time")
	}
	_, key, _ := readVectors(t)
	tr := Transmission{ID: mustID("x"), Verb: SUB}
	if err := tr.Sign(key); err != nil {
		t.Fatal(err)
	}
	signed, sig := tr.AppendSigned(nil), tr.Signature
	other := bytes.Clone(sig)
	other[200] ^= 1
	big := &rsa.PublicKey{N: modulus(4096), E: 65537}
	cases := []struct {
		name string
		key  *rsa.PublicKey
		sig  []byte
	}{
		{"good", &key.PublicKey, sig}, {"bad", &key.PublicKey, other}, {"no key", nil, sig}, {"larger key", big, sig},
		{"above the modulus", &key.PublicKey, bytes.Repeat([]byte{0xff}, 256)}, {"above, no key", nil, bytes.Repeat([]byte{0xff}, 256)},
	}
	const rounds = 300
	times := make([][]time.Duration, len(cases))
	for range rounds {
		for i, c := range cases {
			start := time.Now()
			Verify(c.key, signed, c.sig)
			times[i] = append(times[i], time.Since(start))
		}
	}
	var lo, hi time.Duration
	for i, c := range cases {
		slices.Sort(times[i])
		m := times[i][rounds/2]
		t.Logf("%-18s %v", c.name, m)
		if lo == 0 || m < lo {
			lo = m
		}
		hi = max(hi, m)
	}
	if hi > lo*3/2 {
		t.Errorf("from %v to %v: the time tells them apart", lo, hi)
	}
}

func BenchmarkVerify(b *testing.B) {
	_, key, _ := readVectors(b)
	tr := Transmission{ID: mustID("x"), Verb: SUB}
	if err := tr.Sign(key); err != nil {
		b.Fatal(err)
	}
	signed := tr.AppendSigned(nil)
	for b.Loop() {
		Verify(&key.PublicKey, signed, tr.Signature)
	}
}
