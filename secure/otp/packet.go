package otp

import (
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"slices"

	//lint:ignore SA1019 a one-time authenticator is what is wanted here, with keys from a pad that are used once
	"golang.org/x/crypto/poly1305"

	"parley"
)

// A packet of version 2 is
//
//	"OTC2" | type 1 | lane 1 | flags 2 | pad ID 8 | offset 8 | seq 8 | C | tag 16
//
// with numbers in network order. Its pad is at the offset: r 16, s 16, k as long as C,
// in ascending order in both lanes. C = inner ⊕ k, tag = Poly1305 under (r, s) over
// header and C; inner is
//
//	kind 1 | reserved 3 | length 4 | peer_ack 8 | body | zeros
//
// and its length a multiple of 64. Type is 1, flags and reserved are zero.

// Sizes of version 2, in bytes.
const (
	HeaderSize = 32
	tagSize    = poly1305.TagSize
	keySize    = 32
	innerSize  = 16
	bucketSize = 64
	// Overhead is the least that a packet is longer than its body.
	Overhead = HeaderSize + innerSize + tagSize
	// MaxBody is the longest body. A forger's chance grows with the length: it is
	// 2^-90 for each attempt at 64 KiB and 2^-82 here.
	MaxBody = 16 << 20

	magic      = "OTC2"
	packetType = 1
)

// Use returns how many bytes of pad a body of m bytes uses.
func Use(m int) int64 { return keySize + sealedLen(m) }

// sealedLen is the length of C.
func sealedLen(m int) int64 {
	return (int64(m) + innerSize + bucketSize - 1) / bucketSize * bucketSize
}

// PacketLen returns the length of the packet of a body of m bytes.
func PacketLen(m int) int64 { return HeaderSize + sealedLen(m) + tagSize }

// A Header is what everybody sees of a packet.
type Header struct {
	Lane   uint8 // 0: the owner uses its pad upwards, 1: downwards
	PadID  [8]byte
	Offset uint64 // the lowest position of the packet's pad
	Seq    uint64 // how many packets the lane's owner has made with this one
}

// Kinds of an [Inner].
const (
	KindMessage uint8 = 1
	KindGrant   uint8 = 2 // Body: start 8, length 8, of pad that now is the other's
)

// An Inner is what a packet says to its receiver.
type Inner struct {
	Kind uint8
	Ack  uint64 // how far in the receiver's lane the sender has seen messages, in bytes from its beginning
	Body []byte
}

// Seal makes a packet. pad is the Use(len(in.Body)) bytes at h.Offset, which are used
// for nothing else, ever.
func Seal(h Header, in Inner, pad []byte) ([]byte, error) { return AppendSeal(nil, h, in, pad) }

// AppendSeal is [Seal] into memory that is there: it appends the packet to dst, which must
// not overlap the pad or the body.
func AppendSeal(dst []byte, h Header, in Inner, pad []byte) ([]byte, error) {
	m := len(in.Body)
	switch {
	case m > MaxBody:
		return nil, fmt.Errorf("%w: a body of %d bytes, at most %d", parley.ErrRefused, m, MaxBody)
	case int64(len(pad)) != Use(m):
		return nil, fmt.Errorf("%w: %d bytes of pad for a body of %d", parley.ErrRefused, len(pad), m)
	case h.Lane > 1:
		return nil, fmt.Errorf("%w: no lane %d", parley.ErrRefused, h.Lane)
	}
	n := int(PacketLen(m))
	dst = slices.Grow(dst, n)
	out := dst[len(dst) : len(dst)+n]
	copy(out, magic)
	binary.BigEndian.PutUint32(out[4:], packetType<<24|uint32(h.Lane)<<16)
	copy(out[8:16], h.PadID[:])
	binary.BigEndian.PutUint64(out[16:], h.Offset)
	binary.BigEndian.PutUint64(out[24:], h.Seq)
	c, k := out[HeaderSize:n-tagSize], pad[keySize:]
	head := uint64(in.Kind)<<56 | uint64(m)
	binary.BigEndian.PutUint64(c, head^binary.BigEndian.Uint64(k))
	binary.BigEndian.PutUint64(c[8:], in.Ack^binary.BigEndian.Uint64(k[8:]))
	subtle.XORBytes(c[innerSize:], in.Body, k[innerSize:])
	copy(c[innerSize+m:], k[innerSize+m:]) // zeros
	poly1305.Sum((*[tagSize]byte)(out[n-tagSize:]), out[:n-tagSize], (*[keySize]byte)(pad))
	return dst[:len(dst)+n], nil
}

