package server

import (
	"bufio"
	"errors"
	"io"
	"unicode/utf8"
)

// Types of packets (MQTT 5 §2.1.2).
const (
	pConnect     = 1
	pConnack     = 2
	pPublish     = 3
	pPuback      = 4
	pPubrec      = 5
	pPubrel      = 6
	pPubcomp     = 7
	pSubscribe   = 8
	pSuback      = 9
	pUnsubscribe = 10
	pUnsuback    = 11
	pPingreq     = 12
	pPingresp    = 13
	pDisconnect  = 14
	pAuth        = 15
	inWill       = 16 // no packet: where properties of a will stand
)

// Protocol levels in CONNECT.
const (
	v31  = 3
	v311 = 4
	v5   = 5
)

// A code is a reason code of MQTT 5 (§2.4). As an error it ends the connection.
type code byte

const (
	success           code = 0x00
	noSubscribers     code = 0x10
	noSubscription    code = 0x11
	withWill          code = 0x04
	unspecified       code = 0x80
	malformed         code = 0x81
	protocolError     code = 0x82
	badVersion        code = 0x84
	badClientID       code = 0x85
	badLogin          code = 0x86
	notAuthorized     code = 0x87
	unavailable       code = 0x88
	serverBusy        code = 0x89
	shuttingDown      code = 0x8B
	badAuthMethod     code = 0x8C
	keepAliveTimeout  code = 0x8D
	takenOver         code = 0x8E
	badFilter         code = 0x8F
	badTopic          code = 0x90
	idNotFound        code = 0x92
	tooManyUnanswered code = 0x93
	badAlias          code = 0x94
	tooLarge          code = 0x95
	quotaExceeded     code = 0x97
	noShared          code = 0x9E
)

func (c code) Error() string { return "mqtt: reason code 0x" + hexByte(byte(c)) }

func hexByte(b byte) string {
	const digits = "0123456789abcdef"
	return string([]byte{digits[b>>4], digits[b&15]})
}

// maxRemaining is the largest remaining length that four bytes hold.
const maxRemaining = 1<<28 - 1

// readHeader reads the fixed header: the first byte and how many bytes follow
// it. Lengths that are written longer than need be are taken, as devices with a
// field of fixed width send them.
func readHeader(r *bufio.Reader) (first byte, n int, err error) {
	if first, err = r.ReadByte(); err != nil {
		return 0, 0, err
	}
	for shift := 0; ; shift += 7 {
		b, err := r.ReadByte()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return 0, 0, err
		}
		n |= int(b&0x7f) << shift
		if b < 0x80 {
			return first, n, nil
		}
		if shift == 21 {
			return 0, 0, malformed
		}
	}
}

// A reader takes a packet apart. The first thing that is wrong stays in err, and
// all later reads yield zero.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(c code) {
	if r.err == nil {
		r.err = c
	}
	r.b = nil
}

func (r *reader) take(n int) []byte {
	if n > len(r.b) {
		r.fail(malformed)
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) u8() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if b := r.take(2); b != nil {
		return uint16(b[0])<<8 | uint16(b[1])
	}
	return 0
}

func (r *reader) u32() uint32 {
	hi := r.u16()
	return uint32(hi)<<16 | uint32(r.u16())
}

// packetID reads an identifier, which is never 0.
func (r *reader) packetID() uint16 {
	id := r.u16()
	if id == 0 && r.err == nil {
		r.fail(protocolError)
	}
	return id
}

// data reads binary data behind its length; it stays a part of the packet.
func (r *reader) data() []byte { return r.take(int(r.u16())) }

// text reads a string: UTF-8 without NUL (MQTT 5 §1.5.4).
func (r *reader) text() string {
	b := r.data()
	if !utf8.Valid(b) {
		r.fail(malformed)
		return ""
	}
	for _, c := range b {
		if c == 0 {
			r.fail(malformed)
			return ""
		}
	}
	return string(b)
}

// varint reads a variable byte integer in its shortest form (MQTT 5 §1.5.5).
func (r *reader) varint() int {
	n := 0
	for shift := 0; shift <= 21; shift += 7 {
		b := r.u8()
		n |= int(b&0x7f) << shift
		if b < 0x80 {
			if b == 0 && shift > 0 {
				r.fail(malformed)
			}
			return n
		}
	}
	r.fail(malformed)
	return 0
}

// end checks that nothing is left.
func (r *reader) end() error {
	if r.err == nil && len(r.b) > 0 {
		r.err = malformed
	}
	return r.err
}

func appendU16(b []byte, n uint16) []byte { return append(b, byte(n>>8), byte(n)) }
func appendU32(b []byte, n uint32) []byte {
	return append(b, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
}
func appendText(b []byte, s string) []byte { return append(appendU16(b, uint16(len(s))), s...) }

func appendVarint(b []byte, n int) []byte {
	for n >= 0x80 {
		b = append(b, byte(n)|0x80)
		n >>= 7
	}
	return append(b, byte(n))
}

func varintLen(n int) int {
	size := 1
	for n >= 0x80 {
		size++
		n >>= 7
	}
	return size
}
