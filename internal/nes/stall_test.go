package nes

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"parley"
	"parley/internal/rsakey"
	"parley/keydir"
	"parley/keydir/client"
	"parley/secure/nes"
)

// A directory is one of the original's kind, without a network. What it answers for a
// name comes after a delay, or never.
type directory struct {
	t *testing.T

	mu    sync.Mutex
	keys  map[string]string // whose keys it answers with
	delay func(name string) time.Duration
	asked map[string]int
}

const never = time.Duration(1 << 62)

func (d *directory) RoundTrip(r *http.Request) (*http.Response, error) {
	name, user := strings.CutPrefix(r.URL.Path, "/users/")
	d.mu.Lock()
	d.asked[name]++
	delay, keys := time.Duration(0), d.keys[name]
	if d.delay != nil && user {
		delay = d.delay(name)
	}
	d.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	status, body := http.StatusNotFound, []byte(nil)
	if keys != "" {
		k := keysOfTest(d.t, keys)
		response, err := json.Marshal(map[string]string{"public_key_message": string(rsakey.EncodePublic(k.Message)), "public_key_sign": string(rsakey.EncodePublic(k.Sign))})
		if err != nil {
			return nil, err
		}
		sig, err := rsakey.Sign(private(d.t, "carol", "sign"), response)
		if err != nil {
			return nil, err
		}
		status, body = http.StatusOK, fmt.Appendf(nil, `{"response":%s,"signature":%q}`, response, rsakey.EncodeBase64(sig))
	}
	return &http.Response{StatusCode: status, Body: io.NopCloser(bytes.NewReader(body)), Header: http.Header{}, Request: r}, nil
}

func (d *directory) count(name string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asked[name]
}

func (d *directory) change(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
}

// engine opens one whose provider is d.
func (d *directory) engine(s *Settings) *Engine {
	d.t.Helper()
	e, err := Open(s, func(string) {})
	if err != nil {
		d.t.Fatal(err)
	}
	if e.dir, err = client.New(client.Options{URL: "http://directory", Key: &private(d.t, "carol", "sign").PublicKey, Unbound: true, HTTP: d}); err != nil {
		d.t.Fatal(err)
	}
	e.cache = client.NewCache(e.dir)
	return e
}

