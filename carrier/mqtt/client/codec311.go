package client

import (
	"bytes"
	"errors"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"parley/carrier/mqtt"
)

// codec311 is MQTT 3.1.1 by the packets of Eclipse Paho.
type codec311 struct{}

func (codec311) version() int { return mqtt.V311 }

func (codec311) encode(p *packet) ([]byte, error) {
	c := packets.NewControlPacket(byte(p.kind))
	switch x := c.(type) {
	case *packets.ConnectPacket:
		connect311(x, p.connect)
	case *packets.PublishPacket:
		x.TopicName, x.Payload, x.MessageID = p.msg.Topic, p.msg.Payload, p.id
		x.Qos, x.Dup, x.Retain = p.msg.QoS, p.msg.Duplicate, p.msg.Retain
	case *packets.PubackPacket:
		x.MessageID = p.id
	case *packets.PubrecPacket:
		x.MessageID = p.id
	case *packets.PubrelPacket:
		x.MessageID = p.id
	case *packets.PubcompPacket:
		x.MessageID = p.id
	case *packets.SubscribePacket:
		x.MessageID, x.Topics, x.Qoss = p.id, []string{p.filter}, []byte{p.qos}
	case *packets.UnsubscribePacket:
		x.MessageID, x.Topics = p.id, []string{p.filter}
	case *packets.PingreqPacket, *packets.DisconnectPacket:
	default:
		return nil, errors.New("no packet of a client")
	}
	var b bytes.Buffer
	err := c.Write(&b)
	return b.Bytes(), err
}

func connect311(x *packets.ConnectPacket, c *connect) {
	x.ProtocolName, x.ProtocolVersion = "MQTT", mqtt.V311
	x.ClientIdentifier, x.CleanSession, x.Keepalive = c.clientID, c.clean, c.keepAlive
	x.Username, x.UsernameFlag = c.user, c.user != ""
	x.Password, x.PasswordFlag = []byte(c.password), c.password != ""
	if w := c.will; w != nil {
		x.WillFlag, x.WillTopic, x.WillMessage = true, w.Topic, w.Payload
		x.WillQos, x.WillRetain = w.QoS, w.Retain
	}
}

func (codec311) decode(frame []byte) (*packet, error) {
	p := &packet{kind: kind(frame[0] >> 4)}
	// The library reads numbers without looking whether they are there.
	if least := shortest[p.kind&15]; len(frame) < least {
		return nil, errWire
	}
	r := bytes.NewReader(frame)
	c, err := packets.ReadPacket(r)
	if err != nil {
		return nil, err
	}
	if r.Len() > 0 {
		return nil, errWire
	}
	switch x := c.(type) {
	case *packets.ConnackPacket:
		p.present, p.limits = x.SessionPresent, noLimits()
		p.code = connack311(x.ReturnCode)
	case *packets.PublishPacket:
		p.id = x.MessageID
		p.msg = Message{Topic: x.TopicName, Payload: x.Payload, QoS: x.Qos, Retain: x.Retain, Duplicate: x.Dup}
	case *packets.PubackPacket:
		p.id = x.MessageID
	case *packets.PubrecPacket:
		p.id = x.MessageID
	case *packets.PubrelPacket:
		p.id = x.MessageID
	case *packets.PubcompPacket:
		p.id = x.MessageID
	case *packets.SubackPacket:
		p.id, p.codes = x.MessageID, x.ReturnCodes
	case *packets.UnsubackPacket:
		p.id = x.MessageID
	}
	return p, nil
}

// shortest has the length of each kind's shortest packet, 2 if it is not here.
var shortest = [16]int{kConnack: 4, kPublish: 5, kPuback: 4, kPubrec: 4, kPubrel: 4, kPubcomp: 4, kSuback: 5, kUnsuback: 4}

// connack311 translates the return codes of 3.1.1 (§3.2.2.3).
func connack311(code byte) reason {
	switch code {
	case 0:
		return 0
	case 1:
		return reasonVersion
	case 2:
		return reasonClientID
	case 3:
		return reasonUnavailable
	case 4:
		return reasonPassword
	case 5:
		return reasonDenied
	}
	return reasonUnspecified
}
