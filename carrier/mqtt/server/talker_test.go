package server

import (
	"bufio"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"
)

// A talker publishes numbered messages until the broker dies, and goes on where it
// was with the next broker, as a client with a store does.
type talker struct {
	id      string
	qos     byte
	v       byte
	next    int    // number of the next message
	pid     uint16 // of the message under way
	under   bool   // a message is under way
	rel     bool   // and its PUBREC has come
	acked   int    // messages up to this one were acknowledged
	retains bool
}

func (k *talker) run(t *testing.T, addr string) {
	c := tryDial(addr, k.v)
	if c == nil {
		return
	}
	c.t = t
	defer c.close()
	if !c.tryConnect(k.id) {
		return
	}
	again := k.under
	for {
		if !k.under {
			k.next++
			k.pid = 1 // the same for each: so a forgotten release loses one
			k.under, k.rel = true, false
		}
		if !k.rel {
			if !c.tryPub(msg{topic: "load/" + k.id, payload: fmt.Sprintf("%s %d", k.id, k.next), qos: k.qos, id: k.pid, dup: again, retain: k.retains}) {
				return
			}
			again = false
			want := byte(pPuback)
			if k.qos == 2 {
				want = pPubrec
			}
			p, ok := c.tryRead()
			if !ok {
				return
			}
			if p.kind != want || p.id != k.pid || p.code >= 0x80 {
				t.Errorf("%s: %+v came for message %d", k.id, p, k.next)
				return
			}
			k.acked = k.next
			k.rel = k.qos == 2
		}
		if k.rel {
			if _, err := c.nc.Write([]byte{pPubrel<<4 | 2, 2, byte(k.pid >> 8), byte(k.pid)}); err != nil {
				return
			}
			p, ok := c.tryRead()
			if !ok {
				return
			}
			if p.kind != pPubcomp {
				t.Errorf("%s: %+v came, not PUBCOMP", k.id, p)
				return
			}
		}
		k.under = false
	}
}

// An ear is a persistent subscriber that keeps what it got, as a client with a
// store does: a QoS 2 message counts at PUBLISH, once for each identifier.
type ear struct {
	id   string
	qos  byte
	v    byte
	got  map[string]int
	last map[string]int
	held map[uint16]bool
}

func (e *ear) run(t *testing.T, addr string, enough func() bool) {
	c := tryDial(addr, e.v)
	if c == nil {
		return
	}
	c.t = t
	defer c.close()
	if !c.tryConnect(e.id) {
		return
	}
	c.sendSub("load/#", e.qos|2<<4*(c.v/5), 0)
	for !enough() {
		p, ok := c.tryRead()
		if !ok {
			return
		}
		switch p.kind {
		case pPubrel:
			delete(e.held, p.id)
			c.nc.Write([]byte{pPubcomp << 4, 2, byte(p.id >> 8), byte(p.id)})
		case pPublish:
			if p.qos == 2 && !e.held[p.id] || p.qos < 2 {
				e.note(t, p)
			}
			if p.qos == 2 {
				e.held[p.id] = true
				c.nc.Write([]byte{pPubrec << 4, 2, byte(p.id >> 8), byte(p.id)})
			} else if p.qos == 1 {
				c.nc.Write([]byte{pPuback << 4, 2, byte(p.id >> 8), byte(p.id)})
			}
		}
	}
}

func (e *ear) note(t *testing.T, p packet) {
	var from string
	var n int
	fmt.Sscanf(p.payload, "%s %d", &from, &n)
	e.got[p.payload]++
	if e.got[p.payload] > 1 && p.qos == 2 {
		t.Errorf("%s got %q %d times", e.id, p.payload, e.got[p.payload])
	}
	if n > e.last[from]+1 && !p.dup {
		t.Errorf("%s got %q after %d: one is missing", e.id, p.payload, e.last[from])
	}
	e.last[from] = max(e.last[from], n)
}

func tryDial(addr string, v byte) *client {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return nil
	}
	return &client{v: v, nc: nc, r: bufio.NewReader(nc)}
}

func (c *client) tryConnect(id string) bool {
	w := connectBytes(c.v, id)
	if _, err := c.nc.Write(w); err != nil {
		return false
	}
	p, ok := c.tryRead()
	return ok && p.kind == pConnack && p.code == 0
}

// connectBytes is a CONNECT for a persistent session.
func connectBytes(v byte, id string) []byte {
	b := append(appendText(nil, "MQTT"), v, 0, 0, 0)
	if v == v5 {
		b = appendU32(append(b, 5, propSessionExpiry), 3600)
	}
	b = appendText(b, id)
	return append(appendVarint([]byte{pConnect << 4}, len(b)), b...)
}

