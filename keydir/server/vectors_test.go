package server

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"parley/internal/rsakey"
)

// What we answer otherwise than the original, and why.
var exceptions = map[string]struct {
	status   int
	response string
}{
	"email: 33 bytes":                      {201, ""}, // 254 bytes are an address
	"both keys the same but for a newline": {400, "both public keys are identical\n"},
}

func TestRegisterVectors(t *testing.T) {
	w := newWorld(t, Options{})
	v := known().KeyService
	for _, x := range v.Register {
		t.Run(x.Name, func(t *testing.T) {
			if e, ok := exceptions[x.Name]; ok {
				x.Status, x.Response = e.status, e.response
			}
			if strings.HasPrefix(x.Name, "name taken") {
				w.ask("POST", "/users", x.Body) // who has it
			}
			rec := w.ask("POST", "/users", x.Body)
			if rec.Code != x.Status || (x.Status != 201 && rec.Body.String() != x.Response) {
				t.Errorf("%d %q, want %d %q", rec.Code, rec.Body, x.Status, x.Response)
			}
		})
	}
	for _, x := range v.OtherRequests {
		w.want(x.Method, x.Path, "", x.Status, x.Response)
	}
}

// The original's own request is answered with the article's echo.
func TestRegistrationEcho(t *testing.T) {
	w := newWorld(t, Options{})
	rec := w.ask("POST", "/users", known().RegisterRequest.Body, "Content-Type", "application/json")
	var sent, echo map[string]string
	if err := json.Unmarshal([]byte(known().RegisterRequest.Body), &sent); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &echo); err != nil || rec.Code != 201 {
		t.Fatalf("%d %q: %v", rec.Code, rec.Body, err)
	}
	for name, value := range sent {
		if echo[name] != value {
			t.Errorf("%s is %q, not %q", name, echo[name], value)
		}
	}
	if len(echo) != 4 || !strings.HasPrefix(rec.Body.String(), `{"username":"alice","email":`) {
		t.Errorf("%s", rec.Body)
	}
}

// An answer signed with the original's server key verifies the way the original's
// client does it: RSA-PSS with SHA-256 over the bytes of "response", any salt.
func TestAnswerVerifiesAsTheOriginalDoes(t *testing.T) {
	file := filepath.Join(t.TempDir(), "server.pem")
	if err := os.WriteFile(file, []byte(known().ServerKey.Private), 0o600); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, Options{KeyFile: file})
	w.enrol("alice", pairOf("alice"))
	rec := w.ask("GET", "/users/alice", "")
	var got struct {
		Response  json.RawMessage `json:"response"`
		Signature string          `json:"signature"`
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	sig, err := base64.URLEncoding.DecodeString(got.Signature)
	if err != nil {
		t.Fatal(err)
	}
	key, err := rsakey.ParsePublic([]byte(known().ServerKey.Public))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(got.Response)
	if err := rsa.VerifyPSS(key, crypto.SHA256, sum[:], sig, nil); err != nil {
		t.Error(err)
	}
	var keys map[string]any
	if err := json.Unmarshal(got.Response, &keys); err != nil {
		t.Fatal(err)
	}
	if u := known().Users["alice"]; keys["public_key_message"] != u.Message.Public || keys["public_key_sign"] != u.Sign.Public {
		t.Error("other keys")
	}
	if h := rec.Header(); h.Get("Content-Type") != "application/json" || h.Get("Cache-Control") != "no-store" {
		t.Errorf("%v", h)
	}
	if rec := w.ask("GET", "/key", ""); rec.Body.String() != known().ServerKey.Public || rec.Header().Get("Content-Type") != "application/x-pem-file" {
		t.Errorf("/key: %q %v", rec.Body, rec.Header())
	}
}
