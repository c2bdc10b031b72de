package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

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

// A directory that says that it has had enough, also before the first page, is asked
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
	d.before = func(path string) {
		if path == "/log" {
			cancel()
		}
	}
	_, err := c.Follow(ended, keydir.Head{})
	is(t, err, client.ErrUnreachable)
}

// One that goes on saying so is not waited for without end.
func TestBusyForever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin, key := time.Now(), private(world().Users["alice"].Sign.Private)
		rt := roundTrip(func(r *http.Request) (*http.Response, error) {
			w := httptest.NewRecorder()
			if r.URL.Path == "/log/head" {
				b, err := keydir.Head{Size: 1, Hash: keydir.Hash(nil), Time: begin.UnixMilli()}.Sign(key)
				check(t, err)
				w.Write(b)
			} else {
				w.Header().Set("Retry-After", "50")
				w.WriteHeader(http.StatusTooManyRequests)
			}
			return w.Result(), nil
		})
		c, err := client.New(client.Options{URL: "http://directory.test", Key: &key.PublicKey, HTTP: rt})
		check(t, err)
		_, err = c.Follow(ctx, keydir.Head{})
		is(t, err, client.ErrUnreachable)
		if d := time.Since(begin); d != 100*time.Second {
			t.Errorf("waited %v", d)
		}
	})
}

// A directory that shows its log entry by entry would keep a client busy for days.
func TestDrippingDirectory(t *testing.T) {
	d := newDirectory(t)
	c := d.client(t)
	d.filler(keydir.PageEntries + 5)
	for _, drip := range []int{1, 5, keydir.PageEntries - 1} {
		d.drip, d.asked = drip, map[string]int{}
		_, err := c.Follow(ctx, keydir.Head{})
		is(t, err, keydir.ErrLog)
		if n := d.asked["/log"]; n != 1 {
			t.Errorf("%d a page: asked for %d", drip, n)
		}
	}
	d.drip = 2 // enough for what is left
	known := d.trueHead()
	d.filler(2)
	_, err := c.Follow(ctx, known)
	check(t, err)
}
