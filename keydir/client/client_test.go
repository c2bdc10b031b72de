package client_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"parley/internal/rsakey"
	"parley/keydir"
	"parley/keydir/client"
)

// serve answers every request with one status and body, and tells what was asked. It
// keeps no log.
func serve(t testing.TB, status int, body string) (url string, asked *atomic.Pointer[string]) {
	asked = &atomic.Pointer[string]{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/log/head") {
			http.NotFound(w, r)
			return
		}
		uri := r.RequestURI
		asked.Store(&uri)
		w.WriteHeader(status)
		w.Write([]byte(body))
	}))
	t.Cleanup(s.Close)
	return s.URL, asked
}

func original(t testing.TB, url string, unbound bool) *client.Client {
	t.Helper()
	key, err := rsakey.ParsePublic([]byte(world().Provider.ServerKey.Public))
	check(t, err)
	c, err := client.New(client.Options{URL: url, Key: key, Unbound: unbound})
	check(t, err)
	t.Cleanup(c.Close)
	return c
}

// What the original's key service said of its users, and altered answers.
func TestVectors(t *testing.T) {
	for _, r := range world().Provider.Responses {
		url, asked := serve(t, r.Status, r.Body)
		a, k, err := original(t, url+"/pubkey/", true).Lookup(ctx, r.Username)
		check(t, err)
		if a.Bound() || !k.Equal(public(t, user(r.Username))) {
			t.Errorf("%s: other keys", r.Username)
		}
		if got := *asked.Load(); got != "/pubkey/users/"+r.Username {
			t.Errorf("asked for %s", got)
		}
		_, _, err = original(t, url, false).Lookup(ctx, r.Username)
		is(t, err, client.ErrUnbound)
	}
	for _, r := range world().Provider.Other {
		url, _ := serve(t, r.Status, r.Body)
		_, _, err := original(t, url, true).Lookup(ctx, r.AskedFor)
		switch r.Safe {
		case "accept":
			if err != nil {
				t.Errorf("%s: %v", r.ID, err)
			}
		case "reject":
			if err == nil {
				t.Errorf("%s was accepted", r.ID)
			}
		default:
			t.Logf("%s (%s): %v", r.ID, r.Safe, err)
		}
	}
}

// A name comes from whoever wrote a message; only names get into a URL.
func TestDefect5NamesInURLs(t *testing.T) {
	url, asked := serve(t, 200, world().Provider.Responses[0].Body)
	c := original(t, url, true)
	for _, name := range []string{"", "ab", "carol?alice", "alice/../carol", "alice%2f..", "a b c", "Alice", "alice\n", "../key", "alice#", strings.Repeat("a", 33)} {
		_, _, err := c.Lookup(ctx, name)
		is(t, err, keydir.ErrUsername)
		_, _, err = client.NewCache(c).Lookup(ctx, name)
		is(t, err, keydir.ErrUsername)
		is(t, c.Register(ctx, name, "a@b.example", user("alice")), keydir.ErrUsername)
		_, err = c.Audit(ctx, keydir.Head{}, []client.Subject{{User: name}})
		is(t, err, keydir.ErrUsername)
	}
	if asked.Load() != nil {
		t.Errorf("asked for %s", *asked.Load())
	}
}

func TestLookup(t *testing.T) {
	d := newDirectory(t)
	d.put("alice", public(t, user("alice")), nil)
	d.put("bobby", public(t, user("bob")), nil)
	c := d.client(t, func(o *client.Options) { o.Key = nil })
	a, k, err := c.Lookup(ctx, "alice")
	check(t, err)
	if a.Username != "alice" || !k.Equal(public(t, user("alice"))) {
		t.Errorf("%+v", a)
	}
	_, _, err = c.Lookup(ctx, "nobody")
	is(t, err, client.ErrNoUser)
	if n := d.asked["/key"]; n != 1 {
		t.Errorf("the key was fetched %d times", n)
	}
	// Once names were bound, nothing unbound will do any more.
	body := string(d.answer("bobby"))
	url, _ := serve(t, 200, body)
	_, _, err = d.client(t, func(o *client.Options) { o.URL = url }).Lookup(ctx, "alice")
	is(t, err, keydir.ErrOtherUser)
	_, _, err = original(t, url, true).Lookup(ctx, "bobby")
	is(t, err, keydir.ErrForged)
	_, _, err = d.client(t, func(o *client.Options) { o.Now = func() time.Time { return d.now.Add(48 * time.Hour) } }).Lookup(ctx, "alice")
	is(t, err, keydir.ErrExpired)
}

