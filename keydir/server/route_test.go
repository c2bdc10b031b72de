package server

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"parley/keydir"
)

// There is one path to each thing: others are not redirected, and an escaped slash
// separates nothing, below a path of our own or not.
func TestPaths(t *testing.T) {
	for _, base := range []string{"https://keys.example", "https://keys.example/pub%2Fkey/x", "https://keys.example/pubkey/"} {
		w := newWorld(t, Options{URL: base})
		remove := w.enrol("alice", pairOf("alice"))
		u, err := url.Parse(base)
		if err != nil {
			t.Fatal(err)
		}
		prefix := strings.TrimRight(u.EscapedPath(), "/")
		for path, want := range map[string]int{
			"/": 200, "/key": 200, "/users/alice": 200, "/users/%61lice": 200, "/log/head": 200, remove: 200,
			"//": 404, "//key": 404, "/key/": 404, "/users/alice/": 404, "/users//alice": 404, "/users/": 404, "/./key": 404, "/x/../key": 404,
			"/users/../key": 404, "/%2e%2e/key": 404, "/users/alice/..": 404, "/users%2Falice": 404, "/log%2Fhead": 404, "/log%2fhead": 404,
			"/users/alice%2Fkeys": 404, "/%2Fkey": 404, "/users/alice/keys": 404, "/users/alice/mail": 404,
			strings.Replace(remove, "/users/alice/", "/users/alice%2F", 1): 404, "/users/alice/a/b": 404,
		} {
			for _, full := range []string{path, prefix + path} {
				rec := w.ask("GET", full, "")
				if rec.Code != want {
					t.Errorf("%s: %s: %d, want %d", base, full, rec.Code, want)
				}
				if rec.Header().Get("Location") != "" {
					t.Errorf("%s: %s: redirected to %s", base, full, rec.Header().Get("Location"))
				}
			}
		}
		if prefix != "" {
			w.want("GET", prefix+"/users/alice", "", 200, w.ask("GET", "/users/alice", "").Body.String())
			for _, path := range []string{prefix, prefix + "/"} {
				if rec := w.ask("GET", path, ""); rec.Code != 200 {
					t.Errorf("%s: %d", path, rec.Code)
				}
			}
			for _, path := range []string{prefix + "//", prefix + "%2Fkey", prefix + prefix + "/key", "/pub/key/x/key"} {
				if rec := w.ask("GET", path, ""); rec.Code != 404 {
					t.Errorf("%s: %d", path, rec.Code)
				}
			}
		}
		w.want("POST", "/users/alice/keys", "", 400, "unexpected end of JSON input\n")
		w.want("POST", remove, "", 200, "user deleted\n")
	}
}

// What is no path at all is not found.
func TestNoPath(t *testing.T) {
	w := newWorld(t, Options{})
	for _, u := range []*url.URL{{}, {Path: "*"}, {Path: "key"}, {Opaque: "x"}} {
		r := &http.Request{Method: "OPTIONS", URL: u, Header: http.Header{}, Body: http.NoBody, RemoteAddr: "127.0.0.1:1"}
		rec := httptest.NewRecorder()
		w.d.http.Handler.ServeHTTP(rec, r)
		if rec.Code != 404 {
			t.Errorf("%v: %d", u, rec.Code)
		}
	}
}

