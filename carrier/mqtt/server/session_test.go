package server

import (
	"strings"
	"testing"
	"time"
)

// A client that comes again takes its session over; the old connection is told.
func TestTakeOver(t *testing.T) {
	both(t, func(t *testing.T, v byte) {
		b := start(t, Options{})
		me := who{id: "me", expiry: 100}
		old := b.in(v, me)
		old.sub("a", 1)
		c := b.dial(v)
		if !c.ok(me).present {
			t.Error("not present")
		}
		old.end(takenOver)
		p := b.in(v, who{id: "p", clean: true})
		p.say(msg{topic: "a", payload: "x", qos: 1})
		c.got("a", "x", 1)

		// A session that ends with its connection is not there any more.
		short := b.in(v, who{id: "short", clean: true})
		short.sub("a", 1)
		again := b.dial(v)
		if again.ok(who{id: "short", clean: v != v5}).present {
			t.Error("present")
		}
		short.end(takenOver)
		p.say(msg{topic: "a", payload: "y", qos: 1})
		again.quiet()
	})
}

func TestSessionExpiry(t *testing.T) {
	b := start(t, Options{Limits: Limits{SessionExpiry: time.Hour}})
	c := b.dial(v5)
	if got := c.ok(who{id: "c", expiry: forever}); got.props.SessionExpiryInterval == nil || *got.props.SessionExpiryInterval != 3600 {
		t.Errorf("%v", got.props)
	}
	c.bye()
	c = b.dial(v5)
	if got := c.ok(who{id: "c", expiry: 1}); !got.present || got.props.SessionExpiryInterval != nil {
		t.Errorf("%+v", got)
	}
	c.sub("a", 1)
	c.bye()
	p := b.in(v5, who{id: "p", clean: true})
	p.say(msg{topic: "a", payload: "x", qos: 1})
	b.restart() // its time goes on meanwhile
	b.until("end of the session", func(s Stats) bool { return s.Sessions == 0 && s.Queued == 0 })

	// DISCONNECT may change it, but not from nothing.
	c = b.in(v5, who{id: "c", expiry: 100})
	c.bytes([]byte{pDisconnect << 4, 7, 0, 5, propSessionExpiry, 0, 0, 0, 0})
	c.want(0)
	b.until("end of the session", func(s Stats) bool { return s.Sessions == 0 })
	c = b.in(v5, who{id: "c", clean: true})
	c.bytes([]byte{pDisconnect << 4, 7, 0, 5, propSessionExpiry, 0, 0, 0, 9})
	c.end(protocolError)

	// 3.1.1 says only whether.
	c = b.in(v311, who{id: "old"})
	c.bye()
	c = b.in(v311, who{id: "new", clean: true})
	c.bye()
	b.until("one session", func(s Stats) bool { return s.Sessions == 1 })
}

// A persistent session that its client lets end with the connection ends even if
// the broker dies before.
func TestSessionMadeShort(t *testing.T) {
	b := start(t, Options{})
	c := b.in(v5, who{id: "c", expiry: 100})
	c.sub("a", 1)
	c.bye()
	c = b.dial(v5)
	if !c.ok(who{id: "c"}).present {
		t.Error("not present")
	}
	b.restart()
	if s := b.s.Stats(); s.Sessions != 0 {
		t.Errorf("%d sessions", s.Sessions)
	}
}

func TestClientIDs(t *testing.T) {
	b := start(t, Options{Limits: Limits{TopicBytes: 50}})
	c := b.dial(v5)
	id := c.ok(who{}).props.AssignedClientID
	if !strings.HasPrefix(id, "auto-") || len(id) < 20 {
		t.Errorf("assigned %q", id)
	}
	if got := b.dial(v5).ok(who{}).props.AssignedClientID; got == id {
		t.Error("assigned twice")
	}
	b.dial(v311).ok(who{clean: true})
	b.dial(v31).ok(who{id: "x", clean: true})
	for _, x := range []struct {
		v    byte
		w    who
		want byte
	}{
		{v311, who{}, 2},
		{v311, who{id: strings.Repeat("x", 51), clean: true}, 2},
		{v5, who{id: strings.Repeat("x", 51)}, byte(badClientID)},
	} {
		c := b.dial(x.v)
		if got := c.hello(x.w); got.code != x.want {
			t.Errorf("%+v: CONNACK 0x%02x", x.w, got.code)
		}
		c.want(0)
	}
}

