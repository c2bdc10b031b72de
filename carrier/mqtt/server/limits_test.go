package server

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

func TestConnectionLimits(t *testing.T) {
	b := start(t, Options{Limits: Limits{Connections: 4, ConnectionsPerHost: 2}})
	one, two := b.in(v5, who{id: "1"}), b.in(v5, who{id: "2"})
	b.dial(v5).want(0) // the host has its share
	one.bye()
	b.until("room", func(s Stats) bool { return s.Connections == 1 })
	b.in(v5, who{id: "3"})
	two.quiet()

	// Those who say nothing make room for the next, and end by themselves.
	b = start(t, Options{Limits: Limits{Connecting: 2, Connect: time.Minute}})
	silent := b.dial(v5)
	b.until("connection", func(s Stats) bool { return s.Connections == 1 })
	b.dial(v5).want(0) // half of those is all that one host gets
	silent.close()
	b.until("room", func(s Stats) bool { return s.Connections == 0 })
	b = start(t, Options{Limits: Limits{Connect: 50 * time.Millisecond}})
	slow := b.dial(v5)
	slow.nc.Write([]byte{pConnect << 4, 20})
	slow.want(0)
}

// Of two hosts' silent connections the oldest makes room for a new one.
func TestOldestSilentConnectionMakesRoom(t *testing.T) {
	s, err := New(Options{Dir: t.TempDir(), Limits: Limits{Connecting: 2}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Shutdown(t.Context())
	var ours []net.Conn
	for range 3 {
		a, b := net.Pipe() // connections of no host
		defer a.Close()
		ours = append(ours, a)
		s.accept(b)
	}
	ours[0].SetReadDeadline(time.Now().Add(patience))
	if _, err := ours[0].Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the oldest gets %v", err)
	}
	c := &client{t: t, v: v311, nc: ours[2]}
	waitFor(t, "two connections", func() bool { return s.Stats().Connections == 2 })
	c.close()
}

func TestAllConnectionsTogether(t *testing.T) {
	s, err := New(Options{Dir: t.TempDir(), Limits: Limits{Connections: 2}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Shutdown(t.Context())
	for i := range 3 {
		ours, theirs := net.Pipe() // of no host
		defer ours.Close()
		s.accept(theirs)
		ours.SetReadDeadline(time.Now().Add(patience))
		if i < 2 {
			go ours.Write(append([]byte{pConnect << 4, 13}, cat("MQTT", v311, 2, 0, 0, string(rune('a'+i)))...))
			if _, err := ours.Read(make([]byte, 4)); err != nil {
				t.Errorf("connection %d: %v", i, err)
			}
		} else if _, err := ours.Read(make([]byte, 4)); err != io.EOF {
			t.Errorf("one too many gets %v", err)
		}
	}
}

func TestSessionLimit(t *testing.T) {
	both(t, func(t *testing.T, v byte) {
		b := start(t, Options{Limits: Limits{Sessions: 2}})
		b.in(v, who{id: "1", expiry: 9}).bye()
		b.in(v, who{id: "2", clean: true})
		c := b.dial(v)
		if p := c.hello(who{id: "3", clean: true}); v == v5 && p.code != byte(quotaExceeded) || v != v5 && p.code != 3 {
			t.Errorf("%+v", p)
		}
		c.want(0)
		b.in(v, who{id: "1", expiry: 9}) // who has one keeps it
	})
}

func TestSubscriptionAndTopicLimits(t *testing.T) {
	b := start(t, Options{Limits: Limits{Subscriptions: 2, TopicBytes: 20, TopicLevels: 3}})
	c := b.in(v5, who{id: "c", clean: true})
	for _, x := range []struct {
		filter string
		want   code
	}{
		{"a", 1}, {"b", 1}, {"c", quotaExceeded}, {"a", 1}, {"a/b/c/d", badFilter}, {strings.Repeat("x", 21), badFilter},
	} {
		if got := c.sub(x.filter, 1); got != byte(x.want) {
			t.Errorf("%q: SUBACK 0x%02x, want 0x%02x", x.filter, got, byte(x.want))
		}
	}
	c.unsub("b")
	if got := c.sub("c", 1); got != 1 {
		t.Errorf("SUBACK 0x%02x", got)
	}
	for _, topic := range []string{"a/b/c/d", strings.Repeat("x", 21), "$SYS/x"} {
		c.pub(msg{topic: topic, qos: 1, id: 1})
		if p := c.want(pPuback); p.code != byte(badTopic) {
			t.Errorf("%q: PUBACK 0x%02x", topic, p.code)
		}
	}
	c.pub(msg{topic: "a/b/c/d"})
	c.end(badTopic)
}

// At the quota of a session the publisher is told, nobody gets the message, and
// nothing that was acknowledged is lost.
func TestQueueQuota(t *testing.T) {
	for name, x := range map[string]struct {
		l    Limits
		room int
		w    who
	}{
		"messages":            {Limits{QueueMessages: 5}, 5, who{id: "s", expiry: 100}},
		"bytes":               {Limits{QueueBytes: 3 * 130}, 3, who{id: "s", expiry: 100}},
		"all sessions":        {Limits{Queued: 4}, 4, who{id: "s", expiry: 100}},
		"messages, in memory": {Limits{QueueMessages: 5}, 5, who{id: "s", clean: true}},
		"bytes, in memory":    {Limits{QueueBytes: 3 * 130}, 3, who{id: "s", clean: true}},
		"memory of everybody": {Limits{Memory: 6 * 130}, 6, who{id: "s", clean: true}},
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, Options{Limits: x.l})
			s := b.in(v5, x.w)
			s.sub("a", 2)
			if x.w.expiry > 0 {
				s.bye()
			}
			other := b.in(v5, who{id: "other", clean: true})
			other.sub("a", 0)
			p := b.in(v5, who{id: "p", clean: true})
			payload := strings.Repeat("x", 100)
			for i := range x.room {
				p.say(msg{topic: "a", payload: fmt.Sprint(i, payload), qos: byte(1 + i%2)})
				other.got("a", fmt.Sprint(i, payload), 0)
			}
			p.pub(msg{topic: "a", payload: payload, qos: 1, id: 8})
			if a := p.want(pPuback); a.code != byte(quotaExceeded) || !strings.Contains(a.props.ReasonString, "full") {
				t.Fatalf("%+v", a)
			}
			p.pub(msg{topic: "a", payload: payload, qos: 2, id: 9})
			if a := p.want(pPubrec); a.code != byte(quotaExceeded) {
				t.Fatalf("%+v", a)
			}
			p.say(msg{topic: "b", payload: payload, qos: 1}) // other topics go on
			other.quiet()
			old := b.in(v311, who{id: "old", clean: true})
			old.pub(msg{topic: "a", payload: payload, qos: 1, id: 1})
			old.want(0)
			if x.w.expiry > 0 {
				b.restart()
				s = b.in(v5, x.w)
				p = b.in(v5, who{id: "p", clean: true})
			}
			for i := range x.room {
				s.got("a", fmt.Sprint(i, payload), byte(1+i%2))
			}
			p.say(msg{topic: "a", payload: "room again", qos: 1})
			s.got("a", "room again", 1)
		})
	}
}

