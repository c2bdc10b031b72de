package keydir_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"parley/internal/rsakey"
	"parley/keydir"
)

func sample() keydir.Answer {
	u := known().Users["alice"]
	return keydir.Answer{
		MessageKey: u.Message.Public, SignKey: u.Sign.Public, Username: "alice", Version: 3, Issued: at.UnixMilli(),
		Expires: at.Add(24 * time.Hour).UnixMilli(), Proven: true, LogSeq: 7, LogHash: keydir.Hash([]byte("x")),
		Rotation: &keydir.RotationProof{OldSign: keydir.Hash([]byte("old")), Signature: "AA=="},
	}
}

func TestAnswer(t *testing.T) {
	want := sample()
	body, err := want.Sign(provider())
	if err != nil {
		t.Fatal(err)
	}
	pub := &provider().PublicKey
	got, k, err := keydir.ParseAnswer(append(body, '\n'), pub, "alice", at)
	if err != nil {
		t.Fatal(err)
	}
	if *got.Rotation != *want.Rotation {
		t.Errorf("%+v", got.Rotation)
	}
	got.Rotation = want.Rotation
	if _, _, keys := who("alice"); got != want || !k.Equal(keys) {
		t.Errorf("%+v", got)
	}
	for what, x := range map[string]struct {
		body []byte
		user string
		now  time.Time
		want error
	}{
		"another user":         {body, "bob", at, keydir.ErrOtherUser},
		"before":               {body, "alice", at.Add(-keydir.Skew - time.Second), keydir.ErrExpired},
		"after":                {body, "alice", at.Add(24*time.Hour + keydir.Skew + time.Second), keydir.ErrExpired},
		"changed":              {bytes.Replace(body, []byte(`"key_version":3`), []byte(`"key_version":4`), 1), "alice", at, keydir.ErrForged},
		"too long":             {append(body, bytes.Repeat([]byte(" "), keydir.MaxBody)...), "alice", at, keydir.ErrMalformed},
		"no JSON":              {[]byte("<html>"), "alice", at, keydir.ErrMalformed},
		"no signature":         {[]byte(`{"response":{}}`), "alice", at, keydir.ErrForged},
		"signature not base64": {[]byte(`{"response":{},"signature":"!"}`), "alice", at, keydir.ErrForged},
		"two responses":        {append([]byte(`{"response":{},`), body[1:]...), "alice", at, keydir.ErrMalformed},
	} {
		if _, _, err := keydir.ParseAnswer(x.body, pub, x.user, x.now); !errors.Is(err, x.want) {
			t.Errorf("%s: %v, want %v", what, err, x.want)
		}
	}
	if _, _, err := keydir.ParseAnswer(body, pub, "alice", at.Add(-keydir.Skew)); err != nil {
		t.Errorf("a clock that is a little late: %v", err)
	}
	if _, _, err := keydir.ParseAnswer(body, &private(known().Users["alice"].Sign.Private).PublicKey, "alice", at); !errors.Is(err, keydir.ErrForged) {
		t.Errorf("another directory's key: %v", err)
	}
}

