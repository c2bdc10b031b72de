package stringphone

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
)

// HeaderSize is the size of the header before the body of each message in a
// Headed or ForwardSecret topic. The original's devices, where they can decrypt,
// show it as a prefix.
const HeaderSize = 58

const (
	headerMagic   = "PSP1"
	headerVersion = 1
)

// Kinds of messages.
const (
	kindBody     = 0
	kindRotation = 1
	kindAnnounce = 2
)

// A header binds a message to its sender, topic and place.
type header struct {
	kind    byte
	sender  ID
	topic   [16]byte
	epoch   uint32
	counter uint64 // grows with each message of the sender, never below its clock
	time    uint64 // Unix ms
}

// topicHash is what headers name a topic by: 16 bytes.
func topicHash(name string) [16]byte {
	sum := sha256.Sum256([]byte("parley/stringphone topic\x00" + name))
	return [16]byte(sum[:16])
}

// appendTo writes: 0 magic "PSP1", 4 version 1, 5 kind, 6 sender ID, 22 topic
// hash, 38 epoch u32, 42 counter u64, 50 time u64; all big endian.
func (h *header) appendTo(b []byte) []byte {
	b = append(b, headerMagic...)
	b = append(b, headerVersion, h.kind)
	b = append(append(b, h.sender[:]...), h.topic[:]...)
	b = binary.BigEndian.AppendUint32(b, h.epoch)
	b = binary.BigEndian.AppendUint64(b, h.counter)
	return binary.BigEndian.AppendUint64(b, h.time)
}

// parseHeader cuts the header off a plaintext. The errors are [ErrNoHeader] and,
// for what no sender writes, [ErrMalformed].
func parseHeader(plain []byte) (h header, body []byte, err error) {
	if len(plain) < HeaderSize || !bytes.HasPrefix(plain, []byte(headerMagic)) {
		return h, nil, ErrNoHeader
	}
	if plain[4] != headerVersion {
		return h, nil, badFormat("a header of version %d, known is %d", plain[4], headerVersion)
	}
	h = header{
		kind: plain[5], sender: ID(plain[6:]), topic: [16]byte(plain[22:]), epoch: binary.BigEndian.Uint32(plain[38:]),
		counter: binary.BigEndian.Uint64(plain[42:]), time: binary.BigEndian.Uint64(plain[50:]),
	}
	if h.kind > kindAnnounce {
		return h, nil, badFormat("a message of kind %d", h.kind)
	}
	if h.time > maxMillis {
		return h, nil, badFormat("a message from after the year 9999")
	}
	return h, plain[HeaderSize:], nil
}

// check compares a header with who signed the message, where it came and which
// epoch's key opened it.
func (h *header) check(sender ID, topic [16]byte, epoch uint32) error {
	switch {
	case h.sender != sender:
		return ErrWrongSender
	case h.topic != topic:
		return ErrWrongTopic
	case h.epoch != epoch:
		return badFormat("epoch %d in the header, under the key of epoch %d", h.epoch, epoch)
	}
	return nil
}