// QoS 0 messages for who doesn't read are dropped and counted; a QoS 1 subscriber
// that doesn't read makes the publisher wait. Both are cut off in time.
func TestSlowReader(t *testing.T) {
	b := start(t, Options{Limits: Limits{QoS0Messages: 10, QueueMessages: 10, Write: 300 * time.Millisecond}})
	slow := b.in(v5, who{id: "slow", clean: true})
	slow.sub("zero", 0)
	p := b.in(v5, who{id: "p", clean: true})
	big := strings.Repeat("x", 200_000)
	for b.s.Stats().Dropped == 0 {
		p.say(msg{topic: "zero", payload: big})
	}
	b.until("end of the slow one", func(s Stats) bool { return s.Connections == 1 })

	// This one reads, but answers nothing.
	mute := b.in(v5, who{id: "mute", clean: true})
	mute.sub("one", 1)
	go io.Copy(io.Discard, mute.nc)
	full := time.Now()
	for id := uint16(1); ; id++ {
		p.pub(msg{topic: "one", payload: "x", qos: 1, id: id})
		if a := p.want(pPuback); a.code == byte(noSubscribers) {
			break // it is gone
		}
		if time.Since(full) > patience {
			t.Fatal("one that doesn't answer stands in the way for ever")
		}
	}
}

