package client

import (
	"bytes"
	"errors"

	"github.com/eclipse/paho.golang/packets"

	"parley/carrier/mqtt"
)

// codec5 is MQTT 5 by the packets of Eclipse Paho.
type codec5 struct{}

func (codec5) version() int { return mqtt.V5 }

func (codec5) encode(p *packet) ([]byte, error) {
	var c packets.ControlPacket
	c.Type = byte(p.kind)
	switch p.kind {
	case kConnect:
		c.Content = connect5(p.connect)
	case kPublish:
		c.Content = &packets.Publish{
			Payload: p.msg.Payload, Topic: p.msg.Topic, PacketID: p.id,
			QoS: p.msg.QoS, Duplicate: p.msg.Duplicate, Retain: p.msg.Retain,
		}
	case kPuback:
		c.Content = &packets.Puback{PacketID: p.id}
	case kPubrec:
		c.Content = &packets.Pubrec{PacketID: p.id}
	case kPubrel:
		c.Flags = 2
		c.Content = &packets.Pubrel{PacketID: p.id, ReasonCode: byte(p.code)}
	case kPubcomp:
		c.Content = &packets.Pubcomp{PacketID: p.id}
	case kSubscribe:
		c.Flags = 2
		o := packets.SubOptions{Topic: p.filter, QoS: p.qos}
		if p.again {
			o.RetainHandling = packets.RetainSendOnSubscribeIfNew
		}
		c.Content = &packets.Subscribe{PacketID: p.id, Subscriptions: []packets.SubOptions{o}}
	case kUnsubscribe:
		c.Flags = 2
		c.Content = &packets.Unsubscribe{PacketID: p.id, Topics: []string{p.filter}}
	case kPingreq:
		c.Content = &packets.Pingreq{}
	case kDisconnect:
		d := &packets.Disconnect{ReasonCode: byte(p.code)}
		if p.endNow {
			d.Properties = &packets.Properties{SessionExpiryInterval: new(uint32)}
		}
		c.Content = d
	default:
		return nil, errors.New("no packet of a client")
	}
	var b bytes.Buffer
	_, err := c.WriteTo(&b)
	return b.Bytes(), err
}

func connect5(c *connect) *packets.Connect {
	p := &packets.Connect{
		ProtocolName: "MQTT", ProtocolVersion: mqtt.V5,
		ClientID: c.clientID, CleanStart: c.clean, KeepAlive: c.keepAlive,
		Username: c.user, UsernameFlag: c.user != "",
		Password: []byte(c.password), PasswordFlag: c.password != "",
		Properties: &packets.Properties{ReceiveMaximum: &c.window, MaximumPacketSize: &c.maxPacket},
	}
	if c.expiry > 0 {
		p.Properties.SessionExpiryInterval = &c.expiry
	}
	if w := c.will; w != nil {
		p.WillFlag, p.WillTopic, p.WillMessage = true, w.Topic, w.Payload
		p.WillQOS, p.WillRetain, p.WillProperties = w.QoS, w.Retain, &packets.Properties{}
	}
	return p
}

func (codec5) decode(frame []byte) (*packet, error) {
	k := kind(frame[0] >> 4)
	switch {
	case k == kDisconnect && len(frame) == 2:
		return &packet{kind: k}, nil // the reason may be left out (§3.14.2.1)
	case k == kConnack && len(frame) == 4:
		// A broker of 3.1.1 answers in its own way, and could not mean yes.
		p, err := codec311{}.decode(frame)
		if err == nil && p.code == 0 {
			p.code = reasonVersion
		}
		return p, err
	}
	r := bytes.NewReader(frame)
	c, err := packets.ReadPacket(r)
	if err != nil {
		return nil, err
	}
	if r.Len() > 0 {
		return nil, errWire
	}
	p := &packet{kind: k}
	switch x := c.Content.(type) {
	case *packets.Connack:
		p.code, p.present, p.limits = reason(x.ReasonCode), x.SessionPresent, limits5(x.Properties)
	case *packets.Publish:
		if x.Properties != nil && x.Properties.TopicAlias != nil {
			return nil, errWire // we allow none
		}
		p.id = x.PacketID
		p.msg = Message{Topic: x.Topic, Payload: x.Payload, QoS: x.QoS, Retain: x.Retain, Duplicate: x.Duplicate}
	case *packets.Puback:
		p.id, p.code = x.PacketID, reason(x.ReasonCode)
	case *packets.Pubrec:
		p.id, p.code = x.PacketID, reason(x.ReasonCode)
	case *packets.Pubrel:
		p.id, p.code = x.PacketID, reason(x.ReasonCode)
	case *packets.Pubcomp:
		p.id, p.code = x.PacketID, reason(x.ReasonCode)
	case *packets.Suback:
		p.id, p.codes = x.PacketID, x.Reasons
	case *packets.Unsuback:
		p.id, p.codes = x.PacketID, x.Reasons
	case *packets.Disconnect:
		p.code = reason(x.ReasonCode)
	}
	return p, nil
}

func limits5(p *packets.Properties) limits {
	l := noLimits()
	if p == nil {
		return l
	}
	if p.MaximumPacketSize != nil && *p.MaximumPacketSize > 0 {
		l.maxPacket = int(min(*p.MaximumPacketSize, maxRemaining))
	}
	if p.ReceiveMaximum != nil && *p.ReceiveMaximum > 0 {
		l.window = min(l.window, int(*p.ReceiveMaximum))
	}
	if p.MaximumQOS != nil {
		l.maxQoS = min(l.maxQoS, *p.MaximumQOS)
	}
	l.noRetain = p.RetainAvailable != nil && *p.RetainAvailable == 0
	if p.ServerKeepAlive != nil {
		l.keepAlive = int(*p.ServerKeepAlive)
	}
	return l
}
