package keydir_test

import (
	"crypto/rsa"
	_ "embed"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"parley/internal/rsakey"
	"parley/keydir"
)

// vectors are of the original (testdata/vectors.json).
type vectors struct {
	Users map[string]struct {
		Message, Sign struct {
			Private string `json:"private_pem"`
			Public  string `json:"public_pem"`
		}
	}
	ServerKey struct {
		Private string `json:"private_pem"`
		Public  string `json:"public_pem"`
	} `json:"server_key"`
	RegisterRequest struct{ Body string }             `json:"register_request"`
	Responses       []struct{ Username, Body string } `json:"responses"`
	OtherResponses  []struct {
		ID, Body, Safe string
		AskedFor       string `json:"asked_for"`
	} `json:"other_responses"`
}

//go:embed testdata/vectors.json
var vectorFile []byte

var known = sync.OnceValue(func() (v vectors) {
	if err := json.Unmarshal(vectorFile, &v); err != nil {
		panic(err)
	}
	return v
})

var at = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func private(text string) *rsa.PrivateKey {
	k, err := rsakey.ParsePrivate([]byte(text))
	if err != nil {
		panic(err)
	}
	return k
}

// who returns a user's private keys and public ones.
func who(name string) (message, sign *rsa.PrivateKey, k keydir.Keys) {
	u := known().Users[name]
	message, sign = private(u.Message.Private), private(u.Sign.Private)
	return message, sign, keydir.Keys{Message: &message.PublicKey, Sign: &sign.PublicKey}
}

// provider is a directory's key: bob's, which is shorter than the vectors' own.
var provider = sync.OnceValue(func() *rsa.PrivateKey { _, s, _ := who("bob"); return s })

func TestCheckUsername(t *testing.T) {
	for name, good := range map[string]bool{
		"abc": true, "a-z_09": true, strings.Repeat("a", 32): true, "---": true,
		"": false, "ab": false, strings.Repeat("a", 33): false, "Abc": false, "a.c": false, "żółw": false, "abc\n": false, "a c": false, "a/../b": false, "abc\x00": false,
	} {
		if err := keydir.CheckUsername(name); (err == nil) != good || (err != nil && !errors.Is(err, keydir.ErrUsername)) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestCheckEmail(t *testing.T) {
	for address, good := range map[string]bool{
		"a@b": true, "first.last+tag@mail.example": true, strings.Repeat("a", 252) + "@b": true, "o'neil@x.y": true,
		strings.Repeat("a", 253) + "@b": false, "": false, "a": false, "@b": false, "a@": false, "a@b@c": false,
		"a@b\r\nBcc: c": false, "a b@c": false, "a@b\n": false, "<a@b>": false, "a@b,c": false, "\"a\"@b": false, "ä@b": false, "a@b\x7f": false, "a@[1.2.3.4]": false,
	} {
		if err := keydir.CheckEmail(address); (err == nil) != good || (err != nil && !errors.Is(err, keydir.ErrEmail)) {
			t.Errorf("%q: %v", address, err)
		}
	}
}

func TestParseKeys(t *testing.T) {
	u := known().Users["alice"]
	k, err := keydir.ParseKeys("a word before\n"+u.Message.Public, u.Sign.Public)
	if _, _, want := who("alice"); err != nil || !k.Equal(want) {
		t.Error(err)
	}
	for what, x := range map[string]struct {
		message, sign string
		want          error
	}{
		"the same":             {u.Sign.Public, u.Sign.Public + "\n", keydir.ErrSameKey},
		"no PEM":               {"xx", u.Sign.Public, keydir.ErrDecodeKey},
		"private":              {u.Message.Private, u.Sign.Public, keydir.ErrDecodeKey},
		"something behind":     {u.Message.Public, u.Sign.Public + u.Message.Public, keydir.ErrDecodeKey},
		"empty":                {"", "", keydir.ErrDecodeKey},
		"cut off in the midst": {u.Message.Public[:300], u.Sign.Public, keydir.ErrDecodeKey},
	} {
		if _, err := keydir.ParseKeys(x.message, x.sign); !errors.Is(err, x.want) {
			t.Errorf("%s: %v, want %v", what, err, x.want)
		}
	}
	if (keydir.Keys{}).Equal(keydir.Keys{}) || k.Equal(keydir.Keys{Message: k.Sign, Sign: k.Message}) {
		t.Error("keys are equal that are not")
	}
}

// Answers of the original are read; of what was done to others, what a careful
// client refuses is refused.
func TestAnswersOfTheOriginal(t *testing.T) {
	server, err := rsakey.ParsePublic([]byte(known().ServerKey.Public))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range known().Responses {
		a, k, err := keydir.ParseAnswer([]byte(r.Body), server, r.Username, at)
		if _, _, want := who(r.Username); err != nil || !k.Equal(want) || a.Bound() {
			t.Errorf("%s: %+v, %v", r.Username, a, err)
		}
	}
	for _, r := range known().OtherResponses {
		_, _, err := keydir.ParseAnswer([]byte(r.Body), server, r.AskedFor, at)
		switch {
		case r.Safe == "reject" && err == nil:
			t.Errorf("%s is taken", r.ID)
		case r.Safe == "accept" && err != nil:
			t.Errorf("%s: %v", r.ID, err)
		}
	}
}
