package term

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestText(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"plain", "plain"},
		{"grüße 漢字 👩‍👩‍👧", "grüße 漢字 👩‍👩‍👧"},
		{"two\nlines\ttab", "two\nlines\ttab"},
		{"dos\r\nline", "dos\nline"},
		{"lone\rreturn", "lone\nreturn"},
		{"\x1b[31mred\x1b[0m", "red"},
		{"\x1b[2J\x1b[1;1Hgone", "gone"},
		{"\x1b]0;title\x07after", "after"},
		{"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"},
		{"\x1bPdcs\x1b\\x", "x"},
		{"\x1b]never ends\nnext line", "\nnext line"},
		{"\x1b(Bcharset", "charset"},
		{"\x1b", ""},
		{"\x1b[", ""},
		{"\x1b[31", ""},
		{"\x1b[31\x00mx", "mx"},
		{"\u009b31mred", "red"},
		{"\u009dtitle\u009cx", "x"},
		{"nul\x00bel\x07bs\x08del\x7f", "nulbelbsdel"},
		{"a\u0080b\u0085c", "ab\nc"},
		{"a\u202eb", "a‹U+202E›b"},
		{"a\u2066b\u2069", "a‹U+2066›b‹U+2069›"},
		{"a\u200fb\u061cc", "a‹U+200F›b‹U+061C›c"},
		{"bad\xffutf", "bad\ufffdutf"},
		{"raw \x9b31m", "raw \ufffd31m"},
	} {
		if got := Text(c.in); got != c.want {
			t.Errorf("Text(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}

func TestLineAndIndent(t *testing.T) {
	if got := Line(" al\nice\t\x1b[1m "); got != "al ice" {
		t.Errorf("Line = %q", got)
	}
	if got := Indent("one\ntwo\r\nthree", "  "); got != "one\n  two\n  three" {
		t.Errorf("Indent = %q", got)
	}
}

func TestJSON(t *testing.T) {
	in := map[string]string{"a": "esc \x1b c1 \u009b del \x7f bidi \u202e <&> \u2028 é"}
	b, err := JSON(in)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range string(b) {
		if r < 0x20 || 0x7f <= r && r < 0xa0 || Misleading(r) || r == 0x2028 {
			t.Errorf("%q holds %U", b, r)
		}
	}
	if !strings.Contains(string(b), "<&> ") || !strings.Contains(string(b), "é") {
		t.Errorf("%s escapes too much", b)
	}
	var out map[string]string
	if err := json.Unmarshal(b, &out); err != nil || out["a"] != in["a"] {
		t.Errorf("came back as %q, %v", out["a"], err)
	}
	if _, err := JSON(func() {}); err == nil {
		t.Error("a func was encoded")
	}
}

func TestAsk(t *testing.T) {
	in := bufio.NewReader(strings.NewReader("yes\r\nlast"))
	var out strings.Builder
	for _, want := range []string{"yes", "last"} {
		got, err := Ask(t.Context(), in, &out, "? ")
		if err != nil || got != want {
			t.Fatalf("%q, %v; want %q", got, err, want)
		}
	}
	if _, err := Ask(t.Context(), in, &out, "? "); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r, w := io.Pipe()
	defer w.Close()
	if _, err := Ask(ctx, bufio.NewReader(r), &out, "? "); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func FuzzText(f *testing.F) {
	f.Add("\x1b[31mred\x1b]0;t\x07\u202e\u009b1m\x00\xff")
	f.Fuzz(func(t *testing.T, s string) {
		for name, out := range map[string]string{"Text": Text(s), "Line": Line(s)} {
			if !utf8.ValidString(out) {
				t.Fatalf("%s(%q) is not UTF-8", name, s)
			}
			for _, r := range out {
				if r < 0x20 && (name == "Line" || r != '\n' && r != '\t') || 0x7f <= r && r < 0xa0 || Misleading(r) {
					t.Fatalf("%s(%q) holds %U", name, s, r)
				}
			}
		}
		b, err := JSON(s)
		if err != nil {
			t.Fatal(err)
		}
		var back string
		if err := json.Unmarshal(b, &back); err != nil || back != strings.ToValidUTF8(s, "\ufffd") && utf8.ValidString(s) {
			t.Fatalf("%q came back as %q, %v", s, back, err)
		}
	})
}
