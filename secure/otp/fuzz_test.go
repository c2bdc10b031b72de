package otp

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"testing"

	"parley"
)

func FuzzPacketV2(f *testing.F) {
	f.Add(packetOf(f, "hello"), seededPad(Use(5)))
	f.Add(packetOf(f, ""), seededPad(Use(0)))
	f.Fuzz(func(t *testing.T, packet, pad []byte) {
		h, use, err := Parse(packet)
		if err != nil {
			if !errors.Is(err, parley.ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		for int64(len(pad)) < use {
			pad = append(pad, byte(len(pad)*7))
		}
		pad = pad[:use]
		in, err := Open(packet, pad)
		if err != nil {
			if in.Body != nil || !errors.Is(err, parley.ErrForged) && !errors.Is(err, parley.ErrMalformed) {
				t.Fatal(in, err)
			}
			return
		}
		if again, err := Seal(h, in, pad); err != nil || !bytes.Equal(again, packet) {
			t.Fatalf("sealed again as %x, %v", again, err)
		}
	})
}

func FuzzPacketV1(f *testing.F) {
	pad := seededPad(UseV1(5))
	packet, err := SealV1(9, []byte("hello"), pad)
	must(f, err)
	f.Add(packet, pad)
	f.Add(packet[:37], pad)
	f.Fuzz(func(t *testing.T, packet, pad []byte) {
		index, m, err := ParseV1(packet)
		if err != nil {
			return
		}
		for int64(len(pad)) < UseV1(m) {
			pad = append(pad, byte(len(pad)*7))
		}
		pad = pad[:UseV1(m)]
		msg, err := OpenV1(packet, pad)
		if err != nil {
			if msg != nil || !errors.Is(err, parley.ErrForged) {
				t.Fatal(msg, err)
			}
			return
		}
		if again, err := SealV1(index, msg, pad); err != nil || !bytes.Equal(again, packet) {
			t.Fatalf("sealed again as %x, %v", again, err)
		}
	})
}

func FuzzMetadata(f *testing.F) {
	m := NewMetadataV1("alice", "bob", 1000, "random", false)
	m.DecryptLog = "0-5,5-42,42-58,"
	f.Add(m.Marshal())
	f.Add([]byte(`{"uid": "a"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := ParseMetadataV1(text)
		if err != nil {
			if !errors.Is(err, parley.ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		_, _ = m.Segments()
		again, err := ParseMetadataV1(m.Marshal())
		if err != nil || !bytes.Equal(again.Marshal(), m.Marshal()) {
			t.Fatalf("%s: %v", m.Marshal(), err)
		}
	})
}

// FuzzPadHeader fuzzes what is behind the checksum.
func FuzzPadHeader(f *testing.F) {
	h := goodHeader()
	b, err := h.Marshal()
	must(f, err)
	_, err = ParsePadHeader(b)
	must(f, err)
	f.Add(bytes.TrimRight(b[len(padMagic):PadHeaderSize-sha256.Size], "\x00"))
	f.Add([]byte(`{"format":2}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		b := make([]byte, PadHeaderSize)
		copy(b[copy(b, padMagic):PadHeaderSize-sha256.Size], text)
		sum := sha256.Sum256(b[:PadHeaderSize-sha256.Size])
		copy(b[PadHeaderSize-sha256.Size:], sum[:])
		h, err := ParsePadHeader(b)
		if err != nil {
			if !errors.Is(err, parley.ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		again, err := h.Marshal()
		if err != nil {
			t.Skip() // what was read was shorter than what is written
		}
		if h2, err := ParsePadHeader(again); err != nil || h2.Size != h.Size || h2.Names != h.Names || h2.Owner != h.Owner {
			t.Fatal(h2, err)
		}
	})
}

func FuzzGrant(f *testing.F) {
	f.Add(MarshalGrant(1, 2))
	f.Fuzz(func(t *testing.T, b []byte) {
		if start, n, err := ParseGrant(b); err == nil && (start < 0 || n <= 0 || start+n < 0 || !bytes.Equal(MarshalGrant(start, n), b)) {
			t.Fatal(start, n)
		}
	})
}
