package client

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"parley"
	"parley/internal/keyfile"
	"parley/paddevice"
	"parley/secure/otp"
)

func aPairing(t testing.TB) *Pairing {
	t.Helper()
	key, err := paddevice.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return &Pairing{Name: "laptop", Address: "127.0.0.1:1", Device: paddevice.Fingerprint{1}, Key: key}
}

func TestPairingFile(t *testing.T) {
	p := aPairing(t)
	b, err := p.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParsePairing(b)
	if err != nil || got.Name != p.Name || got.Address != p.Address || got.Device != p.Device || !got.Key.Equal(p.Key) {
		t.Errorf("%+v, %v", got, err)
	}
	for old, wrong := range map[string]string{"{": "[", "laptop": "lap/top", "127.0.0.1:1": "nowhere", `"01000`: `"0100`, `key_pkcs8": "M`: `key_pkcs8": "!`, `key_pkcs8": "MC`: `key_pkcs8": "AA`} {
		if _, err := ParsePairing([]byte(strings.Replace(string(b), old, wrong, 1))); !errors.Is(err, parley.ErrMalformed) {
			t.Errorf("%s for %s: %v", wrong, old, err)
		}
	}
	path := filepath.Join(t.TempDir(), "x"+Suffix)
	if _, err := Open(path, "alice"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, "alice"); !errors.Is(err, keyfile.ErrExposed) {
		t.Error(err)
	}
}

// A pairing with another device is not lost by pairing under the same name.
func TestPairOtherDevice(t *testing.T) {
	p, dir := aPairing(t), t.TempDir()
	path := filepath.Join(dir, "laptop"+Suffix)
	if err := p.save(path, keyfile.Create); err != nil {
		t.Fatal(err)
	}
	before, _ := os.ReadFile(path)
	code := paddevice.Code{Address: "127.0.0.1:1", Device: paddevice.Fingerprint{2}}
	if _, err := Pair(t.Context(), code.String(), "laptop", dir); !errors.Is(err, fs.ErrExist) {
		t.Error(err)
	}
	if after, _ := os.ReadFile(path); string(after) != string(before) {
		t.Error("overwritten")
	}
	if _, err := Pair(t.Context(), "hello", "laptop", dir); !errors.Is(err, parley.ErrMalformed) {
		t.Error(err)
	}
}

func TestOffline(t *testing.T) {
	c, err := aPairing(t).As("alice")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Package(t.Context(), [16]byte{1}, "bob", nil); !errors.Is(err, parley.ErrOffline) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Status(ctx, "bob"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestRPC(t *testing.T) {
	for address, want := range map[string]string{
		"9051": "http://localhost:9051", "pi:9051": "http://pi:9051", "http://127.0.0.1:5/": "http://127.0.0.1:5",
		"https://x:5": "", "": "", "http://": "", "http://u:p@x:5": "", "x:5?y": "",
	} {
		r, err := NewRPC(address)
		if want == "" {
			if !errors.Is(err, parley.ErrMalformed) {
				t.Errorf("%q: %v", address, err)
			}
		} else if err != nil || r.URL() != want {
			t.Errorf("%q: %v, %v", address, r, err)
		}
	}
	var answer string
	var asked []byte
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = make([]byte, r.ContentLength)
		r.Body.Read(asked)
		fmt.Fprint(w, answer)
	}))
	defer srv.Close()
	r, err := NewRPC(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	answer = `{"return":{"success":true,"package":"QUJD"}}`
	if p, err := r.Package(ctx, "alice", "bob", "hi"); p != "QUJD" || err != nil || string(asked) != `{"args":["alice","bob","hi"],"kwargs":{},"method":"package"}` {
		t.Errorf("%s, %v, %s", p, err, asked)
	}
	answer = `{"return":{"success":true,"message":"","skip_detected":true,"reuse_detected":false}}`
	if o, err := r.Unpackage(ctx, "alice", "bob", "QUJD"); err != nil || !o.Skip || o.Reuse || o.Message != "" {
		t.Error(o, err)
	}
	for reply, want := range map[string]error{
		`{"return":{"success":false,"error":"Decryption failed.","skip_detected":false,"reuse_detected":true}}`: parley.ErrSeen,
		`{"return":{"success":false,"error":"Decryption failed."}}`:                                             parley.ErrForged,
		`{"return":{"success":false,"error":"Shared pad not found."}}`:                                          parley.ErrNoKey,
		`{"return":{"success":true}}`:                                                                           parley.ErrRefused,
		`{"error":"rpc call threw an exception"}`:                                                               parley.ErrRefused,
		`{"return":"text"}`: parley.ErrOffline,
		`{}`:                parley.ErrOffline,
		`<html>`:            parley.ErrOffline,
	} {
		answer = reply
		o, err := r.Unpackage(ctx, "alice", "bob", "QUJD")
		if !errors.Is(err, want) || o.Message != "" || o.Reuse != (want == parley.ErrSeen) {
			t.Errorf("%s: %+v, %v", reply, o, err)
		}
	}
	answer = `{"return":{"success":false,"error":"Pad depleted."}}`
	if _, err := r.Package(ctx, "alice", "bob", "hi"); !errors.Is(err, otp.ErrDepleted) {
		t.Error(err)
	}
	answer = `{"return":null}`
	if _, known, err := r.NextRef(ctx, "alice", "s"); known || err != nil {
		t.Error(known, err)
	}
	if err := r.SaveNextRef(ctx, "alice", "s", 7); err != nil || !strings.Contains(string(asked), `["alice","s",7]`) {
		t.Errorf("%v %s", err, asked)
	}
	answer = `{"return":7}`
	if n, known, err := r.NextRef(ctx, "alice", "s"); !known || n != 7 || err != nil {
		t.Error(n, known, err)
	}
	srv.Close()
	if err := r.SaveNextRef(ctx, "alice", "s", 7); !errors.Is(err, parley.ErrOffline) {
		t.Error(err)
	}
}
