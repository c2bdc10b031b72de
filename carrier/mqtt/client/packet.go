package client

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"parley/carrier/mqtt"
)

// A kind is the type of a control packet (MQTT 5 §2.1.2); both versions number
// them alike.
type kind byte

const (
	kConnect kind = iota + 1
	kConnack
	kPublish
	kPuback
	kPubrec
	kPubrel
	kPubcomp
	kSubscribe
	kSuback
	kUnsubscribe
	kUnsuback
	kPingreq
	kPingresp
	kDisconnect
)

// A packet is a control packet of either version: what the two codecs make of
// bytes and bytes of. A field that the kind has not is zero.
type packet struct {
	kind kind
	id   uint16
	code reason // 3.1.1's codes are translated

	msg    Message // of PUBLISH
	filter string  // of SUBSCRIBE and UNSUBSCRIBE
	qos    byte    // of SUBSCRIBE
	again  bool    // SUBSCRIBE that only restores: no retained messages, where that can be said
	codes  []byte  // of SUBACK and UNSUBACK

	connect *connect
	present bool // CONNACK: the broker remembers our session
	limits  limits
	endNow  bool // DISCONNECT: and forget the session
}

// connect is what CONNECT says.
type connect struct {
	clientID       string
	user, password string
	clean          bool
	keepAlive      uint16 // seconds
	expiry         uint32 // seconds; 5 only
	window         uint16 // 5 only
	maxPacket      uint32 // 5 only
	will           *Message
}

// limits are what a broker says in CONNACK that it can take.
type limits struct {
	maxPacket int
	window    int
	maxQoS    byte
	noRetain  bool
	keepAlive int // seconds; -1 if it says nothing
}

func noLimits() limits {
	return limits{maxPacket: maxRemaining, window: 1000, maxQoS: 2, keepAlive: -1}
}

// A codec is one version of the protocol on the wire.
type codec interface {
	encode(*packet) ([]byte, error)
	// decode takes one whole packet, with its fixed header.
	decode(frame []byte) (*packet, error)
	version() int
}

func codecOf(version int) codec {
	if version == mqtt.V311 {
		return codec311{}
	}
	return codec5{}
}

// maxRemaining is the largest remaining length that can be written (§2.1.4).
const maxRemaining = 268435455

var (
	errWire = errors.New("the broker sends what is not MQTT")
	errLong = errors.New("the broker sends a packet that is too large")
)

// readFrame reads one packet of at most most bytes after its fixed header. Of a
// longer PUBLISH it reads everything, throws the payload away and returns big and
// a PUBLISH without payload: the broker would send it again for ever if it were
// not acknowledged. Memory grows with what arrives, not with what is promised.
func readFrame(r *bufio.Reader, most int, v5 bool) (frame []byte, big bool, err error) {
	first, err := r.ReadByte()
	if err != nil {
		return nil, false, err
	}
	n, head := 0, []byte{first}
	for shift := 0; ; shift += 7 {
		if shift > 21 {
			return nil, false, errWire
		}
		b, err := r.ReadByte()
		if err != nil {
			return nil, false, unexpected(err)
		}
		head = append(head, b)
		n |= int(b&0x7f) << shift
		if b < 0x80 {
			break
		}
	}
	if n > most {
		if kind(first>>4) != kPublish {
			return nil, false, errLong
		}
		frame, err = skipPublish(r, first, n, v5)
		return frame, true, err
	}
	var buf bytes.Buffer
	buf.Write(head)
	if _, err := io.CopyN(&buf, r, int64(n)); err != nil {
		return nil, false, unexpected(err)
	}
	return buf.Bytes(), false, nil
}

// skipPublish makes a short PUBLISH of one that is too long: topic and packet
// identifier without the rest.
func skipPublish(r *bufio.Reader, first byte, n int, v5 bool) ([]byte, error) {
	var two [2]byte
	if _, err := io.ReadFull(r, two[:]); err != nil {
		return nil, unexpected(err)
	}
	rest := int(binary.BigEndian.Uint16(two[:]))
	if first&6 != 0 {
		rest += 2 // the identifier
	}
	if rest+2 > n {
		return nil, errWire
	}
	body := append(make([]byte, 0, rest+3), two[:]...)
	body = body[:2+rest]
	if _, err := io.ReadFull(r, body[2:]); err != nil {
		return nil, unexpected(err)
	}
	if _, err := io.CopyN(io.Discard, r, int64(n-2-rest)); err != nil {
		return nil, unexpected(err)
	}
	if v5 {
		body = append(body, 0) // no properties
	}
	frame := []byte{first}
	for l := len(body); ; l >>= 7 {
		if l < 0x80 {
			frame = append(frame, byte(l))
			break
		}
		frame = append(frame, byte(l)|0x80)
	}
	return append(frame, body...), nil
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// decode is a codec's decode for bytes of a broker that may mean harm: what the
// library makes of them is checked, and should it panic, that is an error too.
func decode(c codec, frame []byte) (p *packet, err error) {
	defer func() {
		if v := recover(); v != nil {
			p, err = nil, fmt.Errorf("%w (%v)", errWire, v)
		}
	}()
	p, err = c.decode(frame)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errWire, err)
	}
	return p, p.check()
}

// check refuses what no broker may send.
func (p *packet) check() error {
	switch p.kind {
	case kPublish:
		if p.msg.QoS > 2 || p.msg.QoS > 0 && p.id == 0 || mqtt.CheckTopic(p.msg.Topic) != nil {
			return errWire
		}
	case kPuback, kPubrec, kPubrel, kPubcomp, kUnsuback:
		if p.id == 0 {
			return errWire
		}
	case kSuback:
		if p.id == 0 || len(p.codes) != 1 {
			return errWire
		}
	case kConnack, kPingresp, kDisconnect:
	default:
		return errWire
	}
	return nil
}
