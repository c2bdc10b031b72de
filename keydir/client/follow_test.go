package client_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"parley/keydir"
	"parley/keydir/client"
)

func TestFollowAnswer(t *testing.T) {
	d := newDirectory(t)
	c := d.client(t)
	d.filler(5)
	d.put("alice", public(t, user("alice")), nil)
	d.filler(5)
	a, k, err := c.Lookup(ctx, "alice")
	check(t, err)
	var heads []keydir.Head
	for _, known := range []int64{0, 3, 6, 8, 11} {
		h := keydir.Head{Size: known}
		if known > 0 {
			h.Hash = keydir.Hash([]byte(d.lines[known-1]))
		}
		h, err := c.FollowAnswer(ctx, h, a, k)
		check(t, err)
		heads = append(heads, h)
	}
	for name, change := range map[string]func(a keydir.Answer, k keydir.Keys) (keydir.Answer, keydir.Keys){
		"other keys":    func(a keydir.Answer, k keydir.Keys) (keydir.Answer, keydir.Keys) { return a, public(t, user("bob")) },
		"other version": func(a keydir.Answer, k keydir.Keys) (keydir.Answer, keydir.Keys) { a.Version++; return a, k },
		"other hash": func(a keydir.Answer, k keydir.Keys) (keydir.Answer, keydir.Keys) {
			a.LogHash = keydir.NoHash
			return a, k
		},
		"other entry": func(a keydir.Answer, k keydir.Keys) (keydir.Answer, keydir.Keys) { a.LogSeq--; return a, k },
		"no entry":    func(a keydir.Answer, k keydir.Keys) (keydir.Answer, keydir.Keys) { a.LogSeq = 99; return a, k },
		"other name":  func(a keydir.Answer, k keydir.Keys) (keydir.Answer, keydir.Keys) { a.Username = "bobby"; return a, k },
	} {
		a, k := change(a, k)
		if _, err := c.FollowAnswer(ctx, heads[0], a, k); !errors.Is(err, keydir.ErrLog) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err = c.FollowAnswer(ctx, heads[0], keydir.Answer{}, k)
	is(t, err, client.ErrUnbound)
	// The log has other keys since: the answer is one that is shown to us alone.
	d.put("alice", public(t, user("bob")), nil)
	_, err = c.FollowAnswer(ctx, heads[0], a, k)
	is(t, err, keydir.ErrLog)
}

// An answer that names an entry, of a directory without a log, contradicts itself.
func TestFollowAnswerWithoutLog(t *testing.T) {
	d := newDirectory(t)
	c := d.client(t)
	d.put("alice", public(t, user("alice")), nil)
	a, k, err := c.Lookup(ctx, "alice")
	check(t, err)
	d.noLog = true
	_, err = c.FollowAnswer(ctx, keydir.Head{}, a, k)
	is(t, err, keydir.ErrLog)
	_, _, _, err = c.LookupFollowed(ctx, keydir.Head{}, "alice")
	is(t, err, keydir.ErrLog)
}

// Of an entry far back in a long log, what it says is compared, and what is new is
// verified. The rest is for the audit.
func TestFollowAnswerFarBack(t *testing.T) {
	d := newDirectory(t)
	c := d.client(t)
	d.put("alice", public(t, user("alice")), nil)
	d.filler(client.MaxWalk)
	a, k, err := c.Lookup(ctx, "alice")
	check(t, err)
	_, err = c.FollowAnswer(ctx, keydir.Head{}, a, k)
	check(t, err)
	if n := d.asked["/log"]; n != client.MaxWalk/keydir.PageEntries+1 {
		t.Errorf("%d pages", n)
	}
	d.filler(1)
	d.asked = map[string]int{}
	a, k, known, err := c.LookupFollowed(ctx, keydir.Head{}, "alice")
	is(t, err, client.ErrFar)
	if n := d.asked["/log"]; n != 1 || known != d.trueHead() || a.LogSeq != 1 || !k.Equal(public(t, user("alice"))) {
		t.Errorf("%d pages, %+v, %+v", n, known, a)
	}
	d.filler(3)
	_, err = c.FollowAnswer(ctx, known, a, k)
	is(t, err, client.ErrFar)
	if n := d.asked["/log"]; n != 3 {
		t.Errorf("%d pages", n)
	}
	for name, change := range map[string]func(a *keydir.Answer, k *keydir.Keys){
		"other keys":    func(a *keydir.Answer, k *keydir.Keys) { *k = public(t, user("bob")) },
		"other version": func(a *keydir.Answer, k *keydir.Keys) { a.Version++ },
		"other hash":    func(a *keydir.Answer, k *keydir.Keys) { a.LogHash = keydir.NoHash },
		"other name":    func(a *keydir.Answer, k *keydir.Keys) { a.Username = "bobby" },
		"other entry":   func(a *keydir.Answer, k *keydir.Keys) { a.LogSeq++ },
	} {
		a, k := a, k
		change(&a, &k)
		if _, err := c.FollowAnswer(ctx, keydir.Head{}, a, k); !errors.Is(err, keydir.ErrLog) {
			t.Errorf("%s: %v", name, err)
		}
	}
	second := d.lines[1]
	d.lines[1] = d.lines[0] // the right words in the wrong place
	moved := a
	moved.LogSeq = 2
	_, err = c.FollowAnswer(ctx, keydir.Head{}, moved, k)
	is(t, err, keydir.ErrLog)
	d.lines[1] = second
	d.put("alice", public(t, user("bob")), nil)
	_, err = c.FollowAnswer(ctx, known, a, k)
	is(t, err, keydir.ErrLog)
}

// once returns a hook that does something before the first request of a path.
func once(path string, do func()) func(string) {
	done := false
	return func(p string) {
		if p == path && !done {
			done = true
			do()
		}
	}
}

// Keys that are replaced between the answer and the head are no contradiction; those
// that the log never has are.
func TestLookupFollowed(t *testing.T) {
	d := newDirectory(t)
	c := d.client(t)
	d.filler(2)
	d.put("alice", public(t, user("alice")), nil)
	d.before = once("/log/head", func() { d.put("alice", public(t, user("carol")), nil) })
	a, k, head, err := c.LookupFollowed(ctx, keydir.Head{}, "alice")
	check(t, err)
	if a.Version != 2 || !k.Equal(public(t, user("carol"))) || head != d.trueHead() {
		t.Errorf("%+v, %+v", a, head)
	}
	d.before = once("/log/head", func() { d.remove("alice") })
	_, _, _, err = c.LookupFollowed(ctx, head, "alice")
	is(t, err, client.ErrNoUser)

	// The head is a second old, once.
	old := d.trueHead()
	d.put("alice", public(t, user("alice")), nil)
	d.head = &old
	heads := 0
	d.before = func(path string) {
		if path == "/log/head" {
			if heads++; heads == 2 {
				d.mu.Lock()
				d.head = nil
				d.mu.Unlock()
			}
		}
	}
	_, _, head, err = c.LookupFollowed(ctx, head, "alice")
	check(t, err)
	if head != d.trueHead() {
		t.Errorf("%+v", head)
	}

	d.before = nil
	for name, lie := range map[string]func(u *account){
		"other keys":    func(u *account) { u.keys = public(t, user("bob")) },
		"other hash":    func(u *account) { u.hash = keydir.NoHash },
		"not there yet": func(u *account) { u.seq, u.hash = 99, keydir.Hash(nil) },
	} {
		u := *d.users["alice"]
		lie(d.users["alice"])
		d.asked = map[string]int{}
		a, k, h, err := c.LookupFollowed(ctx, head, "alice")
		if !errors.Is(err, keydir.ErrLog) || d.asked["/users/alice"] != client.Rounds || k.Message != nil || a.Bound() || h.Size != 0 {
			t.Errorf("%s: %v, %+v, asked %d times", name, err, a, d.asked["/users/alice"])
		}
		*d.users["alice"] = u
	}
}

// Without a name there is no entry to look for, unless there was a log.
func TestLookupFollowedUnbound(t *testing.T) {
	r := world().Provider.Responses[0]
	url, _ := serve(t, r.Status, r.Body)
	c := original(t, url, true)
	a, k, head, err := c.LookupFollowed(ctx, keydir.Head{}, r.Username)
	if err != nil || a.Bound() || k.Message == nil || head != (keydir.Head{}) {
		t.Errorf("%+v, %+v, %v", a, head, err)
	}
	_, _, _, err = c.LookupFollowed(ctx, keydir.Head{Size: 1, Hash: keydir.Hash(nil)}, r.Username)
	is(t, err, client.ErrUnbound)
}

// An answer whose log cannot be reached is there for who needs no more.
func TestLookupFollowedUnreachable(t *testing.T) {
	d := newDirectory(t)
	d.put("alice", public(t, user("alice")), nil)
	var broken string
	rt := roundTrip(func(r *http.Request) (*http.Response, error) {
		if strings.HasPrefix(r.URL.Path, broken) {
			return nil, errors.New("cut")
		}
		return http.DefaultTransport.RoundTrip(r)
	})
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	c := d.client(t, func(o *client.Options) { o.HTTP = rt })
	m := client.NewCache(c)
	for prefix, there := range map[string]bool{"/log": true, "/users": false} {
		broken = prefix
		for range 2 {
			a, k, _, err := c.LookupFollowed(ctx, keydir.Head{}, "alice")
			is(t, err, client.ErrUnreachable)
			if a.Bound() != there || (k.Message != nil) != there {
				t.Errorf("%s: %+v", prefix, a)
			}
		}
	}
	broken = "/log"
	if a, _, _, err := m.LookupFollowed(ctx, keydir.Head{}, "alice"); !errors.Is(err, client.ErrUnreachable) || !a.Bound() {
		t.Errorf("%+v, %v", a, err)
	}
}

// What is remembered and was overtaken is asked for anew, at once.
func TestCacheLookupFollowed(t *testing.T) {
	d := newDirectory(t)
	m := client.NewCache(d.client(t))
	d.put("alice", public(t, user("alice")), nil)
	var head keydir.Head
	var err error
	for range 3 {
		_, _, head, err = m.LookupFollowed(ctx, head, "alice")
		check(t, err)
	}
	if n := d.asked["/users/alice"]; n != 1 {
		t.Errorf("asked %d times", n)
	}
	d.put("alice", public(t, user("bob")), nil)
	a, _, head, err := m.LookupFollowed(ctx, head, "alice")
	check(t, err)
	if n := d.asked["/users/alice"]; n != 2 || a.Version != 2 || head != d.trueHead() {
		t.Errorf("asked %d times, %+v", n, a)
	}
	d.users["alice"].hash = keydir.NoHash
	m.Forget("alice")
	_, k, _, err := m.LookupFollowed(ctx, head, "alice")
	is(t, err, keydir.ErrLog)
	if n := d.asked["/users/alice"]; n != 3+client.Rounds || k.Message != nil {
		t.Errorf("asked %d times", n)
	}
	_, _, _, err = m.LookupFollowed(ctx, head, "nobody")
	is(t, err, client.ErrNoUser)
}
