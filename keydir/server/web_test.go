package server

import (
	"crypto/sha256"
	"encoding/base64"
	"regexp"
	"strings"
	"testing"

	"parley/internal/rsakey"
)

func TestPages(t *testing.T) {
	w := newWorld(t, Options{})
	alice := pairOf("alice")
	w.enrol("alice", alice)
	fingerprint := rsakey.Of(&alice.sign.PublicKey).String()
	activate, _ := w.register("waits", alice)
	for _, x := range []struct {
		path string
		code int
		has  []string
	}{
		{"/", 200, []string{rsakey.Of(w.d.PublicKey()).String(), testURL, `action="/pubkey/lookup"`, `href="/pubkey/key"`, "BEGIN PUBLIC KEY", "register"}},
		{"/pubkey/", 200, []string{`action="/pubkey/lookup"`}},
		{"/pubkey", 200, []string{`action="/pubkey/lookup"`}},
		{"/lookup?user=alice", 200, []string{fingerprint, "key version", "<dd>1</dd>", "1 May 2026"}},
		{"/pubkey/lookup?user=+alice+", 200, []string{fingerprint}},
		{"/lookup?user=nobody", 404, []string{"Nobody has this name"}},
		{"/lookup?user=waits", 404, []string{"Nobody has this name"}},
		{"/lookup?user=%3Cscript%3Ealert(1)%3C/script%3E", 400, []string{"3 to 32"}},
		{"/lookup", 400, []string{"3 to 32"}},
		{activate, 200, []string{fingerprint, "Activate waits", "2 May 2026"}},
		{"/pubkey" + activate, 200, []string{fingerprint}},
	} {
		rec := w.ask("GET", x.path, "")
		body := rec.Body.String()
		if rec.Code != x.code || rec.Header().Get("Content-Type") != "text/html; charset=utf-8" {
			t.Errorf("%s: %d, %s", x.path, rec.Code, rec.Header().Get("Content-Type"))
		}
		for _, part := range x.has {
			if !strings.Contains(body, part) {
				t.Errorf("%s lacks %q", x.path, part)
			}
		}
		if strings.Contains(body, "<script") || strings.Contains(body, "src=") || strings.Contains(body, "@import") || strings.Contains(body, "ZgotmplZ") {
			t.Errorf("%s has a script or something from elsewhere", x.path)
		}
		// The policy lets this page's own style stand and nothing else.
		h := rec.Header()
		css := regexp.MustCompile(`(?s)<style>(.*)</style>`).FindStringSubmatch(body)
		sum := sha256.Sum256([]byte(css[1]))
		csp := h.Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'none'", "frame-ancestors 'none'", "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"} {
			if !strings.Contains(csp, part) {
				t.Errorf("%s: the policy %q lacks %q", x.path, csp, part)
			}
		}
		if h.Get("Referrer-Policy") != "no-referrer" || h.Get("Cache-Control") != "no-store" || h.Get("X-Frame-Options") != "DENY" {
			t.Errorf("%s: %v", x.path, h)
		}
	}
	// A path that only begins like ours is not ours.
	w.want("GET", "/pubkeys/alice", "", 404, "404 page not found\n")
	w.want("GET", "/pubkey/pubkey/key", "", 404, "404 page not found\n")
	if rec := w.ask("GET", "/pubkey/users/alice", ""); rec.Code != 200 {
		t.Errorf("%d", rec.Code)
	}
	w.want("GET", "/healthz", "", 200, "ok\n")
}

func TestWrongMethods(t *testing.T) {
	w := newWorld(t, Options{})
	for path, allowed := range map[string]string{
		"/users": "POST", "/users/alice": "GET", "/users/alice/keys": "POST", "/users/alice/mail": "POST", "/users/alice/token": "GET, POST",
		"/log": "GET", "/log/head": "GET", "/key": "GET", "/healthz": "GET", "/metrics": "GET", "/lookup": "GET", "/": "GET",
	} {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"} {
			rec := w.ask(method, path, "")
			if strings.HasSuffix(path, "/keys") || strings.HasSuffix(path, "/mail") {
				// For who asks, they are tokens that nobody has.
				if method == "GET" {
					if rec.Code != 404 || rec.Body.String() != "404 page not found\n" {
						t.Errorf("%s %s: %d %q", method, path, rec.Code, rec.Body)
					}
					continue
				}
			}
			if strings.Contains(allowed, method) == (rec.Code == 405) {
				t.Errorf("%s %s: %d", method, path, rec.Code)
			}
			if rec.Code == 405 && (rec.Body.Len() > 0 || rec.Header().Get("Allow") != allowed) {
				t.Errorf("%s %s: %q, Allow %q", method, path, rec.Body, rec.Header().Get("Allow"))
			}
		}
	}
}
