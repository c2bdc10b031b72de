package otp

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"testing"

	"parley"
)

type vectorFile struct {
	Index struct {
		Cases []struct {
			Index   int64  `json:"index"`
			Encoded []byte `json:"encoded_b64"`
		} `json:"cases"`
		Refused []int64 `json:"rejected_encode"`
	} `json:"index_encoding"`
	Crypto []struct {
		Name    string `json:"name"`
		Index   int64  `json:"index"`
		Message []byte `json:"message_b64"`
		Text    []byte `json:"p_text_b64"`
		Body    []byte `json:"p_body_b64"`
		Key     []byte `json:"p_key_b64"`
		Package []byte `json:"package_b64"`
		Used    int64  `json:"pad_bytes_used"`
	} `json:"crypto_layer"`
	Primitives []struct {
		Type  string          `json:"type"`
		Hash  int64           `json:"hash"`
		Value json.RawMessage `json:"value"`
	} `json:"checksum_primitives"`
	Checksums []json.RawMessage `json:"metadata_checksums"`
	Validity  []struct {
		Name   string `json:"name"`
		Result string `json:"result"`
		Text   string `json:"text"`
	} `json:"metadata_validity"`
}

func vectors(t testing.TB) (v vectorFile) {
	t.Helper()
	b, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// TestVectorPackages: the original's packages, byte for byte, in both directions.
func TestVectorPackages(t *testing.T) {
	for _, v := range vectors(t).Crypto {
		pad := bytes.Join([][]byte{v.Text, v.Body, v.Key}, nil)
		if got := UseV1(len(v.Message)); got != v.Used || got != int64(len(pad)) {
			t.Errorf("%s: uses %d bytes of pad, want %d", v.Name, got, v.Used)
		}
		packet, err := SealV1(v.Index, v.Message, pad)
		if err != nil || !bytes.Equal(packet, v.Package) {
			t.Errorf("%s: sealed as %x, %v", v.Name, packet, err)
		}
		index, m, err := ParseV1(v.Package)
		if index != v.Index || m != len(v.Message) || err != nil {
			t.Errorf("%s: parsed as %d, %d, %v", v.Name, index, m, err)
		}
		msg, err := OpenV1(v.Package, pad)
		if err != nil || !bytes.Equal(msg, v.Message) {
			t.Errorf("%s: opened as %q, %v", v.Name, msg, err)
		}
		for _, i := range []int{0, 5, 6, len(v.Package) - 1} {
			bad := bytes.Clone(v.Package)
			bad[i] ^= 1
			if msg, err := OpenV1(bad, pad); !errors.Is(err, parley.ErrForged) || msg != nil {
				t.Errorf("%s: byte %d changed: %q, %v", v.Name, i, msg, err)
			}
		}
	}
}

func TestVectorIndexes(t *testing.T) {
	v := vectors(t).Index
	pad := make([]byte, UseV1(0))
	for _, c := range v.Cases {
		packet, err := SealV1(c.Index, nil, pad)
		if err != nil || !bytes.Equal(packet[:indexV1], c.Encoded) {
			t.Errorf("%d: %x, %v", c.Index, packet, err)
		}
		if got, _, err := ParseV1(packet); got != c.Index || err != nil {
			t.Errorf("%d: read back as %d, %v", c.Index, got, err)
		}
	}
	for _, i := range v.Refused {
		if packet, err := SealV1(i, nil, pad); !errors.Is(err, parley.ErrRefused) {
			t.Errorf("%d: %x, %v", i, packet, err)
		}
	}
}

func TestVectorHashes(t *testing.T) {
	for _, v := range vectors(t).Primitives {
		var got int64
		switch v.Type {
		case "string":
			var s string
			must(t, json.Unmarshal(v.Value, &s))
			got = int64(hashString(s))
		case "int":
			var i int64
			must(t, json.Unmarshal(v.Value, &i))
			got = int64(hashInt(i))
		case "pair":
			var p [2]json.RawMessage
			must(t, json.Unmarshal(v.Value, &p))
			got = int64(hashPair(hashJSON(t, p[0]), hashJSON(t, p[1])))
		case "pair_set":
			var set map[string]json.RawMessage
			must(t, json.Unmarshal(v.Value, &set))
			var all []uint64
			for name, value := range set {
				all = append(all, hashPair(hashString(name), hashJSON(t, value)))
			}
			got = hashSet(all)
		default:
			t.Fatalf("unknown kind %q", v.Type)
		}
		if got != v.Hash {
			t.Errorf("%s %s: %d, want %d", v.Type, v.Value, got, v.Hash)
		}
	}
}

func hashJSON(t *testing.T, raw json.RawMessage) uint64 {
	t.Helper()
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return hashString(s)
	}
	var i int64
	must(t, json.Unmarshal(raw, &i))
	return hashInt(i)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestVectorMetadata: every file reads, and writes itself as an equal object.
func TestVectorMetadata(t *testing.T) {
	for _, text := range vectors(t).Checksums {
		m, err := ParseMetadataV1(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got, want := object(t, m.Marshal()), object(t, text); got != want {
			t.Errorf("written as %s, want %s", got, want)
		}
	}
	for _, v := range vectors(t).Validity {
		_, err := ParseMetadataV1([]byte(v.Text))
		if (err == nil) != (v.Result == "accepted") {
			t.Errorf("%s: %v, want it %s", v.Name, err, v.Result)
		}
	}
}

// object returns JSON in one form.
func object(t *testing.T, text []byte) string {
	t.Helper()
	var all map[string]json.RawMessage
	must(t, json.Unmarshal(text, &all))
	b, err := json.Marshal(all)
	must(t, err)
	return string(b)
}
