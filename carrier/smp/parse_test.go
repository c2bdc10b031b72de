package smp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// stream makes a plain end that reads what r gives.
func stream(r io.Reader, side Side) *Conn { return Plain(&readConn{r: r}, side, 0) }

type readConn struct {
	net.Conn
	r io.Reader
	w io.Writer
}

func (c *readConn) Read(p []byte) (int, error)  { return c.r.Read(p) }
func (c *readConn) Write(p []byte) (int, error) { return c.w.Write(p) }
func (c *readConn) Close() error                { return nil }

// inBlock makes an encrypted end that has one block of that content to read.
func inBlock(t testing.TB, content string, side Side) *Conn {
	t.Helper()
	h, err := newHalf(make([]byte, 32), make([]byte, 16))
	if err != nil {
		t.Fatal(err)
	}
	in := h
	var b buffer
	n := copy(b[TagSize:BlockSize], content)
	for i := TagSize + n; i < BlockSize; i++ {
		b[i] = '#'
	}
	if err := h.seal(&b); err != nil {
		t.Fatal(err)
	}
	return encrypted(&readConn{r: bytes.NewReader(b[:BlockSize])}, side, in, h)
}

const (
	sid16   = "MDEyMzQ1Njc4OWFiY2RlZg==" // 0123456789abcdef
	goodSub = "c2ln\n" + sid16 + "\nSUB\n"
)

