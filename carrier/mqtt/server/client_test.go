package server

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	five "github.com/eclipse/paho.golang/packets"
	three "github.com/eclipse/paho.mqtt.golang/packets"
)

// A client speaks packet by packet, encoded and decoded by other people's code.
type client struct {
	t  testing.TB
	v  byte
	nc net.Conn
	r  *bufio.Reader

	saved []packet // read while looking for another
}

// A packet is what came, in either version.
type packet struct {
	kind, code     byte
	codes          []byte
	id             uint16
	qos            byte
	dup, retain    bool
	present        bool
	topic, payload string
	props          *five.Properties
}

func (b *broker) dial(v byte) *client { return dial(b.t, b.addr, v) }

func dial(t testing.TB, addr string, v byte) *client {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	c := &client{t: t, v: v, nc: nc, r: bufio.NewReader(nc)}
	t.Cleanup(c.close)
	return c
}

func (c *client) close() { c.nc.Close() }

// who is what a client says in CONNECT.
type who struct {
	id          string
	clean       bool
	expiry      uint32 // MQTT 5; with 3.1.1, clean alone decides
	keepAlive   uint16
	user, pass  string
	will        string // topic
	willPayload string
	willQoS     byte
	willRetain  bool
	willDelay   uint32
	receiveMax  uint16
	maxPacket   uint32
}

func (c *client) write(p interface {
	WriteTo(io.Writer) (int64, error)
}) {
	c.t.Helper()
	var b bytes.Buffer
	p.WriteTo(&b)
	c.bytes(b.Bytes())
}

func (c *client) write3(p three.ControlPacket) {
	c.t.Helper()
	var b bytes.Buffer
	p.Write(&b)
	c.bytes(b.Bytes())
}

