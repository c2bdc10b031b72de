package server

import (
	"fmt"
	"strings"
	"testing"
)

// What is retained is fetched within the same shares as what comes new.
func TestFeedsLeaveRoom(t *testing.T) {
	for name, x := range map[string]struct {
		l       Limits
		payload string
		w       who
		full    func(h *hub) bool
	}{
		"memory": {Limits{Memory: 20_000}, strings.Repeat("x", 1000), who{clean: true, receiveMax: 1},
			func(h *hub) bool { return h.pinned > 8000 }},
		"messages that wait": {Limits{Queued: 40}, "x", who{expiry: 100, receiveMax: 1}, func(h *hub) bool { return h.queued > 15 }},
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, Options{Users: sharers(t), Limits: x.l})
			keeper := b.as("mallory", who{id: "keeper", clean: true})
			for i := range 15 {
				keeper.say(msg{topic: fmt.Sprint("m/", i), payload: x.payload, qos: 1, retain: true})
			}
			for i := range 4 {
				x.w.id = fmt.Sprint("deaf", i)
				b.as("mallory", x.w).sub("m/#", 1)
			}
			h := b.s.life()
			waitFor(t, "feeding", func() bool { h.mu.Lock(); defer h.mu.Unlock(); return x.full(h) })
			b.talk(1)
			b.talk(0)
			b.talk(2)
		})
	}
}

// Who subscribes again and again makes the broker look up what is retained once.
func TestFeedIsBegunAnew(t *testing.T) {
	b := start(t, Options{})
	c := b.in(v5, who{id: "c", clean: true, receiveMax: 1})
	for i := range 60 {
		c.say(msg{topic: fmt.Sprint("m/", i), payload: "x", qos: 1, retain: true})
	}
	c.sendSub("m/#", 1, 0)
	h := b.s.life()
	waitFor(t, "feeding", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.sessions[ownerKey("", "c")].byID) >= feedAhead
	})
	for range 100 {
		c.sendSub("m/#", 1, 0)
	}
	c.sendSub("m/1", 1, 0)
	session := func() (*session, bool) {
		s := h.sessions[ownerKey("", "c")]
		return s, len(s.subs) == 2 && s.conn.pending == 0
	}
	waitFor(t, "subscription", func() bool { h.mu.Lock(); defer h.mu.Unlock(); _, both := session(); return both })
	h.mu.Lock()
	s, _ := session()
	if len(s.feeds) > 2 {
		t.Errorf("%d feeds", len(s.feeds))
	}
	if most := int64(2000 + 4*sessionCost + 60*1024); h.state > most {
		t.Errorf("%d bytes of state", h.state)
	}
	h.mu.Unlock()
}

// Who has made what is retained is known after a restart.
func TestRetainersAfterRestart(t *testing.T) {
	b := start(t, Options{Users: sharers(t), Limits: Limits{RetainedMessages: 16}})
	n := 0
	for range 4 {
		c := b.as("mallory", who{id: "keeper", clean: true})
		for {
			c.pub(msg{topic: fmt.Sprint("m/", n), payload: "x", qos: 1, id: 1, retain: true})
			if c.want(pPuback).code == byte(quotaExceeded) {
				break
			}
			n++
		}
		b.restart()
	}
	if n > 8 {
		t.Errorf("mallory has %d of 16", n)
	}
	alice := b.as("alice", who{id: "a", clean: true})
	alice.say(msg{topic: "m/0", payload: "mine now", qos: 1, retain: true})
	alice.say(msg{topic: "a", payload: "x", qos: 1, retain: true})
	b.restart()
	h := b.s.life()
	h.mu.Lock()
	defer h.mu.Unlock()
	if a, m := h.account("alice").retained, h.account("mallory").retained; a != 2 || m != n-1 {
		t.Errorf("alice has %d, mallory %d", a, m)
	}
}

// Messages of QoS 2 that their publisher does not release need memory, which is
// counted.
func TestHeldMessagesAreCounted(t *testing.T) {
	b := start(t, Options{Users: sharers(t), Limits: Limits{State: 64 << 10}})
	w := who{id: "c", clean: true, user: "mallory", pass: "m"}
	c := b.in(v311, w)
	refused := false
	for id := uint16(1); id < 2000 && !refused; id++ {
		c.pub(msg{topic: "m", payload: "x", qos: 2, id: id})
		refused = c.read().kind != pPubrec
	}
	if !refused {
		t.Fatal("nothing is refused")
	}
	b.talk(2)
	b.until("end of the greedy one", func(s Stats) bool { return s.Connections == 0 })
	h := b.s.life()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.state != 0 {
		t.Errorf("%d bytes are still counted", h.state)
	}
}

// Many identifiers of subscriptions make what waits larger, and that is counted.
func TestIdentifiersAreWeighed(t *testing.T) {
	b := start(t, Options{Limits: Limits{Queued: 12}})
	c := b.in(v5, who{id: "c", expiry: 100})
	for i := range 1 << 6 {
		levels := strings.Split("a/b/c/d/e/f", "/")
		for j := range levels {
			if i>>j&1 == 1 {
				levels[j] = "+"
			}
		}
		c.sendSub(strings.Join(levels, "/"), 2, i+1)
		c.want(pSuback)
	}
	c.bye()
	p := b.in(v5, who{id: "p", clean: true})
	for range 2 { // 64 identifiers weigh 5
		p.say(msg{topic: "a/b/c/d/e/f", payload: "x", qos: 2})
	}
	p.pub(msg{topic: "a/b/c/d/e/f", payload: "x", qos: 1, id: 1})
	if a := p.want(pPuback); a.code != byte(quotaExceeded) {
		t.Errorf("%+v", a)
	}
	h := b.s.life()
	h.mu.Lock()
	if h.weighed != 10 || h.queued != 2 {
		t.Errorf("%d, %d", h.weighed, h.queued)
	}
	h.mu.Unlock()
	b.restart()
	c = b.in(v5, who{id: "c", expiry: 100})
	c.got("a/b/c/d/e/f", "x", 2)
	c.got("a/b/c/d/e/f", "x", 2)
	b.until("end of what waits", func(s Stats) bool { return s.Queued == 0 })
	h = b.s.life()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.weighed != 0 {
		t.Errorf("%d", h.weighed)
	}
}
