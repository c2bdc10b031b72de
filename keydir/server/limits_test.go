package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"
)

// from sends a request that comes from an address.
func (w *world) from(address, forwarded, method, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://keys.example"+path, strings.NewReader(body))
	r.RemoteAddr = net.JoinHostPort(address, "1234")
	if forwarded != "" {
		r.Header.Set("X-Forwarded-For", forwarded)
	}
	rec := httptest.NewRecorder()
	w.d.http.Handler.ServeHTTP(rec, r)
	return rec
}

func TestRegistrationLimit(t *testing.T) {
	w := newWorld(t, Options{Limits: Limits{LookupBurst: 1e6, RegistrationsPerHour: 10, RegistrationBurst: 5}})
	k := pairOf("alice").keys()
	n := 0
	register := func(address string) *httptest.ResponseRecorder {
		n++
		return w.from(address, "", "POST", "/users", registration(fmt.Sprint("user", n), fmt.Sprintf("u%d@b", n), k, nil))
	}
	for range 5 {
		if rec := register("2001:db8::1"); rec.Code != 201 {
			t.Fatal(rec.Code, rec.Body)
		}
	}
	rec := register("2001:db8::ffff:1") // the same /64
	if after, err := strconv.Atoi(rec.Header().Get("Retry-After")); rec.Code != 429 || err != nil || after < 300 || after > 361 {
		t.Errorf("%d, Retry-After %d, %v", rec.Code, after, err)
	}
	if rec := register("2001:db8:0:1::1"); rec.Code != 201 {
		t.Errorf("another network: %d", rec.Code)
	}
	if rec := register("::ffff:192.0.2.7"); rec.Code != 201 {
		t.Errorf("another network: %d", rec.Code)
	}
	// What is wrong with a request is said all the same, and mails and rotations count.
	if rec := w.from("2001:db8::1", "", "POST", "/users", "{}"); rec.Code != 400 {
		t.Errorf("%d", rec.Code)
	}
	if rec := w.from("2001:db8::1", "", "POST", "/users/alice/mail", `{"email":"a@b"}`); rec.Code != 429 {
		t.Errorf("%d", rec.Code)
	}
	w.clock.add(6 * time.Minute)
	if rec := register("2001:db8::1"); rec.Code != 201 {
		t.Errorf("after 6 minutes: %d", rec.Code)
	}
	if rec := register("2001:db8::1"); rec.Code != 429 {
		t.Errorf("after 6 minutes, twice: %d", rec.Code)
	}
}

// A mailbox gets so many mails a day, whoever asks, whatever the names and the case.
func TestMailboxLimit(t *testing.T) {
	w := newWorld(t, Options{Limits: Limits{LookupBurst: 1e6, MailsPerDay: 3}})
	k := pairOf("alice").keys()
	for i := range 4 {
		want := 201
		if i == 3 {
			want = 429
		}
		address := []string{"victim@mail.example", "Victim@Mail.Example"}[i%2]
		rec := w.from(fmt.Sprintf("192.0.2.%d", i), "", "POST", "/users", registration(fmt.Sprint("user", i), address, k, nil))
		if rec.Code != want {
			t.Errorf("%d: %d %s", i, rec.Code, rec.Body)
		}
		if says := rec.Body.String(); want == 429 && (!strings.Contains(says, "e-mail address") || !strings.Contains(says, "3 a day") || rec.Header().Get("Retry-After") == "") {
			t.Errorf("the limit of a mailbox says %q", says)
		}
	}
	w.restart() // the count is in the database
	if rec := w.from("192.0.2.9", "", "POST", "/users", registration("user9", "victim@mail.example", k, nil)); rec.Code != 429 {
		t.Errorf("after a restart: %d", rec.Code)
	}
	w.clock.add(24*time.Hour + time.Second)
	if rec := w.from("192.0.2.9", "", "POST", "/users", registration("user9", "victim@mail.example", k, nil)); rec.Code != 201 {
		t.Errorf("on the next day: %d", rec.Code)
	}
}