func (c *client) bytes(b []byte) {
	c.t.Helper()
	c.nc.SetWriteDeadline(time.Now().Add(patience))
	if _, err := c.nc.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

// hello sends a CONNECT and returns the answer.
func (c *client) hello(w who) packet {
	c.t.Helper()
	c.sendConnect(w)
	return c.want(pConnack)
}

func (c *client) sendConnect(w who) {
	c.t.Helper()
	if c.v != v5 {
		p := three.NewControlPacket(three.Connect).(*three.ConnectPacket)
		p.ProtocolName, p.ProtocolVersion = "MQTT", c.v
		if c.v == v31 {
			p.ProtocolName = "MQIsdp"
		}
		p.ClientIdentifier, p.CleanSession, p.Keepalive = w.id, w.clean, w.keepAlive
		p.UsernameFlag, p.Username, p.PasswordFlag, p.Password = w.user != "", w.user, w.pass != "", []byte(w.pass)
		p.WillFlag, p.WillTopic, p.WillMessage, p.WillQos, p.WillRetain = w.will != "", w.will, []byte(w.willPayload), w.willQoS, w.willRetain
		c.write3(p)
		return
	}
	p := &five.Connect{ProtocolName: "MQTT", ProtocolVersion: v5, ClientID: w.id, CleanStart: w.clean, KeepAlive: w.keepAlive,
		UsernameFlag: w.user != "", Username: w.user, PasswordFlag: w.pass != "", Password: []byte(w.pass),
		WillFlag: w.will != "", WillTopic: w.will, WillMessage: []byte(w.willPayload), WillQOS: w.willQoS, WillRetain: w.willRetain,
		Properties: &five.Properties{}, WillProperties: &five.Properties{}}
	if w.expiry > 0 {
		p.Properties.SessionExpiryInterval = &w.expiry
	}
	if w.receiveMax > 0 {
		p.Properties.ReceiveMaximum = &w.receiveMax
	}
	if w.maxPacket > 0 {
		p.Properties.MaximumPacketSize = &w.maxPacket
	}
	if w.willDelay > 0 {
		p.WillProperties.WillDelayInterval = &w.willDelay
	}
	c.write(p)
}

// ok connects and fails the test if that is refused.
func (c *client) ok(w who) packet {
	c.t.Helper()
	p := c.hello(w)
	if p.code != 0 {
		c.t.Fatalf("CONNACK 0x%02x", p.code)
	}
	return p
}

// in dials and connects.
func (b *broker) in(v byte, w who) *client {
	b.t.Helper()
	c := b.dial(v)
	c.ok(w)
	return c
}

// read returns the next packet; kind 0 is the end of the connection.
func (c *client) read() packet {
	c.t.Helper()
	if len(c.saved) > 0 {
		p := c.saved[0]
		c.saved = c.saved[1:]
		return p
	}
	c.nc.SetReadDeadline(time.Now().Add(patience))
	first, err := c.r.Peek(1)
	if err != nil {
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			c.t.Fatal("nothing comes")
		}
		return packet{}
	}
	p := packet{kind: first[0] >> 4}
	if c.v != v5 {
		cp, err := three.ReadPacket(c.r)
		if err != nil {
			c.t.Fatalf("reading a packet of type %d: %v", p.kind, err)
		}
		p.id = cp.Details().MessageID
		switch x := cp.(type) {
		case *three.ConnackPacket:
			p.code, p.present = x.ReturnCode, x.SessionPresent
		case *three.SubackPacket:
			p.codes = x.ReturnCodes
		case *three.PublishPacket:
			p.topic, p.payload, p.qos, p.dup, p.retain = x.TopicName, string(x.Payload), x.Qos, x.Dup, x.Retain
		}
		return p
	}
	cp, err := five.ReadPacket(c.r)
	if err != nil {
		c.t.Fatalf("reading a packet of type %d: %v", p.kind, err)
	}
	p.id = cp.PacketID()
	switch x := cp.Content.(type) {
	case *five.Connack:
		p.code, p.present, p.props = x.ReasonCode, x.SessionPresent, x.Properties
	case *five.Suback:
		p.codes = x.Reasons
	case *five.Unsuback:
		p.codes = x.Reasons
	case *five.Puback:
		p.code, p.props = x.ReasonCode, x.Properties
	case *five.Pubrec:
		p.code, p.props = x.ReasonCode, x.Properties
	case *five.Pubrel:
		p.code = x.ReasonCode
	case *five.Pubcomp:
		p.code = x.ReasonCode
	case *five.Disconnect:
		p.code = x.ReasonCode
	case *five.Publish:
		p.topic, p.payload, p.qos, p.dup, p.retain, p.props = x.Topic, string(x.Payload), x.QoS, x.Duplicate, x.Retain, x.Properties
	}
	return p
}

// want returns the next packet, which must be of this kind.
func (c *client) want(kind byte) packet {
	c.t.Helper()
	p := c.read()
	if p.kind != kind {
		c.t.Fatalf("a packet of type %d came (%+v), not %d", p.kind, p, kind)
	}
	return p
}

// end checks that the broker ends the connection, with this reason if MQTT 5 tells.
func (c *client) end(why code) {
	c.t.Helper()
	if c.v == v5 {
		if p := c.want(pDisconnect); p.code != byte(why) {
			c.t.Fatalf("DISCONNECT 0x%02x, not 0x%02x", p.code, byte(why))
		}
	}
	c.want(0)
}

// quiet checks that nothing is on its way: the answer to a ping comes first.
func (c *client) quiet() {
	c.t.Helper()
	c.bytes([]byte{pPingreq << 4, 0})
	c.want(pPingresp)
}

// A message is what pub publishes.
type msg struct {
	topic, payload string
	qos            byte
	id             uint16
	retain, dup    bool
	props          *five.Properties
}

