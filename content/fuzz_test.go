package content

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"parley"
)

// FuzzDecode: what decodes encodes again, to bytes that mean the same.
func FuzzDecode(f *testing.F) {
	for _, c := range samples() {
		a, body, err := Encode(c.e)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(a.Type, a.Version, body)
	}
	f.Add(uint16(99), uint16(1), []byte("x"))
	f.Fuzz(func(t *testing.T, typ, version uint16, body []byte) {
		a := parley.AMP{Type: typ, Version: version}
		e, err := Decode(a, body)
		if err != nil {
			var u *UnknownError
			if errors.As(err, &u) == errors.Is(err, parley.ErrMalformed) {
				t.Fatalf("neither unknown nor malformed, or both: %v", err)
			}
			return
		}
		a2, body2, err := Encode(e)
		if err != nil || a2 != a {
			t.Fatalf("decoded, and cannot be sent on: %v %v", a2, err)
		}
		again, err := Decode(a2, body2)
		if err != nil || !reflect.DeepEqual(again, e) {
			t.Fatalf("%+v became %+v (%v)", e, again, err)
		}
		if codecs[a].strict && !bytes.Equal(body, body2) {
			t.Fatalf("%x was accepted for %x", body, body2)
		}
	})
}

func FuzzText(f *testing.F) {
	f.Add("hi", uint32(1))
	f.Fuzz(func(t *testing.T, s string, revision uint32) {
		for _, e := range []Event{Text{s}, Edit{Target: id1, Revision: revision, Text: s}, Hello{Name: s, Device: id1}} {
			a, body, err := Encode(e)
			if err != nil {
				continue
			}
			if got, err := Decode(a, body); err != nil || !reflect.DeepEqual(got, e) {
				t.Fatalf("%+v became %+v (%v)", e, got, err)
			}
		}
	})
}
