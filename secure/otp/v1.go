package otp

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"slices"

	"parley"
)

// Sizes of version 1, in bytes.
const (
	indexV1    = 6
	tagV1      = sha256.Size
	keyV1      = 16
	OverheadV1 = indexV1 + tagV1 // what a package is longer than its message
	MaxIndexV1 = 1<<48 - 1
)

// UseV1 returns how many bytes of pad a message of m bytes uses: for the text, for
// the text and its tag, and for the tag's key.
func UseV1(m int) int64 { return 2*int64(m) + tagV1 + keyV1 }

// SealV1 makes a package. pad is UseV1(len(msg)) bytes in the order of travel: a sender
// with direction -1 gives them from the highest position down. index is the position of
// the first of them.
func SealV1(index int64, msg, pad []byte) ([]byte, error) {
	return AppendSealV1(nil, index, msg, pad)
}

// AppendSealV1 is [SealV1] into memory that is there: it appends the package to dst, which
// must not overlap the pad or the message.
func AppendSealV1(dst []byte, index int64, msg, pad []byte) ([]byte, error) {
	if index < 0 || index > MaxIndexV1 {
		return nil, fmt.Errorf("%w: a package cannot name position %d of a pad", parley.ErrRefused, index)
	}
	if int64(len(pad)) != UseV1(len(msg)) {
		return nil, fmt.Errorf("%w: %d bytes of pad for a message of %d", parley.ErrRefused, len(pad), len(msg))
	}
	text, body, key := cutV1(pad, len(msg))
	n := OverheadV1 + len(msg)
	dst = slices.Grow(dst, n)
	out := dst[len(dst) : len(dst)+n]
	putIndexV1(out, index)
	subtle.XORBytes(out[indexV1:], msg, text)
	mac := hmac.New(sha256.New, key)
	mac.Write(out[:indexV1+len(msg)])
	mac.Sum(out[:indexV1+len(msg)])
	subtle.XORBytes(out[indexV1:], out[indexV1:], body)
	return dst[:len(dst)+n], nil
}

// ParseV1 returns the position that a package names and the length of its message. The
// error is [parley.ErrMalformed].
func ParseV1(packet []byte) (index int64, m int, err error) {
	if len(packet) < OverheadV1 {
		return 0, 0, fmt.Errorf("%w: a package of %d bytes", parley.ErrMalformed, len(packet))
	}
	for i := indexV1 - 1; i >= 0; i-- {
		index = index<<8 | int64(packet[i])
	}
	return index, len(packet) - OverheadV1, nil
}

// OpenV1 returns the message of a package, or [parley.ErrForged] and nothing of it. pad
// is as for [SealV1].
func OpenV1(packet, pad []byte) ([]byte, error) { return OpenIntoV1(nil, packet, pad) }

// OpenIntoV1 is [OpenV1] into memory that is there: the message is in buf when that is as
// long as the package. It must not overlap the pad or the package.
func OpenIntoV1(buf, packet, pad []byte) ([]byte, error) {
	_, m, err := ParseV1(packet)
	if err != nil {
		return nil, err
	}
	if int64(len(pad)) != UseV1(m) {
		return nil, fmt.Errorf("%w: %d bytes of pad for a message of %d", parley.ErrRefused, len(pad), m)
	}
	text, body, key := cutV1(pad, m)
	plain := slices.Grow(buf[:0], m+tagV1)[:m+tagV1]
	subtle.XORBytes(plain, packet[indexV1:], body)
	mac := hmac.New(sha256.New, key)
	mac.Write(packet[:indexV1])
	mac.Write(plain[:m])
	var tag [tagV1]byte
	if !hmac.Equal(mac.Sum(tag[:0]), plain[m:]) {
		clear(plain)
		return nil, parley.ErrForged
	}
	subtle.XORBytes(plain[:m], plain[:m], text)
	return plain[:m:m], nil
}

func cutV1(pad []byte, m int) (text, body, key []byte) {
	return pad[:m], pad[m : 2*m+tagV1], pad[2*m+tagV1:]
}

func putIndexV1(to []byte, index int64) {
	for i := range indexV1 {
		to[i] = byte(index >> (8 * i))
	}
}
