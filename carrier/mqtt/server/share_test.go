package server

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// sharers are a hungry user, and one who wants little.
func sharers(t *testing.T) *Users {
	t.Helper()
	u, err := ParseUsers(strings.NewReader(fmt.Sprintf("user mallory %s\nuser alice %s\nuser bob %s\n",
		hashed(t, "m"), hashed(t, "a"), hashed(t, "b"))))
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func (b *broker) as(user string, w who) *client {
	b.t.Helper()
	w.user, w.pass = user, user[:1]
	return b.in(v5, w)
}

// talk sends a message from alice to bob, which must come.
func (b *broker) talk(qos byte) {
	b.t.Helper()
	bob := b.as("bob", who{id: "ear", clean: true})
	bob.sub("k", qos)
	alice := b.as("alice", who{id: "mouth", clean: true})
	alice.say(msg{topic: "k", payload: "still here", qos: qos})
	bob.got("k", "still here", qos)
	alice.bye()
	bob.bye()
}

// However much one user takes of what all share, others find room.
func TestOneUserLeavesRoom(t *testing.T) {
	big := strings.Repeat("x", 1000)
	for name, x := range map[string]struct {
		l     Limits
		spoil func(b *broker) (refused bool)
		after func(b *broker)
	}{
		"sessions": {Limits{Sessions: 12}, func(b *broker) bool {
			for i := range 20 {
				c := b.dial(v5)
				if p := c.hello(who{id: fmt.Sprint(i), expiry: 100, user: "mallory", pass: "m"}); p.code == byte(quotaExceeded) {
					return true
				}
				c.close()
			}
			return false
		}, nil},
		"messages that wait": {Limits{Queued: 40, QueueMessages: 1000}, func(b *broker) bool {
			c := b.as("mallory", who{id: "s", expiry: 100})
			c.sub("m", 1)
			c.bye()
			return b.refuses("m", "x", 100)
		}, nil},
		"memory": {Limits{Memory: 20_000}, func(b *broker) bool {
			b.as("mallory", who{id: "deaf", clean: true}).sub("m", 1) // reads and answers nothing
			return b.refuses("m", big, 100) && b.refuses("m", "x", 100)
		}, func(b *broker) { b.talk(0) }},
		"subscriptions": {Limits{State: 64 << 10}, func(b *broker) bool {
			c := b.as("mallory", who{id: "s", clean: true})
			for i := range 1000 {
				if c.sub(fmt.Sprint("m/", i), 1) == byte(quotaExceeded) {
					return true
				}
			}
			return false
		}, nil},
		"deep subscriptions": {Limits{State: 64 << 10}, func(b *broker) bool {
			c := b.as("mallory", who{id: "s", clean: true})
			refused := false
			for i := range 100 {
				deep := strings.Repeat("/a", max(0, 60-2*i))
				refused = refused || c.sub(fmt.Sprint("m/", i, deep), 1) == byte(quotaExceeded)
			}
			return refused
		}, nil},
		"retained topics": {Limits{State: 64 << 10}, func(b *broker) bool { return b.retains(1000, "x") }, func(b *broker) {
			alice := b.as("alice", who{id: "r", clean: true})
			alice.say(msg{topic: "r", payload: "x", qos: 1, retain: true})
		}},
		"retained messages": {Limits{RetainedMessages: 10}, func(b *broker) bool { return b.retains(20, "x") }, func(b *broker) {
			alice := b.as("alice", who{id: "r", clean: true})
			alice.say(msg{topic: "r", payload: "x", qos: 1, retain: true})
			alice.say(msg{topic: "r", payload: "y", qos: 1, retain: true})
		}},
		"retained bytes": {Limits{RetainedBytes: 10_000}, func(b *broker) bool { return b.retains(20, big) }, func(b *broker) {
			alice := b.as("alice", who{id: "r", clean: true})
			alice.say(msg{topic: "r", payload: big, qos: 1, retain: true})
		}},
		"wills": {Limits{State: 64 << 10}, func(b *broker) bool {
			for i := range 20 {
				c := b.dial(v5)
				p := c.hello(who{id: fmt.Sprint(i), expiry: 100, user: "mallory", pass: "m", will: "m", willPayload: strings.Repeat("x", 5000), willDelay: 1000})
				if p.code == byte(quotaExceeded) {
					return true
				}
				c.close()
			}
			return false
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, Options{Users: sharers(t), Limits: x.l})
			if !x.spoil(b) {
				t.Fatal("mallory may take everything")
			}
			b.talk(1)
			if x.after != nil {
				x.after(b)
			}
			b.restart()
			b.talk(2)
		})
	}
}

