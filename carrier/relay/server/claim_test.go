package server

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"parley/carrier/relay"
)

// The original's relay let everybody read and fill every mailbox. One that is claimed
// opens with its tokens alone, however it is asked.
func TestDefect7RelayWithoutAuthentication(t *testing.T) {
	w := newWorld(t, Options{})
	w.claim("bob", tokenA, tokenS)
	if code, b := w.ask("POST", "/send", tokenS, formBody, message("alice", "bob", "AAAA").Encode()); code != 200 {
		t.Fatalf("%d %s", code, b)
	}
	read, next := "/getmessages?recipient_uid=bob&start_ref=0", "/getnextref?recipient_uid=bob"
	for what, token := range map[string]string{
		"none": "", "the senders'": tokenS, "another": tokenB, "no token": "x", "its hash": hashText(tokenA),
		"another case": strings.ToLower(tokenA), "with padding": tokenA + "=",
	} {
		for _, path := range []string{read, next, read + "&wait=1", read + "&from=alice"} {
			code, b := w.get(path, token)
			refused(t, what+" "+path, 401, code, b)
		}
		code, b := w.object("/v2/done", token, relay.DoneRequest{Recipient: "bob", Refs: []int64{1}})
		refused(t, what+" done", 401, code, b)
	}
	for what, token := range map[string]string{"none": "", "the owner's": tokenA, "another": tokenB} {
		code, b := w.ask("POST", "/send", token, formBody, message("mallory", "bob", "AAAA").Encode())
		refused(t, what+" send", 401, code, b)
		code, b = w.object("/v2/send", token, relay.SendRequest{Recipient: "bob", Sender: "mallory", Contents: "AAAA", ID: relay.ID{1}})
		refused(t, what+" v2/send", 401, code, b)
	}
	// Other ways of asking.
	for _, h := range []http.Header{
		{"Authorization": {"bearer " + tokenA}}, {"Authorization": {"Basic " + tokenA}}, {"Authorization": {tokenA}},
		{"Authorization": {"Bearer " + tokenB, "Bearer " + tokenA}}, {"Authorization": {"Bearer  " + tokenA}}, {"Cookie": {"token=" + tokenA}},
	} {
		r, _ := http.NewRequest("GET", w.url+read, nil)
		r.Header = h
		code, b := w.do(r)
		refused(t, "header", 401, code, b)
	}
	code, b := w.get(read+"&token="+tokenA, "")
	refused(t, "in the query", 401, code, b)
	// Names that look alike are other mailboxes, in which nothing is.
	for _, uid := range []string{"Bob", "BOB", "bob ", " bob", "bоb", "bob\u200b", "ｂｏｂ", "bob.", "bob%"} {
		m := w.messages("start_ref=0&recipient_uid="+url.QueryEscape(uid), "")
		if m.Count != 0 {
			t.Errorf("%q reads bob's", uid)
		}
		w.send("mallory", uid, "BBBB")
	}
	if m := w.messages("recipient_uid=bob&start_ref=0", tokenA); m.Count != 1 || m.Messages[0].Sender != "alice" {
		t.Errorf("%+v", m)
	}
	// What is kept is no token.
	var kept []byte
	w.s.store.read(func(c *conn) error {
		b, err := c.mailbox("bob")
		kept = append(b.receive, b.send...)
		return err
	})
	if a, s := relay.HashToken(tokenA), relay.HashToken(tokenS); string(kept) != string(a[:])+string(s[:]) {
		t.Errorf("%x", kept)
	}
}

func hashText(token string) string {
	b, _ := relay.HashToken(token).MarshalText()
	return string(b)
}

