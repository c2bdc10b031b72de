package envelope

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"parley"
)

func sample() *parley.Message {
	return &parley.Message{
		ID:    [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
		Group: []byte("group"),
		AMP:   parley.TextPlain,
		Seq:   7,
		Sent:  time.Date(2020, 10, 15, 12, 0, 0, 123e6, time.UTC),
		Body:  []byte("hi"),
	}
}

// TestMessageBytes pins the format of docs/envelope.md.
func TestMessageBytes(t *testing.T) {
	want := "01" + "0102030405060708090a0b0c0d0e0f10" + "05" + hex.EncodeToString([]byte("group")) +
		"0001" + "0001" + "00000007" + "000001752c21967b" + hex.EncodeToString([]byte("hi"))
	if got := hex.EncodeToString(MarshalMessage(sample())); got != want {
		t.Fatalf("%s, want %s", got, want)
	}
}

func TestMessageRoundTrip(t *testing.T) {
	for name, change := range map[string]func(*parley.Message){
		"sample":         func(*parley.Message) {},
		"no group":       func(m *parley.Message) { m.Group = nil },
		"largest group":  func(m *parley.Message) { m.Group = bytes.Repeat([]byte{9}, MaxGroup) },
		"no body":        func(m *parley.Message) { m.Body = nil },
		"no time":        func(m *parley.Message) { m.Sent = time.Time{} },
		"1969":           func(m *parley.Message) { m.Sent = time.UnixMilli(-1).UTC() },
		"last year":      func(m *parley.Message) { m.Sent = time.UnixMilli(maxSent).UTC() },
		"largest counts": func(m *parley.Message) { m.Seq = 1<<32 - 1; m.AMP = parley.AMP{Type: 65535, Version: 65535} },
	} {
		t.Run(name, func(t *testing.T) {
			m := sample()
			change(m)
			if err := CheckMessage(m); err != nil {
				t.Fatal(err)
			}
			b := MarshalMessage(m)
			if len(b) != HeaderSize+len(m.Group)+len(m.Body) {
				t.Errorf("%d bytes", len(b))
			}
			got, err := ParseMessage(b)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, m) {
				t.Fatalf("got %+v, want %+v", got, m)
			}
		})
	}
}

func TestMessageZoneAndNanoseconds(t *testing.T) {
	m := sample()
	m.Sent = time.Date(2026, 1, 2, 3, 4, 5, 678901234, time.FixedZone("x", 3600))
	got, err := ParseMessage(MarshalMessage(m))
	if err != nil {
		t.Fatal(err)
	}
	if want := time.Date(2026, 1, 2, 2, 4, 5, 678e6, time.UTC); !got.Sent.Equal(want) || got.Sent.Location() != time.UTC {
		t.Fatalf("got %v, want %v", got.Sent, want)
	}
}

func TestCheckMessage(t *testing.T) {
	for name, m := range map[string]*parley.Message{
		"group":        {Group: make([]byte, MaxGroup+1)},
		"group of 300": {Group: make([]byte, 300)},
		"year 10000":   {Sent: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)},
		"year 0":       {Sent: time.Date(0, 12, 31, 0, 0, 0, 0, time.UTC)},
	} {
		if CheckMessage(m) == nil {
			t.Errorf("%s: no error", name)
		}
		if _, err := ParseMessage(MarshalMessage(m)); err == nil {
			t.Errorf("%s: parsed", name)
		}
	}
}

func TestParseMessageRefuses(t *testing.T) {
	good := MarshalMessage(sample())
	with := func(at int, v byte) []byte { b := bytes.Clone(good); b[at] = v; return b }
	late := MarshalMessage(&parley.Message{})
	copy(late[HeaderSize-8:], unhex(t, "7fffffffffffffff"))
	for _, c := range []struct {
		name string
		b    []byte
		err  string
	}{
		{"nothing", nil, "0 bytes"},
		{"one byte less than a header", make([]byte, HeaderSize-1), "33 bytes"},
		{"version 0", with(0, 0), "version 0"},
		{"version 2", with(0, 2), "version 2"},
		{"group too long", append(with(17, MaxGroup+1), make([]byte, 99)...), "65 bytes"},
		{"cut in the group", good[:HeaderSize+4], "cut short"},
		{"late", late, "years"},
	} {
		m, err := ParseMessage(c.b)
		if m != nil || !errors.Is(err, parley.ErrMalformed) || !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %+v, %v", c.name, m, err)
		}
	}
	for n := range HeaderSize + len("group") {
		if _, err := ParseMessage(good[:n]); err == nil {
			t.Errorf("the first %d bytes parse", n)
		}
	}
}

func TestParseMessageCopies(t *testing.T) {
	b := MarshalMessage(sample())
	m, err := ParseMessage(b)
	if err != nil {
		t.Fatal(err)
	}
	clear(b)
	if string(m.Group) != "group" || string(m.Body) != "hi" {
		t.Fatal("the message shares its packet's memory")
	}
}

// FuzzParseMessage: what parses has this one form.
func FuzzParseMessage(f *testing.F) {
	f.Add(MarshalMessage(sample()))
	f.Add(MarshalMessage(&parley.Message{}))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseMessage(b)
		if err != nil {
			if !errors.Is(err, parley.ErrMalformed) {
				t.Fatalf("another error: %v", err)
			}
			return
		}
		if !bytes.Equal(MarshalMessage(m), b) {
			t.Fatalf("%x became %x", b, MarshalMessage(m))
		}
		if err := CheckMessage(m); err != nil {
			t.Fatalf("parsed, and cannot be sent: %v", err)
		}
		if _, err := m.Sent.MarshalJSON(); err != nil {
			t.Fatal(err)
		}
	})
}