// Signed by a directory, but not as ours does: the keys count as those of a directory
// of the original's kind, unless it says that they are somebody else's.
func TestAnswersOutOfRange(t *testing.T) {
	for what, change := range map[string]func(m map[string]any){
		"version 0":         func(m map[string]any) { m["key_version"] = 0 },
		"version as text":   func(m map[string]any) { m["key_version"] = "1" },
		"no version":        func(m map[string]any) { delete(m, "key_version") },
		"no expiry":         func(m map[string]any) { delete(m, "expires") },
		"no log":            func(m map[string]any) { m["log_seq"] = 0 },
		"a short hash":      func(m map[string]any) { m["log_hash"] = "00" },
		"a hash in capital": func(m map[string]any) { m["log_hash"] = strings.ToUpper(m["log_hash"].(string)) },
		"an empty name":     func(m map[string]any) { m["username"] = "" },
		"a name with space": func(m map[string]any) { m["username"] = "al ice" },
		"no rotation":       func(m map[string]any) { m["rotation"] = nil },
		"half a rotation":   func(m map[string]any) { m["rotation"] = map[string]any{"old_sign": "x"} },
		"no keys":           func(m map[string]any) { delete(m, "public_key_sign") },
	} {
		b, _ := json.Marshal(sample())
		var m map[string]any
		d := json.NewDecoder(bytes.NewReader(b))
		d.UseNumber()
		if err := d.Decode(&m); err != nil {
			t.Fatal(err)
		}
		change(m)
		b, _ = json.Marshal(m)
		sig, err := rsakey.Sign(provider(), b)
		if err != nil {
			t.Fatal(err)
		}
		body := []byte(`{"response":` + string(b) + `,"signature":"` + rsakey.EncodeBase64(sig) + `"}`)
		want := map[string]error{"no keys": keydir.ErrMalformed, "an empty name": keydir.ErrOtherUser, "a name with space": keydir.ErrOtherUser}[what]
		a, _, err := keydir.ParseAnswer(body, &provider().PublicKey, "alice", at)
		if !errors.Is(err, want) || a.Bound() || want == nil && a.Version+a.LogSeq+a.Expires != 0 {
			t.Errorf("%s: %+v, %v", what, a, err)
		}
	}
}

func TestVouchedBy(t *testing.T) {
	_, old, _ := who("alice")
	_, _, k := who("bob")
	sig, err := rsakey.Sign(old, keydir.RotationStatement("alice", 3, k))
	if err != nil {
		t.Fatal(err)
	}
	good := keydir.Answer{Username: "alice", Version: 3, Rotation: &keydir.RotationProof{OldSign: rsakey.Of(&old.PublicKey).Hex(), Signature: rsakey.EncodeBase64(sig)}}
	if !good.VouchedBy(&old.PublicKey, k) {
		t.Error("a good rotation is not taken")
	}
	for what, a := range map[string]keydir.Answer{
		"none":            {Username: "alice", Version: 3},
		"another version": {Username: "alice", Version: 4, Rotation: good.Rotation},
		"another user":    {Username: "bob", Version: 3, Rotation: good.Rotation},
		"another key":     {Username: "alice", Version: 3, Rotation: &keydir.RotationProof{OldSign: keydir.NoHash, Signature: good.Rotation.Signature}},
		"no base64":       {Username: "alice", Version: 3, Rotation: &keydir.RotationProof{OldSign: good.Rotation.OldSign, Signature: "!"}},
	} {
		if a.VouchedBy(&old.PublicKey, k) {
			t.Errorf("%s is taken", what)
		}
	}
	if good.VouchedBy(k.Sign, k) {
		t.Error("taken for another old key")
	}
}

func FuzzParseAnswer(f *testing.F) {
	a := sample()
	body, err := a.Sign(provider())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(body, []byte(nil))
	for _, r := range known().OtherResponses {
		f.Add([]byte(r.Body), []byte(nil))
	}
	resp, _ := json.Marshal(a)
	f.Add([]byte(nil), resp)
	f.Add([]byte(nil), []byte(`{"username":"alice","rotation":{}}`))
	pub := &provider().PublicKey
	// A body as it is, or the signature of what the directory would never say.
	f.Fuzz(func(t *testing.T, body, response []byte) {
		if len(response) > 0 {
			sig, err := rsakey.Sign(provider(), response)
			if err != nil {
				t.Fatal(err)
			}
			body = []byte(`{"response":` + string(response) + `,"signature":"` + rsakey.EncodeBase64(sig) + `"}`)
		}
		a, k, err := keydir.ParseAnswer(body, pub, "alice", at)
		if err != nil {
			return
		}
		if k.Message == nil || k.Sign == nil || k.Message.Equal(k.Sign) || (a.Bound() && (a.Username != "alice" || a.Version < 1)) {
			t.Errorf("%q: %+v", body, a)
		}
	})
}
