package content

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"parley"
)

func TestLimits(t *testing.T) {
	hello := func(f func(*Hello)) Event {
		e := Hello{Name: "A", Device: id1, Paths: []parley.Address{addr}}
		f(&e)
		return e
	}
	file := func(f func(*FileManifest)) Event {
		e := FileManifest{Name: "a", Key: hash1, Chunk: 1, Where: addr}
		f(&e)
		return e
	}
	member := func(f func(*Membership)) Event {
		e := Membership{Group: []byte{1}, Epoch: 1, Add: []Member{{Name: "B"}}, By: "A"}
		f(&e)
		return e
	}
	device := func(f func(*Devices)) Event {
		e := Devices{Add: []Device{{ID: id1, Keys: []PublicKey{key}}}}
		f(&e)
		return e
	}
	var ids [257][16]byte
	for i := range ids {
		ids[i] = [16]byte{byte(i), byte(i >> 8), 1}
	}
	many := slices.Repeat([]parley.Address{"a:b"}, 257)
	long := parley.Address("a:" + strings.Repeat("b", MaxAddress-2))
	for _, c := range []struct {
		name string
		e    Event
		err  string // empty: allowed
	}{
		{"largest text", Text{strings.Repeat("a", MaxText)}, ""},
		{"text", Text{strings.Repeat("a", MaxText+1)}, "too long"},
		{"no text", Text{}, "empty"},
		{"text with NUL and escapes", Text{"\x00\x1b[31m\n"}, ""},
		{"UTF-8", Text{"\xc3"}, "UTF-8"},

		{"least hello", hello(func(e *Hello) { e.Paths = nil }), ""},
		{"64 runes", hello(func(e *Hello) { e.Name = strings.Repeat("😀", 64) }), ""},
		{"65 runes", hello(func(e *Hello) { e.Name = strings.Repeat("é", 65) }), "65 characters"},
		{"bytes of a name", hello(func(e *Hello) { e.Name = strings.Repeat("a", 1<<20) }), "too long"},
		{"no name", hello(func(e *Hello) { e.Name = "" }), "empty"},
		{"name with line end", hello(func(e *Hello) { e.Name = "a\nb" }), "U+000A"},
		{"name with escape", hello(func(e *Hello) { e.Name = "a\x1b[2J" }), "U+001B"},
		{"name with C1", hello(func(e *Hello) { e.Name = "a\u009bb" }), "U+009B"},
		{"name turned around", hello(func(e *Hello) { e.Name = "a\u202eb" }), "U+202E"},
		{"name isolated", hello(func(e *Hello) { e.Name = "a\u2066b" }), "U+2066"},
		{"name with separator", hello(func(e *Hello) { e.Name = "a\u2028b" }), "U+2028"},
		{"family emoji", hello(func(e *Hello) { e.Name = "👩\u200d👧" }), ""},
		{"name of space", hello(func(e *Hello) { e.Name = " " }), "space"},
		{"name with space", hello(func(e *Hello) { e.Name = "a " }), "space"},
		{"no device", hello(func(e *Hello) { e.Device = [16]byte{} }), "zero"},
		{"device's name", hello(func(e *Hello) { e.DeviceName = "\r" }), "space"},
		{"largest address", hello(func(e *Hello) { e.Paths = []parley.Address{long} }), ""},
		{"address", hello(func(e *Hello) { e.Paths = []parley.Address{long + "b"} }), "too long"},
		{"256 addresses", hello(func(e *Hello) { e.Paths = many[:256] }), ""},
		{"257 addresses", hello(func(e *Hello) { e.Paths = many }), "257, at most 256"},
		{"receipts", hello(func(e *Hello) { e.Receipts = 3 }), "level 3"},
		{"zero type", hello(func(e *Hello) { e.Reads = []parley.AMP{{Version: 1}} }), "zero"},
		{"zero version", hello(func(e *Hello) { e.Reads = []parley.AMP{{Type: 1}} }), "zero"},
		{"types", hello(func(e *Hello) { e.Reads = slices.Repeat([]parley.AMP{parley.Edit}, 257) }), "too long"},

		{"no receipt", Receipt{Kind: Read}, "no message IDs"},
		{"receipt of kind 0", Receipt{Items: []ReceiptItem{{id1, hash1}}}, "kind 0"},
		{"receipt of kind 3", Receipt{Kind: 3, Items: []ReceiptItem{{id1, hash1}}}, "kind 3"},
		{"receipt without digest", Receipt{Kind: Read, Items: []ReceiptItem{{ID: id1}}}, "digest"},
		{"receipt without ID", Receipt{Kind: Read, Items: []ReceiptItem{{SHA256: hash1}}}, "zero"},
		{"receipt twice", Receipt{Kind: Read, Items: []ReceiptItem{{id1, hash1}, {id1, id32(2)}}}, "twice"},
		{"receipts of 257", Receipt{Kind: Read, Items: items(ids[:])}, "too long"},
		{"receipts of 256", Receipt{Kind: Read, Items: items(ids[:256])}, ""},

		{"edit of nothing", Edit{Revision: 1, Text: "a"}, "zero"},
		{"edit without revision", Edit{Target: id1, Text: "a"}, "revision"},
		{"edit to nothing", Edit{Target: id1, Revision: 1}, "empty"},
		{"edit", Edit{Target: id1, Revision: 1, Text: strings.Repeat("a", MaxText+1)}, "too long"},
		{"delete nothing", Delete{}, "no message IDs"},
		{"delete twice", Delete{Targets: [][16]byte{id1, id1}}, "twice"},
		{"delete 257", Delete{Targets: ids[:]}, "too long"},

		{"least file", file(func(*FileManifest) {}), ""},
		{"file up", file(func(e *FileManifest) { e.Name = ".." }), "path"},
		{"file in a folder", file(func(e *FileManifest) { e.Name = "a/b" }), "path"},
		{"file in a Windows folder", file(func(e *FileManifest) { e.Name = `a\b` }), "path"},
		{"file without name", file(func(e *FileManifest) { e.Name = "" }), "path"},
		{"file with NUL", file(func(e *FileManifest) { e.Name = "a\x00" }), "U+0000"},
		{"file's name", file(func(e *FileManifest) { e.Name = strings.Repeat("a", 256) }), "too long"},
		{"file's type", file(func(e *FileManifest) { e.MediaType = "a b" }), "media type"},
		{"file's size", file(func(e *FileManifest) { e.Size = MaxFile + 1 }), "too long"},
		{"file's key", file(func(e *FileManifest) { e.Key = [32]byte{} }), "no key"},
		{"no chunk", file(func(e *FileManifest) { e.Chunk = 0 }), "chunks of 0"},
		{"chunk", file(func(e *FileManifest) { e.Chunk = MaxChunk + 1 }), "chunks of"},
		{"file nowhere", file(func(e *FileManifest) { e.Where = "" }), "scheme"},

		{"no paths", Paths{}, "no path"},
		{"only removed", Paths{Remove: []parley.Address{addr}}, ""},
		{"removed garbage", Paths{Remove: []parley.Address{"x"}}, "scheme"},
		{"257 removed", Paths{Remove: many}, "too long"},

		{"no devices", Devices{}, "no device"},
		{"device without key", device(func(e *Devices) { e.Add[0].Keys = nil }), "without a key"},
		{"device without ID", device(func(e *Devices) { e.Add[0].ID = [16]byte{} }), "zero"},
		{"device in and out", device(func(e *Devices) { e.Remove = [][16]byte{id1} }), "twice"},
		{"device's name 2", device(func(e *Devices) { e.Add[0].Name = "\u2029x" }), "space"},
		{"257 devices", device(func(e *Devices) { e.Add = slices.Repeat(e.Add, 257) }), "too long"},
		{"257 devices out", device(func(e *Devices) { e.Remove = ids[:] }), "too long"},
		{"empty key", device(func(e *Devices) { e.Add[0].Keys = []PublicKey{{Kind: "pad"}} }), "empty key"},
		{"key", device(func(e *Devices) { e.Add[0].Keys = []PublicKey{{"pad", make([]byte, MaxKey+1)}} }), "too long"},
		{"no kind", device(func(e *Devices) { e.Add[0].Keys = []PublicKey{{"", []byte{1}}} }), "kind"},
		{"kind", device(func(e *Devices) { e.Add[0].Keys = []PublicKey{{"a b", []byte{1}}} }), "ASCII"},
		{"two of a kind", device(func(e *Devices) { e.Add[0].Keys = []PublicKey{key, key} }), "two keys"},
		{"all too long", device(func(e *Devices) {
			e.Add = nil
			for i := range 256 {
				e.Add = append(e.Add, Device{ID: ids[i], Keys: []PublicKey{{"pad", make([]byte, MaxKey)}, {"b", []byte{1}}}})
			}
		}), "the event is too long"},

		{"least membership", member(func(*Membership) {}), ""},
		{"no group", member(func(e *Membership) { e.Group = nil }), "group ID"},
		{"group", member(func(e *Membership) { e.Group = make([]byte, 65) }), "group ID"},
		{"no epoch", member(func(e *Membership) { e.Epoch = 0 }), "epoch"},
		{"first cites", member(func(e *Membership) { e.Previous = hash1 }), "cites none"},
		{"second cites none", member(func(e *Membership) { e.Epoch = 2 }), "cites none"},
		{"no change", member(func(e *Membership) { e.Add = nil }), "no member"},
		{"in and out", member(func(e *Membership) { e.Remove = []parley.Name{"B"} }), "twice"},
		{"nobody", member(func(e *Membership) { e.Remove = []parley.Name{""} }), "empty"},
		{"unsigned by", member(func(e *Membership) { e.By = "" }), "signer"},
		{"signature", member(func(e *Membership) { e.Signature = make([]byte, MaxSignature+1) }), "too long"},
		{"257 members", member(func(e *Membership) { e.Remove = make([]parley.Name, 257) }), "too long"},
		{"members' keys", member(func(e *Membership) { e.Add[0].Keys = []PublicKey{{Kind: "x"}} }), "empty key"},

		{"presence 0", Presence{Seconds: 1}, "presence 0"},
		{"presence 5", Presence{Kind: 5, Seconds: 1}, "presence 5"},
		{"presence for no time", Presence{Kind: Online}, "0 seconds"},
		{"presence for ever", Presence{Kind: Online, Seconds: 3601}, "3601 seconds"},
	} {
		a, body, err := Encode(c.e)
		if c.err == "" {
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			} else if _, err := Decode(a, body); err != nil {
				t.Errorf("%s: does not decode: %v", c.name, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.err)
			continue
		}
		if strings.Contains(c.err, "too long") && !errors.Is(err, ErrTooLong) {
			t.Errorf("%s: not ErrTooLong", c.name)
		}
		if c.name == "all too long" {
			continue
		}
		// And what nobody should send is not taken in either.
		if e, err := Decode(c.e.AMP(), c.e.append(nil)); !errors.Is(err, parley.ErrMalformed) {
			t.Errorf("%s: decodes to %+v, %v", c.name, e, err)
		}
	}
}