// Each case is a transmission, then a good SUB that must be read whatever came
// before: plain at once, plain byte by byte, and in a block.
var parseCases = []struct {
	name string
	in   string
	code Code   // 0: good
	id   bool   // the ID is known in the error
	sign string // what is signed; "" if not compared
}{
	{"SUB", goodSub, 0, true, sid16 + "\nSUB"},
	{"CRLF", "c2ln\r\n" + sid16 + "\r\nSUB\r\n", 0, true, sid16 + "\r\nSUB"},
	{"CONN", "\n\nCONN AAAA\n", 0, false, "\nCONN AAAA"},
	{"CONN, signed by a creator", "c2ln\n\nCONN AAAA\n", 0, false, "\nCONN AAAA"},
	{"KEY", "c2ln\n" + sid16 + "\nKEY AAAA\n", 0, true, ""},
	{"ACK", "c2ln\n" + sid16 + "\nACK\n", 0, true, ""},
	{"HOLD", "c2ln\n" + sid16 + "\nHOLD\n", 0, true, ""},
	{"DEL", "c2ln\n" + sid16 + "\nDEL\n", 0, true, ""},
	{"SEND string", "\n" + sid16 + "\nSEND :  two  spaces \n", 0, true, sid16 + "\nSEND :  two  spaces "},
	{"SEND empty string", "\n" + sid16 + "\nSEND :\n", 0, true, ""},
	{"SEND binary", "\n" + sid16 + "\nSEND 7\na\n\nb\x00\r\n\n\n", 0, true, sid16 + "\nSEND 7\na\n\nb\x00\r\n\n"},
	{"SEND binary, CRLF", "\r\n" + sid16 + "\r\nSEND 2\r\n\n\n\r\n\r\n", 0, true, sid16 + "\r\nSEND 2\r\n\n\n\r\n"},
	{"SEND nothing", "\n" + sid16 + "\nSEND 0\n\n\n", 0, true, ""},
	{"SEND with zeros in front", "\n" + sid16 + "\nSEND 0002\nab\n\n", 0, true, ""},
	{"a body that looks like commands", "\n" + sid16 + "\nSEND 5\n\n\nSUB\n\n", 0, true, ""},
	{"an ID of another length", "\nAAAA\nSEND :x\n", 0, true, ""},

	{"unknown", "\n" + sid16 + "\nPING\n", CodeUnknown, true, ""},
	{"unknown, small letters", "\n" + sid16 + "\nsub\n", CodeUnknown, true, ""},
	{"empty command", "\n" + sid16 + "\n\n", CodeUnknown, true, ""},
	{"response OK", "\n" + sid16 + "\nOK\n", CodeProhibited, true, ""},
	{"response ERR", "\n" + sid16 + "\nERR AUTH\n", CodeProhibited, true, ""},
	{"response IDS", "\n\nIDS AAAA AAAA\n", CodeProhibited, false, ""},
	{"response END", "\n" + sid16 + "\nEND\n", CodeProhibited, true, ""},
	{"response MSG with a body", "\n" + sid16 + "\nMSG 2020-10-15T00:00:00Z 5\nhello\n\n", CodeProhibited, true, ""},
	{"CONN without key", "\n\nCONN\n", CodeBadParameters, false, ""},
	{"CONN with an empty key", "\n\nCONN \n", CodeBadParameters, false, ""},
	{"CONN without padding", "\n\nCONN AAA\n", CodeBadParameters, false, ""},
	{"CONN with base64url", "\n\nCONN AA-_\n", CodeBadParameters, false, ""},
	{"CONN with loose bits", "\n\nCONN AAB=\n", CodeBadParameters, false, ""},
	{"CONN with CR inside", "\n\nCONN AA\rAA\n", CodeBadParameters, false, ""},
	{"CONN with two keys", "\n\nCONN AAAA AAAA\n", CodeBadParameters, false, ""},
	{"SUB with parameters", "c2ln\n" + sid16 + "\nSUB x\n", CodeBadParameters, true, ""},
	{"SUB and a space", "c2ln\n" + sid16 + "\nSUB \n", CodeBadParameters, true, ""},
	{"SEND without body", "\n" + sid16 + "\nSEND\n", CodeBadParameters, true, ""},
	{"bad signature", "c2l\n" + sid16 + "\nSUB\n", CodeBadParameters, true, ""},
	{"bad signature, binary body", "c2l\n" + sid16 + "\nSEND 5\n\nSUB\n\n\n", CodeBadParameters, true, ""},
	{"bad ID", "c2ln\nMDEyMzQ1Njc4OWFiY2RlZg\nSUB\n", CodeBadParameters, false, ""},
	{"ID too long", "c2ln\n" + strings.Repeat("AAAA", 9) + "\nSUB\n", CodeBadParameters, false, ""},
	{"SUB without signature", "\n" + sid16 + "\nSUB\n", CodeNoCredentials, true, ""},
	{"SUB without ID", "c2ln\n\nSUB\n", CodeNoCredentials, false, ""},
	{"SUB with nothing", "\n\nSUB\n", CodeNoCredentials, false, ""},
	{"KEY without signature", "\n" + sid16 + "\nKEY AAAA\n", CodeNoCredentials, true, ""},
	{"CONN with ID", "\n" + sid16 + "\nCONN AAAA\n", CodeHasCredentials, true, ""},
	{"SEND without ID", "\n\nSEND :x\n", CodeNoConnID, false, ""},
	{"SEND without ID, binary", "\n\nSEND 5\n\nSUB\n\n\n", CodeNoConnID, false, ""},
	{"size 0x5", "\n" + sid16 + "\nSEND 0x5\nhello\n\n", CodeBadBody, true, ""},
	{"size (5)", "\n" + sid16 + "\nSEND (5)\nhello\n\n", CodeBadBody, true, ""},
	{"size -1", "\n" + sid16 + "\nSEND -1\n", CodeBadBody, true, ""},
	{"size +5", "\n" + sid16 + "\nSEND +5\n", CodeBadBody, true, ""},
	{"size and text", "\n" + sid16 + "\nSEND 5 hello\n", CodeBadBody, true, ""},
	{"no size", "\n" + sid16 + "\nSEND \n", CodeBadBody, true, ""},
	{"a word for a size", "\n" + sid16 + "\nSEND hello\n", CodeBadBody, true, ""},
	{"NUL in a string", "\n" + sid16 + "\nSEND :a\x00b\n", CodeBadBody, true, ""},
	{"CR in a string", "\n" + sid16 + "\nSEND :a\rb\n", CodeBadBody, true, ""},
	{"size beyond any number", "\n" + sid16 + "\nSEND 99999999999999999999999999\n", CodeSize, true, ""},
	{"body longer than its size", "\n" + sid16 + "\nSEND 3\nhello\n\n", CodeSize, true, ""},
	{"body longer by a line end", "\n" + sid16 + "\nSEND 5\nhello\nx\n", CodeSize, true, ""},
}

