package server

import (
	"fmt"
	"strconv"
	"testing"

	five "github.com/eclipse/paho.golang/packets"
)

// Every QoS of the publisher with every QoS of the subscriber, in both versions.
func TestQoS(t *testing.T) {
	both(t, func(t *testing.T, v byte) {
		b := start(t, Options{})
		for sub := range byte(3) {
			s := b.in(v, who{id: fmt.Sprint("sub", sub), clean: true})
			if got := s.sub("q/+", sub); got != sub {
				t.Fatalf("SUBACK %d", got)
			}
			p := b.in(v5+v311-v, who{id: fmt.Sprint("pub", sub), clean: true}) // the other version
			for qos := range byte(3) {
				p.say(msg{topic: "q/x", payload: fmt.Sprint(sub, qos), qos: qos, id: 9})
				s.got("q/x", fmt.Sprint(sub, qos), min(sub, qos))
			}
			s.bye()
		}
		b.until("empty queue", func(s Stats) bool { return s.Queued == 0 })
	})
}

// A session keeps what comes while its client is away, in order, over a restart of
// the broker, and forgets it on clean start.
func TestPersistentSession(t *testing.T) {
	both(t, func(t *testing.T, v byte) {
		b := start(t, Options{})
		me := who{id: "me", expiry: 100}
		c := b.dial(v)
		if c.ok(me).present {
			t.Error("a session that never was is present")
		}
		c.sub("a/#", 2)
		c.bye()
		p := b.in(v, who{id: "p", clean: true})
		for i := range 50 {
			p.say(msg{topic: "a/b", payload: strconv.Itoa(i), qos: byte(i%2 + 1), id: 5})
		}
		p.say(msg{topic: "a/b", payload: "QoS 0 is for those who are there"})
		b.restart()
		c = b.dial(v)
		if !c.ok(me).present {
			t.Fatal("the session is not present")
		}
		for i := range 50 {
			if p := c.got("a/b", strconv.Itoa(i), byte(i%2+1)); p.dup {
				t.Errorf("message %d comes for the first time as a duplicate", i)
			}
		}
		c.quiet()
		c.bye()
		c = b.dial(v)
		if c.ok(who{id: "me", clean: true}).present {
			t.Error("present after a clean start")
		}
		p = b.in(v, who{id: "p", clean: true})
		p.say(msg{topic: "a/b", payload: "x", qos: 1})
		c.quiet()
	})
}

// What was not answered comes again with the same identifier, as a duplicate, also
// from a broker that was restarted; a QoS 2 message goes on where it was.
func TestRedelivery(t *testing.T) {
	both(t, func(t *testing.T, v byte) {
		b := start(t, Options{})
		me := who{id: "me", expiry: 100}
		c := b.in(v, me)
		c.sub("#", 2)
		p := b.in(v, who{id: "p", clean: true})
		p.say(msg{topic: "a", payload: "one", qos: 1})
		p.say(msg{topic: "a", payload: "two", qos: 2})
		p.say(msg{topic: "a", payload: "three", qos: 2})
		one, two, three := c.want(pPublish), c.want(pPublish), c.want(pPublish)
		c.answer(pPubrec, three.id)
		if rel := c.want(pPubrel); rel.id != three.id {
			t.Fatalf("PUBREL %d, not %d", rel.id, three.id)
		}
		for i := range 3 {
			c.close()
			if i > 0 {
				b.restart()
			}
			c = b.in(v, me)
			for _, want := range []packet{one, two} {
				if got := c.want(pPublish); got.id != want.id || !got.dup || got.payload != want.payload || got.qos != want.qos {
					t.Errorf("%+v comes again as %+v", want, got)
				}
			}
			if rel := c.want(pPubrel); rel.id != three.id {
				t.Errorf("PUBREL %d, not %d", rel.id, three.id)
			}
		}
		c.answer(pPuback, one.id)
		c.answer(pPubrec, two.id)
		c.want(pPubrel)
		c.answer(pPubcomp, two.id)
		c.answer(pPubcomp, three.id)
		c.quiet()
		c.close()
		b.restart()
		c = b.in(v, me)
		c.quiet()
		if s := b.s.Stats(); s.Queued != 0 {
			t.Errorf("%d messages wait", s.Queued)
		}
	})
}

