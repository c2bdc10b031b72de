package server

import (
	"encoding/binary"
	"errors"
)

// What the disk holds. Numbers are big-endian, so that keys sort by them.
const (
	kFormat   = 'F' // → format
	kSession  = 's' // owner, as ownerKey writes it → sessionRecord
	kSub      = 'b' // session's number, filter → subRecord
	kEntry    = 'q' // session's number, message's number → entryRecord
	kReceived = 'i' // session's number, packet ID: a QoS 2 message that is not released → nothing
	kMessage  = 'm' // message's number → body
	kRetained = 'r' // topic → number (8), QoS (1), body
	kRetainer = 'R' // topic → the user who published its retained message; nothing: one without a name
	kWill     = 'w' // owner → willRecord
)

const format = "parley mqtt 1"

var errRecord = errors.New("a record on the disk is damaged")

func numKey(k byte, num uint64) []byte { return binary.BigEndian.AppendUint64([]byte{k}, num) }

func textKey(k byte, s string) []byte { return append([]byte{k}, s...) }

func entryKey(session, num uint64) []byte {
	return binary.BigEndian.AppendUint64(numKey(kEntry, session), num)
}

func subKey(session uint64, filter string) []byte { return append(numKey(kSub, session), filter...) }

func receivedKey(session uint64, id uint16) []byte { return appendU16(numKey(kReceived, session), id) }

// ownerKey names a session: each user has client IDs of its own, so that nobody
// takes over another one's session. Neither part has a NUL in it.
func ownerKey(user, client string) string { return user + "\x00" + client }

// A body is a message as every subscriber gets it.
type body struct {
	topic   string
	expires int64  // Unix milliseconds, 0: never
	props   []byte // of MQTT 5, encoded
	payload []byte
}

// size is what the body takes on the disk.
func (b *body) size() int { return 14 + len(b.topic) + len(b.props) + len(b.payload) }

// pack appends the body: expiry (8), length of the topic (2), topic, length of
// the properties (4), properties, payload.
func (b *body) pack(out []byte) []byte {
	out = binary.BigEndian.AppendUint64(out, uint64(b.expires))
	out = appendText(out, b.topic)
	out = appendU32(out, uint32(len(b.props)))
	out = append(out, b.props...)
	return append(out, b.payload...)
}

// unpackBody is the reverse; the body keeps v.
func unpackBody(v []byte) (*body, error) {
	r := reader{b: v}
	b := &body{expires: int64(r.u64())}
	b.topic = string(r.data())
	b.props = r.take(int(r.u32()))
	if r.err != nil {
		return nil, errRecord
	}
	b.payload = r.b
	return b, nil
}

func (r *reader) u64() uint64 {
	hi := r.u32()
	return uint64(hi)<<32 | uint64(r.u32())
}

// A sessionRecord is what lasts of a session besides its subscriptions and
// messages.
type sessionRecord struct {
	id     uint64
	expiry uint32 // seconds after the connection ends
	left   int64  // Unix milliseconds when it ended; 0: it hadn't
	sent   uint64 // messages up to this number may have been sent
}

func (s *sessionRecord) pack() []byte {
	out := binary.BigEndian.AppendUint64(nil, s.id)
	out = appendU32(out, s.expiry)
	out = binary.BigEndian.AppendUint64(out, uint64(s.left))
	return binary.BigEndian.AppendUint64(out, s.sent)
}

func unpackSession(v []byte) (s sessionRecord, err error) {
	r := reader{b: v}
	s.id, s.expiry, s.left, s.sent = r.u64(), r.u32(), int64(r.u64()), r.u64()
	return s, whole(&r)
}

func whole(r *reader) error {
	if r.end() != nil {
		return errRecord
	}
	return nil
}

// packSub writes a subscription: options as in SUBSCRIBE, bit 6 for retained
// messages that are still to be sent, and the identifier.
func packSub(s *subscription) []byte {
	o := s.qos | s.handling<<4
	if s.noLocal {
		o |= 4
	}
	if s.asPublished {
		o |= 8
	}
	if s.unfed {
		o |= 1 << 6
	}
	return appendU32([]byte{o}, s.id)
}

func unpackSub(v []byte, s *subscription) error {
	r := reader{b: v}
	o := r.u8()
	s.qos, s.noLocal, s.asPublished, s.handling, s.unfed = o&3, o&4 != 0, o&8 != 0, o>>4&3, o&(1<<6) != 0
	s.id = r.u32()
	return whole(&r)
}

// Bits of an entry's first byte, above its QoS.
const (
	entryRetain   = 1 << 2
	entryReleased = 1 << 3
)

// pack writes an entry: QoS and flags, packet ID (2), size of the message (4),
// its expiry (8), identifiers of subscriptions (4 each).
func (e *entry) pack() []byte {
	f := e.qos
	if e.retain {
		f |= entryRetain
	}
	if e.released {
		f |= entryReleased
	}
	out := appendU32(appendU16([]byte{f}, e.pid), uint32(e.size))
	out = binary.BigEndian.AppendUint64(out, uint64(e.expires))
	for _, id := range e.subIDs {
		out = appendU32(out, id)
	}
	return out
}

func unpackEntry(v []byte) (*entry, error) {
	r := reader{b: v}
	f := r.u8()
	e := &entry{qos: f & 3, retain: f&entryRetain != 0, released: f&entryReleased != 0}
	e.pid, e.size, e.expires = r.u16(), int(r.u32()), int64(r.u64())
	for r.err == nil && len(r.b) > 0 {
		e.subIDs = append(e.subIDs, r.u32())
	}
	return e, whole(&r)
}

// A willRecord is a will that is not published yet: delay in seconds (4), QoS and
// bit 2 for retain, body.
func packWill(w *will) []byte {
	f := w.qos
	if w.retain {
		f |= entryRetain
	}
	return w.body.pack(append(appendU32(nil, w.delay), f, 0, 0, 0))
}

func unpackWill(v []byte) (*will, error) {
	r := reader{b: v}
	w := &will{delay: r.u32()}
	f := r.take(4)
	if r.err != nil {
		return nil, errRecord
	}
	w.qos, w.retain = f[0]&3, f[0]&entryRetain != 0
	var err error
	w.body, err = unpackBody(r.b)
	return w, err
}
