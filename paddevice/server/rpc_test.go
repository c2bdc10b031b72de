package server

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"parley/paddevice"
	"parley/secure/otp"
)

func (w *world) form(fields map[string]string) int {
	v := url.Values{}
	for name, s := range fields {
		v.Set(name, s)
	}
	resp, err := http.PostForm("http://"+w.address("http://")+paddevice.PathRPC, v)
	check(w.t, err)
	resp.Body.Close()
	return resp.StatusCode
}

// What the original's Python makes of arguments.
func TestRPCArguments(t *testing.T) {
	w := newWorld(t)
	w.v1("alice", "bob", randomBytes(2, 5000), true)
	w.v1("ä\u2028", "bob", randomBytes(2, 5000), true)
	w.start(Options{AllowAll: true})
	const exception = `{"error":"rpc call threw an exception"}`
	for _, c := range []struct{ body, want string }{
		{`{"method":"get_next_ref","args":["a"],"kwargs":{"server":"s"}}`, `{"return":null}`},
		{`{"method":"get_next_ref","args":[],"kwargs":{"server":"s","uid":"a"}}`, `{"return":null}`},
		{`{"method":"get_next_ref","args":["a"],"kwargs":{}}`, exception},
		{`{"method":"get_next_ref","args":["a","b","c"],"kwargs":{}}`, exception},
		{`{"method":"get_next_ref","args":["a","b"],"kwargs":{"uid":"a"}}`, exception},
		{`{"method":"get_next_ref","args":["a"],"kwargs":{"servant":"s"}}`, exception},
		{`{"method":"get_next_ref","args":["a"],"kwargs":{"Server":"s"}}`, exception},
		{`{"method":"get_next_ref","args":["a",7],"kwargs":{}}`, exception},
		{`{"method":"get_next_ref","args":["a",null],"kwargs":{}}`, exception},
		{`{"method":"get_next_ref","args":null,"kwargs":{}}`, exception},
		{`{"method":"get_next_ref","args":"ab","kwargs":{}}`, exception},
		{`{"method":"get_next_ref","args":["a","b"],"kwargs":[]}`, exception},
		{`{"method":"get_next_ref","args":["a","b"]}`, exception},
		{`{"method":"get_next_ref"}`, exception},
		{`{"method":"save_next_ref","args":["a","b","7"],"kwargs":{}}`, exception},
		{`{"method":"save_next_ref","args":["a","b",1.5],"kwargs":{}}`, exception},
		{`{"method":"save_next_ref","args":["ä\u2028","b"],"kwargs":{"ref":12}}`, `{"return":null}`},
		{`{"method":"get_next_ref","args":["ä\u2028","b"],"kwargs":{}}`, `{"return":12}`},
		{`{"method":"package","args":["alice","bob",5],"kwargs":{}}`, exception},
		{`{"method":"unpackage","args":["bob","alice","AAA"],"kwargs":{}}`, exception},
		{`{"method":"unpackage","args":["bob","alice","AA\nAA"],"kwargs":{}}`, exception},
		{`{"method":"unpackage","args":["bob","alice","A*AAA"],"kwargs":{}}`, exception},
		{`{"method":"teapot","args":[],"kwargs":{}}`, `{"error":"method not in allow list"}`},
		{`{"method":"__name__","args":[],"kwargs":{}}`, `{"error":"method not in allow list"}`},
		{`{"method":"Package","args":[],"kwargs":{}}`, `{"error":"no such rpc method"}`},
		{`{"method":"","args":[],"kwargs":{}}`, `{"error":"no such rpc method"}`},
	} {
		code, got := w.post(c.body)
		if code != 200 || object(t, got) != object(t, c.want) {
			t.Errorf("%s: %d %s, want %s", c.body, code, got, c.want)
		}
	}
	for _, body := range []string{"", "null", "[]", "x", "{", `{"args":[]}`, `{"method":7}`, `{"method":"whoami"} x`, `{"method":"a","method":"b"}`} {
		if code, got := w.post(body); code != 400 {
			t.Errorf("%q: %d %s", body, code, got)
		}
	}
	if st := w.read(nextRefName); !strings.Contains(st, `"\u00e4\u2028"`) || strings.HasSuffix(st, "\n") {
		t.Errorf("%q", st)
	}
}