// A QoS 2 message that is sent again, even to a restarted broker, is not delivered
// again; after PUBREL its identifier is free.
func TestExactlyOnce(t *testing.T) {
	both(t, func(t *testing.T, v byte) {
		b := start(t, Options{})
		s := b.in(v, who{id: "sub", expiry: 100})
		s.sub("a", 1)
		s.bye()
		me := who{id: "pub", expiry: 100}
		p := b.in(v, me)
		m := msg{topic: "a", payload: "once", qos: 2, id: 7}
		p.pub(m)
		p.want(pPubrec)
		m.dup = true
		p.pub(m)
		p.want(pPubrec)
		p.close()
		b.restart()
		p = b.in(v, me)
		p.pub(m)
		p.want(pPubrec)
		p.answer(pPubrel, 7)
		p.want(pPubcomp)
		p.answer(pPubrel, 7) // the client didn't hear
		if c := p.want(pPubcomp); v == v5 && c.code != byte(idNotFound) {
			t.Errorf("PUBCOMP 0x%02x", c.code)
		}
		p.say(msg{topic: "a", payload: "another", qos: 2, id: 7})
		s = b.in(v, who{id: "sub", expiry: 100})
		s.got("a", "once", 1)
		s.got("a", "another", 1)
		s.quiet()
	})
}

// The client's receive maximum bounds what is under way to it, and ours what comes.
func TestReceiveMaximum(t *testing.T) {
	b := start(t, Options{Limits: Limits{Inflight: 3}})
	s := b.dial(v5)
	if got := s.ok(who{id: "s", clean: true, receiveMax: 2}); *got.props.ReceiveMaximum != 3 {
		t.Errorf("receive maximum %d", *got.props.ReceiveMaximum)
	}
	s.sub("a", 2)
	p := b.in(v5, who{id: "p", clean: true})
	for i := range 3 {
		p.say(msg{topic: "a", payload: strconv.Itoa(i), qos: byte(2 - i%2)})
	}
	first := s.want(pPublish)
	second := s.want(pPublish)
	s.quiet() // two are under way
	p.say(msg{topic: "a", payload: "QoS 0 passes by"})
	s.got("a", "QoS 0 passes by", 0)
	s.answer(pPuback, second.id)
	if third := s.want(pPublish); third.payload != "2" {
		t.Errorf("%+v", third)
	}
	s.answer(pPubrec, first.id)
	s.want(pPubrel)
	s.answer(pPubcomp, first.id)

	for id := range uint16(3) {
		p.pub(msg{topic: "x", qos: 2, id: id + 1})
		p.want(pPubrec)
	}
	p.pub(msg{topic: "x", qos: 1, id: 9})
	p.end(tooManyUnanswered)

	// A client of 3.1.1 is not told: it is read no faster than it is answered.
	old := b.in(v311, who{id: "old", clean: true})
	for id := range uint16(50) {
		old.pub(msg{topic: "x", qos: 1, id: id + 1})
	}
	for id := range uint16(50) {
		if got := old.want(pPuback); got.id != id+1 {
			t.Fatalf("PUBACK %d, not %d", got.id, id+1)
		}
	}
}

// A message that its subscriber says is too large for it is not sent, and does not
// stand in the way of others.
func TestClientsMaximumPacket(t *testing.T) {
	b := start(t, Options{})
	s := b.in(v5, who{id: "s", expiry: 100, maxPacket: 100})
	s.sub("a", 1)
	p := b.in(v5, who{id: "p", clean: true})
	p.say(msg{topic: "a", payload: string(make([]byte, 200)), qos: 1})
	p.say(msg{topic: "a", payload: string(make([]byte, 200))})
	p.say(msg{topic: "a", payload: "small", qos: 1})
	s.got("a", "small", 1)
	b.until("oversize message", func(s Stats) bool { return s.Oversize == 2 && s.Queued == 0 })
}