func TestLookupLimit(t *testing.T) {
	w := newWorld(t, Options{Limits: Limits{LookupBurst: 3, LookupsPerSecond: 2}})
	for i, want := range []int{404, 404, 404, 429, 429} {
		if rec := w.from("192.0.2.1", "", "GET", "/users/nobody", ""); rec.Code != want {
			t.Errorf("%d: %d", i, rec.Code)
		}
	}
	if rec := w.from("192.0.2.1", "", "GET", "/healthz", ""); rec.Code != 200 {
		t.Errorf("/healthz: %d", rec.Code)
	}
	w.clock.add(500 * time.Millisecond)
	if rec := w.from("192.0.2.1", "", "GET", "/users/nobody", ""); rec.Code != 404 {
		t.Errorf("later: %d", rec.Code)
	}
	if rec := w.from("192.0.2.2", "", "GET", "/users/nobody", ""); rec.Code != 404 {
		t.Errorf("another pays: %d", rec.Code)
	}
}

// Only proxies that were named are believed, and of what they say only the last hop.
func TestProxies(t *testing.T) {
	w := newWorld(t, Options{Limits: Limits{LookupBurst: 1, LookupsPerSecond: 1}, Proxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	for i, x := range []struct {
		address, forwarded string
		want               int
	}{
		{"192.0.2.1", "198.51.100.1", 404},
		{"192.0.2.1", "198.51.100.2", 429}, // no proxy: its header is nothing
		{"10.1.2.3", "198.51.100.1", 404},
		{"10.1.2.3", "1.1.1.1, 198.51.100.1", 429}, // what the client itself has put before
		{"10.1.2.4", "198.51.100.1, 198.51.100.3", 404},
		{"10.1.2.3", "", 404}, // the proxy itself
		{"10.1.2.3", "unknown", 429},
	} {
		if rec := w.from(x.address, x.forwarded, "GET", "/users/nobody", ""); rec.Code != x.want {
			t.Errorf("%d: %d", i, rec.Code)
		}
	}
}

func TestMetrics(t *testing.T) {
	w := newWorld(t, Options{Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}})
	w.enrol("alice", pairOf("alice"))
	w.answer("alice")
	rec := w.metrics("127.0.0.1", "localhost:8080")
	for _, line := range []string{"parley_keydir_users 1", "parley_keydir_lookups_total 1", "parley_keydir_registrations_total 1", "parley_keydir_activations_total 1",
		"parley_keydir_mails_sent_total 1", "parley_keydir_log_entries 1", "# TYPE parley_keydir_users gauge"} {
		if !strings.Contains(rec.Body.String(), line+"\n") {
			t.Errorf("no %q in\n%s", line, rec.Body)
		}
	}
	for i, x := range []struct {
		from, host string
		header     []string
		want       int
	}{
		{"127.0.0.1", "127.0.0.1", nil, 200},
		{"127.9.9.9", "LOCALHOST", nil, 200},
		{"::1", "[::1]:8080", nil, 200},
		{"::1", "[::1]", nil, 200},
		{"127.0.0.1", "keys.example", nil, 404}, // through a proxy, or from a page of elsewhere
		{"127.0.0.1", "localhost.evil", nil, 404},
		{"127.0.0.1", "", nil, 404},
		{"192.0.2.1", "localhost", nil, 404},
		{"127.0.0.1", "localhost", []string{"X-Forwarded-For", "127.0.0.1"}, 404},
		{"127.0.0.1", "localhost", []string{"X-Forwarded-For", ""}, 404},
		{"127.0.0.1", "localhost", []string{"X-Forwarded-Host", "x"}, 404},
		{"127.0.0.1", "localhost", []string{"x-forwarded-proto", "https"}, 404},
		{"127.0.0.1", "localhost", []string{"Forwarded", "for=127.0.0.1"}, 404},
		{"127.0.0.1", "localhost", []string{"Via", "1.1 x"}, 404},
		{"127.0.0.1", "localhost", []string{"X-Real-IP", "127.0.0.1"}, 404},
	} {
		if rec := w.metrics(x.from, x.host, x.header...); rec.Code != x.want {
			t.Errorf("%d: %d", i, rec.Code)
		}
	}
	w = newWorld(t, Options{Metrics: true})
	if rec := w.metrics("192.0.2.1", "keys.example", "X-Forwarded-For", "192.0.2.2"); rec.Code != 200 {
		t.Errorf("%d", rec.Code)
	}
}

func (w *world) metrics(from, host string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", "/metrics", nil)
	r.Host, r.RemoteAddr = host, net.JoinHostPort(from, "1234")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	w.d.http.Handler.ServeHTTP(rec, r)
	return rec
}

// Who rotates with signatures that do not hold pays for each try, before anything is
// verified.
func TestRotationsThatFailAreLimited(t *testing.T) {
	w := newWorld(t, Options{Limits: Limits{LookupBurst: 1e6, RegistrationsPerHour: 10, RegistrationBurst: 6}})
	alice, bob := pairOf("alice"), pairOf("bob")
	w.enrol("alice", alice) // takes one
	forged := w.rotation("alice", 2, bob, bob.sign)
	for i := range 5 {
		if rec := w.ask("POST", "/users/alice/keys", forged); rec.Code != 400 || !strings.Contains(rec.Body.String(), "signature_old") {
			t.Errorf("%d: %d %s", i, rec.Code, rec.Body)
		}
	}
	if rec := w.ask("POST", "/users/alice/keys", forged); rec.Code != 429 {
		t.Errorf("the sixth: %d %s", rec.Code, rec.Body)
	}
	// What is wrong at a glance is said all the same.
	w.want("POST", "/users/alice/keys", w.rotation("alice", 3, bob, bob.sign), 409, errVersion.Error()+"\n")
	w.want("POST", "/users/nobody/keys", forged, 404, "404 page not found\n")
	if rec := w.ask("POST", "/users/alice/keys", w.rotation("alice", 2, alice, bob.sign)); rec.Code != 400 {
		t.Errorf("the same keys: %d", rec.Code)
	}
}

// serve lets a world listen; the channel has what Serve returns.
// With the URL "listener", that is the base of links.
func (w *world) serve() (base string, served chan error) {
	w.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	base = "http://" + l.Addr().String()
	if w.o.URL == "listener" {
		w.d.SetURL(base)
	}
	served = make(chan error, 1)
	go func() { served <- w.d.Serve(l) }()
	return base, served
}

// Connections that say nothing are ended by the time-outs, those above the limit at
// once; others are answered meanwhile.
func TestSlowClients(t *testing.T) {
	limits := plenty
	limits.ConnectionsPerHost, limits.Header = 4, 300*time.Millisecond
	w := newWorld(t, Options{Limits: limits})
	base, _ := w.serve()
	address := strings.TrimPrefix(base, "http://")
	dial := func() net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(20 * time.Second))
		return c
	}
	var slow []net.Conn
	for range 4 {
		c := dial()
		defer c.Close()
		io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ")
		slow = append(slow, c)
	}
	fifth := dial()
	defer fifth.Close()
	if b, err := io.ReadAll(fifth); len(b) > 0 || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a connection above the limit gets %q, %v", b, err)
	}
	for _, c := range slow {
		if b, err := io.ReadAll(c); err != nil || strings.Contains(string(b), "200 OK") {
			t.Errorf("a slow client gets %q, %v", b, err)
		}
	}
	// Their places are free again.
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	rec, err := client.Get(base + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	rec.Body.Close()
	if rec.StatusCode != 200 {
		t.Error(rec.Status)
	}
	// A header without end.
	c := dial()
	defer c.Close()
	go io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nX-Long: "+strings.Repeat("a", 1<<20)+"\r\n\r\n")
	if b := make([]byte, 12); true {
		if _, err := io.ReadFull(c, b); err == nil && string(b) != "HTTP/1.1 431" {
			t.Errorf("%q", b)
		}
	}
}