// refuses publishes as mallory until it is told that there is no room.
func (b *broker) refuses(topic, payload string, n int) bool {
	b.t.Helper()
	c := b.as("mallory", who{id: "mouth", clean: true})
	defer c.close()
	for i := range n {
		c.pub(msg{topic: topic, payload: payload, qos: 1, id: uint16(i + 1)})
		if c.want(pPuback).code == byte(quotaExceeded) {
			return true
		}
	}
	return false
}

func (b *broker) retains(n int, payload string) bool {
	b.t.Helper()
	c := b.as("mallory", who{id: "keeper", clean: true})
	defer c.close()
	for i := range n {
		c.pub(msg{topic: fmt.Sprint("m/", i), payload: payload, qos: 1, id: 1, retain: true})
		if c.want(pPuback).code == byte(quotaExceeded) {
			return true
		}
	}
	return false
}

// What is counted is counted off again.
func TestAccountsComeBackToNothing(t *testing.T) {
	b := start(t, Options{Users: sharers(t)})
	for round := range 2 {
		first := b.as("alice", who{id: "first", clean: true})
		first.say(msg{topic: "e", payload: "old", qos: 1, retain: true})
		c := b.as("mallory", who{id: "c", expiry: 100, will: "w", willPayload: "x"})
		c.pub(msg{topic: "nobody", payload: "x", qos: 2, id: 77})
		c.want(pPubrec)
		c.sub("a/b/c", 1)
		c.sub("a/b/c", 2)
		c.sub("d", 1)
		c.unsub("d")
		c.sub("e", 0)
		mouth := b.as("alice", who{id: "mouth", clean: true})
		for i := range 5 {
			mouth.say(msg{topic: "a/b/c", payload: "x", qos: byte(i % 3), retain: i%2 == 0})
			mouth.say(msg{topic: "e", payload: "x"})
		}
		mouth.say(msg{topic: "a/b/c", payload: "", retain: true, qos: 1})
		mouth.say(msg{topic: "e", payload: "", retain: true, qos: 1})
		first.bye()
		mouth.bye()
		c.close()
		if round == 0 {
			b.restart()
		}
		b.as("mallory", who{id: "c", clean: true}).bye()
		b.until("end of all sessions", func(s Stats) bool { return s.Sessions == 0 && s.Connections == 0 })
		h := b.s.life()
		h.mu.Lock()
		for user, a := range h.accounts {
			if *a != (account{user: user}) {
				t.Errorf("round %d: %s still has %+v", round, user, *a)
			}
		}
		if h.state != 0 || h.queued != 0 || h.pinned != 0 || h.unknown != (account{}) {
			t.Errorf("round %d: %d, %d, %d, %+v", round, h.state, h.queued, h.pinned, h.unknown)
		}
		h.mu.Unlock()
	}
}

// Who does not answer loses its connection when others lack the memory.
func TestDeafOnesAreHurried(t *testing.T) {
	b := start(t, Options{Limits: Limits{Memory: 10_000, Write: 50 * time.Millisecond}})
	deaf := b.in(v5, who{id: "deaf", clean: true})
	deaf.sub("m", 1)
	c := b.in(v5, who{id: "mouth", clean: true})
	for size := 1000; size > 0; {
		c.pub(msg{topic: "m", payload: strings.Repeat("x", size), qos: 1, id: 1})
		if c.want(pPuback).code == byte(quotaExceeded) {
			size /= 2
		}
	}
	ear := b.in(v5, who{id: "ear", clean: true})
	ear.sub("k", 1)
	waitFor(t, "room", func() bool {
		c.pub(msg{topic: "k", payload: "x", qos: 1, id: 9})
		return c.want(pPuback).code == byte(success)
	})
	ear.got("k", "x", 1)
}

