package smpbare

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"parley"
	"parley/parleytest"
)

var ctx = context.Background()

func ends(testing.TB) (a, b *parleytest.SecureLine) {
	return parleytest.NewSecureLine(textOnly{}, parley.SMPBare, "Alice", "Bob"),
		parleytest.NewSecureLine(textOnly{}, parley.SMPBare, "Bob", "Alice")
}

// textOnly takes the group off the suite's messages, as this format can't carry one.
type textOnly struct{ Transport }

func (x textOnly) Seal(ctx context.Context, c *parley.Conversation, m *parley.Message) ([]byte, error) {
	plain := *m
	plain.Group = nil
	return x.Transport.Seal(ctx, c, &plain)
}

func TestConformance(t *testing.T) {
	parleytest.SecureTransport(t, parleytest.SecureFixture{
		Lines: ends, Fields: parleytest.FieldID | parleytest.FieldAMP, Unordered: true,
	})
}

// The packet is exactly the text's syntax.
func TestFormat(t *testing.T) {
	m := &parley.Message{AMP: parley.TextPlain, Body: []byte("two\nlines\n")}
	for i := range m.ID {
		m.ID[i] = byte(i)
	}
	p, err := New().Seal(ctx, &parley.Conversation{}, m)
	if want := "AAECAwQFBgcICQoLDA0ODw==\ntwo\nlines\n\n"; err != nil || string(p) != want {
		t.Fatalf("%q, %v; want %q", p, err, want)
	}
}

func TestSealRefuses(t *testing.T) {
	for name, m := range map[string]*parley.Message{
		"receipt":   {AMP: parley.Receipt},
		"hello":     {AMP: parley.Hello, Body: []byte("x")},
		"group":     {AMP: parley.TextPlain, Group: []byte("g")},
		"too long":  {AMP: parley.TextPlain, Body: make([]byte, MaxText+1)},
		"not UTF-8": {AMP: parley.TextPlain, Body: []byte("a\xff")},
	} {
		if p, err := New().Seal(ctx, &parley.Conversation{}, m); !errors.Is(err, parley.ErrRefused) || p != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOpen(t *testing.T) {
	c := &parley.Conversation{Self: "Bob", Peers: []parley.Name{"Alice"}, Now: time.Unix(1e9, 0)}
	long := strings.Repeat("a", MaxText)
	for _, test := range []struct {
		name, packet, body string
		malformed, id      bool
	}{
		{name: "ours", packet: "AAECAwQFBgcICQoLDA0ODw==\nhi\n", body: "hi", id: true},
		{name: "empty reserved", packet: "\nhi\n", body: "hi"},
		{name: "foreign reserved", packet: "v2!~\nhi\n", body: "hi"},
		{name: "base64 with loose bits", packet: "AAECAwQFBgcICQoLDA0ODx==\nhi\n", body: "hi"},
		{name: "24 characters, no base64", packet: "-AECAwQFBgcICQoLDA0ODx==\nhi\n", body: "hi"},
		{name: "18 bytes in base64", packet: "AAECAwQFBgcICQoLDA0ODxAR\nhi\n", body: "hi"},
		{name: "empty body", packet: "\n\n", body: ""},
		{name: "lines", packet: "\na\n\nb\n\n", body: "a\n\nb\n"},
		{name: "CR and NUL stay", packet: "\na\r\n\x00\n", body: "a\r\n\x00"},
		{name: "not UTF-8", packet: "\na\xff\xfeb\n", body: "a\ufffdb"},
		{name: "longest", packet: "\n" + long + "\n", body: long},
		{name: "too long", packet: "\n" + long + "a\n", malformed: true},
		{name: "empty", packet: "", malformed: true},
		{name: "no LF", packet: "abc", malformed: true},
		{name: "one LF", packet: "abc\n", malformed: true},
		{name: "only LF", packet: "\n", malformed: true},
		{name: "no last LF", packet: "\nhi", malformed: true},
		{name: "confirmation", packet: "KEY abcd\nhi\n", malformed: true},
		{name: "control", packet: "a\x00\nhi\n", malformed: true},
		{name: "CR", packet: "\r\nhi\n", malformed: true},
		{name: "eight bits", packet: "\x80\nhi\n", malformed: true},
		{name: "reserved too long", packet: strings.Repeat("v", MaxReserved+1) + "\nhi\n", malformed: true},
	} {
		m, err := New().Open(ctx, c, []byte(test.packet))
		if test.malformed {
			if !errors.Is(err, parley.ErrMalformed) || m != nil {
				t.Errorf("%s: %v", test.name, err)
			}
			continue
		}
		if err != nil || string(m.Body) != test.body || m.AMP != parley.TextPlain || m.From != "" || !m.Sent.Equal(c.Now) {
			t.Errorf("%s: %v, %v", test.name, m, err)
			continue
		}
		if known := m.ID == [16]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}; known != test.id {
			t.Errorf("%s: ID %x", test.name, m.ID)
		}
	}
}

// An ID that the packet doesn't hold depends on packet and time alone.
func TestDerivedID(t *testing.T) {
	id := func(packet string, now int64) [16]byte {
		m, err := New().Open(ctx, &parley.Conversation{Now: time.Unix(now, 0)}, []byte(packet))
		if err != nil {
			t.Fatal(err)
		}
		return m.ID
	}
	a := id("\nhi\n", 1)
	if a != id("\nhi\n", 1) || a == id("\nhi\n", 2) || a == id("\nho\n", 1) || a == ([16]byte{}) {
		t.Error("derived IDs are not what the documentation says")
	}
}

func FuzzOpen(f *testing.F) {
	for _, s := range []string{"", "\n\n", "AAECAwQFBgcICQoLDA0ODw==\nhi\n", "KEY abcd\nhi\n", "\na\xff\n"} {
		f.Add([]byte(s))
	}
	c := &parley.Conversation{}
	f.Fuzz(func(t *testing.T, p []byte) {
		m, err := New().Open(ctx, c, p)
		if err != nil {
			if !errors.Is(err, parley.ErrMalformed) || m != nil {
				t.Fatalf("%v", err)
			}
			return
		}
		q, err := New().Seal(ctx, c, m)
		if err != nil {
			if len(m.Body) > MaxText { // each bad byte grew to three
				return
			}
			t.Fatalf("what opened can't be sealed: %v", err)
		}
		again, err := New().Open(ctx, c, q)
		if err != nil || again.ID != m.ID || !bytes.Equal(again.Body, m.Body) {
			t.Fatalf("changed on the way: %v", err)
		}
	})
}