func items(ids [][16]byte) (list []ReceiptItem) {
	for _, id := range ids {
		list = append(list, ReceiptItem{id, hash1})
	}
	return list
}

func id32(n byte) (h [32]byte) { h[0] = n; return h }

func TestAddress(t *testing.T) {
	for a, ok := range map[parley.Address]bool{
		addr: true, "https://x/y": true, "a:b": true, "x-y.z+1:b": true,
		"": false, ":": false, ":b": false, "a:": false, "b": false, "1a:b": false, "A:b": false, "a/b:c": false,
		"a:b c": false, "a:b\n": false, "a:\x7f": false, "a:é": false, "a:\x00": false, "-a:b": false,
	} {
		if err := checkAddress(a); (err == nil) != ok {
			t.Errorf("%q: %v", a, err)
		}
	}
}

// TestMembershipChain: the signature covers everything but itself, the digest
// everything.
func TestMembershipChain(t *testing.T) {
	base := Membership{Group: []byte{1}, Epoch: 2, Previous: hash1, Add: []Member{{Name: "B"}}, Remove: []parley.Name{"C"}, By: "A", Signature: []byte("s")}
	for i, f := range []func(*Membership){
		func(e *Membership) { e.Group = []byte{2} },
		func(e *Membership) { e.Epoch = 3 },
		func(e *Membership) { e.Previous[5] ^= 1 },
		func(e *Membership) { e.Add = []Member{{Name: "D"}} },
		func(e *Membership) { e.Add = []Member{{Name: "B", Keys: []PublicKey{key}}} },
		func(e *Membership) { e.Remove = nil },
		func(e *Membership) { e.By = "B" },
	} {
		e := base
		f(&e)
		if string(e.Signed()) == string(base.Signed()) || e.Digest() == base.Digest() {
			t.Errorf("change %d is not covered", i)
		}
	}
	e := base
	e.Signature = []byte("t")
	if string(e.Signed()) != string(base.Signed()) || e.Digest() == base.Digest() {
		t.Error("the signature covers itself, or the digest does not cover it")
	}
	if string(base.Signature) != "s" {
		t.Error("Signed changed the event")
	}
}