// A page from the web must not get a browser on the device's computer to ask.
func TestRPCFromWebPages(t *testing.T) {
	w := newWorld(t)
	w.v1("alice", "bob", randomBytes(2, 5000), true)
	w.start(Options{AllowAll: true})
	ask := func(method, path string, change func(*http.Request)) int {
		r, err := http.NewRequest(method, "http://"+w.address("http://")+path, strings.NewReader(`{"method":"package","args":["alice","bob","x"],"kwargs":{}}`))
		check(t, err)
		r.Header.Set("Content-Type", "application/json")
		change(r)
		resp, err := http.DefaultClient.Do(r)
		check(t, err)
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		return resp.StatusCode
	}
	for name, c := range map[string]struct {
		want         int
		method, path string
		change       func(*http.Request)
	}{
		"as it should be": {200, "POST", paddevice.PathRPC, func(*http.Request) {}},
		"localhost":       {200, "POST", paddevice.PathRPC, func(r *http.Request) { r.Host = "localhost:9051" }},
		"charset":         {200, "POST", paddevice.PathRPC, func(r *http.Request) { r.Header.Set("Content-Type", "application/json; charset=utf-8") }},
		"text":            {400, "POST", paddevice.PathRPC, func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }},
		"no type":         {400, "POST", paddevice.PathRPC, func(r *http.Request) { r.Header.Del("Content-Type") }},
		"rebinding":       {400, "POST", paddevice.PathRPC, func(r *http.Request) { r.Host = "evil.example:9051" }},
		"origin":          {400, "POST", paddevice.PathRPC, func(r *http.Request) { r.Header.Set("Origin", "http://evil.example") }},
		"get":             {405, "GET", paddevice.PathRPC, func(*http.Request) {}},
		"page":            {404, "POST", "/answer", func(*http.Request) {}},
		"channel":         {404, "POST", paddevice.PathPackage, func(*http.Request) {}},
	} {
		if got := ask(c.method, c.path, c.change); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

// A genuine message that is no text: the reply cannot carry it, and its pad is used.
func TestRPCNotText(t *testing.T) {
	w := newWorld(t)
	pad := randomBytes(3, 1000)
	w.v1("bob", "alice", pad, false)
	packet, err := otp.SealV1(0, []byte{0xff, 0xfe}, pad[:otp.UseV1(2)])
	check(t, err)
	w.start(Options{AllowAll: true})
	if got := object(t, w.call("unpackage", "alice", "bob", b64(packet))); got != `{"error":"rpc call threw an exception"}` {
		t.Error(got)
	}
	if got := w.call("unpackage", "alice", "bob", b64(packet)); !strings.Contains(got, `"reuse_detected":true`) {
		t.Error(got)
	}
	if k := strings.Join(w.kinds(), " "); !strings.Contains(k, KindText) || !strings.Contains(k, "reuse") {
		t.Error(k)
	}
}

// The original's client may use pads of version 2 as well.
func TestRPCVersion2(t *testing.T) {
	w := newWorld(t)
	pad := randomBytes(4, 20000)
	w.v2("alice", "bob", pad, 0)
	w.v2("bob", "alice", pad, 1)
	w.start(Options{AllowAll: true})
	var got struct{ Return paddevice.Packaged }
	check(t, json.Unmarshal([]byte(w.call("package", "alice", "bob", "grüße")), &got))
	text := w.call("unpackage", "alice", "bob", got.Return.Package)
	if object(t, text) != object(t, `{"return":{"message":"grüße","reuse_detected":false,"skip_detected":false,"success":true}}`) {
		t.Error(text)
	}
}

func FuzzRPC(f *testing.F) {
	for _, s := range []string{`{"method":"package","args":["alice","bob","x"],"kwargs":{}}`, `{"method":"unpackage","args":[],"kwargs":{"src_uid":"a","dst_uid":"b","package":"AAAA"}}`, `{"method":"get_next_ref","args":["a","b"],"kwargs":{}}`, `{"method":7}`} {
		f.Add([]byte(s))
	}
	w := newWorld(f)
	w.v1("alice", "bob", randomBytes(2, 1<<16), true)
	s, err := Start(Options{Dir: w.dir, Marks: w.marks, Listen: "127.0.0.1:0", AllowAll: true})
	check(f, err)
	f.Cleanup(func() { s.Shutdown(context.Background()) })
	f.Fuzz(func(t *testing.T, body []byte) {
		r := httptest.NewRequest("POST", "http://127.0.0.1"+paddevice.PathRPC, strings.NewReader(string(body)))
		r.Header.Set("Content-Type", "application/json")
		rec := httptest.NewRecorder()
		s.dev.rpc(rec, r)
		var a map[string]json.RawMessage
		if err := json.Unmarshal(rec.Body.Bytes(), &a); err != nil || rec.Code != 200 && rec.Code != 400 || len(a) != 1 {
			t.Fatalf("%q: %d %s", body, rec.Code, rec.Body)
		}
	})
}
