package server

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// A stranger is a program on the device's computer that can reach every port, and knows
// all but what the terminal shows.
type stranger struct {
	t    testing.TB
	base string
}

func (s stranger) ask(method, path, body string, headers ...string) (int, http.Header, string) {
	s.t.Helper()
	r, err := http.NewRequest(method, s.base+path, strings.NewReader(body))
	check(s.t, err)
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
			continue
		}
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	check(s.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	check(s.t, err)
	return resp.StatusCode, resp.Header, string(b)
}

// A client with full access to the RPC and to every port cannot allow itself anything.
func TestPageStranger(t *testing.T) {
	w := newWorld(t)
	w.v1("alice", "bob", randomBytes(1, 5000), true)
	w.start(Options{Page: "127.0.0.1:0"})
	base, secret, _ := strings.Cut(w.s.PageURL, "/#")
	host := strings.TrimPrefix(base, "http://")
	if base == "http://"+w.address("http://") {
		t.Fatal("the page is on the RPC's port")
	}
	s := stranger{t, base}
	done := make(chan string, 1)
	go func() { done <- w.call("package", "alice", "bob", "x") }()
	q := w.question()
	yes := `{"number":"` + q.Number + `","allow":true}`
	// A tab of the person's: its cookie is known to the stranger, its token is not.
	code, h, token := s.ask("POST", "/enter", `{"secret":"`+secret+`"}`)
	cookie := h.Get("Set-Cookie")
	if code != 200 || !strings.Contains(cookie, "HttpOnly") || !strings.Contains(cookie, "SameSite=Strict") || !strings.Contains(cookie, "Path=/") {
		t.Fatal(code, cookie)
	}
	cookie, _, _ = strings.Cut(cookie, ";")
	token = strings.Split(token, `"`)[3]
	for _, c := range []struct {
		name, method, path, body string
		headers                  []string
	}{
		{"no secret", "POST", "/answer", yes, nil},
		{"state without secret", "POST", "/state", `{"after":-1}`, nil},
		{"get", "GET", "/answer?number=" + q.Number + "&allow=true", "", nil},
		{"guess", "POST", "/enter", `{"secret":"guess"}`, nil},
		{"empty guess", "POST", "/enter", `{"secret":""}`, nil},
		{"cookie without token", "POST", "/answer", yes, []string{"Cookie", cookie}},
		{"token without cookie", "POST", "/answer", yes, []string{"X-Token", token}},
		{"wrong token", "POST", "/answer", yes, []string{"Cookie", cookie, "X-Token", token[1:] + "A"}},
		{"csrf", "POST", "/answer", yes, []string{"Cookie", cookie, "X-Token", token, "Origin", "http://evil.example"}},
		{"other port's page", "POST", "/answer", yes, []string{"Cookie", cookie, "X-Token", token, "Origin", "http://127.0.0.1:1"}},
		{"cross-site fetch", "POST", "/answer", yes, []string{"Cookie", cookie, "X-Token", token, "Sec-Fetch-Site", "same-site"}},
		{"form", "POST", "/answer", yes, []string{"Cookie", cookie, "X-Token", token, "Content-Type", "text/plain"}},
		{"rebinding", "POST", "/answer", yes, []string{"Cookie", cookie, "X-Token", token, "Host", "evil.example"}},
		{"localhost is another name", "POST", "/answer", yes, []string{"Cookie", cookie, "X-Token", token, "Host", "localhost:" + host[strings.LastIndexByte(host, ':')+1:]}},
		{"rebinding the page", "GET", "/", "", []string{"Host", "evil.example"}},
		{"rpc on the page's port", "POST", "/runrpc", `{"method":"answer","args":[],"kwargs":{}}`, nil},
		{"file", "GET", "/page.go", "", nil},
		{"folder", "GET", "/../", "", nil},
	} {
		code, h, body := s.ask(c.method, c.path, c.body, c.headers...)
		if code < 400 || strings.Contains(body, q.Number) || strings.Contains(body, secret) {
			t.Errorf("%s: %d %s", c.name, code, body)
		}
		if h.Get("X-Frame-Options") != "DENY" || !strings.Contains(h.Get("Content-Security-Policy"), "frame-ancestors 'none'") {
			t.Errorf("%s: may be framed", c.name)
		}
	}
	// The RPC's port knows nothing of answers.
	rpc := stranger{t, "http://" + w.address("http://")}
	for _, path := range []string{"/answer", "/enter", "/state", "/", "/page.js"} {
		if code, _, _ := rpc.ask("POST", path, yes, "Cookie", cookie, "X-Token", token); code != 404 {
			t.Errorf("the RPC's port has %s: %d", path, code)
		}
	}
	for _, method := range []string{"answer", "allow", "confirm", "csc", "test_prompt"} {
		if got := w.call(method, q.Number, true); !strings.Contains(got, `"error"`) {
			t.Errorf("%s: %s", method, got)
		}
	}
	if a, _, _ := w.s.dev.confirm.Shown(); a == nil || a.Number != q.Number {
		t.Fatal("the question was answered")
	}
	// The person's own tab can.
	if code, _, body := s.ask("POST", "/state", `{"after":-1}`, "Cookie", cookie, "X-Token", token); code != 200 || !strings.Contains(body, "SEND a message of 1 byte from alice to bob?") || !strings.Contains(body, `"50 bytes"`) {
		t.Errorf("%d %s", code, body)
	}
	if code, _, body := s.ask("POST", "/answer", `{"number":"99","allow":true}`, "Cookie", cookie, "X-Token", token); code != 409 {
		t.Errorf("%d %s", code, body)
	}
	if code, _, body := s.ask("POST", "/answer", yes, "Cookie", cookie, "X-Token", token); code != 200 {
		t.Errorf("%d %s", code, body)
	}
	if got := <-done; !strings.Contains(got, `"success":true`) {
		t.Error(got)
	}
	if !slices.Contains(w.kinds(), KindPage) {
		t.Error(w.kinds())
	}
	if strings.Contains(w.out.String()+w.read(logName), secret) {
		t.Error("the page's secret is in the log")
	}
}

