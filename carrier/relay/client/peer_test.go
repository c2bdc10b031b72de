package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"parley"
	"parley/carrier/relay"
	"parley/carrier/relay/client"
)

// original answers as the original's relay does: it knows nothing of /v2/, of tokens, of
// waiting and of from.
type original struct {
	mu  sync.Mutex
	all []relay.Message
}

func (o *original) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch r.URL.Path {
	case "/check":
		fmt.Fprint(w, `{"status": "ok"}`)
	case "/send":
		r.ParseForm()
		m := relay.Message{Ref: int64(len(o.all) + 1), Recipient: r.PostForm.Get("recipient_uid"), Sender: r.PostForm.Get("sender_uid"), Contents: r.PostForm.Get("contents")}
		o.all = append(o.all, m)
		json.NewEncoder(w).Encode(relay.Sent{Received: true, Ref: m.Ref})
	case "/getmessages":
		var start int64
		fmt.Sscan(r.URL.Query().Get("start_ref"), &start)
		a := relay.Messages{Complete: true, Messages: []relay.Message{}}
		for _, m := range o.all {
			if m.Ref >= start && m.Recipient == r.URL.Query().Get("recipient_uid") {
				a.Messages = append(a.Messages, m)
			}
		}
		json.NewEncoder(w).Encode(a)
	default:
		http.NotFound(w, r)
	}
}

func serve(t testing.TB, h http.Handler) parley.Address {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return parley.Address("otc://" + s.Listener.Addr().String())
}

func TestOriginalRelay(t *testing.T) {
	at := serve(t, new(original))
	skipped := make(chan int64, 10)
	c := quickClient(t, client.Options{Poll: time.Millisecond, OnSkipped: func(_ parley.Endpoint, ref int64) { skipped <- ref }})
	if _, err := c.Claim(within(t), at+"/alice"); !errors.Is(err, parley.ErrRefused) || !strings.Contains(err.Error(), "?open") {
		t.Errorf("a claim there: %v", err)
	}
	in := claim(t, c, at+"/alice?from=bob&open")
	send(t, c, join(t, c, at+"/alice?from=carol"), "carol's")
	send(t, c, join(t, c, at+"/alice?from=bob"), "bob's")
	if all := take(t, c, &in, 1); string(all[0].Packet) != "bob's" || all[0].From != "bob" {
		t.Errorf("%+v", all)
	}
	resp, err := http.PostForm("http"+strings.TrimPrefix(string(at), "otc")+"/send", map[string][]string{"recipient_uid": {"alice"}, "sender_uid": {"bob"}, "contents": {"no base64"}})
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	send(t, c, join(t, c, at+"/alice?from=bob"), "next")
	if all := take(t, c, &in, 1); string(all[0].Packet) != "next" {
		t.Errorf("%+v", all)
	}
	if ref := <-skipped; ref != 3 {
		t.Errorf("number %d was passed over", ref)
	}
	// A sender's token is not sent where nobody would look at it.
	to := join(t, c, at+"/alice?from=bob&send="+parley.Address(relay.NewToken([32]byte{1})))
	if _, err := c.Send(within(t), to, []byte("x")); err == nil {
		t.Error("sent without the protection that the address promises")
	}
	http.DefaultClient.CloseIdleConnections()
}

