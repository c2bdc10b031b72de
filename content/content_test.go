package content

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"

	"parley"
)

var (
	id1   = [16]byte{1}
	id2   = [16]byte{2}
	hash1 = sha256.Sum256([]byte("1"))
	addr  = parley.Address("smp2020://hash@relay.example:5223/queue#key")
	key   = PublicKey{Kind: "ed25519", Public: []byte("public")}
)

// samples returns one full event of each kind, and its body in hex, so that the
// formats of docs/envelope.md cannot change unnoticed.
func samples() []struct {
	e   Event
	hex string
} {
	id1x, id2x := "0a1001"+strings.Repeat("00", 15), "0a1002"+strings.Repeat("00", 15)
	h1 := hex.EncodeToString(hash1[:])
	return []struct {
		e   Event
		hex string
	}{
		{Text{"Grüß dich"}, hex.EncodeToString([]byte("Grüß dich"))},
		{Hello{Name: "Al", Device: id1, DeviceName: "pc", Paths: []parley.Address{"a:b"}, Receipts: ReadReceipts, Reads: []parley.AMP{parley.TextPlain, parley.Edit}},
			"0a02416c" + "1210" + id1x[4:] + "1a027063" + "2203613a62" + "2802" + "320408011001" + "320408421001"},
		{Receipt{Kind: Delivered, Items: []ReceiptItem{{id1, hash1}, {id2, hash1}}},
			"0801" + "1234" + id1x + "1220" + h1 + "1234" + id2x + "1220" + h1},
		{Edit{Target: id1, Revision: 3, Text: "no"}, id1x + "1003" + "1a026e6f"},
		{Delete{Targets: [][16]byte{id1, id2}}, id1x + id2x},
		{FileManifest{Name: "a.png", MediaType: "image/png", Size: 70000, SHA256: hash1, Key: hash1, Chunk: 4096, Where: "a:b"},
			"0a05612e706e67" + "1209696d6167652f706e67" + "18f0a204" + "2220" + h1 + "2a20" + h1 + "308020" + "3a03613a62"},
		{Paths{Add: []parley.Address{"a:b"}, Remove: []parley.Address{"c:d"}}, "0a03613a62" + "1203633a64"},
		{Devices{Add: []Device{{ID: id1, Name: "pc", Keys: []PublicKey{{"pad", []byte{9}}}}}, Remove: [][16]byte{id2}},
			"0a20" + id1x + "12027063" + "1a08" + "0a03706164" + "120109" + "12" + id2x[2:]},
		{Membership{Group: []byte{7}, Epoch: 2, Previous: hash1, Add: []Member{{"Bo", []PublicKey{{"pad", []byte{9}}}}, {Name: "Cy"}}, Remove: []parley.Name{"Di"}, By: "Al", Signature: []byte{8}},
			"0a0107" + "1002" + "1a20" + h1 + "220e0a02426f" + "12080a03706164120109" + "22040a024379" + "2a024469" + "3202416c" + "3a0108"},
		{Presence{Kind: Typing, Seconds: 300}, "0804" + "10ac02"},
	}
}

func TestBytesAndRoundTrip(t *testing.T) {
	seen := map[parley.AMP]bool{}
	for _, c := range samples() {
		a, body, err := Encode(c.e)
		if err != nil {
			t.Errorf("%T: %v", c.e, err)
			continue
		}
		if got := hex.EncodeToString(body); got != c.hex {
			t.Errorf("%T:\n got %s\nwant %s", c.e, got, c.hex)
		}
		got, err := Decode(a, body)
		if err != nil || !reflect.DeepEqual(got, c.e) {
			t.Errorf("%T: got %+v, %v", c.e, got, err)
		}
		seen[a] = true
	}
	if len(seen) != len(codecs) {
		t.Errorf("%d of %d numbers tested", len(seen), len(codecs))
	}
}

func TestDecodeSharesNothing(t *testing.T) {
	for _, c := range samples() {
		a, body, _ := Encode(c.e)
		e, err := Decode(a, body)
		if err != nil {
			t.Fatal(err)
		}
		clear(body)
		if !reflect.DeepEqual(e, c.e) {
			t.Errorf("%T shares its body's memory", e)
		}
	}
}

func TestUnknown(t *testing.T) {
	for _, c := range []struct {
		a     parley.AMP
		other uint16
		text  string
	}{
		{parley.AMP{Type: 99, Version: 1}, 0, "type 99 version 1 is not known"},
		{parley.AMP{Type: 66, Version: 2}, 1, "type 66 is known in version 1, not in version 2"},
		{parley.TextSimple, 1, "type 1 is known in version 1"},
		{parley.AMP{}, 0, "type 0 version 0"},
	} {
		e, err := Decode(c.a, []byte("x"))
		var u *UnknownError
		if e != nil || !errors.As(err, &u) || u.AMP != c.a || u.Other != c.other || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%v: %v, %v", c.a, e, err)
		}
		if errors.Is(err, parley.ErrMalformed) {
			t.Errorf("%v: an unknown number is called malformed", c.a)
		}
	}
}

