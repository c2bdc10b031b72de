package server

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"parley/carrier/relay"
)

// Whatever is asked, the relay answers in order, and a mailbox that is claimed opens to
// nobody.
func FuzzRequest(f *testing.F) {
	for _, x := range []struct{ method, target, kind, token, body string }{
		{"GET", "/getmessages?recipient_uid=bob&start_ref=0", "", "", ""},
		{"GET", "/getmessages?recipient_uid=bob&start_ref=0&maxcount=2&from=a&wait=0", "", "x", ""},
		{"GET", "/getnextref?recipient_uid=bob", "", "", ""},
		{"POST", "/send", formBody, "", "recipient_uid=bob&sender_uid=a&contents=AAAA"},
		{"POST", "/v2/send", jsonBody, "", `{"recipient_uid":"bob","sender_uid":"a","contents":"AAAA","id":"01000000000000000000000000000000"}`},
		{"POST", "/v2/claim", jsonBody, "", `{"recipient_uid":"bob","receive":"` + strings.Repeat("00", 32) + `"}`},
		{"POST", "/v2/done", jsonBody, "", `{"recipient_uid":"bob","refs":[1,2],"sums":["0000000000000000","0000000000000000"]}`},
		{"POST", "/mischief", formBody, "", "kind=reorder&userid=carol"},
	} {
		f.Add(x.method, x.target, x.kind, x.token, x.body)
	}
	s, err := New(Options{Dir: f.TempDir(), Mischief: true, Limits: Limits{RequestsPerSecond: 1e9, RequestBurst: 1e9, NewMailboxBurst: 1e9, Contents: 10_000},
		Trouble: func(what string, err error) { panic(err) }})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { s.stop(); s.store.Close() })
	const secret = "secret contents of bob's"
	err = s.store.write(func(c *conn) error {
		if err := s.claim(c, claimOf("bob", tokenA, tokenS)); err != nil {
			return err
		}
		_, _, err := s.put(c, relay.Message{Recipient: "bob", Sender: "a", Contents: secret}, tokenS, nil)
		return err
	})
	if err != nil {
		f.Fatal(err)
	}
	h := s.handler()
	f.Fuzz(func(t *testing.T, method, target, kind, token, body string) {
		if strings.Contains(target, "wait") && !strings.Contains(target, "wait=0") || len(body) > 100_000 {
			return
		}
		r, err := http.NewRequest(method, "http://relay.test", strings.NewReader(body))
		if err != nil {
			return
		}
		u, err := r.URL.Parse(target)
		if err != nil {
			return
		}
		if strings.Contains(body, "userid=bob") || strings.Contains(body, "userid") && strings.Contains(body, "%") {
			return // mischief may do what it wants
		}
		r.URL, r.RemoteAddr = u, "192.0.2.1:1"
		r.Header.Set("Content-Type", kind)
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code == http.StatusInternalServerError {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		if strings.Contains(w.Body.String(), secret) && token != tokenA {
			t.Fatalf("%q gets what is bob's", target)
		}
		if strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") && !json.Valid(w.Body.Bytes()) {
			t.Fatalf("not JSON: %s", w.Body)
		}
		n := int64(0)
		s.store.read(func(c *conn) error {
			b, err := c.mailbox("bob")
			if err == nil {
				n = b.messages
			}
			return err
		})
		if n != 1 {
			t.Fatalf("bob's mailbox has %d messages", n)
		}
	})
}
