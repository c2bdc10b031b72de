package paddevice

import (
	"bytes"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"parley"
	"parley/secure/otp"
)

func aCode() Code {
	c := Code{Address: "192.0.2.7:9052", Secret: [16]byte{1, 2, 3}}
	c.Device[0], c.Device[31] = 9, 8
	return c
}

func TestCode(t *testing.T) {
	c := aCode()
	text := c.String()
	for _, s := range []string{text, strings.ToLower(text), " " + text[:20] + "\n " + text[20:] + "\n"} {
		if got, err := ParseCode(s); err != nil || got != c {
			t.Errorf("%q: %+v, %v", s, got, err)
		}
	}
	for i := range text { // one wrong letter is always noticed
		wrong := "A"
		if text[i] == 'A' {
			wrong = "B"
		}
		if _, err := ParseCode(text[:i] + wrong + text[i+1:]); !errors.Is(err, parley.ErrMalformed) {
			t.Fatalf("letter %d: %v", i, err)
		}
	}
	for _, s := range []string{"", "PARLEY-PAD:", text[:len(text)-3], text + "AAAAAAAA", "PARLEY:" + text, text[len(codePrefix):]} {
		if _, err := ParseCode(s); !errors.Is(err, parley.ErrMalformed) {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, address := range []string{"", "host", ":5", "host:0", "host:70000", "ho st:5", "host/x:5", "a@b:5", "host:5\n", strings.Repeat("x", 260) + ":5"} {
		c.Address = address
		if _, err := ParseCode(c.String()); !errors.Is(err, parley.ErrMalformed) {
			t.Errorf("address %q: %v", address, err)
		}
	}
	c.Address = "[2001:db8::1]:9052"
	if got, err := ParseCode(c.String()); err != nil || got != c {
		t.Error(got, err)
	}
}

func TestRequest(t *testing.T) {
	for _, q := range []Request{
		{}, {ID: [16]byte{1}, Self: "älice", Peer: "bob", Data: []byte{}}, {Digest: [32]byte{7}, N: 1 << 40, Name: "x", Secret: [16]byte{9}, Data: []byte{0, 255}},
	} {
		b, err := json.Marshal(q)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ParseRequest(b); err != nil || !reflect.DeepEqual(*got, q) {
			t.Errorf("%s: %+v, %v", b, got, err)
		}
	}
	for _, s := range []string{
		"", "[]", "null", `{"x":"y"}`, `{"ID":"00"}`, `{"id":"00"}`, `{"id":7}`, `{"n":"5"}`, `{"n":1.5}`, `{"data":"A"}`, `{"data":"AB=="}`, `{"data":null}`,
		`{"digest":"zz"}`, `{"secret":"` + strings.Repeat("0", 34) + `"}`, `{"self":"a","self":"b"}`, `{} {}`, `{"id":"` + strings.Repeat("0", 32) + `"`,
	} {
		if _, err := ParseRequest([]byte(s)); !errors.Is(err, parley.ErrMalformed) {
			t.Errorf("%s: %v", s, err)
		}
	}
}

// Errors keep their kind across the channel, and nothing else gets across.
func TestFail(t *testing.T) {
	for _, k := range kinds {
		r := Fail(fmt.Errorf("%w: words", k.err))
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var back Reply
		if err := json.Unmarshal(b, &back); err != nil {
			t.Fatal(err)
		}
		if err := back.Err(); !errors.Is(err, k.err) || !strings.Contains(err.Error(), "words") {
			t.Errorf("%s: %v", k.name, err)
		}
	}
	both := Fail(fmt.Errorf("%w: %w", parley.ErrRefused, otp.ErrDepleted))
	if err := both.Err(); !errors.Is(err, parley.ErrRefused) || !errors.Is(err, otp.ErrDepleted) || errors.Is(err, parley.ErrForged) {
		t.Error(err)
	}
	other := Fail(errors.New("open /secret/path"))
	if err := other.Err(); !errors.Is(err, parley.ErrOffline) || strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
	if err := (&Reply{Kinds: []string{"of tomorrow"}}).Err(); !errors.Is(err, parley.ErrOffline) {
		t.Error(err)
	}
	if err := (&Reply{Data: []byte{1}}).Err(); err != nil {
		t.Error(err)
	}
}

func TestRPCFailure(t *testing.T) {
	for text, want := range map[string]error{
		ErrorRejected: parley.ErrDenied, ErrorNoPad: parley.ErrNoKey, ErrorDepleted: otp.ErrDepleted, ErrorDecrypt: parley.ErrForged,
		ErrorSelf: parley.ErrRefused, ErrorException: parley.ErrRefused,
	} {
		if err := RPCFailure(text, false); !errors.Is(err, want) || err.Error() != text {
			t.Errorf("%s: %v", text, err)
		}
	}
	if err := RPCFailure(ErrorDecrypt, true); !errors.Is(err, parley.ErrSeen) || errors.Is(err, parley.ErrForged) {
		t.Error(err)
	}
}

// The fingerprint is the key's, whatever certificate the key has made.
func TestIdentity(t *testing.T) {
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	a, err := Certificate(key)
	if err != nil {
		t.Fatal(err)
	}
	fp, err := KeyFingerprint(key)
	if err != nil || fp == (Fingerprint{}) {
		t.Fatal(err)
	}
	other, _ := NewKey()
	if fp2, _ := KeyFingerprint(other); fp2 == fp {
		t.Error("two keys, one fingerprint")
	}
	if len(a.Certificate) != 1 || !bytes.Contains(a.Certificate[0], key.Public().(ed25519.PublicKey)) {
		t.Error("no such key in it")
	}
	leaf, err := x509.ParseCertificate(a.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	if got, err := PeerFingerprint(tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}); err != nil || got != fp {
		t.Error(got, err)
	}
	if _, err := PeerFingerprint(tls.ConnectionState{}); err == nil {
		t.Error("no certificate has a fingerprint")
	}
}

func TestValidClient(t *testing.T) {
	for name, ok := range map[string]bool{"laptop": true, "Alice-2_x.y": true, "": false, ".x": false, "a/b": false, "a b": false, "ä": false, strings.Repeat("x", 65): false} {
		if err := ValidClient(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func FuzzCode(f *testing.F) {
	f.Add(aCode().String())
	f.Add("PARLEY-PAD:AAAA")
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseCode(s)
		if err != nil {
			if !errors.Is(err, parley.ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		if again, err := ParseCode(c.String()); err != nil || again != c {
			t.Fatal(again, err)
		}
	})
}

func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"id":"00112233445566778899aabbccddeeff","self":"alice","peer":"bob","data":"aGVsbG8="}`))
	f.Add([]byte(`{"n":5,"name":"x"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		q, err := ParseRequest(b)
		if err != nil {
			if !errors.Is(err, parley.ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		out, err := json.Marshal(q)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := ParseRequest(out); err != nil || !reflect.DeepEqual(again, q) && len(q.Data) > 0 {
			t.Fatalf("%s: %+v, %v", out, again, err)
		}
	})
}

func FuzzReply(f *testing.F) {
	f.Add([]byte(`{"error":"no","kinds":["denied"]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var r Reply
		if json.Unmarshal(b, &r) == nil {
			if err := r.Err(); err != nil {
				_ = err.Error()
			}
		}
	})
}