// Who keeps a log answers with names; who does not is asked for one once.
func TestUnboundBesideALog(t *testing.T) {
	body := world().Provider.Responses[0]
	for _, c := range []struct {
		head  int // status of its log
		want  error
		asked int // how often two look-ups ask for the log
	}{
		{200, client.ErrUnbound, 1},
		{404, nil, 1},
		{405, nil, 1},
		{500, client.ErrUnreachable, 2},
	} {
		n := 0
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/log/head" {
				n++
				w.WriteHeader(c.head)
				return
			}
			w.Write([]byte(body.Body))
		}))
		o := original(t, s.URL, true)
		for range 2 {
			_, k, err := o.Lookup(ctx, body.Username)
			is(t, err, c.want)
			if (err == nil) != (k.Message != nil) {
				t.Error("keys and an error")
			}
		}
		s.Close()
		if n != c.asked {
			t.Errorf("%d: asked %d times", c.head, n)
		}
	}
}

// A directory that answers nonsense, too much, elsewhere, or nothing.
func TestBadDirectories(t *testing.T) {
	elsewhere, asked := serve(t, 200, "x")
	for name, h := range map[string]http.HandlerFunc{
		"500": func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) },
		"204": func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) },
		"429": func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(429) },
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere+r.URL.Path, http.StatusFound)
		},
		"loop": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) },
		"cut": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100")
			w.Write([]byte("{"))
		},
		"hangs": func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	} {
		s := httptest.NewServer(h)
		c, err := client.New(client.Options{URL: s.URL, Key: &private(world().Users["bob"].Sign.Private).PublicKey, Timeout: 200 * time.Millisecond})
		check(t, err)
		if _, _, err = c.Lookup(ctx, "alice"); name == "500" || name == "204" || err == nil {
			is(t, err, client.ErrUnreachable)
		}
		is(t, err, client.ErrUnreachable)
		c.Close()
		s.Close()
	}
	if asked.Load() != nil {
		t.Error("it went elsewhere")
	}
	url, _ := serve(t, 200, strings.Repeat("x", keydir.MaxBody+1))
	_, _, err := original(t, url, true).Lookup(ctx, "alice")
	is(t, err, keydir.ErrMalformed)
	c, err := client.New(client.Options{URL: "http://127.0.0.1:1"})
	check(t, err)
	defer c.Close()
	_, _, err = c.Lookup(ctx, "alice")
	is(t, err, client.ErrUnreachable)
	url, _ = serve(t, 200, "no key")
	c, err = client.New(client.Options{URL: url})
	check(t, err)
	defer c.Close()
	_, err = c.Key(ctx)
	is(t, err, keydir.ErrMalformed)
}

func TestAddresses(t *testing.T) {
	for in, want := range map[string]string{
		"http://h":                     "http://h",
		"https://H:1/":                 "https://h:1",
		"https://h/pubkey//":           "https://h/pubkey",
		"http://[::1]:8080/a/b":        "http://[::1]:8080/a/b",
		"":                             "",
		"h:8080":                       "",
		"ftp://h":                      "",
		"http://u:p@h":                 "",
		"http://h?x":                   "",
		"http://h#x":                   "",
		"http:h":                       "",
		"http://":                      "",
		"http://h/%zz":                 "",
		"https://h:port":               "",
		"https://microshell.pl/pubkey": "https://microshell.pl/pubkey",
	} {
		u, err := client.ParseURL(in)
		switch {
		case want == "":
			is(t, err, client.ErrAddress)
			if strings.Contains(err.Error(), "u:p") {
				t.Error("the error has a password")
			}
		case err != nil || u.String() != want:
			t.Errorf("%q: %v, %v", in, u, err)
		}
	}
}

