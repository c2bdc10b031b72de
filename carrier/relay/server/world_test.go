package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"parley/carrier/relay"
)

func TestMain(m *testing.M) {
	if asRelay() {
		return
	}
	goleak.VerifyTestMain(m)
}

// A world is a relay and a client of it.
type world struct {
	t    testing.TB
	s    *Server
	url  string
	http *http.Client
}

// A clock is set by the test.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func newWorld(t testing.TB, o Options) *world {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.Trouble == nil {
		o.Trouble = func(what string, err error) { t.Errorf("%s: %v", what, err) }
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	w := &world{t: t, s: s, url: "http://" + l.Addr().String(), http: &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: 64},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       30 * time.Second,
	}}
	t.Cleanup(func() {
		w.http.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, ErrShutdown) {
			t.Error(err)
		}
	})
	return w
}

// ask makes a request; kind is the body's content type.
func (w *world) ask(method, path, token, kind, body string) (int, []byte) {
	w.t.Helper()
	r, err := http.NewRequest(method, w.url+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return w.do(r)
}

func (w *world) do(r *http.Request) (int, []byte) {
	w.t.Helper()
	resp, err := w.http.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, b
}

func (w *world) get(path, token string) (int, []byte) { return w.ask("GET", path, token, "", "") }

func (w *world) form(path string, v url.Values) (int, []byte) {
	return w.ask("POST", path, "", formBody, v.Encode())
}

func (w *world) object(path, token string, v any) (int, []byte) {
	b, err := json.Marshal(v)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.ask("POST", path, token, jsonBody, string(b))
}

func message(from, to, contents string) url.Values {
	return url.Values{"recipient_uid": {to}, "sender_uid": {from}, "contents": {contents}}
}

// send sends by the original's way, and must succeed.
func (w *world) send(from, to, contents string) int64 {
	w.t.Helper()
	code, b := w.form("/send", message(from, to, contents))
	var sent relay.Sent
	if err := json.Unmarshal(b, &sent); err != nil || code != 200 || !sent.Received {
		w.t.Fatalf("send: %d %s", code, b)
	}
	return sent.Ref
}

func (w *world) messages(query, token string) relay.Messages {
	w.t.Helper()
	code, b := w.get("/getmessages?"+query, token)
	var m relay.Messages
	if err := json.Unmarshal(b, &m); err != nil || code != 200 || m.Count != len(m.Messages) {
		w.t.Fatalf("getmessages?%s: %d %s", query, code, b)
	}
	return m
}

// refused checks that an answer is a refusal with that code in it, and returns its words.
func refused(t testing.TB, what string, want, code int, body []byte) string {
	t.Helper()
	var f relay.Failure
	if err := json.Unmarshal(body, &f); err != nil || code != want || f.Code != want || f.Message == "" {
		t.Errorf("%s: %d %s, want %d", what, code, bytes.TrimSpace(body), want)
	}
	return f.Message
}

var (
	tokenA = relay.NewToken([32]byte{1})
	tokenB = relay.NewToken([32]byte{2})
	tokenS = relay.NewToken([32]byte{3})
)

func claimOf(uid, receive, send string) relay.ClaimRequest {
	h := relay.HashToken(receive)
	q := relay.ClaimRequest{Recipient: uid, Receive: &h}
	if send != "" {
		h := relay.HashToken(send)
		q.Send = &h
	}
	return q
}

func (w *world) claim(uid, receive, send string) {
	w.t.Helper()
	if code, b := w.object("/v2/claim", "", claimOf(uid, receive, send)); code != 200 {
		w.t.Fatalf("claim: %d %s", code, b)
	}
}
