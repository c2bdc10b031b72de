package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

func TestLineReader(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{"\n", "[]"},
		{"a", "[a]"},
		{"a\n", "[a]"},
		{"a\r\nb", "[a][b]"},
		{"\n\nb\n\n", "[][][b][]"},
		{"12345678\n", "[12345678]"},
		{"12345678\r\n", "[12345678]"},
		{"123456789\nb\n", "[long][b]"},
		{"12345678\r\r\nb", "[long][b]"},
		{"123456789", "[long]"},
		{strings.Repeat("x", 100) + "\nb\n" + strings.Repeat("y", 99), "[long][b][long]"},
		{"a\rb\x00c\n", "[a\rb\x00c]"},
	} {
		for name, in := range map[string]io.Reader{"": strings.NewReader(c.in), "byte by byte": iotest.OneByteReader(strings.NewReader(c.in))} {
			r := lineReader{bufio.NewReaderSize(in, 16), 8}
			got := ""
			for {
				line, err := r.next()
				if err == io.EOF {
					break
				}
				if errors.Is(err, errLongLine) {
					line = []byte("long")
				} else if err != nil {
					t.Fatal(err)
				}
				got += "[" + string(line) + "]"
			}
			if got != c.want {
				t.Errorf("%q %s: %q, want %q", c.in, name, got, c.want)
			}
		}
	}
	broken := errors.New("broken")
	r := lineReader{bufio.NewReader(io.MultiReader(strings.NewReader("a\nhalf"), iotest.ErrReader(broken))), 8}
	if line, err := r.next(); string(line) != "a" || err != nil {
		t.Fatal(line, err)
	}
	if line, err := r.next(); line != nil || !errors.Is(err, broken) {
		t.Fatalf("a half line of a broken stream: %q, %v", line, err)
	}
}

// A line that does not end takes no memory.
func TestLineReaderIsBounded(t *testing.T) {
	r := lineReader{bufio.NewReader(io.LimitReader(zeros{}, 64<<20)), 1 << 10}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if line, err := r.next(); line != nil || !errors.Is(err, errLongLine) {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
		t.Errorf("took %d bytes", n)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// FuzzLines compares the line reader with splitting the whole input, and puts
// each line through what --lines does with it.
func FuzzLines(f *testing.F) {
	f.Add([]byte("73ab\n\r\nzz\n  \nlast"), uint8(4))
	f.Add([]byte("\r\r\n\n"), uint8(0))
	f.Add(bytes.Repeat([]byte("6d"), 40), uint8(79))
	f.Fuzz(func(t *testing.T, in []byte, limit uint8) {
		r := lineReader{bufio.NewReaderSize(bytes.NewReader(in), 16), int(limit)}
		lines := bytes.Split(in, []byte("\n"))
		if len(lines[len(lines)-1]) == 0 {
			lines = lines[:len(lines)-1]
		}
		for i, want := range lines {
			want = bytes.TrimSuffix(want, []byte("\r"))
			got, err := r.next()
			if len(want) > int(limit) {
				if !errors.Is(err, errLongLine) || got != nil {
					t.Fatalf("line %d of %d bytes: %q, %v", i, len(want), got, err)
				}
				continue
			}
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("line %d: %q, want %q, %v", i, got, want, err)
			}
			for _, form := range []packetFormat{{Hex: true}, {Base64: true}} {
				packet, err := form.read(got)
				if err != nil {
					continue
				}
				if back, err := form.read([]byte(form.text(packet))); err != nil || !bytes.Equal(back, packet) {
					t.Fatalf("%q: %v", got, err)
				}
				inspect(packet, i%2 == 1)
			}
			if shown := oneLine.Replace(string(got)); strings.ContainsAny(shown, "\r\n") {
				t.Fatalf("%q is not one line", shown)
			}
		}
		if line, err := r.next(); err != io.EOF || line != nil {
			t.Fatalf("behind the end: %q, %v", line, err)
		}
	})
}
