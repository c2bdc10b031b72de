package server

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"parley/keydir"
)

// known codes: whatever is sent, the answer is one of these, never a fault of ours.
var codes = map[int]bool{200: true, 201: true, 202: true, 400: true, 404: true, 405: true, 409: true, 410: true, 413: true}

// FuzzHTTP sends requests of any kind to a directory with an account. None shakes
// it: the account stays as it is unless a link that exists is followed.
func FuzzHTTP(f *testing.F) {
	w := newWorld(f, Options{})
	alice := pairOf("alice")
	w.enrol("alice", alice)
	_, before := w.answer("alice")
	for _, x := range [][3]string{
		{"GET", "/users/alice", ""}, {"POST", "/users", registration("bob", "bob@mail.example", alice.keys(), nil)},
		{"POST", "/users/alice/keys", w.rotation("alice", 3, pairOf("bob"), alice.sign)}, {"POST", "/users/alice/mail", `{"email":"alice@mail.example"}`},
		{"GET", "/users/alice/" + strings.Repeat("A", 43) + "=", ""}, {"POST", "/users/alice/" + strings.Repeat("A", 43) + "=", "x=y"},
		{"GET", "/log?from=1", ""}, {"GET", "/log/head", ""}, {"GET", "/key", ""}, {"GET", "/lookup?user=alice", ""}, {"HEAD", "/", ""},
		{"DELETE", "/users/alice", ""}, {"GET", "/users/../metrics", ""}, {"GET", "//users//alice", ""}, {"GET", "/users%2falice", ""}, {"GET", "/pubkey/", ""}, {"GET", "/users/alice/keys", ""}, {"GET", "/users/%2e%2e/x%00y", ""}, {"GET", "/pubkey/users/alice", ""},
		{"POST", "/users", "{\"username\":\"x\u0000yz\",\"email\":\"a@b\\r\\nBcc: c@d\"}"},
	} {
		f.Add(x[0], x[1], []byte(x[2]))
	}
	f.Fuzz(func(t *testing.T, method, target string, body []byte) {
		u, err := url.ParseRequestURI(target)
		if err != nil || !strings.HasPrefix(target, "/") {
			return
		}
		r, err := http.NewRequest(method, "http://keys.example/", strings.NewReader(string(body)))
		if err != nil {
			return
		}
		r.URL, r.RequestURI, r.RemoteAddr = u, target, "127.0.0.1:1"
		w := &world{t: t, d: w.d, o: w.o, clock: w.clock}
		rec := httptest.NewRecorder()
		w.d.http.Handler.ServeHTTP(rec, r)
		if !codes[rec.Code] {
			t.Errorf("%q %q: %d %s", method, target, rec.Code, rec.Body)
		}
		if rec.Code == 201 {
			var echo map[string]string
			if err := json.Unmarshal(rec.Body.Bytes(), &echo); err != nil || keydir.CheckUsername(echo["username"]) != nil || keydir.CheckEmail(echo["email"]) != nil {
				t.Errorf("registered: %s", rec.Body)
			}
		}
		if a, k := w.answer("alice"); a.Version != 1 || !k.Equal(before) {
			t.Errorf("%q %q has changed the account", method, target)
		}
	})
}

func FuzzParseMail(f *testing.F) {
	for _, s := range []string{"smtp://u:p@h:1?from=a@b", "smtps://[::1]", "smtp://%00:@h"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if strings.Contains(s, "ca=") { // reads files
			return
		}
		m, err := ParseMail(s)
		if err != nil {
			return
		}
		if _, err := newCourier(&Options{Mail: m}); err != nil {
			t.Error(err)
		}
		if m.Port < 1 || m.Port > 65535 {
			t.Errorf("%+v", m)
		}
	})
}

// FuzzAnswers plays look-ups, changes and time against the kept answers: what is
// returned is never older than the last change before it.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 0, 0, 255})
	f.Fuzz(func(t *testing.T, steps []byte) {
		w := newWorldless(t)
		for _, s := range steps {
			w.step(s)
		}
	})
}

type worldless struct {
	t        *testing.T
	a        *answers
	clock    clock
	versions [4]byte
}

func newWorldless(t *testing.T) *worldless { return &worldless{t: t, a: newAnswers(2)} }

func (w *worldless) step(s byte) {
	i := s & 3
	name := string('a' + rune(i))
	switch s >> 2 & 3 {
	case 0:
		w.versions[i]++
		w.a.drop(name)
	case 1:
		w.clock.add(renewTime / 2)
	default:
		b, err := w.a.get(name, w.clock.now(), func() ([]byte, error) {
			old := w.versions[i]
			if s>>4&1 == 1 { // it changes while the answer is made
				w.versions[i]++
				w.a.drop(name)
			}
			return []byte{old}, nil
		})
		if err != nil || (b[0] != w.versions[i] && (s>>4&1 == 0 || b[0] != w.versions[i]-1)) {
			w.t.Fatalf("%s: version %d, %v; want %d", name, b[0], err, w.versions[i])
		}
	}
}