// What waits for one connection is bounded by number and by size.
func TestQoS0Limits(t *testing.T) {
	for name, x := range map[string]struct {
		l    Limits
		kept int
	}{"messages": {Limits{QoS0Messages: 3}, 3}, "bytes": {Limits{QoS0Bytes: 250}, 2}, "memory": {Limits{Memory: 250}, 2}} {
		h := &hub{o: &Options{Limits: x.l}, stats: new(counters)}
		o := h.o.withDefaults()
		h.o = &o
		s := &session{account: new(account)}
		for range 5 {
			h.pushZero(s, zeroItem{m: &message{size: 100}})
		}
		if len(s.zero) != x.kept || h.stats.dropped.Load() != uint64(5-x.kept) || h.pinned != int64(100*x.kept) {
			t.Errorf("%s: %d wait, %d dropped, %d bytes", name, len(s.zero), h.stats.dropped.Load(), h.pinned)
		}
		h.clearZero(s)
		if h.pinned != 0 || s.zeroBytes != 0 {
			t.Errorf("%s: %d bytes, %d bytes", name, h.pinned, s.zeroBytes)
		}
	}
}

func TestKeepAlive(t *testing.T) {
	b := start(t, Options{})
	c := b.in(v5, who{id: "c", clean: true, keepAlive: 1, will: "w", willPayload: "silent"})
	s := b.in(v5, who{id: "s", clean: true})
	s.sub("w", 1)
	began := time.Now()
	c.end(keepAliveTimeout)
	if d := time.Since(began); d < time.Second || d > 4*time.Second {
		t.Errorf("after %v", d)
	}
	s.got("w", "silent", 0)
}

// A packet that doesn't come to its end ends the connection.
func TestPacketTime(t *testing.T) {
	b := start(t, Options{Limits: Limits{PacketTime: 50 * time.Millisecond}})
	c := b.in(v5, who{id: "c", clean: true})
	c.bytes([]byte{pPublish << 4, 200, 1, 0})
	c.want(0)
}

func TestRetainedLimits(t *testing.T) {
	for name, l := range map[string]Limits{"topics": {RetainedMessages: 2}, "bytes": {RetainedBytes: 250}} {
		t.Run(name, func(t *testing.T) {
			b := start(t, Options{Limits: l})
			p := b.in(v5, who{id: "p", clean: true})
			s := b.in(v5, who{id: "s", clean: true})
			s.sub("#", 1)
			payload := strings.Repeat("x", 100)
			for _, topic := range []string{"a", "b", "a"} {
				p.say(msg{topic: topic, payload: payload, qos: 1, retain: true})
				s.got(topic, payload, 1)
			}
			p.pub(msg{topic: "c", payload: payload, qos: 1, id: 1, retain: true})
			if a := p.want(pPuback); a.code != byte(quotaExceeded) {
				t.Errorf("%+v", a)
			}
			s.quiet()
			p.say(msg{topic: "c", payload: payload, retain: true}) // is delivered, not retained
			s.got("c", payload, 0)
			if st := b.s.Stats(); st.Retained != 2 || st.Dropped != 1 {
				t.Errorf("%+v", st)
			}
			p.say(msg{topic: "a", qos: 1, retain: true})
			p.say(msg{topic: "c", payload: payload, qos: 1, retain: true})
		})
	}
}

// Large packets share the memory: the second waits until the first is done with.
func TestMemory(t *testing.T) {
	b := newBudget(100)
	if !b.take("a", 70, time.Minute, nil) || b.take("b", 40, time.Millisecond, nil) {
		t.Fatal("the budget gives more than it has")
	}
	got := make(chan bool)
	go func() { got <- b.take("b", 1000, time.Minute, nil) }() // all there is
	waitFor(t, "waiting", func() bool { b.mu.Lock(); defer b.mu.Unlock(); return len(b.waiting) == 1 })
	done := make(chan struct{})
	close(done)
	if b.take("c", 1, time.Minute, done) {
		t.Error("who comes later is served first")
	}
	b.give("a", 70)
	if !<-got || b.free != 0 {
		t.Errorf("%d free", b.free)
	}
	b.give("b", 1000)
	if b.free != 100 || len(b.waiting) != 0 || len(b.held) != 0 {
		t.Errorf("%d free", b.free)
	}

	// One that begins many leaves room for another, which overtakes what it waits for.
	for b.take("greedy", 10, time.Millisecond, nil) {
	}
	if b.held["greedy"] != 50 {
		t.Errorf("it holds %d", b.held["greedy"])
	}
	go func() { got <- b.take("greedy", 30, time.Minute, nil) }()
	waitFor(t, "waiting", func() bool { b.mu.Lock(); defer b.mu.Unlock(); return len(b.waiting) == 1 })
	if !b.take("another", 40, time.Minute, nil) {
		t.Error("there is no room for another")
	}
	b.give("greedy", 50)
	if !<-got {
		t.Error("what waited is never served")
	}
}

