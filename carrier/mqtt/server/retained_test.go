package server

import (
	"fmt"
	"testing"
)

func TestRetained(t *testing.T) {
	both(t, func(t *testing.T, v byte) {
		b := start(t, Options{})
		p := b.in(v, who{id: "p", clean: true})
		for i, topic := range []string{"a", "a/b", "a/b/c", "$x"[1:]} {
			p.say(msg{topic: topic, payload: fmt.Sprint("old ", i), qos: 1, retain: true})
			p.say(msg{topic: topic, payload: topic, qos: byte(i % 3), retain: true})
		}
		p.say(msg{topic: "a/b", qos: 0, retain: true}) // gone
		b.restart()
		c := b.in(v, who{id: "c", clean: true})
		got := map[string]byte{}
		c.sub("a/#", 2)
		for range 2 {
			m := c.want(pPublish)
			if !m.retain || m.payload != m.topic {
				t.Errorf("%+v", m)
			}
			got[m.topic] = m.qos
			if m.qos == 2 {
				c.answer(pPubrec, m.id)
				c.want(pPubrel)
				c.answer(pPubcomp, m.id)
			}
		}
		if len(got) != 2 || got["a"] != 0 || got["a/b/c"] != 2 {
			t.Errorf("%v", got)
		}
		c.quiet()
		p = b.in(v, who{id: "p", clean: true})
		p.say(msg{topic: "a", payload: "live", qos: 1, retain: true})
		if m := c.got("a", "live", 1); m.retain {
			t.Error("a live message is marked as retained")
		}
		c.sub("x", 0)
		c.got("x", "x", 0)
		c.sub("x", 0) // once more on subscribing again
		c.got("x", "x", 0)
	})
}

func TestRetainHandling(t *testing.T) {
	b := start(t, Options{})
	p := b.in(v5, who{id: "p", clean: true})
	p.say(msg{topic: "a", payload: "x", qos: 1, retain: true})
	c := b.in(v5, who{id: "c", clean: true})
	c.sub("a", 2<<4) // don't send
	c.quiet()
	c.sub("a", 1<<4) // send if new: it isn't
	c.quiet()
	c.unsub("a")
	c.sub("a", 1<<4)
	c.got("a", "x", 0)
	c.sub("a", 1) // always
	c.got("a", "x", 1)
}

// Retained messages that a subscription was to get and didn't come when the client
// is back, with the broker or without.
func TestRetainedIsNotForgotten(t *testing.T) {
	b := start(t, Options{Limits: Limits{Inflight: 2}})
	p := b.in(v5, who{id: "p", clean: true})
	const n = 100
	for i := range n {
		p.say(msg{topic: fmt.Sprint("r/", i), payload: "x", qos: 1, retain: true})
	}
	me := who{id: "me", expiry: 100}
	c := b.in(v5, me)
	c.sub("r/#", 1)
	c.want(pPublish)
	c.close()
	b.restart()
	c = b.in(v5, me)
	seen := map[string]bool{}
	for len(seen) < n {
		m := c.want(pPublish)
		seen[m.topic] = true
		c.answer(pPuback, m.id)
	}
}

// A retained message that is replaced while a subscriber is being served does not
// come after the one that replaced it.
func TestRetainedNeverGoesBack(t *testing.T) {
	b := start(t, Options{})
	p := b.in(v5, who{id: "p", clean: true})
	const topics, rounds = 20, 30
	for i := range topics {
		p.say(msg{topic: fmt.Sprint("r/", i), payload: "0000", qos: 1, retain: true})
	}
	for r := range rounds {
		c := b.in(v5, who{id: fmt.Sprint("c", r), clean: r%2 == 0, expiry: uint32(r%2) * 100})
		c.sendSub("r/#", 1|8, 0)
		for i := range topics {
			p.pub(msg{topic: fmt.Sprint("r/", i), payload: fmt.Sprintf("%04d", r+1), qos: 1, id: uint16(i + 1), retain: true})
		}
		last := map[string]string{}
		for done := 0; done < topics; {
			m := c.read()
			if m.kind != pPublish {
				continue
			}
			if m.payload < last[m.topic] {
				t.Fatalf("%s: %s after %s", m.topic, m.payload, last[m.topic])
			}
			if last[m.topic] = m.payload; m.payload == fmt.Sprintf("%04d", r+1) {
				done++
			}
			c.answer(pPuback, m.id)
		}
		c.quiet()
		for range topics {
			p.want(pPuback)
		}
		c.bye()
	}
}

func TestWills(t *testing.T) {
	both(t, func(t *testing.T, v byte) {
		b := start(t, Options{})
		s := b.in(v, who{id: "s", clean: true})
		s.sub("will/#", 2)
		mine := who{id: "c", clean: true, will: "will/c", willPayload: "gone", willQoS: 1, willRetain: true}
		c := b.in(v, mine)
		c.bye()
		s.quiet()
		c = b.in(v, mine)
		c.close()
		s.got("will/c", "gone", 1)
		if n := b.s.Stats().Retained; n != 1 {
			t.Errorf("%d retained", n)
		}
		b.in(v, mine)
		b.in(v, who{id: "c", clean: true}) // takes over
		s.got("will/c", "gone", 1)
		c = b.in(v, who{id: "c", clean: true, will: "will/c"}) // an empty will
		c.bytes([]byte{0, 0})
		s.got("will/c", "", 0)
		if v == v5 {
			c = b.in(v, mine)
			c.bytes([]byte{pDisconnect << 4, 1, byte(withWill)})
			s.got("will/c", "gone", 1)
		}
	})
}

// A delayed will waits for the client to come back, and goes out if it doesn't or
// if its session ends.
func TestWillDelay(t *testing.T) {
	b := start(t, Options{})
	s := b.in(v5, who{id: "s", expiry: 100})
	s.sub("will/#", 1)
	mine := who{id: "c", expiry: 100, will: "will/c", willPayload: "gone", willQoS: 1, willDelay: 1}
	c := b.in(v5, mine)
	c.close()
	c = b.in(v5, mine) // in time
	c.bye()
	s.quiet()
	c = b.in(v5, mine)
	c.close()
	s.got("will/c", "gone", 1)
	mine.willDelay = 1000
	c = b.in(v5, mine)
	c.close()
	b.in(v5, who{id: "c", clean: true}) // ends the session
	s.got("will/c", "gone", 1)
	mine.expiry = 1
	mine.id = "d"
	c = b.in(v5, mine)
	c.close()
	s.got("will/c", "gone", 1) // the session's end comes before the delay's
	mine.expiry, mine.willDelay = 100, 1
	c = b.in(v5, mine)
	c.close()
	b.until("no connection of the client", func(s Stats) bool { return s.Connections == 2 })
	b.restart() // the delay lasts over it
	s = b.in(v5, who{id: "s", expiry: 100})
	s.got("will/c", "gone", 1)
}