// What relays answer, and what it means.
func TestAnswers(t *testing.T) {
	answer := make(chan func(http.ResponseWriter, *http.Request), 1)
	var mu sync.Mutex
	var last func(http.ResponseWriter, *http.Request)
	at := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // else the server would not see the client go
		mu.Lock()
		select {
		case last = <-answer:
		default:
		}
		f := last
		mu.Unlock()
		f(w, r)
	}))
	c := quickClient(t, client.Options{Timeout: 300 * time.Millisecond})
	to := join(t, c, at+"/alice?from=bob")
	status := func(code int) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(code)
			json.NewEncoder(w).Encode(relay.Failure{Code: code, Message: "said\x1b[31m so"})
		}
	}
	body := func(s string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, r *http.Request) { w.Write([]byte(s)) }
	}
	for _, x := range []struct {
		what string
		f    func(http.ResponseWriter, *http.Request)
		want error
	}{
		{"400", status(400), parley.ErrRefused}, {"413", status(413), parley.ErrRefused}, {"415", status(415), parley.ErrRefused},
		{"404", status(404), parley.ErrDenied}, {"401", status(401), parley.ErrDenied}, {"403", status(403), parley.ErrDenied}, {"409", status(409), parley.ErrDenied},
		{"429", status(429), parley.ErrFull}, {"507", status(507), parley.ErrFull},
		{"500", status(500), parley.ErrOffline}, {"502", status(502), parley.ErrOffline}, {"503", status(503), parley.ErrOffline},
		{"no JSON", body("hello"), parley.ErrOffline}, {"nothing", body(""), parley.ErrOffline}, {"not received", body("{}"), parley.ErrOffline},
		{"elsewhere", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "http://127.0.0.1:1/")
			w.WriteHeader(307)
		}, parley.ErrRefused},
		{"cut off", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100")
			w.Write([]byte("{"))
		}, parley.ErrOffline},
		{"silence", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, parley.ErrOffline},
		{"endless", func(w http.ResponseWriter, r *http.Request) {
			for b := make([]byte, 1<<20); ; {
				if _, err := w.Write(b); err != nil {
					return
				}
			}
		}, parley.ErrOffline},
	} {
		answer <- x.f
		_, err := c.Send(within(t), to, []byte("x"))
		if !errors.Is(err, x.want) {
			t.Errorf("%s: %v, want %v", x.what, err, x.want)
			continue
		}
		for _, other := range []error{parley.ErrRefused, parley.ErrDenied, parley.ErrFull, parley.ErrOffline} {
			if other != x.want && errors.Is(err, other) {
				t.Errorf("%s is both %v and %v", x.what, x.want, other)
			}
		}
		if strings.ContainsAny(err.Error(), "\x1b") || strings.Contains(err.Error(), "alice") {
			t.Errorf("%s: %q", x.what, err)
		}
	}
}

func TestNobodyThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := parley.Address("otc://" + l.Addr().String())
	l.Close()
	states := make(chan bool, 10)
	c := quickClient(t, client.Options{OnState: func(_ parley.Address, up bool, _ error) { states <- up }})
	for _, rest := range []parley.Address{"", "/alice", "/alice?open"} {
		if _, err := c.Claim(within(t), at+rest); !errors.Is(err, parley.ErrOffline) {
			t.Errorf("%s: %v", rest, err)
		}
	}
	to := join(t, c, at+"/alice")
	for range 2 {
		if _, err := c.Send(within(t), to, nil); !errors.Is(err, parley.ErrOffline) {
			t.Error(err)
		}
	}
	if up := <-states; up || len(states) > 0 {
		t.Error("told otherwise, or more than once")
	}
}

// A client that is closed ends what is under way.
func TestClose(t *testing.T) {
	r := newRelay(t, generous())
	up := make(chan bool, 10)
	c := client.New(client.Options{OnState: func(_ parley.Address, u bool, _ error) { up <- u }})
	in := claim(t, c, r.at(""))
	done := make(chan error, 1)
	go func() {
		done <- c.Receive(context.Background(), []parley.Endpoint{in}, func(int, parley.Delivery) error { return nil })
	}()
	send(t, c, join(t, c, in.Address), "x")
	<-up
	if !errors.Is(c.Receive(within(t), []parley.Endpoint{in, in}, func(int, parley.Delivery) error { return nil }), client.ErrReceiving) {
		t.Error("received from twice at the same time")
	}
	c.Close()
	if err := <-done; !errors.Is(err, client.ErrClosed) {
		t.Error(err)
	}
	if err := c.Receive(context.Background(), nil, nil); !errors.Is(err, client.ErrClosed) {
		t.Error(err)
	}
	if _, err := c.Send(context.Background(), join(t, c, in.Address), nil); !errors.Is(err, client.ErrClosed) {
		t.Error(err)
	}
}
