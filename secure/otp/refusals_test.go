package otp

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/poly1305" //lint:ignore SA1019 to make genuine packets of no form

	"parley"
)

func seededPad(n int64) []byte {
	pad := make([]byte, n)
	x := uint32(1)
	for i := range pad {
		x = x*1664525 + 1013904223
		pad[i] = byte(x >> 24)
	}
	return pad
}

func TestSealRefuses(t *testing.T) {
	for name, err := range map[string]error{
		"a body too long":   sealError(Header{}, Inner{Body: make([]byte, MaxBody+1)}, nil),
		"too little pad":    sealError(Header{}, Inner{}, make([]byte, Use(0)-1)),
		"too much pad":      sealError(Header{}, Inner{}, make([]byte, Use(0)+1)),
		"no pad":            sealError(Header{}, Inner{}, nil),
		"another lane":      sealError(Header{Lane: 2}, Inner{}, make([]byte, Use(0))),
		"v1: a low index":   sealErrorV1(-1, nil, make([]byte, UseV1(0))),
		"v1: a high index":  sealErrorV1(MaxIndexV1+1, nil, make([]byte, UseV1(0))),
		"v1: too little":    sealErrorV1(0, []byte("x"), make([]byte, UseV1(1)-1)),
		"v1: too much":      sealErrorV1(0, []byte("x"), make([]byte, UseV1(1)+1)),
		"open: other pad":   openError(packetOf(t, "x"), make([]byte, Use(100))),
		"open v1: less pad": openErrorV1(make([]byte, OverheadV1), make([]byte, UseV1(0)-1)),
	} {
		if !errors.Is(err, parley.ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func sealError(h Header, in Inner, pad []byte) error { _, err := Seal(h, in, pad); return err }

func sealErrorV1(i int64, msg, pad []byte) error { _, err := SealV1(i, msg, pad); return err }

func openError(packet, pad []byte) error { _, err := Open(packet, pad); return err }

func openErrorV1(packet, pad []byte) error { _, err := OpenV1(packet, pad); return err }

func packetOf(t testing.TB, body string) []byte {
	t.Helper()
	packet, err := Seal(Header{Lane: 1, PadID: [8]byte{1}, Offset: 1 << 40, Seq: 7}, Inner{Kind: KindMessage, Ack: 9, Body: []byte(body)}, seededPad(Use(len(body))))
	must(t, err)
	return packet
}

// TestPackets: what was sealed opens, in every length around the buckets, and with one
// bit changed anywhere it doesn't.
func TestPackets(t *testing.T) {
	for m := range 200 {
		body := string(seededPad(int64(m)))
		packet := packetOf(t, body)
		pad := seededPad(Use(m))
		if int64(len(packet)) != PacketLen(m) || len(packet) < Overhead+m || (len(packet)-HeaderSize-tagSize)%bucketSize != 0 {
			t.Fatalf("a body of %d bytes makes a packet of %d", m, len(packet))
		}
		h, use, err := Parse(packet)
		if h != (Header{1, [8]byte{1}, 1 << 40, 7}) || use != int64(len(pad)) || err != nil {
			t.Fatal(h, use, err)
		}
		in, err := Open(packet, pad)
		if err != nil || string(in.Body) != body || in.Kind != KindMessage || in.Ack != 9 {
			t.Fatal(in, err)
		}
		again, err := AppendSeal([]byte("before"), h, in, pad)
		if err != nil || string(again) != "before"+string(packet) {
			t.Fatal("appended another packet", err)
		}
		if m%16 != 0 {
			continue
		}
		for bit := range len(packet) * 8 {
			bad := bytes.Clone(packet)
			bad[bit/8] ^= 1 << (bit % 8)
			in, err := Open(bad, pad)
			if in.Body != nil || !errors.Is(err, parley.ErrForged) && !errors.Is(err, parley.ErrMalformed) {
				t.Fatalf("bit %d changed: %v, %v", bit, in, err)
			}
		}
	}
	for _, v := range []struct{ m, use int }{{5, 96}, {100, 160}, {1000, 1056}, {0, 96}, {48, 96}, {49, 160}} {
		if Use(v.m) != int64(v.use) {
			t.Errorf("a body of %d bytes uses %d, want %d", v.m, Use(v.m), v.use)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	good := packetOf(t, "hello")
	for name, change := range map[string]func([]byte) []byte{
		"empty":          func([]byte) []byte { return nil },
		"header only":    func(b []byte) []byte { return b[:HeaderSize] },
		"no bucket":      func(b []byte) []byte { return b[:HeaderSize+tagSize] },
		"cut":            func(b []byte) []byte { return b[:len(b)-1] },
		"one more":       func(b []byte) []byte { return append(b, 0) },
		"too long":       func([]byte) []byte { return make([]byte, PacketLen(MaxBody)+bucketSize) },
		"another magic":  func(b []byte) []byte { b[0]++; return b },
		"another format": func(b []byte) []byte { b[3] = '1'; return b },
		"another type":   func(b []byte) []byte { b[4] = 2; return b },
		"another lane":   func(b []byte) []byte { b[5] = 2; return b },
		"flags":          func(b []byte) []byte { b[6] = 1; return b },
		"low flags":      func(b []byte) []byte { b[7] = 1; return b },
	} {
		if _, _, err := Parse(change(bytes.Clone(good))); !errors.Is(err, parley.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := Open(change(bytes.Clone(good)), seededPad(Use(5))); !errors.Is(err, parley.ErrMalformed) {
			t.Errorf("%s, opened: %v", name, err)
		}
	}
	for n := range OverheadV1 {
		if _, _, err := ParseV1(make([]byte, n)); !errors.Is(err, parley.ErrMalformed) {
			t.Errorf("version 1, %d bytes: %v", n, err)
		}
	}
}

// TestOpenRefusesForms: genuine packets whose sealed part is of no known form.
func TestOpenRefusesForms(t *testing.T) {
	pad := seededPad(Use(5))
	for name, change := range map[string]func([]byte){
		"reserved":        func(c []byte) { c[1] = 1 },
		"more reserved":   func(c []byte) { c[3] = 1 },
		"too long":        func(c []byte) { binary.BigEndian.PutUint32(c[4:], 49) },
		"far too long":    func(c []byte) { binary.BigEndian.PutUint32(c[4:], 1<<32-1) },
		"no zeros behind": func(c []byte) { c[len(c)-1] = 1 },
		"a shorter body":  func(c []byte) { binary.BigEndian.PutUint32(c[4:], 4) },
	} {
		packet := packetOf(t, "hello")
		c := packet[HeaderSize : len(packet)-tagSize]
		for i := range c {
			c[i] ^= pad[keySize+i]
		}
		change(c)
		for i := range c {
			c[i] ^= pad[keySize+i]
		}
		var tag [tagSize]byte
		poly1305.Sum(&tag, packet[:len(packet)-tagSize], (*[keySize]byte)(pad))
		copy(packet[len(packet)-tagSize:], tag[:])
		if in, err := Open(packet, pad); !errors.Is(err, parley.ErrMalformed) || in.Body != nil {
			t.Errorf("%s: %v, %v", name, in, err)
		}
	}
}

func TestGrants(t *testing.T) {
	start, n, err := ParseGrant(MarshalGrant(1<<40, 7))
	if start != 1<<40 || n != 7 || err != nil {
		t.Error(start, n, err)
	}
	for name, b := range map[string][]byte{
		"empty": nil, "cut": make([]byte, 15), "more": make([]byte, 17), "of nothing": MarshalGrant(5, 0),
		"far": MarshalGrant(1<<62+1, 1), "large": MarshalGrant(0, 1<<62+1), "negative": MarshalGrant(-1, 1),
	} {
		if _, _, err := ParseGrant(b); !errors.Is(err, parley.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func goodHeader() PadHeader {
	return PadHeader{
		ID: [8]byte{1, 2}, Size: 1000, Split: 500, Names: [2]string{"alice", "bob"}, Owner: Whole,
		Created: time.Unix(1e9, 0).UTC(), Sources: []Source{{Kind: "device", Name: "/dev/hwrng", Assessed: true}}, Check: [16]byte{3},
	}
}

func TestPadHeader(t *testing.T) {
	h := goodHeader()
	b, err := h.Marshal()
	must(t, err)
	got, err := ParsePadHeader(b)
	if err != nil || fmt.Sprint(*got) != fmt.Sprint(h) || len(b) != PadHeaderSize || !IsPadHeader(b) || !got.Unconditional() {
		t.Fatal(got, err)
	}
	for name, change := range map[string]func(*PadHeader){
		"too small": func(h *PadHeader) { h.Size = MinPad - 1 }, "too large": func(h *PadHeader) { h.Size = MaxPad + 1 },
		"a split below": func(h *PadHeader) { h.Split = -1 }, "a split above": func(h *PadHeader) { h.Split = h.Size + 1 },
		"an owner below": func(h *PadHeader) { h.Owner = -2 }, "an owner above": func(h *PadHeader) { h.Owner = 2 },
		"with oneself": func(h *PadHeader) { h.Names[1] = "alice" }, "no sources": func(h *PadHeader) { h.Sources = nil },
		"many sources": func(h *PadHeader) { h.Sources = make([]Source, 17) },
		"no name":      func(h *PadHeader) { h.Names[0] = "" }, "a long name": func(h *PadHeader) { h.Names[0] = strings.Repeat("a", MaxName+1) },
		"a path": func(h *PadHeader) { h.Names[0] = "../x" }, "a space": func(h *PadHeader) { h.Names[0] = "a b" },
		"an escape": func(h *PadHeader) { h.Names[0] = "a\x1b[m" }, "a dot": func(h *PadHeader) { h.Names[0] = "a.b" },
		"not UTF-8":     func(h *PadHeader) { h.Names[0] = "\xff" },
		"replaced":      func(h *PadHeader) { h.Names[0] = "a\uFFFD" },
		"turned around": func(h *PadHeader) { h.Names[0] = "a\u202eb" },
		"nothing seen":  func(h *PadHeader) { h.Names[0] = "alice\u200b" },
		"a wide space":  func(h *PadHeader) { h.Names[0] = "a\u3000b" },
		"C1":            func(h *PadHeader) { h.Names[0] = "a\u009bb" },
		"long together": func(h *PadHeader) {
			h.Names = [2]string{strings.Repeat("a", MaxName), strings.Repeat("b", MaxNames-MaxName+1)}
		},
		"a long sources": func(h *PadHeader) { h.Sources[0].Name = strings.Repeat("x", PadHeaderSize) },
	} {
		h := goodHeader()
		change(&h)
		if _, err := h.Marshal(); !errors.Is(err, parley.ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i := range b {
		bad := bytes.Clone(b)
		bad[i] ^= 1
		if _, err := ParsePadHeader(bad); !errors.Is(err, parley.ErrMalformed) {
			t.Errorf("byte %d changed: %v", i, err)
		}
	}
	if _, err := ParsePadHeader(b[:PadHeaderSize-1]); !errors.Is(err, parley.ErrMalformed) {
		t.Errorf("cut: %v", err)
	}
}

func TestMetadataRefuses(t *testing.T) {
	good := NewMetadataV1("alice", "bob", 1000, "random", true)
	good.Extra = map[string]any{"note": "kept", "number": int64(-1)}
	got, err := ParseMetadataV1(good.Marshal())
	if err != nil || fmt.Sprint(*got) != fmt.Sprint(*good) {
		t.Fatal(got, err)
	}
	for name, change := range map[string]func(*MetadataV1){
		"oneself": func(m *MetadataV1) { m.RID = "alice" }, "a split above": func(m *MetadataV1) { m.SplitIndex = 1000 },
		"a split below": func(m *MetadataV1) { m.SplitIndex = -1 }, "no direction": func(m *MetadataV1) { m.Direction = 0 },
		"a service": func(m *MetadataV1) { m.RService = "other" }, "an index above": func(m *MetadataV1) { m.EncryptIndex = 1000 },
		"an index below": func(m *MetadataV1) { m.EncryptIndex = -1 },
	} {
		m := *good
		change(&m)
		if _, err := ParseMetadataV1(m.Marshal()); !errors.Is(err, parley.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for member, value := range map[string]any{
		"uid": 1, "rid": 2, "rservice": 3, "n_bytes": "x", "split_index": "x", "direction": "x", "encrypt_index": "x",
		"decrypt_log": 4, "decrypt_max": "x", "store_filename": 5, "metadata_filename": 6, "n_eles": 12, "checksum": 7,
	} {
		var all map[string]any
		dec := json.NewDecoder(bytes.NewReader(good.Marshal()))
		dec.UseNumber()
		must(t, dec.Decode(&all))
		all[member] = value
		if member != "checksum" && member != "n_eles" {
			typed := map[string]any{}
			for k, v := range all {
				switch v := v.(type) {
				case json.Number:
					typed[k], _ = v.Int64()
				case int:
					typed[k] = int64(v)
				default:
					typed[k] = v
				}
			}
			delete(typed, "checksum")
			all["checksum"] = checksum(typed)
		}
		text, err := json.Marshal(all)
		must(t, err)
		if _, err := ParseMetadataV1(text); !errors.Is(err, parley.ErrMalformed) {
			t.Errorf("%s of another kind: %v", member, err)
		}
	}
	for _, log := range []string{",", "1", "1-", "-1", "x-2,", "1-2,3", "1-2,,3-4,", "1-99999999999999999999,", "-5-2,"} {
		m := *good
		m.DecryptLog = log
		if s, err := m.Segments(); !errors.Is(err, parley.ErrMalformed) {
			t.Errorf("a log %q: %v, %v", log, s, err)
		}
	}
}