func (c *client) tryPub(m msg) bool {
	d := delivery{qos: m.qos, dup: m.dup, retain: m.retain, id: m.id}
	_, err := c.nc.Write(appendPublish(nil, c.v, &body{topic: m.topic, payload: []byte(m.payload)}, &d))
	return err == nil
}

// tryRead returns false when the connection ends.
func (c *client) tryRead() (packet, bool) {
	c.nc.SetReadDeadline(time.Now().Add(patience))
	if _, err := c.r.Peek(1); err != nil {
		return packet{}, false
	}
	first, n, err := readHeader(c.r)
	if err != nil {
		return packet{}, false
	}
	b := make([]byte, n)
	for got := 0; got < n; {
		k, err := c.r.Read(b[got:])
		if err != nil {
			return packet{}, false
		}
		got += k
	}
	p := packet{kind: first >> 4}
	switch p.kind {
	case pConnack:
		p.code = b[1]
	case pPublish:
		x, err := parsePublish(first, b, c.v)
		if err != nil {
			return p, false
		}
		p.id, p.qos, p.dup, p.retain, p.topic, p.payload = x.id, x.qos, x.dup, x.retain, x.topic, string(x.payload)
	case pPuback, pPubrec, pPubrel, pPubcomp:
		a, err := parseAnswer(p.kind, b, c.v)
		if err != nil {
			return p, false
		}
		p.id, p.code = a.id, byte(a.code)
	}
	return p, true
}

func newTalkersAndEars() ([]*talker, []*ear) {
	talkers := []*talker{{id: "one", qos: 1, v: v311}, {id: "two", qos: 2, v: v5}, {id: "three", qos: 2, v: v311}, {id: "four", qos: 1, v: v5, retains: true}}
	var ears []*ear
	for i, q := range []byte{1, 2, 2} {
		ears = append(ears, &ear{id: fmt.Sprintf("ear%d", i), qos: q, v: []byte{v5, v311, v5}[i],
			got: make(map[string]int), last: make(map[string]int), held: make(map[uint16]bool)})
	}
	return talkers, ears
}

// round lets everybody talk and listen with one broker until it ends. The ears
// connect first, so that they have sessions for all that is published.
func round(t *testing.T, addr string, talkers []*talker, ears []*ear, end func()) {
	never := func() bool { return false }
	var all sync.WaitGroup
	for _, e := range ears {
		all.Go(func() { e.run(t, addr, never) })
	}
	for _, k := range talkers {
		all.Go(func() { k.run(t, addr) })
	}
	end()
	all.Wait()
}

// settled lets the ears hear out what is left, and checks that they got all that
// was acknowledged, and each talker's retained message is its last or later.
func settled(t *testing.T, addr string, talkers []*talker, ears []*ear) {
	t.Helper()
	var all sync.WaitGroup
	for _, e := range ears {
		done := func() bool {
			for _, k := range talkers {
				if e.last[k.id] < k.acked {
					return false
				}
			}
			return true
		}
		all.Go(func() {
			if !done() {
				e.run(t, addr, done)
			}
		})
	}
	all.Wait()
	for _, e := range ears {
		for _, k := range talkers {
			for n := 1; n <= k.acked; n++ {
				if e.got[fmt.Sprintf("%s %d", k.id, n)] == 0 {
					t.Errorf("%s did not get %s %d, which was acknowledged", e.id, k.id, n)
				}
			}
		}
	}
	c := tryDial(addr, v5)
	defer c.close()
	c.t = t
	if !c.tryConnect("look") {
		t.Fatal("no connection")
	}
	for _, k := range talkers {
		if !k.retains || k.acked == 0 {
			continue
		}
		c.sendSub("load/"+k.id, 0, 0)
		p := c.until(pPublish)
		var n int
		if fmt.Sscanf(p.payload, k.id+" %d", &n); n < k.acked || !p.retain {
			t.Errorf("%q is retained, %d was acknowledged", p.payload, k.acked)
		}
	}
}

func (c *client) until(kind byte) packet {
	c.t.Helper()
	for {
		p, ok := c.tryRead()
		if !ok {
			c.t.Fatalf("no packet of type %d", kind)
		}
		if p.kind == kind {
			return p
		}
	}
}

// enrol makes the ears' sessions before anybody talks.
func enrol(t *testing.T, addr string, ears []*ear) {
	t.Helper()
	for _, e := range ears {
		c := tryDial(addr, e.v)
		c.t = t
		if !c.tryConnect(e.id) {
			t.Fatal("no connection")
		}
		c.sendSub("load/#", e.qos, 0)
		c.until(pSuback)
		c.close()
	}
}