// Connections that don't begin as they must.
func TestBadBeginnings(t *testing.T) {
	b := start(t, Options{})
	for name, x := range map[string]struct {
		send []byte
		code int // of a CONNACK, -1: none
	}{
		"something else first": {[]byte{pPingreq << 4, 0}, -1},
		"flags":                {[]byte{pConnect<<4 | 1, 0}, -1},
		"HTTP":                 {[]byte("GET / HTTP/1.1\r\n\r\n"), -1},
		"TLS":                  {[]byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3}, -1},
		"too long":             {[]byte{pConnect << 4, 0xff, 0xff, 0x7f}, -1},
		"version 9":            {append([]byte{pConnect << 4, 10}, cat("MQTT", 9, 2, 0, 0, 0)...), int(badVersion)},
		"version 2":            {append([]byte{pConnect << 4, 12}, cat("MQIsdp", 2, 2, 0, 0)...), 1},
		"auth method":          {append([]byte{pConnect << 4, 18}, cat("MQTT", 5, 2, 0, 0, 4, propAuthMethod, "m", "x")...), int(badAuthMethod)},
		"malformed 5":          {append([]byte{pConnect << 4, 11}, cat("MQTT", 5, 3, 0, 0, 0)...), int(malformed)},
	} {
		c := b.dial(v5)
		if x.code == 1 {
			c.v = v311
		}
		if name == "auth method" {
			body := cat("MQTT", 5, 2, 0, 0, 4, propAuthMethod, "m", "x")
			x.send = append([]byte{pConnect << 4, byte(len(body))}, body...)
		}
		c.bytes(x.send)
		if strings.HasPrefix(name, "malformed") {
			c.nc.(interface{ CloseWrite() error }).CloseWrite()
		}
		p := c.read()
		if x.code < 0 && p.kind != 0 || x.code >= 0 && (p.kind != pConnack || int(p.code) != x.code) {
			t.Errorf("%s: %+v", name, p)
		}
		if p.kind != 0 {
			c.want(0)
		}
	}
}

// Packets that end a connection, and with which reason.
func TestViolations(t *testing.T) {
	b := start(t, Options{Limits: Limits{Packet: 2000}})
	for name, x := range map[string]struct {
		send []byte
		want code
	}{
		"second CONNECT":       {connectBytes(v5, "x"), protocolError},
		"a server's packet":    {[]byte{pSuback << 4, 3, 0, 1, 0}, protocolError},
		"type 0":               {[]byte{0, 0}, protocolError},
		"AUTH":                 {[]byte{pAuth << 4, 2, 0x18, 0}, protocolError},
		"flags of SUBSCRIBE":   {append([]byte{pSubscribe << 4, 7}, cat(0, 1, 0, "a", 0)...), malformed},
		"flags of PUBACK":      {[]byte{pPuback<<4 | 1, 2, 0, 1}, malformed},
		"PINGREQ with a body":  {[]byte{pPingreq << 4, 1, 0}, malformed},
		"wildcard in a topic":  {append([]byte{pPublish << 4, 4}, cat("#", 0)...), badTopic},
		"a topic of the house": {append([]byte{pPublish << 4, 6}, cat("$SYS"[:3], 0)...), badTopic},
		"a large packet":       {[]byte{pPublish << 4, 0xd1, 0x0f}, tooLarge},
		"length of 5 bytes":    {[]byte{pPublish << 4, 0xff, 0xff, 0xff, 0xff, 1}, malformed},
	} {
		c := b.in(v5, who{id: "c", clean: true})
		c.bytes(x.send)
		if p := c.read(); p.kind != pDisconnect || p.code != byte(x.want) {
			t.Errorf("%s: %+v, want %v", name, p, x.want)
		}
	}
	// Answers that nothing asked for.
	c := b.in(v5, who{id: "c", clean: true})
	c.answer(pPuback, 1)
	c.answer(pPubcomp, 1)
	c.answer(pPubrec, 1)
	if p := c.want(pPubrel); p.code != byte(idNotFound) {
		t.Errorf("%+v", p)
	}
	c.sub("a", 1)
	p := b.in(v5, who{id: "p", clean: true})
	p.say(msg{topic: "a", qos: 1})
	m := c.want(pPublish)
	c.answer(pPubrec, m.id)
	c.end(protocolError)
}

func TestUnsubscribe(t *testing.T) {
	both(t, func(t *testing.T, v byte) {
		b := start(t, Options{})
		c := b.in(v, who{id: "c", expiry: 100})
		c.sub("a", 1)
		c.sub("b", 1)
		if p := c.unsub("a"); v == v5 && p.codes[0] != 0 {
			t.Errorf("%+v", p)
		}
		if p := c.unsub("a"); v == v5 && p.codes[0] != byte(noSubscription) {
			t.Errorf("%+v", p)
		}
		b.restart()
		c = b.in(v, who{id: "c", expiry: 100})
		p := b.in(v, who{id: "p", clean: true})
		p.say(msg{topic: "a", qos: 1})
		p.say(msg{topic: "b", qos: 1})
		c.got("b", "", 1)
		c.quiet()
	})
}

