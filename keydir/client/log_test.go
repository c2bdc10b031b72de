package client_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"parley/internal/rsakey"
	"parley/keydir"
	"parley/keydir/client"
)

func TestFollow(t *testing.T) {
	d := newDirectory(t)
	c := d.client(t)
	h, err := c.Follow(ctx, keydir.Head{})
	check(t, err)
	if h.Size != 0 || h.Hash != keydir.NoHash {
		t.Errorf("%+v", h)
	}
	d.filler(3)
	h3, err := c.Follow(ctx, h)
	check(t, err)
	d.filler(keydir.PageEntries + 7) // more than a page
	h4, err := c.Follow(ctx, h3)
	check(t, err)
	if h3.Size != 3 || h4.Size != keydir.PageEntries+10 {
		t.Errorf("%+v, %+v", h3, h4)
	}
	pages := d.asked["/log"]
	h5, err := c.Follow(ctx, h4)
	check(t, err)
	if h5.Hash != h4.Hash || d.asked["/log"] != pages {
		t.Error("entries were fetched for nothing")
	}
}

// Everything a directory could do to its history is noticed.
func TestDefect2RewrittenHistory(t *testing.T) {
	fork := func(d *directory, at int) { // other entries from at on, with a chain that holds
		d.mu.Lock()
		d.lines = d.lines[:at]
		d.mu.Unlock()
		d.put("mallory", public(t, user("bob")), nil)
		d.filler(20)
	}
	for name, lie := range map[string]func(d *directory){
		"shorter":       func(d *directory) { d.lines = d.lines[:5] },
		"other end":     func(d *directory) { fork(d, 9); d.lines = d.lines[:10] },
		"fork":          func(d *directory) { fork(d, 4) },
		"gone":          func(d *directory) { d.noLog = true },
		"edited":        func(d *directory) { d.filler(5); d.lines[11] = d.lines[10] },
		"left out":      func(d *directory) { d.filler(5); d.lines = append(d.lines[:11:11], d.lines[12:]...) },
		"not there":     func(d *directory) { h := d.trueHead(); h.Size += 3; d.head = &h },
		"other head":    func(d *directory) { d.filler(5); h := d.trueHead(); h.Hash = d.trueHead().Hash[1:] + "0"; d.head = &h },
		"no JSON":       func(d *directory) { d.filler(1); d.lines[10] = "{" },
		"endless":       func(d *directory) { d.filler(1); d.lines[10] = fmt.Sprintf("%01000d", 1) },
		"nothing after": func(d *directory) { d.filler(5); h := d.trueHead(); d.lines = d.lines[:12]; d.head = &h },
	} {
		d := newDirectory(t)
		c := d.client(t)
		d.filler(10)
		known, err := c.Follow(ctx, keydir.Head{})
		check(t, err)
		lie(d)
		if _, err = c.Follow(ctx, known); !errors.Is(err, keydir.ErrLog) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err = c.Audit(ctx, known, nil); !errors.Is(err, keydir.ErrLog) {
			t.Errorf("%s: audit: %v", name, err)
		}
	}
	d := newDirectory(t)
	d.filler(1)
	h := d.trueHead()
	h.Time -= (25 * time.Hour).Milliseconds()
	d.head = &h
	_, err := d.client(t).Follow(ctx, keydir.Head{})
	is(t, err, keydir.ErrExpired)
	d.noLog = true
	_, err = d.client(t).Follow(ctx, keydir.Head{})
	is(t, err, client.ErrNoLog)
}

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

func TestAudit(t *testing.T) {
	d := newDirectory(t)
	c := d.client(t)
	d.put("alice", public(t, user("alice")), nil)
	d.put("bobby", public(t, user("bob")), nil)
	d.filler(3)
	d.put("bobby", public(t, user("carol")), nil)
	d.put("gone-user", public(t, user("carol")), nil)
	d.remove("gone-user")
	alice, bob, carol := client.Fingerprint(public(t, user("alice"))), client.Fingerprint(public(t, user("bob"))), client.Fingerprint(public(t, user("carol")))
	r, err := c.Audit(ctx, keydir.Head{}, []client.Subject{{"alice", &alice}, {"bobby", &carol}, {"nobody", nil}, {"gone-user", nil}})
	check(t, err)
	if r.Size != 8 || r.Active != 7 || r.Key != rsakey.Of(&d.key.PublicKey).Hex() {
		t.Errorf("%+v", r)
	}
	for i, want := range []int{1, 2, 0, 2} {
		if f := r.Findings[i]; len(f.Touches) != want || !f.Agrees {
			t.Errorf("%+v", f)
		}
	}
	for name, s := range map[string]client.Subject{"old keys": {"bobby", &bob}, "nobody": {"nobody", &bob}, "gone": {"gone-user", &carol}} {
		r, err = c.Audit(ctx, keydir.Head{}, []client.Subject{{"alice", &alice}, s})
		is(t, err, keydir.ErrLog)
		if !r.Findings[0].Agrees || r.Findings[1].Agrees || r.Findings[1].Problem == "" {
			t.Errorf("%s: %+v", name, r)
		}
	}
	// It answers with keys that its log has not.
	d.users["alice"].keys = public(t, user("carol"))
	_, err = c.Audit(ctx, keydir.Head{}, []client.Subject{{"alice", nil}})
	is(t, err, keydir.ErrLog)
	// It denies a user whom its log has.
	delete(d.users, "alice")
	_, err = c.Audit(ctx, keydir.Head{}, []client.Subject{{"alice", nil}})
	is(t, err, keydir.ErrLog)
	_, err = c.Audit(ctx, keydir.Head{Size: 2, Hash: keydir.NoHash}, nil)
	is(t, err, keydir.ErrLog)
}

// A directory that says in the middle of a long log that it has had enough is asked
// again when it says.
func TestBusyDirectory(t *testing.T) {
	d := newDirectory(t)
	c := d.client(t)
	d.filler(keydir.PageEntries + 1)
	d.busy = 1
	if h, err := c.Follow(ctx, keydir.Head{}); err != nil || h.Size != keydir.PageEntries+1 || d.busy != 0 {
		t.Errorf("%+v, %v", h, err)
	}
	d.busy = 1
	ended, cancel := context.WithCancel(ctx)
	d.entered = nil
	cancel()
	_, err := c.Follow(ended, keydir.Head{})
	is(t, err, client.ErrUnreachable)
}

// An entry far back in a long log is for the audit; what is new is verified.
func TestFollowAnswerFarBack(t *testing.T) {
	d := newDirectory(t)
	c := d.client(t)
	d.put("alice", public(t, user("alice")), nil)
	d.filler(client.MaxWalk)
	a, k, err := c.Lookup(ctx, "alice")
	check(t, err)
	known, err := c.FollowAnswer(ctx, keydir.Head{}, a, k)
	check(t, err)
	if n := d.asked["/log"]; n != 0 || known.Size != client.MaxWalk+1 {
		t.Errorf("%d pages, %+v", n, known)
	}
	d.filler(3)
	_, err = c.FollowAnswer(ctx, known, a, k)
	check(t, err)
	if n := d.asked["/log"]; n != 1 {
		t.Errorf("%d pages", n)
	}
	d.put("alice", public(t, user("bob")), nil)
	_, err = c.FollowAnswer(ctx, known, a, k)
	is(t, err, keydir.ErrLog)
}
