package otp

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"testing"

	//lint:ignore SA1019 what the packets are compared with
	"golang.org/x/crypto/poly1305"
)

// The floor of version 2 is XOR and Poly1305 over as many bytes, of version 1 XOR twice
// and HMAC-SHA256: nothing else, into memory that is there already.

var benchSizes = []int{100, 64 << 10, 1 << 20}

func benchPad(n int64) []byte {
	pad := make([]byte, n)
	for i := range pad {
		pad[i] = byte(i*7 + 1)
	}
	return pad
}

func eachSize(b *testing.B, do func(b *testing.B, msg []byte)) {
	for _, n := range benchSizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.SetBytes(int64(n))
			b.ReportAllocs()
			do(b, make([]byte, n))
		})
	}
}

func BenchmarkBareV2(b *testing.B) {
	eachSize(b, func(b *testing.B, msg []byte) {
		pad := benchPad(Use(len(msg)))
		out := make([]byte, PacketLen(len(msg)))
		c := out[HeaderSize : len(out)-tagSize]
		plain := make([]byte, len(c))
		copy(plain[innerSize:], msg)
		var tag [tagSize]byte
		for b.Loop() {
			subtle.XORBytes(c, plain, pad[keySize:])
			poly1305.Sum(&tag, out[:len(out)-tagSize], (*[keySize]byte)(pad))
			copy(out[len(out)-tagSize:], tag[:])
		}
	})
}

func BenchmarkSealV2(b *testing.B) {
	eachSize(b, func(b *testing.B, msg []byte) {
		pad := benchPad(Use(len(msg)))
		buf := make([]byte, PacketLen(len(msg)))
		for b.Loop() {
			if _, err := AppendSeal(buf[:0], Header{}, Inner{Kind: KindMessage, Body: msg}, pad); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkOpenV2(b *testing.B) {
	eachSize(b, func(b *testing.B, msg []byte) {
		pad := benchPad(Use(len(msg)))
		packet, err := Seal(Header{}, Inner{Kind: KindMessage, Body: msg}, pad)
		must(b, err)
		buf := make([]byte, len(packet))
		for b.Loop() {
			if _, err := OpenInto(buf, packet, pad); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkBareV1(b *testing.B) {
	eachSize(b, func(b *testing.B, msg []byte) {
		pad := benchPad(UseV1(len(msg)))
		out := make([]byte, OverheadV1+len(msg))
		text, body, key := cutV1(pad, len(msg))
		for b.Loop() {
			ct := out[indexV1 : indexV1+len(msg)]
			subtle.XORBytes(ct, msg, text)
			mac := hmac.New(sha256.New, key)
			mac.Write(out[:indexV1+len(msg)])
			mac.Sum(out[:indexV1+len(msg)])
			subtle.XORBytes(out[indexV1:], out[indexV1:], body)
		}
	})
}

func BenchmarkSealV1(b *testing.B) {
	eachSize(b, func(b *testing.B, msg []byte) {
		pad := benchPad(UseV1(len(msg)))
		buf := make([]byte, len(msg)+OverheadV1)
		for b.Loop() {
			if _, err := AppendSealV1(buf[:0], 7, msg, pad); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkOpenV1(b *testing.B) {
	eachSize(b, func(b *testing.B, msg []byte) {
		pad := benchPad(UseV1(len(msg)))
		packet, err := SealV1(7, msg, pad)
		must(b, err)
		buf := make([]byte, len(packet))
		for b.Loop() {
			if _, err := OpenIntoV1(buf, packet, pad); err != nil {
				b.Fatal(err)
			}
		}
	})
}