// Who follows a link that does nothing in a browser is told what happened and what to
// do; programs get the original's texts.
func TestLinksThatDoNothing(t *testing.T) {
	w := newWorld(t, Options{})
	alice := pairOf("alice")
	activate, remove := w.register("alice", alice)
	w.want("POST", activate, "", 200, "user activated\n")
	late, _ := w.register("late", alice)
	w.clock.add(activationTime + 1e6)
	for _, x := range []struct {
		path string
		code int
		text string
		has  []string
	}{
		{activate, 404, "404 page not found\n", []string{"“alice” is active", "that is done", testURL + "/users/alice/mail"}},
		{remove[:len(remove)-2], 404, "404 page not found\n", []string{"is active", "not whole"}},
		{late, 410, "activate token expired\n", []string{"has expired", "register “late” again"}},
		{late[:len(late)-2], 404, "404 page not found\n", []string{"not whole", "register “late” again"}},
		{"/users/nobody/" + strings.Repeat("A", 43) + "=", 404, "404 page not found\n", []string{"register “nobody” again"}},
		{"/users/%3Cb%3E/x", 404, "404 page not found\n", []string{"register again"}},
	} {
		for _, method := range []string{"GET", "POST"} {
			w.want(method, x.path, "", x.code, x.text)
			w.want(method, x.path, "", x.code, x.text, "Accept", "application/json")
			rec := w.ask(method, x.path, "", "Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
			body := rec.Body.String()
			if rec.Code != x.code || rec.Header().Get("Content-Type") != "text/html; charset=utf-8" {
				t.Errorf("%s %s: %d %s", method, x.path, rec.Code, rec.Header().Get("Content-Type"))
			}
			for _, part := range append(x.has, "Nothing has been changed", `action="/pubkey/lookup"`) {
				if !strings.Contains(body, part) {
					t.Errorf("%s %s lacks %q:\n%s", method, x.path, part, body)
				}
			}
			if strings.Contains(body, "<b>") || strings.Contains(body, "ZgotmplZ") {
				t.Errorf("%s", body)
			}
		}
	}
	w.close()
	if rec := w.ask("GET", activate, "", "Accept", "text/html"); rec.Code != 503 {
		t.Errorf("after the end: %d", rec.Code)
	}
}

// A log that does not add up is not written on.
func TestDamagedLogIsNotOpened(t *testing.T) {
	fill := func(t *testing.T, entries int) *world {
		w := newWorld(t, Options{})
		k := pairOf("alice").keys()
		if err := w.d.store.write(func(c *conn) error {
			for range entries {
				if _, err := c.appendLog(keydir.Published, "alice", 1, k, w.clock.now()); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return w
	}
	for what, x := range map[string]struct {
		entries int
		sql     string
		good    bool
	}{
		"short":              {3, "SELECT 1", true},
		"long":               {checkedEntries + 5, "SELECT 1", true},
		"another time":       {3, "UPDATE log SET line = replace(line, '\"time\":1', '\"time\":2') WHERE seq = 2", false},
		"no JSON":            {3, "UPDATE log SET line = 'x' WHERE seq = 3", false},
		"an entry gone":      {3, "DELETE FROM log WHERE seq = 2", false},
		"the first gone":     {3, "UPDATE log SET line = replace(line, '" + keydir.NoHash + "', '" + strings.Repeat("1", 64) + "') WHERE seq = 1", false},
		"another row":        {3, "UPDATE log SET version = 9 WHERE seq = 3", false},
		"damaged long ago":   {checkedEntries + 5, "UPDATE log SET line = 'x' WHERE seq = 2", true}, // a start looks at the end alone
		"damaged at the end": {checkedEntries + 5, "UPDATE log SET line = 'x' WHERE seq = " + "500", false},
	} {
		w := fill(t, x.entries)
		if err := w.d.store.write(func(c *conn) error { return c.Script("DROP TRIGGER log_update; DROP TRIGGER log_delete;" + x.sql) }); err != nil {
			t.Fatal(err)
		}
		w.close()
		d, err := New(w.o)
		if err == nil {
			w.d = d
		}
		if x.good != (err == nil) {
			t.Errorf("%s: %v", what, err)
		}
		if err != nil && (!strings.Contains(err.Error(), "of the key log is damaged") || !strings.Contains(err.Error(), databaseName)) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// A database of the version before is taken over; the first mail's link is told from
// those that were asked for.
func TestVersion1(t *testing.T) {
	w := newWorld(t, Options{})
	first := w.enrol("alice", pairOf("alice"))
	for range 3 {
		w.clock.add(1e9)
		w.want("POST", "/users/alice/mail", `{"email":"alice@mail.example"}`, 202, "")
		w.send()
	}
	if err := w.d.store.write(func(c *conn) error {
		return c.Script("ALTER TABLE link DROP COLUMN welcome; PRAGMA user_version = 1")
	}); err != nil {
		t.Fatal(err)
	}
	w.restart()
	for range maxLinks + 1 {
		w.clock.add(1e9)
		w.want("POST", "/users/alice/mail", `{"email":"alice@mail.example"}`, 202, "")
		w.send()
	}
	w.restart()
	w.want("POST", first, "", 200, "user deleted\n")
}