// A mailbox that somebody uses cannot be claimed from under them.
func TestClaimPolicy(t *testing.T) {
	c := newClock()
	w := newWorld(t, Options{Now: c.Now, Limits: Limits{MailboxTTL: 30 * day, MessageTTL: 10 * day}})
	try := func(want int, what string, q relay.ClaimRequest) {
		t.Helper()
		if code, b := w.object("/v2/claim", "", q); code != want {
			t.Errorf("%s: %d %s, want %d", what, code, b, want)
		}
	}
	w.send("alice", "sent-to", "AAAA")
	try(409, "sent to", claimOf("sent-to", tokenA, ""))
	w.messages("recipient_uid=reads&start_ref=0", "")
	try(409, "an original's user reads", claimOf("reads", tokenA, ""))
	w.get("/getnextref?recipient_uid=starts", "")
	try(409, "an original's user has started", claimOf("starts", tokenA, ""))

	try(200, "new", claimOf("new", tokenA, tokenS))
	try(200, "again", claimOf("new", tokenA, tokenS))
	try(409, "another owner", claimOf("new", tokenB, tokenS))
	try(409, "another senders' token", claimOf("new", tokenA, tokenB))
	try(409, "no senders' token", claimOf("new", tokenA, ""))
	try(200, "no senders' token from the start", claimOf("free", tokenA, ""))
	w.send("carol", "free", "AAAA")
	try(409, "a senders' token later", claimOf("free", tokenA, tokenS))

	// A sender with a token reserves the mailbox.
	if code, b := w.object("/v2/send", tokenS, relay.SendRequest{Recipient: "reserved", Sender: "a", Contents: "AAAA", ID: relay.ID{1}}); code != 200 {
		t.Fatalf("%d %s", code, b)
	}
	try(409, "reserved by another", claimOf("reserved", tokenA, tokenB))
	try(409, "reserved, no token", claimOf("reserved", tokenA, ""))
	code, b := w.get("/getmessages?recipient_uid=reserved&start_ref=0", "")
	refused(t, "reading what is reserved", 401, code, b)
	code, b = w.form("/send", message("mallory", "reserved", "AAAA"))
	refused(t, "filling what is reserved", 401, code, b)
	try(200, "the owner of what is reserved", claimOf("reserved", tokenA, tokenS))
	if m := w.messages("recipient_uid=reserved&start_ref=0", tokenA); m.Count != 1 {
		t.Errorf("%+v", m)
	}

	// A user who looks in stays; one who does not for MailboxTTL is gone, the owner too.
	for range 3 {
		c.pass(15 * day)
		w.messages("recipient_uid=reads&start_ref=0", "")
		w.messages("recipient_uid=free&start_ref=0", tokenA)
		if err := w.s.sweep(); err != nil {
			t.Fatal(err)
		}
	}
	try(409, "still read", claimOf("reads", tokenA, ""))
	try(409, "still owned", claimOf("free", tokenB, ""))
	try(200, "forgotten", claimOf("starts", tokenB, ""))
	try(200, "given up", claimOf("new", tokenB, ""))

	// The operator lets a user's name be claimed, and gives one back.
	for _, x := range []struct{ action, uid string }{{"permit", "reads"}, {"release", "free"}} {
		if err := w.s.store.write(func(c *conn) error { return operate(c, x.action, x.uid) }); err != nil {
			t.Fatal(err)
		}
	}
	try(200, "permitted", claimOf("reads", tokenA, ""))
	try(409, "permitted once", claimOf("reads", tokenB, ""))
	w.messages("recipient_uid=free&start_ref=0", "")
	if err := w.s.store.write(func(c *conn) error { return operate(c, "release", "nobody") }); err == nil {
		t.Error("a mailbox that is not there was released")
	}
}

// Everybody may still use mailboxes that nobody has claimed.
func TestUnclaimedStaysOpen(t *testing.T) {
	w := newWorld(t, Options{})
	w.send("alice", "bob", "AAAA")
	for _, token := range []string{"", tokenA} {
		if m := w.messages("recipient_uid=bob&start_ref=0", token); m.Count != 1 {
			t.Errorf("%+v", m)
		}
	}
	var reply relay.SendReply
	_, b := w.object("/v2/send", tokenS, relay.SendRequest{Recipient: "bob", Sender: "mallory", Contents: "AAAA", ID: relay.ID{1}})
	if json.Unmarshal(b, &reply); !reply.Received {
		t.Errorf("%s", b)
	}
	w.send("alice", "bob", "AAAA") // a stranger's token has not closed it
}
