package server

import (
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"strings"
	"testing"

	"parley/internal/rsakey"
	"parley/keydir"
)

// Tokens come from the system's generator: 32 bytes of which no two share more
// than chance, and only their hashes are kept. A seed does not predict them, for
// there is none; what can be tested is that they are no function of what an
// attacker knows: the same registrations, at the same time, give others.
func TestDefect1TokensAreNotPredictable(t *testing.T) {
	seen := map[string]bool{}
	for range 2 {
		w := newWorld(t, Options{})
		for i := range 20 {
			activate, remove := w.register(fmt.Sprint("user-", i), pairOf("alice"))
			for _, link := range []string{activate, remove} {
				token := link[strings.LastIndex(link, "/")+1:]
				if b, err := rsakey.DecodeBase64(token); err != nil || len(b) != tokenBytes || seen[token] {
					t.Fatalf("%q: %v, seen before: %v", token, err, seen[token])
				}
				seen[token] = true
			}
		}
		// The database lets nobody activate who reads it.
		err := w.d.store.read(func(c *conn) error {
			n, err := c.Int64("SELECT count(*) FROM link WHERE length(hash) != 32")
			if n != 0 {
				t.Errorf("%d tokens are not hashes", n)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	// Each bit is set about as often as not: 80 tokens, five deviations.
	var ones [tokenBytes * 8]int
	for token := range seen {
		b, _ := rsakey.DecodeBase64(token)
		for i := range ones {
			ones[i] += int(b[i/8]>>(i%8)) & 1
		}
	}
	for i, n := range ones {
		if n < 15 || n > 65 {
			t.Errorf("bit %d is set in %d of %d tokens", i, n, len(seen))
		}
	}
}

// A signed answer names whose keys it has and until when: shown for another name,
// or later, it is refused.
func TestDefect2AnswersNameTheirUser(t *testing.T) {
	w := newWorld(t, Options{})
	w.enrol("alice", pairOf("alice"))
	w.enrol("mallory", pairOf("bob"))
	mallory := w.ask("GET", "/users/mallory", "").Body.Bytes()
	if _, _, err := keydir.ParseAnswer(mallory, w.d.PublicKey(), "alice", w.clock.now()); !errors.Is(err, keydir.ErrOtherUser) {
		t.Errorf("mallory's keys for alice: %v", err)
	}
	alice := w.ask("GET", "/users/alice", "").Body.Bytes()
	w.clock.add(answerTime + keydir.Skew + 1)
	if _, _, err := keydir.ParseAnswer(alice, w.d.PublicKey(), "alice", w.clock.now()); !errors.Is(err, keydir.ErrExpired) {
		t.Errorf("an old answer: %v", err)
	}
	// A change of keys cannot hide: the version grows and the log has it.
	if rec := w.ask("POST", "/users/alice/keys", w.rotation("alice", 2, pairOf("bob"), pairOf("alice").sign)); rec.Code != 200 {
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	a, _ := w.answer("alice")
	if log, _ := w.logged(); a.Version != 2 || log[a.LogSeq-1].Action != keydir.Rotated {
		t.Errorf("%+v", a)
	}
}

// Programs that open links in mails change nothing: GET and HEAD show a page, POST
// acts. Where the operator allows it, the original's GET works, a browser's never.
func TestDefect8LinksAskFirst(t *testing.T) {
	scanner := func(w *world, link string) {
		t.Helper()
		for _, method := range []string{"GET", "HEAD", "OPTIONS", "PUT"} {
			for _, accept := range []string{"", "*/*", "application/json", "text/html,*/*;q=0.8"} {
				if rec := w.ask(method, link, "", "Accept", accept); strings.Contains(rec.Body.String(), "user activated") || strings.Contains(rec.Body.String(), "user deleted") {
					t.Fatalf("%s with Accept %q acts", method, accept)
				}
			}
		}
	}
	w := newWorld(t, Options{})
	activate, remove := w.register("alice", pairOf("alice"))
	scanner(w, activate)
	w.want("GET", "/users/alice", "", 404, "404 page not found\n")
	rec := w.ask("GET", activate, "")
	for _, part := range []string{`<form method="post">`, "alice", rsakey.Of(&pairOf("alice").sign.PublicKey).String(), rsakey.Of(&pairOf("alice").message.PublicKey).String()} {
		if !strings.Contains(rec.Body.String(), part) {
			t.Errorf("the page lacks %q", part)
		}
	}
	if page := w.ask("POST", activate, "", "Accept", "text/html"); page.Code != 200 || !strings.Contains(page.Body.String(), "user activated") ||
		!strings.HasPrefix(page.Header().Get("Content-Type"), "text/html") {
		t.Errorf("%d %s", page.Code, page.Body)
	}
	scanner(w, remove)
	w.answer("alice")

	w = newWorld(t, Options{GetLinks: true})
	activate, remove = w.register("alice", pairOf("alice"))
	for _, link := range []string{activate, remove} {
		w.ask("GET", link, "", "Accept", "text/html")
		w.ask("HEAD", link, "")
	}
	w.want("GET", "/users/alice", "", 404, "404 page not found\n")
	w.want("GET", activate, "", 200, "user activated\n")
	w.want("GET", remove, "", 200, "user deleted\n", "Accept", "application/json")
}

// One name is one account (see also TestOneNameOneAccount), weak keys and large
// bodies are refused.
func TestDefect9WeakKeysAndLargeBodies(t *testing.T) {
	w := newWorld(t, Options{})
	alice := pairOf("alice").keys()
	for _, bits := range []int{1024, 2040} {
		weak, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		w.want("POST", "/users", registration("weak", "a@b", keydir.Keys{Message: &weak.PublicKey, Sign: alice.Sign}, nil), 400, "decode key error\n")
		w.want("POST", "/users", registration("weak", "a@b", keydir.Keys{Message: alice.Message, Sign: &weak.PublicKey}, nil), 400, "decode key error\n")
	}
	big := strings.Repeat(" ", 20<<20)
	w.want("POST", "/users", big+"{}", 413, "the body is too long\n")
	w.want("POST", "/users/alice/keys", big, 413, "the body is too long\n")
	w.want("POST", "/users/alice/mail", big, 413, "the body is too long\n")

	if err := w.d.store.write(func(c *conn) error {
		for range 2 {
			if err := c.Exec("INSERT INTO account (name, message_key, sign_key, mailbox, proven, created) VALUES ('twice', x'01', x'02', x'03', 0, 0)"); err != nil {
				return err
			}
		}
		return nil
	}); err == nil || !strings.Contains(err.Error(), "UNIQUE") {
		t.Errorf("the database takes a name twice: %v", err)
	}
}