func (c *client) pub(m msg) {
	c.t.Helper()
	if c.v != v5 {
		p := three.NewControlPacket(three.Publish).(*three.PublishPacket)
		p.TopicName, p.Payload, p.Qos, p.MessageID, p.Retain, p.Dup = m.topic, []byte(m.payload), m.qos, m.id, m.retain, m.dup
		c.write3(p)
		return
	}
	props := m.props
	if props == nil {
		props = &five.Properties{}
	}
	cp := five.NewControlPacket(five.PUBLISH)
	cp.Content = &five.Publish{Topic: m.topic, Payload: []byte(m.payload), QoS: m.qos, PacketID: m.id, Retain: m.retain, Duplicate: m.dup, Properties: props}
	c.write(cp)
}

// say publishes and waits until the broker has taken it.
func (c *client) say(m msg) {
	c.t.Helper()
	if m.qos > 0 && m.id == 0 {
		m.id = 1
	}
	c.pub(m)
	switch m.qos {
	case 0:
		c.quiet()
	case 1:
		if p := c.want(pPuback); p.code >= 0x80 || p.id != m.id {
			c.t.Fatalf("PUBACK %+v", p)
		}
	case 2:
		if p := c.want(pPubrec); p.code >= 0x80 || p.id != m.id {
			c.t.Fatalf("PUBREC %+v", p)
		}
		c.answer(pPubrel, m.id)
		if p := c.want(pPubcomp); p.code != 0 || p.id != m.id {
			c.t.Fatalf("PUBCOMP %+v", p)
		}
	}
}

// answer sends PUBACK, PUBREC, PUBREL or PUBCOMP.
func (c *client) answer(kind byte, id uint16) {
	c.t.Helper()
	first := kind << 4
	if kind == pPubrel {
		first |= 2
	}
	c.bytes([]byte{first, 2, byte(id >> 8), byte(id)})
}

// sub subscribes to one filter, with the options as in SUBSCRIBE, and returns the
// code of the answer.
func (c *client) sub(filter string, options byte) byte {
	c.t.Helper()
	c.sendSub(filter, options, 0)
	return c.want(pSuback).codes[0]
}

func (c *client) sendSub(filter string, options byte, subID int) {
	c.t.Helper()
	b := appendU16(nil, 77)
	if c.v == v5 {
		if subID == 0 {
			b = append(b, 0)
		} else {
			id := appendVarint([]byte{propSubscriptionID}, subID)
			b = append(appendVarint(b, len(id)), id...)
		}
	}
	b = append(appendText(b, filter), options)
	c.bytes(append(appendVarint([]byte{pSubscribe<<4 | 2}, len(b)), b...))
}

func (c *client) unsub(filter string) packet {
	c.t.Helper()
	b := appendU16(nil, 78)
	if c.v == v5 {
		b = append(b, 0)
	}
	b = appendText(b, filter)
	c.bytes(append(appendVarint([]byte{pUnsubscribe<<4 | 2}, len(b)), b...))
	return c.want(pUnsuback)
}

func (c *client) bye() {
	c.t.Helper()
	c.bytes([]byte{pDisconnect << 4, 0})
	c.want(0)
}

// got checks the next packet, a PUBLISH, and answers it.
func (c *client) got(topic, payload string, qos byte) packet {
	c.t.Helper()
	p := c.want(pPublish)
	if p.topic != topic || p.payload != payload || p.qos != qos {
		c.t.Fatalf("%q on %q, QoS %d, came; not %q on %q, QoS %d", p.payload, p.topic, p.qos, payload, topic, qos)
	}
	switch qos {
	case 1:
		c.answer(pPuback, p.id)
	case 2:
		c.answer(pPubrec, p.id)
		var others []packet
		for {
			rel := c.read()
			if rel.kind == pPubrel && rel.id == p.id {
				break
			}
			if others = append(others, rel); rel.kind == 0 {
				c.t.Fatal("no PUBREL")
			}
		}
		c.saved = append(others, c.saved...)
		c.answer(pPubcomp, p.id)
	}
	return p
}
