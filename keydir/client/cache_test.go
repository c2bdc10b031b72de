package client_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"parley/keydir"
	"parley/keydir/client"
)

func (d *directory) later(by time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.now = d.now.Add(by)
}

func TestCache(t *testing.T) {
	d := newDirectory(t)
	d.put("alice", public(t, user("alice")), nil)
	c := d.client(t, func(o *client.Options) {
		o.Now = func() time.Time { d.mu.Lock(); defer d.mu.Unlock(); return d.now }
	})
	m := client.NewCache(c)
	steps := []struct {
		later time.Duration
		user  string
		err   error
		asked int // how often, by now
	}{
		{0, "alice", nil, 1},
		{client.CacheTTL - time.Second, "alice", nil, 1},
		{2 * time.Second, "alice", nil, 2},
		{0, "nobody", client.ErrNoUser, 1},
		{client.CacheTTLNone - time.Second, "nobody", client.ErrNoUser, 1},
		{2 * time.Second, "nobody", client.ErrNoUser, 2},
	}
	for i, s := range steps {
		d.later(s.later)
		_, _, err := m.Lookup(ctx, s.user)
		is(t, err, s.err)
		if n := d.asked["/users/"+s.user]; n != s.asked {
			t.Errorf("step %d: asked %d times, want %d", i, n, s.asked)
		}
	}
	m.Forget("alice")
	if _, _, err := m.Lookup(ctx, "alice"); err != nil || d.asked["/users/alice"] != 3 {
		t.Errorf("%v, %d", err, d.asked["/users/alice"])
	}
}

// A directory that stalls holds up who asks it, as long as they want to wait, and
// nobody else (defect 7 is the listener's; this is what it stands on).
func TestDefect7StalledLookups(t *testing.T) {
	d := newDirectory(t)
	d.put("alice", public(t, user("alice")), nil)
	d.put("bobby", public(t, user("bob")), nil)
	m := client.NewCache(d.client(t))
	_, _, err := m.Lookup(ctx, "bobby")
	check(t, err)
	d.mu.Lock()
	d.gate, d.entered = make(chan struct{}), make(chan string, 10)
	d.mu.Unlock()
	// One gives up, the others wait on; one request serves them all.
	short, giveUp := context.WithCancel(ctx)
	var wg sync.WaitGroup
	errs := make(chan error, 5)
	wg.Go(func() { _, _, err := m.Lookup(short, "alice"); errs <- err })
	<-d.entered
	for range 4 {
		wg.Go(func() {
			_, k, err := m.Lookup(ctx, "alice")
			if err == nil && !k.Equal(public(t, user("alice"))) {
				t.Error("other keys")
			}
			errs <- err
		})
	}
	_, _, err = m.Lookup(ctx, "bobby") // known: at once
	check(t, err)
	giveUp()
	is(t, <-errs, context.Canceled)
	close(d.gate)
	wg.Wait()
	for range 4 {
		check(t, <-errs)
	}
	// When the last one gives up, so does the request.
	d.mu.Lock()
	d.gate = make(chan struct{})
	d.mu.Unlock()
	m.Forget("alice")
	short, giveUp = context.WithCancel(ctx)
	wg.Go(func() { _, _, err := m.Lookup(short, "alice"); errs <- err })
	<-d.entered
	giveUp()
	wg.Wait()
	is(t, <-errs, client.ErrUnreachable)
}

func TestCacheIsBounded(t *testing.T) {
	d := newDirectory(t)
	c := d.client(t)
	m := client.NewCache(c)
	d.put("alice", public(t, user("alice")), nil)
	_, _, err := m.Lookup(ctx, "alice")
	check(t, err)
	for i := range client.CacheSize + 10 {
		_, _, err := m.Lookup(ctx, fmt.Sprintf("nobody-%d", i))
		is(t, err, client.ErrNoUser)
	}
	if n := client.Known(m); n > client.CacheSize {
		t.Errorf("it knows %d", n)
	}
	is(t, keydir.CheckUsername("nobody-1"), nil)
}
