package server

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"parley/carrier/relay"
	"parley/internal/groupdb"
)

// asked asks in the background and hands over what comes.
func (w *world) asked(query, token string) <-chan relay.Messages {
	got := make(chan relay.Messages, 1)
	go func() {
		_, b := w.get("/getmessages?"+query, token)
		var m relay.Messages
		json.Unmarshal(b, &m)
		got <- m
	}()
	return got
}

// until waits for something that another goroutine does.
func until(t *testing.T, f func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	late := time.After(10 * time.Second)
	for !f() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatal("it does not happen")
		}
	}
}

// Who waits gets the message as soon as it is there, and only who asked for its like.
func TestWait(t *testing.T) {
	w := newWorld(t, Options{Limits: Limits{Waiting: 3, Read: time.Second}})
	w.claim("bob", tokenA, "")
	all, fromBob, other := w.asked("recipient_uid=bob&start_ref=0&wait=60", tokenA), w.asked("recipient_uid=bob&start_ref=0&wait=60&from=carol", tokenA), w.asked("recipient_uid=dave&start_ref=0&wait=60", "")
	until(t, func() bool { return w.s.waiting.count() == 3 })
	// One too many is answered at once.
	if m := <-w.asked("recipient_uid=erin&start_ref=0&wait=60", ""); m.Count != 0 || !m.Complete {
		t.Errorf("%+v", m)
	}
	w.send("alice", "bob", "AAAA")
	if m := <-all; m.Count != 1 || m.Messages[0].Contents != "AAAA" {
		t.Errorf("%+v", m)
	}
	until(t, func() bool { return w.s.waiting.count() == 2 })
	w.send("carol", "bob", "BBBB")
	if m := <-fromBob; m.Count != 1 || m.Messages[0].Contents != "BBBB" {
		t.Errorf("%+v", m)
	}
	select {
	case m := <-other:
		t.Errorf("another mailbox was answered: %+v", m)
	default:
	}
	// What is there already is answered at once, and so is who will get nothing.
	if m := <-w.asked("recipient_uid=bob&start_ref=0&wait=60", tokenA); m.Count != 2 {
		t.Errorf("%+v", m)
	}
	// A client that goes away waits no more.
	r, _ := http.NewRequest("GET", w.url+"/getmessages?recipient_uid=frank&start_ref=0&wait=60", nil)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { w.http.Do(r.WithContext(ctx)) }()
	until(t, func() bool { return w.s.waiting.count() == 2 })
	cancel()
	until(t, func() bool { return w.s.waiting.count() == 1 })
	// The end of the relay answers those who wait.
	if err := w.s.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	if m := <-other; !m.Complete || m.Recipient != "dave" {
		t.Errorf("%+v", m)
	}
}

// pipes is a listener within the process, so that time can be the test's.
type pipes struct {
	conns chan net.Conn
	end   chan struct{}
	once  sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.end:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.end) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

// A wait ends when it should, though a request may be read for a shorter time only.
func TestWaitEnds(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s, err := New(Options{Dir: dir, Limits: Limits{Read: 5 * time.Second, Write: 5 * time.Second}})
		if err != nil {
			t.Fatal(err)
		}
		l := &pipes{conns: make(chan net.Conn), end: make(chan struct{})}
		done := make(chan error, 1)
		go func() { done <- s.Serve(l) }()
		near, far := net.Pipe()
		l.conns <- far
		begun := time.Now()
		io.WriteString(near, "GET /getmessages?recipient_uid=bob&start_ref=0&wait=50 HTTP/1.1\r\nHost: x\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(near), nil)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		if took := time.Since(begun); took != 50*time.Second || resp.StatusCode != 200 || !strings.Contains(string(b), `"count":0`) {
			t.Errorf("after %v: %d %s", took, resp.StatusCode, b)
		}
		near.Close()
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, ErrShutdown) {
			t.Error(err)
		}
	})
}

// Clients that are slow are cut off; they hold nobody up.
func TestSlowClients(t *testing.T) {
	w := newWorld(t, Options{Limits: Limits{Header: 50 * time.Millisecond, Read: 100 * time.Millisecond}})
	for _, text := range []string{"", "GET /check HT", "POST /send HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\nrecip"} {
		c, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, text)
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.Copy(io.Discard, c); err != nil && errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%q is not cut off", text)
		}
		c.Close()
	}
	w.send("alice", "bob", "AAAA")
}