// A listener that others can reach needs users, or somebody's word.
func TestPublicListener(t *testing.T) {
	for name, x := range map[string]struct {
		o    Options
		want bool
	}{"nobody": {Options{}, false}, "users": {Options{Users: testUsers(t)}, true}, "anonymous": {Options{Anonymous: true}, true}} {
		b := start(t, x.o)
		l, err := net.Listen("tcp", "0.0.0.0:0")
		if err != nil {
			t.Fatal(err)
		}
		if !x.want {
			if err := b.s.Serve(l); err == nil || !strings.Contains(err.Error(), "127.0.0.1") {
				t.Errorf("%s: %v", name, err)
			}
			l.Close()
			continue
		}
		served, srv := make(chan error), b.s
		go func() { served <- srv.Serve(l) }()
		b.stop()
		if err := <-served; err != ErrShutdown {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Who may what, as clients see it.
func TestAccess(t *testing.T) {
	both(t, func(t *testing.T, v byte) {
		b := start(t, Options{Users: testUsers(t)})
		refused := b.dial(v)
		if p := refused.hello(who{id: "x", clean: true, user: "alice", pass: "wrong"}); v == v5 && p.code != byte(badLogin) || v != v5 && p.code != 4 {
			t.Errorf("%+v", p)
		}
		refused = b.dial(v)
		if p := refused.hello(who{id: "x", clean: true, user: "bob", pass: "builder", will: "home/x"}); v == v5 && p.code != byte(notAuthorized) || v != v5 && p.code != 5 {
			t.Errorf("a will that is not allowed: %+v", p)
		}
		alice := b.in(v, who{id: "c", clean: true, user: "alice", pass: "wonderland"})
		bob := b.in(v, who{id: "c", clean: true, user: "bob", pass: "builder"}) // the same ID is another session
		alice.quiet()
		if got := bob.sub("home/#", 1); v == v5 && got != byte(notAuthorized) || v != v5 && got != 0x80 {
			t.Errorf("SUBACK 0x%02x", got)
		}
		if got := bob.sub("home/kitchen/+", 1); got != 1 {
			t.Errorf("SUBACK 0x%02x", got)
		}
		alice.say(msg{topic: "home/kitchen/x", payload: "hi", qos: 1})
		bob.got("home/kitchen/x", "hi", 1)
		bob.pub(msg{topic: "home/kitchen/x", qos: 1, id: 1})
		if v == v5 {
			if a := bob.want(pPuback); a.code != byte(notAuthorized) {
				t.Errorf("%+v", a)
			}
			bob.pub(msg{topic: "home/kitchen/x", qos: 2, id: 1})
			if a := bob.want(pPubrec); a.code != byte(notAuthorized) {
				t.Errorf("%+v", a)
			}
			bob.pub(msg{topic: "home/kitchen/x"})
			bob.end(notAuthorized)
		} else {
			bob.want(0)
		}
		anyone := b.in(v, who{id: "any", clean: true})
		if got := anyone.sub("public/+", 0); got != 0 {
			t.Errorf("SUBACK 0x%02x", got)
		}
	})
}

// Subscriptions that the rules no longer allow end when the broker starts again.
func TestRulesChange(t *testing.T) {
	b := start(t, Options{Users: testUsers(t)})
	bob := who{id: "c", expiry: 100, user: "bob", pass: "builder"}
	c := b.in(v5, bob)
	c.sub("home/kitchen", 1)
	c.sub("people/bob/x", 1)
	c.bye()
	b.stop()
	u, err := ParseUsers(strings.NewReader("user bob " + hashed(t, "builder") + "\nallow bob readwrite people/bob/#\nallow bob write #"))
	if err != nil {
		t.Fatal(err)
	}
	b.o.Users = u
	b.open()
	c = b.in(v5, bob)
	c.say(msg{topic: "home/kitchen", payload: "x", qos: 1})
	c.quiet()
	c.pub(msg{topic: "people/bob/x", payload: "y"})
	c.got("people/bob/x", "y", 0)
}