func TestParse(t *testing.T) {
	for _, c := range parseCases {
		for name, conn := range map[string]*Conn{
			"plain":    stream(strings.NewReader(c.in+goodSub), ServerSide),
			"bytewise": stream(iotest.OneByteReader(strings.NewReader(c.in+goodSub)), ServerSide),
			"block":    inBlock(t, c.in+goodSub, ServerSide),
		} {
			t.Run(c.name+"/"+name, func(t *testing.T) {
				var tr Transmission
				err := conn.Next(&tr)
				var bad *SyntaxError
				if c.code != 0 {
					if !errors.As(err, &bad) || bad.Code != c.code {
						t.Fatalf("got %v, want %v", err, c.code)
					}
					if (bad.ID != ID{}) != c.id {
						t.Errorf("the error's ID is %q", bad.ID)
					}
				} else if err != nil {
					t.Fatal(err)
				} else if c.sign != "" && string(tr.Signed) != c.sign {
					t.Errorf("signed is %q, want %q", tr.Signed, c.sign)
				}
				if !conn.More() && name != "bytewise" && !strings.HasPrefix(c.name, "size") && !strings.Contains(c.name, "word") && bad == nil {
					t.Error("More is false before the second transmission")
				}
				if err := conn.Next(&tr); err != nil || tr.Verb != SUB || tr.ID.String() != sid16 {
					t.Fatalf("the next one: %v, %+v", err, tr)
				}
				if err := conn.Next(&tr); err != io.EOF {
					t.Fatalf("at the end: %v, want EOF", err)
				}
			})
		}
	}
}

func TestResponses(t *testing.T) {
	id, _ := MakeID([]byte("0123456789abcdef"))
	for _, c := range []struct{ in, code string }{
		{"\n\nIDS AAAA BBBB\n", ""},
		{"\n" + sid16 + "\nOK\n", ""},
		{"\n\nERR SYNTAX 3\n", ""},
		{"\n" + sid16 + "\nERR QUOTA\n", ""},
		{"\n" + sid16 + "\nEND\n", ""},
		{"\n" + sid16 + "\nMSG 2020-10-15T12:00:00.123Z :a  b\n", ""},
		{"\n" + sid16 + "\nMSG 2020-10-15T12:00:00.123Z 2\n\n\n\n\n", ""},
		{"\n" + sid16 + "\nSUB\n", "PROHIBITED"},
		{"\n" + sid16 + "\nERR SYNTAX 7\n", "SYNTAX 2"},
		{"\n" + sid16 + "\nERR\n", "SYNTAX 2"},
		{"\n" + sid16 + "\nMSG yesterday :a\n", "SYNTAX 2"},
		{"\n" + sid16 + "\nMSG 2020-10-15T12:00:00Z\n", "SYNTAX 2"},
		{"\n\nIDS AAAA\n", "SYNTAX 2"},
		{"\n\nIDS AAAA \n", "SYNTAX 2"},
		{"\n" + sid16 + "\nIDS AAAA BBBB\n", "SYNTAX 4"},
		{"c2ln\n" + sid16 + "\nOK\n", "SYNTAX 4"},
		{"\n\nMSG 2020-10-15T12:00:00.123Z :a\n", "SYNTAX 3"},
	} {
		var tr Transmission
		err := stream(strings.NewReader(c.in), ClientSide).Next(&tr)
		if c.code != "" {
			if bad, ok := err.(*SyntaxError); !ok || bad.Code.String() != c.code {
				t.Errorf("%q: %v, want %s", c.in, err, c.code)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", c.in, err)
			continue
		}
		if got := string(tr.Append(nil)); got != c.in {
			t.Errorf("%q was written as %q", c.in, got)
		}
		if tr.ID != (ID{}) && tr.ID != id {
			t.Errorf("%q: ID %s", c.in, tr.ID)
		}
	}
}

// What says that it is too long is passed over, in bounded memory, and what it
// contains is not taken for commands.
func TestOversized(t *testing.T) {
	smuggle := "\n\nCONN AAAA\n"
	for _, size := range []int{MaxBodyPlain + 1, 1 << 20} {
		body := strings.Repeat(smuggle, size/len(smuggle)+1)[:size]
		for _, in := range []string{
			fmt.Sprintf("\n%s\nSEND %d\n%s\n\n", sid16, size, body),
			fmt.Sprintf("\n%s\nSEND :%s\n", sid16, strings.Repeat("x", size)),
		} {
			c := stream(strings.NewReader(in+goodSub), ServerSide)
			var tr Transmission
			if err, ok := c.Next(&tr).(*SyntaxError); !ok || err.Code != CodeSize || err.ID.String() != sid16 {
				t.Fatalf("%.40q: %v", in, err)
			}
			if err := c.Next(&tr); err != nil || tr.Verb != SUB {
				t.Fatalf("%.40q: then %v %+v", in, err, tr.Verb)
			}
			if n := cap(c.lines.buf); n > 4*MaxBodyPlain {
				t.Errorf("the buffer has grown to %d bytes", n)
			}
		}
	}
	for _, n := range []int{MaxBodyPlain, 0} {
		in := fmt.Sprintf("\n%s\nSEND %d\n%s\n\n", sid16, n, strings.Repeat("\n", n))
		var tr Transmission
		if err := stream(strings.NewReader(in), ServerSide).Next(&tr); err != nil || len(tr.Body) != n {
			t.Fatalf("a body of %d bytes: %v", n, err)
		}
	}
	c := inBlock(t, fmt.Sprintf("\n%s\nSEND %d\n%s\n\n", sid16, MaxBodyBlock+1, strings.Repeat("x", MaxBodyBlock+1)), ServerSide)
	var tr Transmission
	if err, ok := c.Next(&tr).(*SyntaxError); !ok || err.Code != CodeSize {
		t.Fatalf("one byte too many in a block: %v", err)
	}
}

type endless byte

func (e endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(e)
	}
	return len(p), nil
}

