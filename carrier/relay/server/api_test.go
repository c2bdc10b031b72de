package server

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"parley/carrier/relay"
)

func TestRefused(t *testing.T) {
	w := newWorld(t, Options{Limits: Limits{Contents: 100}})
	w.send("alice", "bob", "AAAA")
	long := strings.Repeat("x", 129)
	for _, x := range []struct {
		what, method, path, kind, body string
		code                           int
		said                           string
	}{
		{"no recipient", "POST", "/send", formBody, "sender_uid=a&contents=x", 400, "send missing required field: recipient_uid"},
		{"no sender", "POST", "/send", formBody, "recipient_uid=a&contents=x", 400, "send missing required field: sender_uid"},
		{"no contents", "POST", "/send", formBody, "recipient_uid=a&sender_uid=b", 400, "send missing required field: contents"},
		{"empty recipient", "POST", "/send", formBody, "recipient_uid=&sender_uid=b&contents=x", 400, "recipient_uid"},
		{"fields in the query", "POST", "/send?recipient_uid=a&sender_uid=b&contents=x", formBody, "", 400, "missing"},
		{"recipient twice", "POST", "/send", formBody, "recipient_uid=a&recipient_uid=b&sender_uid=b&contents=x", 400, "twice"},
		{"long name", "POST", "/send", formBody, "recipient_uid=" + long + "&sender_uid=b&contents=x", 400, "more than 128"},
		{"control character", "POST", "/send", formBody, "recipient_uid=a%00&sender_uid=b&contents=x", 400, "control"},
		{"name not UTF-8", "POST", "/send", formBody, "recipient_uid=a%ff&sender_uid=b&contents=x", 400, "UTF-8"},
		{"contents not UTF-8", "POST", "/send", formBody, "recipient_uid=a&sender_uid=b&contents=%ff", 400, "UTF-8"},
		{"bad escape", "POST", "/send", formBody, "recipient_uid=%zz", 400, "cannot be read"},
		{"JSON for a form", "POST", "/send", jsonBody, `{"recipient_uid":"a"}`, 415, "form"},
		{"no kind of body", "POST", "/send", "", "recipient_uid=a&sender_uid=b&contents=x", 415, "form"},
		{"long contents", "POST", "/send", formBody, "recipient_uid=a&sender_uid=b&contents=" + strings.Repeat("x", 101), 413, "too long"},
		{"long body", "POST", "/send", formBody, strings.Repeat("x", 1<<20), 413, "too long"},
		{"no recipient", "GET", "/getmessages?start_ref=0", "", "", 400, "getmessages missing required field: recipient_uid"},
		{"no start", "GET", "/getmessages?recipient_uid=bob", "", "", 400, "getmessages missing required field: start_ref"},
		{"fields in the body", "GET", "/getmessages", formBody, "recipient_uid=bob&start_ref=0", 400, "missing"},
		{"recipient twice", "GET", "/getmessages?recipient_uid=a&start_ref=0&recipient_uid=bob", "", "", 400, "twice"},
		{"start no number", "GET", "/getmessages?recipient_uid=bob&start_ref=x", "", "", 400, "start_ref"},
		{"start negative", "GET", "/getmessages?recipient_uid=bob&start_ref=-1", "", "", 400, "start_ref"},
		{"start too large", "GET", "/getmessages?recipient_uid=bob&start_ref=99999999999999999999", "", "", 400, "start_ref"},
		{"maxcount empty", "GET", "/getmessages?recipient_uid=bob&start_ref=0&maxcount=", "", "", 400, "maxcount"},
		{"maxcount negative", "GET", "/getmessages?recipient_uid=bob&start_ref=0&maxcount=-1", "", "", 400, "maxcount"},
		{"wait too long", "GET", "/getmessages?recipient_uid=bob&start_ref=9&wait=61", "", "", 400, "wait"},
		{"from empty", "GET", "/getmessages?recipient_uid=bob&start_ref=0&from=", "", "", 400, "from"},
		{"semicolon", "GET", "/getmessages?recipient_uid=bob;start_ref=0", "", "", 400, "cannot be read"},
		// The original names the other call here.
		{"no recipient", "GET", "/getnextref", "", "", 400, "getmessages missing required field: recipient_uid"},
		{"nothing there", "GET", "/nothing", "", "", 404, "nothing"},
		{"another spelling", "GET", "/%67etmessages?recipient_uid=bob&start_ref=0", "", "", 404, "nothing"},
		{"slash behind", "GET", "/getnextref/?recipient_uid=bob", "", "", 404, "nothing"},
		{"two slashes", "GET", "//getnextref?recipient_uid=bob", "", "", 404, "nothing"},
		{"mischief is off", "POST", "/mischief", formBody, "kind=drop&userid=bob", 404, "nothing"},
		{"v2 form", "POST", "/v2/send", formBody, "recipient_uid=a", 415, "json"},
		{"v2 nothing", "POST", "/v2/send", jsonBody, "", 400, "object"},
		{"v2 member twice", "POST", "/v2/send", jsonBody, `{"recipient_uid":"a","recipient_uid":"b"}`, 400, "once"},
		{"v2 other spelling", "POST", "/v2/send", jsonBody, `{"Recipient_uid":"a"}`, 400, "once"},
		{"v2 more behind", "POST", "/v2/send", jsonBody, `{} {}`, 400, "object"},
		{"v2 no ID", "POST", "/v2/send", jsonBody, `{"recipient_uid":"a","sender_uid":"b","contents":""}`, 400, "id"},
		{"v2 no base64", "POST", "/v2/send", jsonBody, `{"recipient_uid":"a","sender_uid":"b","contents":"x","id":"01000000000000000000000000000000"}`, 400, "base64"},
		{"v2 short ID", "POST", "/v2/send", jsonBody, `{"recipient_uid":"a","sender_uid":"b","contents":"","id":"01"}`, 400, "object"},
		{"claim without hash", "POST", "/v2/claim", jsonBody, `{"recipient_uid":"a"}`, 400, "receive"},
		{"claim of nobody", "POST", "/v2/claim", jsonBody, `{"receive":"` + strings.Repeat("00", 32) + `"}`, 400, "recipient_uid"},
		{"done, unclaimed", "POST", "/v2/done", jsonBody, `{"recipient_uid":"bob","refs":[1]}`, 409, "nobody"},
		{"done, unknown", "POST", "/v2/done", jsonBody, `{"recipient_uid":"zed","refs":[1]}`, 409, "nobody"},
		{"done, fewer sums", "POST", "/v2/done", jsonBody, `{"recipient_uid":"bob","refs":[1,2],"sums":["0000000000000000"]}`, 400, "as many"},
		{"done, more sums", "POST", "/v2/done", jsonBody, `{"recipient_uid":"bob","refs":[1],"sums":["0000000000000000","0000000000000000"]}`, 400, "as many"},
		{"done, sums of nothing", "POST", "/v2/done", jsonBody, `{"recipient_uid":"bob","refs":[],"sums":["0000000000000000"]}`, 400, "as many"},
		{"done, no sums in the list", "POST", "/v2/done", jsonBody, `{"recipient_uid":"bob","refs":[1],"sums":[]}`, 400, "as many"},
		{"done, null for sums", "POST", "/v2/done", jsonBody, `{"recipient_uid":"bob","refs":[1],"sums":null}`, 400, "object"},
		{"done, sums", "POST", "/v2/done", jsonBody, `{"recipient_uid":"bob","refs":[1],"sums":["00","11"]}`, 400, "object"},
	} {
		code, b := w.ask(x.method, x.path, "", x.kind, x.body)
		if said := refused(t, x.what, x.code, code, b); !strings.Contains(said, x.said) {
			t.Errorf("%s %s: %q lacks %q", x.path, x.what, said, x.said)
		}
	}
	if m := w.messages("recipient_uid=bob&start_ref=0", ""); m.Count != 1 {
		t.Errorf("what was refused changed something: %+v", m)
	}
	for _, x := range []struct{ method, path, allow string }{
		{"POST", "/check", "GET"}, {"GET", "/send", "POST"}, {"DELETE", "/getmessages", "GET"}, {"GET", "/v2/claim", "POST"},
	} {
		r, _ := http.NewRequest(x.method, w.url+x.path, nil)
		resp, err := w.http.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 405 || resp.Header.Get("Allow") != x.allow {
			t.Errorf("%s %s: %d, Allow %q", x.method, x.path, resp.StatusCode, resp.Header.Get("Allow"))
		}
	}
}