// A user who is not in the file any more is in nobody's way, and its will is not
// published. When it comes back, its session is there.
func TestUserTakenOut(t *testing.T) {
	dir := t.TempDir()
	with := sharers(t)
	b := start(t, Options{Dir: dir, Users: with, Limits: Limits{QueueMessages: 3}})
	m := b.as("mallory", who{id: "m", expiry: 1000, will: "w", willPayload: "gone", willDelay: 1000})
	m.sub("#", 1)
	alice := b.as("alice", who{id: "a", clean: true})
	alice.say(msg{topic: "k", payload: "1", qos: 1})
	m.got("k", "1", 1)
	m.close()
	b.stop()
	without, err := ParseUsers(strings.NewReader(fmt.Sprintf("user alice %s\nuser bob %s\n", hashed(t, "a"), hashed(t, "b"))))
	if err != nil {
		t.Fatal(err)
	}
	b.o.Users = without
	b.open()
	ear := b.as("bob", who{id: "ear", clean: true})
	ear.sub("#", 1)
	alice = b.as("alice", who{id: "a", clean: true})
	for i := range 10 {
		alice.say(msg{topic: "k", payload: fmt.Sprint(i), qos: 1})
		ear.got("k", fmt.Sprint(i), 1)
	}
	h := b.s.life()
	h.mu.Lock()
	s := h.sessions[ownerKey("mallory", "m")]
	h.end(s) // its time is over: so is the will's delay
	h.mu.Unlock()
	ear.quiet()
	if n := b.s.Stats().Unwilled; n != 1 {
		t.Errorf("%d wills were not published", n)
	}
}

func TestUserBackAgain(t *testing.T) {
	b := start(t, Options{Users: sharers(t)})
	m := b.as("mallory", who{id: "m", expiry: 1000})
	m.sub("k", 1)
	m.bye()
	b.as("alice", who{id: "a", clean: true}).say(msg{topic: "k", payload: "from before", qos: 1})
	b.stop()
	with := b.o.Users
	b.o.Users = nil // by mistake
	b.open()
	b.in(v5, who{id: "a", clean: true}).say(msg{topic: "k", payload: "while nobody had a name", qos: 1})
	b.stop()
	b.o.Users = with
	b.open()
	m = b.as("mallory", who{id: "m", expiry: 1000})
	m.got("k", "from before", 1)
	b.as("alice", who{id: "a", clean: true}).say(msg{topic: "k", payload: "and after", qos: 1})
	m.got("k", "and after", 1)
}

// Those of one host wait for each other; another's first comes next.
func TestTurnstile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newTurnstile(1)
		if !g.enter("flood", time.Hour, nil) {
			t.Fatal("nobody is there")
		}
		order := make(chan string, 2*mostWaiting)
		for range mostWaiting {
			go func() {
				if g.enter("flood", time.Hour, nil) {
					order <- "flood"
				}
			}()
		}
		synctest.Wait()
		if g.enter("flood", time.Hour, nil) {
			t.Error("more than may wait")
		}
		go func() {
			if g.enter("another", time.Hour, nil) {
				order <- "another"
			}
		}()
		go g.enter("impatient", time.Second, nil)
		done := make(chan struct{})
		go g.enter("gone", time.Hour, done)
		synctest.Wait()
		close(done)
		<-time.After(2 * time.Second) // fake time
		synctest.Wait()
		var got []string
		for range mostWaiting + 1 {
			g.leave()
			synctest.Wait()
			got = append(got, <-order)
		}
		if got[1] != "another" {
			t.Errorf("another came after %v", got)
		}
		g.leave()
		if g.free != 1 || len(g.hosts) != 0 || len(g.turn) != 0 {
			t.Errorf("%+v", g)
		}
	})
}