// One message comes once, however many subscriptions match, with the best QoS and
// all identifiers.
func TestOverlappingSubscriptions(t *testing.T) {
	b := start(t, Options{})
	c := b.in(v5, who{id: "c", clean: true})
	for i, f := range []string{"a/#", "a/+", "a/b"} {
		c.sendSub(f, byte(i), i+1)
		c.want(pSuback)
	}
	p := b.in(v5, who{id: "p", clean: true})
	p.say(msg{topic: "a/b", payload: "x", qos: 2})
	first, n, err := readHeader(c.r)
	if err != nil || first != pPublish<<4|2<<1 {
		t.Fatalf("% x, %v", first, err)
	}
	body := make([]byte, n)
	c.r.Read(body)
	ids := map[byte]bool{}
	for i := 8; i < 14; i += 2 {
		if body[i] != propSubscriptionID {
			t.Fatalf("% x", body)
		}
		ids[body[i+1]] = true
	}
	if body[7] != 6 || !ids[1] || !ids[2] || !ids[3] {
		t.Errorf("% x", body)
	}
	c.answer(pPubrec, 1)
	c.want(pPubrel)
	c.quiet()
}

func TestSubscriptionOptions(t *testing.T) {
	b := start(t, Options{})
	c := b.in(v5, who{id: "c", expiry: 100})
	c.sub("mine", 1|4) // no local
	c.sub("kept", 1|8) // retain as published
	c.sub("plain", 1)  // neither
	c.say(msg{topic: "mine", payload: "x", qos: 1})
	p := b.in(v5, who{id: "p", clean: true})
	p.say(msg{topic: "mine", payload: "y", qos: 1})
	p.say(msg{topic: "kept", payload: "k", qos: 1, retain: true})
	p.say(msg{topic: "plain", payload: "p", qos: 1, retain: true})
	c.got("mine", "y", 1)
	if got := c.got("kept", "k", 1); !got.retain {
		t.Error("not retained as published")
	}
	if got := c.got("plain", "p", 1); got.retain {
		t.Error("retained")
	}
	for f, want := range map[string]code{"a/#/b": badFilter, "": badFilter, "$share/g/a": noShared, "$SYS/#": 0} {
		if got := c.sub(f, 0); got != byte(want) {
			t.Errorf("%q: SUBACK 0x%02x", f, got)
		}
	}
	old := b.in(v311, who{id: "old", clean: true})
	if got := old.sub("$share/g/a", 0); got != 0x80 {
		t.Errorf("SUBACK 0x%02x", got)
	}
}

// CONNACK says what is there, truly.
func TestCapabilities(t *testing.T) {
	b := start(t, Options{Limits: Limits{Packet: 5000, Inflight: 7, Aliases: 3, KeepAlive: time.Minute}})
	p := b.dial(v5).ok(who{id: "c", keepAlive: 120}).props
	if *p.ReceiveMaximum != 7 || *p.MaximumPacketSize != 5000 || *p.TopicAliasMaximum != 3 || *p.ServerKeepAlive != 60 || *p.SharedSubAvailable != 0 ||
		p.AssignedClientID != "" || p.SessionExpiryInterval != nil || p.MaximumQOS != nil || p.RetainAvailable != nil || p.WildcardSubAvailable != nil || p.SubIDAvailable != nil {
		t.Errorf("%v", p)
	}
	if p := b.dial(v5).ok(who{id: "d", keepAlive: 30}).props; p.ServerKeepAlive != nil {
		t.Errorf("keep alive %d", *p.ServerKeepAlive)
	}
}

// The order of one publisher's messages to one topic is kept, whatever the queues.
func TestOrder(t *testing.T) {
	b := start(t, Options{Limits: Limits{Inflight: 5}})
	s := b.in(v5, who{id: "s", expiry: 100})
	s.sub("#", 1)
	c := b.in(v5, who{id: "c", clean: true})
	c.sub("#", 1)
	p := b.in(v311, who{id: "p", clean: true})
	const n = 300
	go func() {
		for i := range n {
			p.tryPub(msg{topic: "a", payload: strings.Repeat("x", i), qos: byte(1 + i%2), id: uint16(i + 1)})
		}
	}()
	for i := range n {
		s.got("a", strings.Repeat("x", i), 1)
		c.got("a", strings.Repeat("x", i), 1)
	}
}