func TestLimits(t *testing.T) {
	c := newClock()
	w := newWorld(t, Options{Now: c.Now, Limits: Limits{MailboxMessages: 3, MailboxBytes: 3000, Mailboxes: 4, Bytes: 5000, NewMailboxBurst: 6, NewMailboxesPerHour: 60}})
	full := func(what, said string, code int, b []byte) {
		t.Helper()
		if got := refused(t, what, 507, code, b); !strings.Contains(got, said) {
			t.Errorf("%s: %q", what, got)
		}
	}
	for range 3 {
		w.send("a", "count", "x")
	}
	code, b := w.form("/send", message("a", "count", "x"))
	full("messages of a mailbox", "mailbox is full", code, b)
	w.send("a", "bytes", strings.Repeat("x", 2700))
	code, b = w.form("/send", message("a", "bytes", "x"))
	full("bytes of a mailbox", "mailbox is full", code, b)
	code, b = w.form("/send", message("a", "third", strings.Repeat("x", 2000)))
	full("bytes of the relay", "relay is full", code, b)
	w.send("a", "third", "x")
	w.claim("fourth", tokenA, "")
	code, b = w.form("/send", message("a", "fifth", "x"))
	full("mailboxes", "relay is full", code, b)
	// Who has made so many must wait, and others need not.
	code, b = w.form("/send", message("a", "sixth", "x"))
	refused(t, "new mailboxes of a client", 429, code, b)
	w.send("a", "third", "x")
	// Reading of names that the relay has no room for is answered, and not kept.
	if m := w.messages("recipient_uid=nobody&start_ref=0", ""); m.Count != 0 {
		t.Errorf("%+v", m)
	}
	// Room comes back.
	c.pass(22 * day)
	if err := w.s.sweep(); err != nil {
		t.Fatal(err)
	}
	w.send("a", "count", "x")
	if _, b := w.get("/metrics", ""); !strings.Contains(string(b), "\nparley_otc_messages 1\n") || !strings.Contains(string(b), "\nparley_otc_message_bytes 258\n") || !strings.Contains(string(b), "\nparley_otc_mailboxes 4\n") {
		t.Errorf("%s", b)
	}
}

func TestRate(t *testing.T) {
	c := newClock()
	w := newWorld(t, Options{Now: c.Now, Limits: Limits{RequestsPerSecond: 1, RequestBurst: 3}})
	for range 3 {
		if code, _ := w.get("/check", ""); code != 200 {
			t.Error(code)
		}
	}
	code, b := w.get("/check", "")
	refused(t, "too many", 429, code, b)
	if code, _ := w.get("/healthz", ""); code != 200 {
		t.Error(code)
	}
	c.pass(2 * time.Second)
	if code, _ := w.get("/check", ""); code != 200 {
		t.Error(code)
	}
}

// What was deleted is in none of the files; nor what is too old.
func TestDeletedIsGone(t *testing.T) {
	c := newClock()
	dir := t.TempDir()
	w := newWorld(t, Options{Dir: dir, Now: c.Now})
	w.claim("bob", tokenA, "")
	const done, old = "RGVsZXRlZE1lc3NhZ2U", "T2xkTWVzc2FnZU9sZE1"
	w.send("alice", "bob", strings.Repeat(done, 400))
	w.send("alice", "carol", strings.Repeat(old, 400))
	in := func(text string) bool {
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil || len(files) < 2 {
			t.Fatal(files, err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(b), text) {
				return true
			}
		}
		return false
	}
	if !in(done) || !in(old) {
		t.Fatal("the test looks in the wrong place")
	}
	w.object("/v2/done", tokenA, relay.DoneRequest{Recipient: "bob", Refs: []int64{1}})
	c.pass(20 * day)
	if err := w.s.sweep(); err != nil {
		t.Fatal(err)
	}
	if m := w.messages("recipient_uid=carol&start_ref=0", ""); m.Count != 1 {
		t.Error("a message went before its time")
	}
	c.pass(2 * day)
	if err := w.s.sweep(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.s.store.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	if in(done) || in(old) {
		t.Error("what was deleted is still in the files")
	}
	if m := w.messages("recipient_uid=carol&start_ref=0", ""); m.Count != 0 {
		t.Errorf("%+v", m)
	}
}

// A disk that is full is told, to the client and at /healthz, and nothing is lost or
// half done.
func TestFullDisk(t *testing.T) {
	var told error
	w := newWorld(t, Options{Trouble: func(_ string, err error) { told = err }})
	w.send("alice", "bob", "AAAA")
	limit := func(pragma string) {
		t.Helper()
		err := w.s.store.write(func(c *conn) error { _, err := c.Int64(pragma); return err })
		if err != nil {
			t.Fatal(err)
		}
	}
	limit("PRAGMA max_page_count = 1")
	var code int
	var b []byte
	for range 20 { // until the pages that are there are full
		if code, b = w.form("/send", message("alice", "bob", strings.Repeat("x", 100_000))); code != 200 {
			break
		}
	}
	refused(t, "full disk", 507, code, b)
	if !errors.Is(told, groupdb.ErrDiskFull) {
		t.Errorf("the operator is told %v", told)
	}
	if code, b := w.get("/healthz", ""); code != 503 || !strings.Contains(string(b), "disk is full") {
		t.Errorf("%d %s", code, b)
	}
	if m := w.messages("recipient_uid=bob&start_ref=0", ""); m.Count != 1 {
		t.Errorf("%d messages", m.Count)
	}
	limit("PRAGMA max_page_count = 1073741823")
	w.send("alice", "bob", "BBBB")
	if code, b := w.get("/healthz", ""); code != 200 {
		t.Errorf("%d %s", code, b)
	}
}