// Contents come back as they were sent, whatever is in them; the echo has characters.
func TestContents(t *testing.T) {
	w := newWorld(t, Options{})
	for i, s := range []string{"", "a+b/c==", "<&>\u2028\"\\", "ünïcödé ünïcödé", "line\r\nend", "\x00\x01"} {
		code, b := w.form("/send", message("alice", "bob", s))
		if code != 200 {
			t.Fatalf("%q: %d %s", s, code, b)
		}
		m := w.messages(fmt.Sprintf("recipient_uid=bob&start_ref=%d", i+1), "")
		if m.Messages[0].Contents != s {
			t.Errorf("%q came back as %q", s, m.Messages[0].Contents)
		}
	}
	for s, want := range map[string]string{"": "", "short": "short", "0123456789": "0123456789", "x0123456789": "0123456789", "ünïcödé ünïcödé": "dé ünïcödé"} {
		if got := relay.EchoTail(s); got != want {
			t.Errorf("the tail of %q is %q", s, got)
		}
	}
}

// Numbers run over all mailboxes and are never given twice; complete is true when
// nothing was left out.
func TestNumbers(t *testing.T) {
	w := newWorld(t, Options{Limits: Limits{AnswerMessages: 3, AnswerBytes: 25}})
	w.claim("eve", tokenA, "")
	for i, to := range []string{"bob", "eve", "bob", "bob", "bob", "bob"} {
		if ref := w.send("alice", to, "0123456789"); ref != int64(i+1) {
			t.Errorf("message %d has number %d", i+1, ref)
		}
	}
	for query, want := range map[string]string{
		"start_ref=0":            "2 false", // by bytes
		"start_ref=4":            "2 false",
		"start_ref=5":            "2 true",
		"start_ref=7":            "0 true",
		"start_ref=0&maxcount=0": "0 false",
		"start_ref=7&maxcount=0": "0 true",
		"start_ref=5&maxcount=2": "2 true",
		"start_ref=0&maxcount=1": "1 false",
		"start_ref=0&from=carol": "0 true",
	} {
		m := w.messages("recipient_uid=bob&"+query, "")
		if got := fmt.Sprint(m.Count, " ", m.Complete); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
	if code, b := w.object("/v2/done", tokenA, relay.DoneRequest{Recipient: "eve", Refs: []int64{2, 3, 99}}); code != 200 || !strings.Contains(string(b), `"deleted":1`) {
		t.Errorf("%d %s", code, b)
	}
	if code, b := w.get("/getnextref?recipient_uid=eve", tokenA); code != 200 || strings.TrimSpace(string(b)) != `{"nextref":3}` {
		t.Errorf("%d %s", code, b)
	}
	if code, b := w.get("/getnextref?recipient_uid=nobody", ""); code != 200 || strings.TrimSpace(string(b)) != `{"nextref":0}` {
		t.Errorf("%d %s", code, b)
	}
	if n := w.messages("recipient_uid=bob&start_ref=0&maxcount=9", ""); n.Messages[1].Ref != 3 {
		t.Errorf("done with a number of another mailbox deleted it: %+v", n)
	}
}

// A sending that is repeated is one message.
func TestRepeatedSend(t *testing.T) {
	w := newWorld(t, Options{})
	q := relay.SendRequest{Recipient: "bob", Sender: "alice", Contents: "AAAA", ID: relay.ID{1}}
	for i, want := range []string{`{"received":true,"ref":1,"repeated":false}`, `{"received":true,"ref":1,"repeated":true}`} {
		if code, b := w.object("/v2/send", "", q); code != 200 || strings.TrimSpace(string(b)) != want {
			t.Errorf("%d: %d %s", i, code, b)
		}
	}
	q.Contents = "BBBB"
	code, b := w.object("/v2/send", "", q)
	refused(t, "the ID with other contents", 409, code, b)
	q.Sender = "carol" // whose IDs are her own
	if code, b := w.object("/v2/send", "", q); code != 200 {
		t.Errorf("%d %s", code, b)
	}
	if m := w.messages("recipient_uid=bob&start_ref=0", ""); m.Count != 2 {
		t.Errorf("%+v", m)
	}
	// Also when it was read and deleted in between.
	w.claim("dave", tokenA, "")
	q.Recipient = "dave"
	w.object("/v2/send", "", q)
	w.object("/v2/done", tokenA, relay.DoneRequest{Recipient: "dave", Refs: []int64{3}})
	if _, b := w.object("/v2/send", "", q); !strings.Contains(string(b), `"repeated":true`) {
		t.Errorf("%s", b)
	}
	if m := w.messages("recipient_uid=dave&start_ref=0", tokenA); m.Count != 0 {
		t.Errorf("%+v", m)
	}
}

func TestMischief(t *testing.T) {
	w := newWorld(t, Options{Mischief: true})
	do := func(kind string) {
		t.Helper()
		if code, b := w.form("/mischief", url.Values{"kind": {kind}, "userid": {"bob"}}); code != http.StatusFound {
			t.Fatalf("%s: %d %s", kind, code, b)
		}
	}
	contents := func() string {
		var all []string
		for _, m := range w.messages("recipient_uid=bob&start_ref=0", "").Messages {
			all = append(all, fmt.Sprint(m.Ref, m.Contents))
		}
		return strings.Join(all, " ")
	}
	do("drop") // of nobody
	w.send("alice", "bob", "AAAA")
	w.send("alice", "bob", "BBBB")
	do("reorder")
	if got := contents(); got != "1BBBB 2AAAA" {
		t.Errorf("reorder: %s", got)
	}
	do("replay")
	if got := contents(); got != "1BBBB 2AAAA 3AAAA" {
		t.Errorf("replay: %s", got)
	}
	do("drop")
	if got := contents(); got != "1BBBB 2AAAA" {
		t.Errorf("drop: %s", got)
	}
	w.send("alice", "carol", "CCCC") // 3
	do("drop")
	if ref := w.send("alice", "bob", "DDDD"); ref != 4 {
		t.Errorf("the number of another's message is given again: %d", ref)
	}
	do("drop") // 4, whose number a client of ours does not know yet
	if ref := w.send("alice", "bob", "DDDD"); ref != 4 {
		t.Errorf("number %d", ref)
	}
	w.messages("recipient_uid=bob&start_ref=0&wait=0", "")
	do("drop") // 4, which it knows
	if ref := w.send("alice", "bob", "DDDD"); ref != 5 {
		t.Errorf("a number that a client has read past is given again: %d", ref)
	}
	do("corrupt")
	got := contents()
	if _, ok := relay.Decode(strings.TrimPrefix(got, "1BBBB 5")); !ok || got == "1BBBB 5DDDD" {
		t.Errorf("corrupt: %s", got)
	}
	for _, form := range []url.Values{{"kind": {"drop"}}, {"userid": {"bob"}}, {"kind": {"burn"}, "userid": {"bob"}}} {
		code, b := w.form("/mischief", form)
		refused(t, form.Encode(), 400, code, b)
	}
	if code, b := w.get("/mischief", ""); code != 200 || !strings.Contains(string(b), "<form") {
		t.Errorf("%d %s", code, b)
	}
}
