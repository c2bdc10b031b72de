package nes

import (
	"context"
	"crypto/rsa"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"parley/internal/rsakey"
	"parley/keydir"
	"parley/keydir/client"
)

// A provider is one with a log that can be made to lie. It knows bob.
type provider struct {
	key *rsa.PrivateKey

	mu      sync.Mutex
	keys    keydir.Keys
	version int64
	lines   []string
	more    int64 // entries that its head has and nobody sees
	hash    string
	log     int // status of the log, if not 200
	asked   int // how often for bob
}

// newProvider starts one, and returns it with an engine of alice's that asks it, and
// what the engine notes.
func newProvider(t *testing.T) (*provider, *Engine, *[]string) {
	t.Helper()
	p := &provider{key: private(t, "carol", "sign")}
	s := httptest.NewServer(p)
	t.Cleanup(s.Close)
	p.set(t, "bob")
	settings := testSettings(t, "alice")
	settings.Values[Address] = Value{Text: s.URL, From: "flag"}
	var notes []string
	e, err := Open(settings, func(n string) { notes = append(notes, n) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return p, e, &notes
}

// set gives bob the keys of one of the vectors' users.
func (p *provider) set(t *testing.T, user string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys = keydir.Keys{Message: &private(t, user, "message").PublicKey, Sign: &private(t, user, "sign").PublicKey}
	p.version++
	e := keydir.Entry{
		Seq: p.version, Time: time.Now().UnixMilli(), Action: keydir.Published, Name: keydir.NameHash("bob"), Version: p.version,
		MessageKey: rsakey.Of(p.keys.Message).Hex(), SignKey: rsakey.Of(p.keys.Sign).Hex(), Prev: keydir.NoHash,
	}
	if p.version > 1 {
		e.Action, e.Prev = keydir.Rotated, keydir.Hash([]byte(p.lines[p.version-2]))
	}
	p.lines = append(p.lines, string(e.Line()))
	p.hash = keydir.Hash(e.Line())
}

func (p *provider) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	var b []byte
	switch {
	case r.URL.Path == "/key":
		b = rsakey.EncodePublic(&p.key.PublicKey)
	case r.URL.Path == "/users/bob":
		p.asked++
		b, _ = (&keydir.Answer{
			MessageKey: string(rsakey.EncodePublic(p.keys.Message)), SignKey: string(rsakey.EncodePublic(p.keys.Sign)),
			Username: "bob", Version: p.version, Issued: now.UnixMilli(), Expires: now.Add(time.Hour).UnixMilli(),
			LogSeq: p.version, LogHash: p.hash,
		}).Sign(p.key)
	case strings.HasPrefix(r.URL.Path, "/log") && p.log != 0:
		w.WriteHeader(p.log)
	case r.URL.Path == "/log/head":
		n := len(p.lines)
		b, _ = keydir.Head{Size: int64(n) + p.more, Hash: keydir.Hash([]byte(p.lines[n-1])), Time: now.UnixMilli()}.Sign(p.key)
	case r.URL.Path == "/log":
		from, _ := strconv.Atoi(r.URL.Query().Get("from"))
		for _, l := range p.lines[min(from-1, len(p.lines)):] {
			io.WriteString(w, l+"\n")
		}
	default:
		http.NotFound(w, r)
	}
	w.Write(b)
}

// Keys that are not pinned yet, or are others, are not taken from a provider whose log
// cannot be seen.
func TestLogUnreachable(t *testing.T) {
	p, e, _ := newProvider(t)
	look := func(want error) {
		t.Helper()
		e.forget("bob")
		if _, err := e.lookup(context.Background(), "bob"); !errors.Is(err, want) || err != nil && CodeOf(err) != Provider {
			t.Fatalf("%v, want %v", err, want)
		}
	}
	p.change(func() { p.log = 500 })
	look(client.ErrUnreachable)
	if _, known, _ := e.pinned("bob"); known {
		t.Error("pinned without the log")
	}
	if _, err := e.Offered(context.Background(), "bob"); !errors.Is(err, client.ErrUnreachable) {
		t.Errorf("%v", err)
	}
	p.change(func() { p.log = 0 })
	look(nil)
	p.change(func() { p.log = 500 })
	look(nil) // the same keys
	p.set(t, "carol")
	look(client.ErrUnreachable)
	p.change(func() { p.log = 0 })
	e.forget("bob")
	if _, err := e.lookup(context.Background(), "bob"); !errors.Is(err, client.ErrChanged) || CodeOf(err) != Untrusted {
		t.Errorf("%v", err)
	}
}

// An answer that names an entry, and no log: the provider contradicts itself, and is
// asked again before that is said.
func TestAnswerWithoutLog(t *testing.T) {
	p, e, _ := newProvider(t)
	p.change(func() { p.log = 404 })
	if _, err := e.lookup(context.Background(), "bob"); !errors.Is(err, keydir.ErrLog) || CodeOf(err) != Provider {
		t.Errorf("%v", err)
	}
	if _, known, _ := e.pinned("bob"); known || p.asked < 3 {
		t.Errorf("pinned: %v; asked %d times", known, p.asked)
	}
}

// What is remembered and was overtaken is no contradiction.
func TestAnswerOvertaken(t *testing.T) {
	p, e, _ := newProvider(t)
	for range 2 {
		if _, err := e.lookup(context.Background(), "bob"); err != nil {
			t.Fatal(err)
		}
	}
	p.set(t, "carol")
	var changed *client.ChangedError
	if _, err := e.lookup(context.Background(), "bob"); !errors.As(err, &changed) || !changed.New.Equal(p.keys) {
		t.Errorf("%v", err)
	}
	if p.asked != 2 {
		t.Errorf("asked %d times", p.asked)
	}
}

// An entry far back in the log is said once, and the keys are good.
func TestEntryFarBack(t *testing.T) {
	p, e, notes := newProvider(t)
	p.change(func() { p.more = client.MaxWalk + 1 })
	for range 2 {
		e.forget("bob")
		if k, err := e.lookup(context.Background(), "bob"); err != nil || !k.Equal(p.keys) {
			t.Fatal(err)
		}
	}
	if n := strings.Count(strings.Join(*notes, "\n"), client.ErrFar.Error()); n != 1 {
		t.Errorf("said %d times: %q", n, *notes)
	}
}
