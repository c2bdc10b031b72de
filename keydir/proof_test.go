package keydir_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"parley/internal/rsakey"
	"parley/keydir"
)

func TestProof(t *testing.T) {
	const mail = "alice@example.test"
	m, s, k := who("alice")
	pub := &provider().PublicKey
	p, err := keydir.Prove(pub, "alice", mail, k, m, s, at)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Verify(pub, "alice", mail, k, at.Add(keydir.ProofAge)); err != nil {
		t.Error(err)
	}
	_, _, others := who("bob")
	for what, err := range map[string]error{
		"another user":       p.Verify(pub, "bob", mail, k, at),
		"another mailbox":    p.Verify(pub, "alice", "mallory@example.test", k, at),
		"no mailbox":         p.Verify(pub, "alice", "", k, at),
		"another directory":  p.Verify(k.Sign, "alice", mail, k, at),
		"other keys":         p.Verify(pub, "alice", mail, others, at),
		"keys swapped":       p.Verify(pub, "alice", mail, keydir.Keys{Message: k.Sign, Sign: k.Message}, at),
		"old":                p.Verify(pub, "alice", mail, k, at.Add(keydir.ProofAge+time.Second)),
		"of later":           p.Verify(pub, "alice", mail, k, at.Add(-keydir.Skew-time.Second)),
		"another time":       (&keydir.Proof{Time: p.Time + 1, Message: p.Message, Sign: p.Sign}).Verify(pub, "alice", mail, k, at),
		"signatures swapped": (&keydir.Proof{Time: p.Time, Message: p.Sign, Sign: p.Message}).Verify(pub, "alice", mail, k, at),
		"empty":              (&keydir.Proof{Time: p.Time}).Verify(pub, "alice", mail, k, at),
	} {
		if !errors.Is(err, keydir.ErrProof) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestParseRegistration(t *testing.T) {
	r, k, err := keydir.ParseRegistration([]byte(known().RegisterRequest.Body))
	if _, _, want := who("alice"); err != nil || r.Username != "alice" || r.Email != "alice@example.test" || !k.Equal(want) || r.Proof != nil {
		t.Errorf("%+v, %v", r, err)
	}
	u := known().Users["alice"]
	body := func(change func(m map[string]any)) string {
		m := map[string]any{"username": "alice", "email": "a@b", "public_key_message": u.Message.Public, "public_key_sign": u.Sign.Public}
		change(m)
		b, _ := json.Marshal(m)
		return string(b)
	}
	for what, x := range map[string]struct {
		body string
		want error
		text string
	}{
		"empty":          {"", keydir.ErrMalformed, "EOF"},
		"cut off":        {"{", keydir.ErrMalformed, "unexpected EOF"},
		"no object":      {"[]", keydir.ErrMalformed, ""},
		"number as name": {body(func(m map[string]any) { m["username"] = 1 }), keydir.ErrMalformed, ""},
		"no name":        {body(func(m map[string]any) { delete(m, "username") }), keydir.ErrUsername, ""},
		"name first":     {body(func(m map[string]any) { m["username"], m["email"] = "", "" }), keydir.ErrUsername, ""},
		"no email":       {body(func(m map[string]any) { delete(m, "email") }), keydir.ErrEmail, ""},
		"header in it":   {body(func(m map[string]any) { m["email"] = "a@b\r\nBcc: c" }), keydir.ErrEmail, ""},
		"no keys":        {body(func(m map[string]any) { delete(m, "public_key_sign") }), keydir.ErrDecodeKey, ""},
		// Equal texts are refused as such before they are read, as the original does.
		"equal, no keys": {body(func(m map[string]any) { m["public_key_sign"], m["public_key_message"] = "x", "x" }), keydir.ErrSameKey, ""},
		"equal":          {body(func(m map[string]any) { m["public_key_sign"] = u.Message.Public + "\n" }), keydir.ErrSameKey, ""},
	} {
		if _, _, err := keydir.ParseRegistration([]byte(x.body)); !errors.Is(err, x.want) || !strings.HasSuffix(err.Error(), x.text) {
			t.Errorf("%s: %v, want %v", what, err, x.want)
		}
	}
	if r, _, err := keydir.ParseRegistration([]byte(strings.ReplaceAll(body(func(map[string]any) {}), `"username"`, `"USERNAME"`) + "{}")); err != nil || r.Username != "alice" {
		t.Errorf("another case and something behind: %+v, %v", r, err)
	}
}

func TestParseRotation(t *testing.T) {
	_, old, _ := who("bob")
	m, s, k := who("alice")
	pub := &provider().PublicKey
	proof, err := keydir.Prove(pub, "bob", "", k, m, s, at)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := rsakey.Sign(old, keydir.RotationStatement("bob", 2, k))
	if err != nil {
		t.Fatal(err)
	}
	u := known().Users["alice"]
	good := keydir.Rotation{MessageKey: u.Message.Public, SignKey: u.Sign.Public, Version: 2, Old: rsakey.EncodeBase64(sig), Proof: proof}
	body := func(change func(r *keydir.Rotation)) []byte {
		r := good
		change(&r)
		b, _ := json.Marshal(r)
		return b
	}
	r, keys, err := keydir.ParseRotation(body(func(*keydir.Rotation) {}), pub, "bob", at)
	if err != nil || !keys.Equal(k) {
		t.Fatal(err)
	}
	if err := r.VerifyOld(&old.PublicKey, "bob", k); err != nil {
		t.Error(err)
	}
	for what, err := range map[string]error{
		"another key":     r.VerifyOld(k.Sign, "bob", k),
		"another user":    r.VerifyOld(&old.PublicKey, "bobby", k),
		"another version": (&keydir.Rotation{Version: 3, Old: r.Old}).VerifyOld(&old.PublicKey, "bob", k),
		"none":            (&keydir.Rotation{Version: 2}).VerifyOld(&old.PublicKey, "bob", k),
	} {
		if !errors.Is(err, keydir.ErrProof) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, x := range map[string]struct {
		body []byte
		want error
	}{
		"no JSON":    {[]byte("x"), keydir.ErrMalformed},
		"no keys":    {body(func(r *keydir.Rotation) { r.SignKey = "" }), keydir.ErrDecodeKey},
		"equal keys": {body(func(r *keydir.Rotation) { r.SignKey = r.MessageKey }), keydir.ErrSameKey},
		"no proof":   {body(func(r *keydir.Rotation) { r.Proof = nil }), keydir.ErrProof},
		"a wrong one": {body(func(r *keydir.Rotation) {
			r.Proof = &keydir.Proof{Time: proof.Time, Message: proof.Sign, Sign: proof.Message}
		}), keydir.ErrProof},
		"another user":     {body(func(r *keydir.Rotation) { r.Proof, _ = keydir.Prove(pub, "bobby", "", k, m, s, at) }), keydir.ErrProof},
		"a registration's": {body(func(r *keydir.Rotation) { r.Proof, _ = keydir.Prove(pub, "bob", "bob@example.test", k, m, s, at) }), keydir.ErrProof},
	} {
		if _, _, err := keydir.ParseRotation(x.body, pub, "bob", at); !errors.Is(err, x.want) {
			t.Errorf("%s: %v, want %v", what, err, x.want)
		}
	}
}

func FuzzRegistration(f *testing.F) {
	f.Add([]byte(known().RegisterRequest.Body))
	f.Add([]byte("null"))
	f.Add([]byte(`{"username":"alice","email":"a@b","proof":{"time":1}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		r, k, err := keydir.ParseRegistration(body)
		if err != nil {
			return
		}
		if keydir.CheckUsername(r.Username) != nil || keydir.CheckEmail(r.Email) != nil || k.Message.Equal(k.Sign) || strings.ContainsAny(r.Email, "\r\n") {
			t.Errorf("%q: %+v", body, r)
		}
		if r.Proof != nil && r.Proof.Verify(&provider().PublicKey, r.Username, r.Email, k, at) == nil {
			t.Errorf("%q: the proof verifies", body)
		}
	})
}