// Parse returns a packet's header and how many bytes of pad it uses. The error is
// [parley.ErrMalformed].
func Parse(packet []byte) (h Header, use int64, err error) {
	c := len(packet) - HeaderSize - tagSize
	switch {
	case c < bucketSize || c%bucketSize != 0 || int64(c) > sealedLen(MaxBody):
		return h, 0, fmt.Errorf("%w: a packet of %d bytes", parley.ErrMalformed, len(packet))
	case string(packet[:4]) != magic || packet[4] != packetType || packet[5] > 1 || packet[6]|packet[7] != 0:
		return h, 0, fmt.Errorf("%w: not a packet of a pad of version 2", parley.ErrMalformed)
	}
	h.Lane = packet[5]
	copy(h.PadID[:], packet[8:])
	h.Offset = binary.BigEndian.Uint64(packet[16:])
	h.Seq = binary.BigEndian.Uint64(packet[24:])
	return h, keySize + int64(c), nil
}

// Open returns what a packet says, or [parley.ErrForged] and nothing of it. pad is as for
// [Seal]. What is genuine and yet not of the form is [parley.ErrMalformed].
func Open(packet, pad []byte) (in Inner, err error) { return OpenInto(nil, packet, pad) }

// OpenInto is [Open] into memory that is there: the body is in buf when that is as long as
// the packet. It must not overlap the pad or the packet.
func OpenInto(buf, packet, pad []byte) (in Inner, err error) {
	_, use, err := Parse(packet)
	if err != nil {
		return in, err
	}
	if int64(len(pad)) != use {
		return in, fmt.Errorf("%w: %d bytes of pad for a packet that uses %d", parley.ErrRefused, len(pad), use)
	}
	end := len(packet) - tagSize
	var tag [tagSize]byte
	poly1305.Sum(&tag, packet[:end], (*[keySize]byte)(pad))
	if subtle.ConstantTimeCompare(tag[:], packet[end:]) != 1 {
		return in, parley.ErrForged
	}
	c := slices.Grow(buf[:0], end-HeaderSize)[:end-HeaderSize]
	subtle.XORBytes(c, packet[HeaderSize:end], pad[keySize:])
	m := int64(binary.BigEndian.Uint32(c[4:]))
	if c[1]|c[2]|c[3] != 0 || m > MaxBody || sealedLen(int(m)) != int64(len(c)) {
		return in, fmt.Errorf("%w: a sealed part of an unknown form", parley.ErrMalformed)
	}
	for _, b := range c[innerSize+m:] {
		if b != 0 {
			return in, fmt.Errorf("%w: a sealed part of an unknown form", parley.ErrMalformed)
		}
	}
	return Inner{Kind: c[0], Ack: binary.BigEndian.Uint64(c[8:]), Body: c[innerSize : innerSize+m : innerSize+m]}, nil
}

// MarshalGrant and ParseGrant are the body of a [KindGrant]. The error is
// [parley.ErrMalformed].
func MarshalGrant(start, length int64) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(start))
	return binary.BigEndian.AppendUint64(b, uint64(length))
}

func ParseGrant(body []byte) (start, length int64, err error) {
	if len(body) != 16 {
		return 0, 0, fmt.Errorf("%w: a grant of %d bytes", parley.ErrMalformed, len(body))
	}
	s, l := binary.BigEndian.Uint64(body), binary.BigEndian.Uint64(body[8:])
	if s > MaxPad || l == 0 || l > MaxPad {
		return 0, 0, fmt.Errorf("%w: a grant of nothing that can be", parley.ErrMalformed)
	}
	return int64(s), int64(l), nil
}