func TestRegisterAndRotate(t *testing.T) {
	d := newDirectory(t)
	for _, key := range []bool{true, false} {
		c := d.client(t, func(o *client.Options) {
			if !key {
				o.Key = nil
			}
		})
		check(t, c.Register(ctx, "alice", "alice@example.test", user("alice")))
		if reg := d.mailed[len(d.mailed)-1]; reg.Proof == nil || reg.Username != "alice" {
			t.Errorf("%+v", reg)
		}
		is(t, c.Register(ctx, "alice", "no address", user("alice")), keydir.ErrEmail)
		is(t, c.Register(ctx, "alice", "a@b", client.Private{Message: user("bob").Sign, Sign: user("bob").Sign}), keydir.ErrSameKey)
	}
	d.put("alice", public(t, user("alice")), nil)
	c := d.client(t)
	is(t, c.Register(ctx, "alice", "alice@example.test", user("alice")), keydir.ErrTaken)
	// Somebody without the old key changes nothing.
	_, _, err := c.Rotate(ctx, "alice", user("bob").Sign, user("bob"))
	is(t, err, keydir.ErrProof)
	a, k, err := c.Rotate(ctx, "alice", user("alice").Sign, user("bob"))
	check(t, err)
	if a.Version != 2 || !a.VouchedBy(public(t, user("alice")).Sign, k) || !k.Equal(public(t, user("bob"))) {
		t.Errorf("%+v", a)
	}
	_, _, err = c.Rotate(ctx, "nobody", user("alice").Sign, user("bob"))
	is(t, err, client.ErrNoUser)
	url, _ := serve(t, 200, world().Provider.Responses[0].Body)
	_, _, err = original(t, url, true).Rotate(ctx, "alice", user("alice").Sign, user("bob"))
	is(t, err, client.ErrNoRotation)
}

// The words of a refusal are passed on, but not all that a directory likes to say.
func TestRefusals(t *testing.T) {
	d := newDirectory(t)
	c := d.client(t)
	d.refuse = "rude " + strings.Repeat("words ", 1000) + "\nand more"
	err := c.Register(ctx, "alice", "alice@example.test", user("alice"))
	if len(err.Error()) > 200 || !strings.HasPrefix(err.Error(), "rude words") {
		t.Errorf("%v", err)
	}
	// A directory of the original's kind has no key to offer and is asked nevertheless.
	var got atomic.Bool
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/users" {
			http.NotFound(w, r)
			return
		}
		got.Store(true)
		w.WriteHeader(201)
	}))
	defer s.Close()
	c, err = client.New(client.Options{URL: s.URL})
	check(t, err)
	defer c.Close()
	check(t, c.Register(ctx, "alice", "alice@example.test", user("alice")))
	if !got.Load() {
		t.Error("it was not asked")
	}
}

// FuzzLookup lets a directory answer anything: only what it signed is believed.
func FuzzLookup(f *testing.F) {
	for _, r := range world().Provider.Responses {
		f.Add(r.Status, []byte(r.Body))
	}
	for _, r := range world().Provider.Other {
		f.Add(r.Status, []byte(r.Body))
	}
	f.Add(404, []byte("404 page not found\n"))
	key, err := rsakey.ParsePublic([]byte(world().Provider.ServerKey.Public))
	if err != nil {
		f.Fatal(err)
	}
	known := map[string]bool{}
	for name := range world().Users {
		known[client.Fingerprint(public(f, user(name))).Hex()] = true
	}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		log := false
		rt := roundTrip(func(r *http.Request) (*http.Response, error) {
			w := httptest.NewRecorder()
			w.Body.Write(body)
			resp := w.Result()
			resp.StatusCode, resp.Request = status, r
			if r.URL.Path == "/log/head" && !log {
				resp.StatusCode = http.StatusNotFound
			}
			return resp, nil
		})
		c, err := client.New(client.Options{URL: "http://directory.test", Key: key, Unbound: true, HTTP: rt})
		check(t, err)
		a, k, err := c.Lookup(ctx, "alice")
		switch {
		case err != nil && (k.Message != nil || a.MessageKey != ""):
			t.Error("an answer and an error")
		case err == nil && !known[client.Fingerprint(k).Hex()]:
			t.Error("keys that nobody signed")
		}
		if status >= 400 && len(body)%8 == 0 { // it signs: not every time
			c.Register(ctx, "alice", "a@b", user("alice"))
		}
		log = true
		c.Follow(ctx, keydir.Head{})
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