// TestUnknownFields: a later version may add fields, except to what grants trust.
func TestUnknownFields(t *testing.T) {
	for _, c := range samples() {
		a, body, _ := Encode(c.e)
		for _, extra := range []string{"a00601", "a206026869", "a50600000000", "a1060000000000000000", "a306a406"} {
			x, _ := hex.DecodeString(extra)
			got, err := Decode(a, append(bytes.Clone(body), x...))
			switch c.e.(type) {
			case Text:
			case Devices, Membership:
				if !errors.Is(err, parley.ErrMalformed) {
					t.Errorf("%T accepts an unknown field", c.e)
				}
			default:
				if err != nil || !reflect.DeepEqual(got, c.e) {
					t.Errorf("%T with %s: %+v, %v", c.e, extra, got, err)
				}
			}
		}
	}
}

func TestStrictOrder(t *testing.T) {
	_, body, _ := Encode(Devices{Add: []Device{{ID: id1, Keys: []PublicKey{key}}}, Remove: [][16]byte{id2}})
	cut := len(body) - 18
	turned := append(bytes.Clone(body[cut:]), body[:cut]...)
	if _, err := Decode(parley.Devices, turned); !errors.Is(err, parley.ErrMalformed) {
		t.Errorf("fields out of order: %v", err)
	}
	if _, err := Decode(parley.Devices, body); err != nil {
		t.Error(err)
	}
}

func TestTruncated(t *testing.T) {
	for _, c := range samples() {
		a, body, _ := Encode(c.e)
		if _, ok := c.e.(Text); ok {
			continue
		}
		for n := range len(body) {
			if got, err := Decode(a, body[:n]); err == nil && reflect.DeepEqual(got, c.e) {
				t.Errorf("%T: the first %d of %d bytes are the whole", c.e, n, len(body))
			} else if err != nil && !errors.Is(err, parley.ErrMalformed) {
				t.Errorf("%T: %v", c.e, err)
			}
		}
	}
}

func TestWire(t *testing.T) {
	for name, c := range map[string]struct {
		a        parley.AMP
		hex, err string
	}{
		"twice":                {parley.Presence, "080408041001", "field 1 comes twice"},
		"wire type":            {parley.Presence, "0a0104", "wire type 2, not 0"},
		"wire type of a list":  {parley.Paths, "0801", "wire type 0, not 2"},
		"number too large":     {parley.Presence, "08841010ac02", "2052 is too large"},
		"cut varint":           {parley.Presence, "0880", "field 1 is cut short"},
		"cut bytes":            {parley.Paths, "0a7f61", "field 1 is cut short"},
		"cut unknown":          {parley.Presence, "0804 1001 a20605", "field 100 is cut short"},
		"open group":           {parley.Presence, "0804 1001 a306", "field 100 is cut short"},
		"garbage":              {parley.Presence, "ffffffffffffffffffffff", "tag cannot be read"},
		"short ID":             {parley.Delete, "0a0101", "1 bytes, not 16"},
		"short target":         {parley.Edit, "0a0101", "1 bytes, not 16"},
		"key too long":         {parley.Membership, "0a41" + strings.Repeat("00", 65), "at most 64"},
		"bad receipt entry":    {parley.Receipt, "0801120201ff", "entry 1"},
		"empty body":           {parley.Hello, "", "the name is empty"},
		"empty text":           {parley.TextPlain, "", "the text is empty"},
		"text not UTF-8":       {parley.TextPlain, "ff", "not valid UTF-8"},
		"surrogate in text":    {parley.TextPlain, "eda080", "not valid UTF-8"},
		"name not UTF-8":       {parley.Hello, "0a01ff", "not valid UTF-8"},
		"257 entries":          {parley.Paths, strings.Repeat("0a03613a62", 257), "at most 256 entries"},
		"too long altogether":  {parley.Presence, strings.Repeat("00", MaxBody+1), "at most 1048576"},
		"membership rewritten": {parley.Membership, "0a0107" + "1001" + "1a20" + strings.Repeat("00", 32) + "2a024469" + "3202416c", "one form"},
	} {
		b, err := hex.DecodeString(strings.ReplaceAll(c.hex, " ", ""))
		if err != nil {
			t.Fatal(name, err)
		}
		e, err := Decode(c.a, b)
		if e != nil || !errors.Is(err, parley.ErrMalformed) || !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %+v, %v", name, e, err)
		}
	}
}