func TestEndless(t *testing.T) {
	var tr Transmission
	for _, start := range []string{"", "\n", "\n" + sid16 + "\n", "\n" + sid16 + "\nCONN "} {
		c := stream(io.MultiReader(strings.NewReader(start), endless('A')), ServerSide)
		if err := c.Next(&tr); err != ErrLine {
			t.Errorf("%q and no end: %v", start, err)
		}
	}
	c := stream(io.MultiReader(strings.NewReader("\n"+sid16+"\nSEND :"), endless('A')), ServerSide)
	if err, ok := c.Next(&tr).(*SyntaxError); !ok || err.Code != CodeSize {
		t.Fatal(err)
	}
	if err := c.Next(&tr); err != ErrLine {
		t.Fatalf("a string that goes on: %v", err)
	}
	if n := cap(c.lines.buf); n > 4*MaxBodyPlain {
		t.Errorf("the buffer has grown to %d bytes", n)
	}
}

func TestTruncated(t *testing.T) {
	whole := "\n" + sid16 + "\nSEND 5\nhello\n\n"
	for n := range len(whole) {
		want := io.ErrUnexpectedEOF
		if n == 0 {
			want = io.EOF
		}
		var tr Transmission
		if err := stream(strings.NewReader(whole[:n]), ServerSide).Next(&tr); err != want {
			t.Errorf("%q: %v, want %v", whole[:n], err, want)
		}
		err := inBlock(t, whole[:n], ServerSide).Next(&tr)
		if _, ok := err.(*SyntaxError); !ok && n > 0 {
			t.Errorf("%q in a block: %v", whole[:n], err)
		}
	}
}

func TestMoreNeedsTheWholeTransmission(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	go b.Write([]byte(goodSub + "c2ln\n" + sid16 + "\nSU"))
	c := Plain(a, ServerSide, 0)
	var tr Transmission
	if err := c.Next(&tr); err != nil || c.More() {
		t.Fatalf("%v; More is %v with half a transmission", err, c.More())
	}
}

func TestBodies(t *testing.T) {
	id, _ := MakeID(make([]byte, 16))
	for body, want := range map[string]string{
		"":             ":",
		"a  b":         ":a  b",
		"a\nb":         "3\na\nb\n",
		"\x00":         "1\n\x00\n",
		"\r":           "1\n\r\n",
		"\xff:caf\xe9": ":\xff:caf\xe9",
	} {
		for _, tr := range []*Transmission{
			{ID: id, Verb: SEND, Body: []byte(body)},
			{ID: id, Verb: MSG, Body: []byte(body), Time: time.UnixMilli(1602763200123)},
		} {
			got := string(tr.Append(nil))
			head := "\nAAAAAAAAAAAAAAAAAAAAAA==\nSEND "
			if tr.Verb == MSG {
				head = "\nAAAAAAAAAAAAAAAAAAAAAA==\nMSG 2020-10-15T12:00:00.123Z "
			}
			if got != head+want+"\n" {
				t.Errorf("%q became %q", body, got)
			}
		}
	}
}
