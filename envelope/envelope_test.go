package envelope

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"parley"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

type vectors struct {
	Decode []struct {
		ID     string `json:"id"`
		Wire   string `json:"wire_text"`
		Result struct {
			OK      bool   `json:"ok"`
			Type    uint16 `json:"protocol_type"`
			Version uint16 `json:"protocol_version"`
			Payload string `json:"payload_hex"`
		} `json:"original_result"`
	} `json:"envelope_decode"`
	Written []struct {
		ID       string `json:"id"`
		Type     uint16 `json:"protocol_type"`
		Version  uint16 `json:"protocol_version"`
		STP      string `json:"stp_message_hex"`
		Envelope string `json:"envelope_hex"`
		Base64   string `json:"wire_base64"`
	} `json:"written_by_client"`
}

func load(t testing.TB) vectors {
	t.Helper()
	b, err := os.ReadFile("testdata/phonex.json")
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// TestPhoneX: what released clients wrote parses, and ours is the same bytes.
func TestPhoneX(t *testing.T) {
	v := load(t)
	if len(v.Decode) != 4 || len(v.Written) < 4 {
		t.Fatalf("%d and %d vectors", len(v.Decode), len(v.Written))
	}
	for _, c := range v.Written {
		raw := unhex(t, c.Envelope)
		e, err := Parse(raw)
		if err != nil {
			t.Errorf("%s: %v", c.ID, err)
			continue
		}
		if e.STP != (parley.STP{Type: c.Type, Version: c.Version}) || !bytes.Equal(e.Payload, unhex(t, c.STP)) || e.Seq != 0 {
			t.Errorf("%s: got %v", c.ID, e.STP)
		}
		if !bytes.Equal(Marshal(e), raw) {
			t.Errorf("%s: Marshal gives other bytes", c.ID)
		}
		if base64.StdEncoding.EncodeToString(raw) != c.Base64 {
			t.Errorf("%s: base64 differs", c.ID)
		}
	}
	for _, c := range v.Decode {
		// Like the client, drop a last group without padding: the envelope is then cut.
		raw, err := base64.StdEncoding.DecodeString(c.Wire[:len(c.Wire)/4*4])
		if err != nil {
			t.Fatal(err)
		}
		e, err := Parse(raw)
		if (err == nil) != c.Result.OK {
			t.Errorf("%s: %v, the client said %v", c.ID, err, c.Result.OK)
			continue
		}
		if err == nil && (e.STP.Type != c.Result.Type || e.STP.Version != c.Result.Version || !bytes.Equal(e.Payload, unhex(t, c.Result.Payload))) {
			t.Errorf("%s: got %v %x", c.ID, e.STP, e.Payload)
		}
		if c.ID == "envelope_with_sequence_number" && e.Seq != 9 {
			t.Errorf("sequence number %d", e.Seq)
		}
	}
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name, hex, err string
		want           Envelope
	}{
		{"other order", "2201aa 1807 1003 0802", "", Envelope{parley.STP{Type: 2, Version: 3}, 7, []byte{0xaa}}},
		{"only a payload", "2201aa", "", Envelope{Payload: []byte{0xaa}}},
		{"written zeros", "0800 1000 1800 2200", "", Envelope{}},
		{"long varint", "088200 1003", "", Envelope{STP: parley.STP{Type: 2, Version: 3}}},
		{"largest", "08ffff03 10ffff03 18ffffffff0f", "", Envelope{STP: parley.STP{Type: 65535, Version: 65535}, Seq: 1<<32 - 1}},
		{"twice: type", "0802 0802", "field 1 comes twice", Envelope{}},
		{"twice: version", "1002 1002", "field 2 comes twice", Envelope{}},
		{"twice: seq", "1802 1803", "field 3 comes twice", Envelope{}},
		{"twice: payload", "2201aa 2201aa", "field 4 comes twice", Envelope{}},
		{"twice: zero first", "0800 0802", "field 1 comes twice", Envelope{}},
		{"unknown field", "0802 2801", "field 5 is unknown", Envelope{}},
		{"wire type of type", "0a0102", "field 1 has wire type 2", Envelope{}},
		{"wire type of version", "1502000000", "field 2 has wire type 5", Envelope{}},
		{"wire type of seq", "190200000000000000", "field 3 has wire type 1", Envelope{}},
		{"wire type of payload", "2001", "field 4 has wire type 0", Envelope{}},
		{"group", "0b0c", "field 1 has wire type 3", Envelope{}},
		{"type too large", "08808004", "field 1 is 65536", Envelope{}},
		{"negative type", "08ffffffffffffffffff01", "field 1 is", Envelope{}},
		{"version too large", "10808004", "field 2 is 65536", Envelope{}},
		{"seq too large", "188080808010", "field 3 is 4294967296", Envelope{}},
		{"varint cut", "0880", "field 1 is cut short", Envelope{}},
		{"varint of 11 bytes", "08ffffffffffffffffffff01", "field 1 is cut short or too long", Envelope{}},
		{"payload cut", "2205aabb", "the payload is cut short", Envelope{}},
		{"payload's huge length", "22ffffffffffffffff7f", "the payload is cut short", Envelope{}},
		{"trailing tag", "0802 22", "the payload is cut short", Envelope{}},
		{"trailing garbage", "0802 2201aa ff", "tag cannot be read", Envelope{}},
		{"field number zero", "0001", "tag cannot be read", Envelope{}},
		{"text", hex.EncodeToString([]byte("hello")), "unknown", Envelope{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, err := Parse(unhex(t, c.hex))
			if c.err == "" {
				if err != nil {
					t.Fatal(err)
				}
				if e.STP != c.want.STP || e.Seq != c.want.Seq || !bytes.Equal(e.Payload, c.want.Payload) {
					t.Fatalf("got %+v, want %+v", e, c.want)
				}
				return
			}
			if !errors.Is(err, parley.ErrMalformed) || !strings.Contains(err.Error(), c.err) {
				t.Fatalf("got %+v, %v; want %q", e, err, c.err)
			}
		})
	}
}

func TestMarshalIsAscending(t *testing.T) {
	got := Marshal(Envelope{STP: parley.STP{Type: 2, Version: 3}, Seq: 9, Payload: []byte("p")})
	if want := unhex(t, "0802 1003 1809 220170"); !bytes.Equal(got, want) {
		t.Fatalf("%x, want %x", got, want)
	}
	if n := len(Marshal(Envelope{})); n != 0 {
		t.Fatalf("an empty envelope takes %d bytes", n)
	}
}

func FuzzParse(f *testing.F) {
	for _, c := range load(f).Written {
		f.Add(unhex(f, c.Envelope))
	}
	f.Add([]byte{})
	f.Add(unhex(f, "2201aa180710030802"))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := Parse(b)
		if err != nil {
			if !errors.Is(err, parley.ErrMalformed) {
				t.Fatalf("another error: %v", err)
			}
			return
		}
		again, err := Parse(Marshal(e))
		if err != nil || again.STP != e.STP || again.Seq != e.Seq || !bytes.Equal(again.Payload, e.Payload) {
			t.Fatalf("%+v became %+v (%v)", e, again, err)
		}
		if len(Marshal(e)) > len(b) {
			t.Fatalf("%x is not the shortest form of %x", Marshal(e), b)
		}
	})
}