func pinTest(t *testing.T, e *Engine, peer, keys string) {
	t.Helper()
	err := e.state.Update(func(b parley.Bucket) error {
		pins(b).Set(peer, client.Pin{Keys: keysOfTest(t, keys), Directory: "http://directory", Since: time.Now()})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func keysOfTest(t testing.TB, user string) keydir.Keys {
	return keydir.Keys{Message: &private(t, user, "message").PublicKey, Sign: &private(t, user, "sign").PublicKey}
}

// A provider that stalls holds up what is sent to somebody who is pinned for two
// seconds, and the next texts not at all, also those of other runs.
func TestStalledProviderAndSending(t *testing.T) {
	s := testSettings(t, "alice")
	synctest.Test(t, func(t *testing.T) {
		d := &directory{t: t, keys: map[string]string{"bob": "bob"}, asked: map[string]int{}, delay: func(string) time.Duration { return never }}
		e := d.engine(s)
		defer func() { e.Close() }()
		pinTest(t, e, "bob", "bob")
		send := func(e *Engine, want time.Duration, code Code) {
			t.Helper()
			start := time.Now()
			if err := e.Queue(context.Background(), "bob", "x"); CodeOf(err) != code {
				t.Fatalf("%v, want code %d", err, code)
			}
			if took := time.Since(start).Round(time.Second); took != want {
				t.Errorf("it took %v, want %v", took, want)
			}
		}
		send(e, 2*time.Second, OK)
		for range 3 {
			send(e, 0, OK)
		}
		e.Close()
		e = d.engine(s) // another run
		send(e, 0, OK)
		<-time.After(time.Minute)
		send(e, 2*time.Second, OK)
		send(e, 0, OK)
		// A provider that is merely slow: what it said of a change counts from then on.
		<-time.After(time.Minute)
		d.change(func() {
			d.keys["bob"] = "carol"
			d.delay = func(string) time.Duration { return 3 * time.Second }
		})
		send(e, 2*time.Second, OK)
		<-time.After(3 * time.Second)
		send(e, 2*time.Second, Untrusted)
		d.change(func() { d.delay = func(string) time.Duration { return never } })
		send(e, 0, Untrusted)
		<-time.After(time.Minute)
		d.change(func() { d.delay = nil })
		send(e, 0, Untrusted)
		d.change(func() { d.keys["bob"] = "bob" })
		send(e, 0, OK)
		// Somebody who is not pinned is waited for.
		d.change(func() {
			d.keys["carol-2"] = "carol"
			d.delay = func(string) time.Duration { return 4 * time.Second }
		})
		if err := e.Queue(context.Background(), "carol-2", "x"); err != nil {
			t.Errorf("%v", err)
		}
	})
}

// Made-up names for which the provider stalls hold up nobody for long who asks for the
// first time.
func TestMadeUpNames(t *testing.T) {
	s := testSettings(t, "bob")
	synctest.Test(t, func(t *testing.T) {
		d := &directory{t: t, keys: map[string]string{"alice": "alice", "carol": "carol"}, asked: map[string]int{}, delay: func(name string) time.Duration {
			if strings.HasPrefix(name, "made-up") {
				return never
			}
			return 0
		}}
		e := d.engine(s)
		defer e.Close()
		f := &face{}
		shown := make(chan Message, 10)
		f.show = func(m Message) error { shown <- m; return nil }
		l := listener(t, e, f)
		defer func() { l.fail(nil); l.wg.Wait() }()
		l.mu.Lock()
		for i := range 40 {
			if err := l.wait(waiting{claimed: fmt.Sprintf("made-up-%d", i), envelope: fmt.Appendf(nil, "%d", i)}); err != nil {
				t.Fatal(err)
			}
		}
		l.mu.Unlock()
		synctest.Wait()
		meet := func(user string, limit time.Duration) {
			t.Helper()
			if err := l.take(seal(t, nes.Message{From: user, To: "bob", Time: time.Now().UnixMilli(), Text: "hello"}, user)); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			select {
			case m := <-shown:
				if m.From != user {
					t.Errorf("%+v", m)
				}
			case <-time.After(time.Hour):
				t.Fatal("never")
			}
			if took := time.Since(start); took > limit {
				t.Errorf("%s was held up for %v", user, took)
			}
		}
		meet("alice", 25*time.Second) // 40 names at 8 a time, and 5 s each
		<-time.After(7 * time.Minute) // all of them have failed, and are asked for again and again
		meet("carol", time.Second)
		if n := d.count("made-up-39"); n < 2 {
			t.Errorf("asked %d times for a name that waits", n)
		}
	})
}

// First come, first served; and two places for who got no answer.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns, ctx := newTurns(), context.Background()
		var got []string
		var mu sync.Mutex
		leave := map[string]func(){}
		ask := func(name string, slow bool) {
			go func() {
				end, err := turns.take(ctx, slow)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				got, leave[name] = append(got, name), end
			}()
			synctest.Wait()
		}
		end := func(name string) {
			mu.Lock()
			defer mu.Unlock()
			leave[name]()
		}
		want := func(names string) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if s := strings.Join(got, " "); s != names {
				t.Fatalf("%q, want %q", s, names)
			}
		}
		for i := range 4 {
			ask(fmt.Sprintf("slow%d", i), true)
		}
		want("slow0 slow1")
		for i := range 8 {
			ask(fmt.Sprint(i), false)
		}
		want("slow0 slow1 0 1 2 3 4 5")
		gone, stop := context.WithCancel(ctx)
		stop()
		if _, err := turns.take(gone, false); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		end("0")
		want("slow0 slow1 0 1 2 3 4 5 6")
		end("slow1")
		want("slow0 slow1 0 1 2 3 4 5 6 slow2")
		end("1")
		want("slow0 slow1 0 1 2 3 4 5 6 slow2 7")
		end("2")
		want("slow0 slow1 0 1 2 3 4 5 6 slow2 7")
		for _, name := range []string{"slow0", "slow2", "3", "4", "5", "6", "7"} {
			end(name)
		}
		want("slow0 slow1 0 1 2 3 4 5 6 slow2 7 slow3")
		end("slow3")
		if turns.running != 0 || turns.slow != 0 || len(turns.queue) != 0 {
			t.Errorf("%+v", turns)
		}
	})
}

// An answer without a name that has our own keys is nobody else's, and a peer's are not
// ours.
func TestOwnKeysForAnother(t *testing.T) {
	d := &directory{t: t, keys: map[string]string{"bob": "alice", "alice": "bob", "carol": "bob"}, asked: map[string]int{}}
	e := d.engine(testSettings(t, "alice"))
	defer e.Close()
	ctx := context.Background()
	if _, err := e.lookup(ctx, "bob"); !errors.Is(err, client.ErrOtherName) || CodeOf(err) != Untrusted {
		t.Errorf("%v", err)
	}
	if _, known, _ := e.pinned("bob"); known {
		t.Error("pinned")
	}
	if err := e.Queue(ctx, "bob", "x"); !errors.Is(err, client.ErrOtherName) {
		t.Errorf("%v", err)
	}
	if _, err := e.Offered(ctx, "bob"); !errors.Is(err, client.ErrOtherName) {
		t.Errorf("%v", err)
	}
	if o, err := e.OwnKeys(ctx); err != nil || o.Same() {
		t.Errorf("%v", err) // nobody knows yet whose these are
	}
	pinTest(t, e, "bob", "bob")
	e.forget("alice")
	if _, err := e.OwnKeys(ctx); !errors.Is(err, client.ErrOtherName) || CodeOf(err) != Untrusted {
		t.Errorf("%v", err)
	}
	if _, err := e.lookup(ctx, "alice"); !errors.Is(err, client.ErrOtherName) {
		t.Errorf("%v", err)
	}
	d.change(func() { d.keys["alice"] = "alice" })
	if o, err := e.OwnKeys(ctx); err != nil || !o.Same() || !strings.Contains(o.String(), "here: ") {
		t.Errorf("%v, %s", err, o)
	}
}