func TestAddresses(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		o    Options
		want string
	}{
		"none":               {Options{}, "give an address"},
		"everybody":          {Options{Listen: "0.0.0.0:0"}, "everybody in the network"},
		"everybody, cable":   {Options{Listen: "[::]:0", PointToPoint: true}, "everybody in the network"},
		"empty host":         {Options{Listen: ":0", PointToPoint: true}, "everybody in the network"},
		"name":               {Options{Listen: "pi.example:0", PointToPoint: true}, "everybody in the network"},
		"network":            {Options{Listen: "192.0.2.1:0"}, "--point-to-point"},
		"not ours":           {Options{Listen: "192.0.2.1:0", PointToPoint: true}, "cannot listen"},
		"page for everybody": {Options{Listen: "127.0.0.1:0", Page: "0.0.0.0:0"}, "everybody in the network"},
		"page on a cable":    {Options{Listen: "127.0.0.1:0", Page: "192.0.2.1:0", PointToPoint: true}, "reaches 192.0.2.1"},
		"broadcast":          {Options{Listen: "255.255.255.255:0", PointToPoint: true}, "everybody in the network"},
		"multicast":          {Options{Listen: "224.0.0.1:0", PointToPoint: true}, "everybody in the network"},
		"paired, multicast":  {Options{Paired: "[ff02::1]:0"}, "no address of a device"},
		"paired, broadcast":  {Options{Paired: "255.255.255.255:0"}, "no address of a device"},
		"no address":         {Options{Listen: "here"}, "HOST:PORT"},
	} {
		c.o.Dir, c.o.Marks = w.dir, w.marks
		s, err := Start(c.o)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if err == nil {
			s.Shutdown(t.Context())
		}
	}
	if got := reachable("127.0.0.1:5"); got != "127.0.0.1:5" {
		t.Error(got)
	}
	if got := reachable("[::]:5"); !strings.HasSuffix(got, ":5") || strings.HasPrefix(got, "[::]") {
		t.Error(got)
	}
}