func TestMessageExpiry(t *testing.T) {
	b := start(t, Options{})
	s := b.in(v5, who{id: "s", expiry: 100})
	s.sub("a", 1)
	s.bye()
	p := b.in(v5, who{id: "p", clean: true})
	short, long := uint32(1), uint32(1000)
	p.say(msg{topic: "a", payload: "short", qos: 1, props: &five.Properties{MessageExpiry: &short}})
	p.say(msg{topic: "a", payload: "long", qos: 1, props: &five.Properties{MessageExpiry: &long}})
	p.say(msg{topic: "r", payload: "short", qos: 1, retain: true, props: &five.Properties{MessageExpiry: &short}})
	b.restart()
	b.until("expired retained message", func(s Stats) bool { return s.Retained == 0 })
	s = b.in(v5, who{id: "s", expiry: 100})
	if got := s.got("a", "long", 1); got.props.MessageExpiry == nil || *got.props.MessageExpiry >= 1000 || *got.props.MessageExpiry < 900 {
		t.Errorf("expiry %v", got.props)
	}
	if st := b.s.Stats(); st.Expired != 1 {
		t.Errorf("%+v", st)
	}
}

// What a message says of itself reaches subscribers of MQTT 5 unchanged.
func TestPropertiesTravel(t *testing.T) {
	b := start(t, Options{})
	s := b.in(v5, who{id: "s", expiry: 100})
	s.sendSub("a/#", 1, 12345)
	s.want(pSuback)
	s.bye()
	b.restart()
	format, alias := byte(1), uint16(3)
	want := five.Properties{PayloadFormat: &format, ContentType: "text/plain", ResponseTopic: "re/x", CorrelationData: []byte{0, 1},
		User: []five.User{{Key: "k", Value: "1"}, {Key: "k", Value: "2"}}, TopicAlias: &alias}
	p := b.in(v5, who{id: "p", clean: true})
	p.say(msg{topic: "a/b", payload: "x", qos: 1, props: &want})
	p.say(msg{topic: "", payload: "y", qos: 1, props: &five.Properties{TopicAlias: &alias}})
	s = b.in(v5, who{id: "s", expiry: 100})
	got := s.got("a/b", "x", 1).props
	if *got.PayloadFormat != 1 || got.ContentType != want.ContentType || got.ResponseTopic != want.ResponseTopic || string(got.CorrelationData) != "\x00\x01" ||
		len(got.User) != 2 || got.User[0] != want.User[0] || got.User[1] != want.User[1] || got.TopicAlias != nil || *got.SubscriptionIdentifier != 12345 {
		t.Errorf("%v", got)
	}
	s.got("a/b", "y", 1)
	old := b.in(v311, who{id: "old", clean: true})
	old.sub("a/#", 1)
	p.say(msg{topic: "a/b", payload: "z", qos: 1, props: &want})
	old.got("a/b", "z", 1)
}

func TestTopicAliases(t *testing.T) {
	b := start(t, Options{Limits: Limits{Aliases: 2}})
	for name, send := range map[string]func(*client){
		"unknown": func(c *client) { c.pub(msg{props: &five.Properties{TopicAlias: ptr(uint16(1))}}) },
		"too high": func(c *client) {
			c.pub(msg{topic: "a", props: &five.Properties{TopicAlias: ptr(uint16(3))}})
		},
	} {
		c := b.dial(v5)
		if got := c.ok(who{id: "c", clean: true}); *got.props.TopicAliasMaximum != 2 {
			t.Errorf("alias maximum %d", *got.props.TopicAliasMaximum)
		}
		send(c)
		c.end(badAlias)
		_ = name
	}
	none := start(t, Options{Limits: Limits{Aliases: -1}})
	c := none.dial(v5)
	if got := c.ok(who{id: "c", clean: true}); got.props.TopicAliasMaximum != nil {
		t.Errorf("alias maximum %d", *got.props.TopicAliasMaximum)
	}
	c.pub(msg{topic: "a", props: &five.Properties{TopicAlias: ptr(uint16(1))}})
	c.end(badAlias)
}

func ptr[T any](v T) *T { return &v }
