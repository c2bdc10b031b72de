package main

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"parley/internal/term"
	"parley/secure/stringphone"
)

// maxInput is the longest text or packet that is read at once, in bytes as they
// come in. The format has no limit; the memory has.
const maxInput = 256 << 20

// packetFormat is how packets are written, on both sides.
type packetFormat struct {
	Hex    bool `xor:"format" help:"Packets are hex instead of raw bytes."`
	Base64 bool `xor:"format" name:"base64" help:"Packets are standard base64 instead of raw bytes."`
}

// read returns the packet in text. White space does not count in hex and base64.
// What is neither is as malformed as any other garbage.
func (f packetFormat) read(text []byte) (packet []byte, err error) {
	switch {
	case f.Hex:
		packet, err = hex.DecodeString(withoutSpace(text))
	case f.Base64:
		packet, err = base64.StdEncoding.DecodeString(withoutSpace(text))
	default:
		return text, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: not %s", stringphone.ErrMalformed, f.name())
	}
	return packet, nil
}

func withoutSpace(b []byte) string {
	out := make([]byte, 0, len(b))
	for _, c := range b {
		if c != ' ' && (c < '\t' || c > '\r') {
			out = append(out, c)
		}
	}
	return string(out)
}

func (f packetFormat) name() string {
	switch {
	case f.Hex:
		return "hex"
	case f.Base64:
		return "base64"
	}
	return "raw"
}

// text returns the packet as text. JSON has no raw bytes: they become hex there.
func (f packetFormat) text(packet []byte) string {
	if f.Base64 {
		return base64.StdEncoding.EncodeToString(packet)
	}
	return hex.EncodeToString(packet)
}

// write prints a packet.
func (f packetFormat) write(a *app, packet []byte) error {
	switch {
	case a.json:
		return a.emit(map[string]string{"packet": f.text(packet)})
	case f.Hex || f.Base64:
		return a.print(f.text(packet) + "\n")
	}
	return a.print(string(packet))
}

// checkOutput refuses raw bytes on a terminal, before anything is done.
func (f packetFormat) checkOutput(a *app) error {
	if !f.Hex && !f.Base64 && !a.json && a.outTTY() {
		return usage("a packet is raw bytes, which a terminal cannot show: add --hex or --base64, or send the output to a file")
	}
	return nil
}

func (a *app) outTTY() bool {
	f, ok := a.out.(*os.File)
	return ok && term.IsTerminal(f)
}

// readPacket reads the one packet on standard input.
func (f packetFormat) readPacket(ctx context.Context, a *app) ([]byte, error) {
	b, err := a.readInput(ctx)
	if err != nil {
		return nil, err
	}
	return f.read(b)
}

// readInput reads standard input to its end, or until ctx ends.
func (a *app) readInput(ctx context.Context) ([]byte, error) {
	type input struct {
		b   []byte
		err error
	}
	got := make(chan input, 1)
	go func() {
		b, err := io.ReadAll(io.LimitReader(a.in, maxInput+1))
		got <- input{b, err}
	}()
	select {
	case i := <-got:
		if i.err != nil {
			return nil, fmt.Errorf("standard input: %w", i.err)
		}
		if len(i.b) > maxInput {
			return nil, usage("standard input is longer than %d MiB", maxInput>>20)
		}
		return i.b, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// showText prints an opened text: as it is, or made safe on a terminal.
func (a *app) showText(text []byte) error {
	if !a.outTTY() {
		return a.print(string(text))
	}
	s := term.Text(string(text))
	if !strings.HasSuffix(s, "\n") {
		s += "\n"
	}
	return a.print(s)
}

// oneLine writes a text so that it is one line: backslash, line feed and carriage
// return become \\, \n and \r, all else stays.
var oneLine = strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`)

// showLine prints an opened text as one line.
func (a *app) showLine(text []byte) error {
	s := oneLine.Replace(string(text))
	if a.outTTY() {
		s = term.Line(s)
	}
	return a.print(s + "\n")
}

// jsonText splits a text into the two forms that JSON can hold.
func jsonText(b []byte) (text, base *string) {
	if utf8.Valid(b) {
		s := string(b)
		return &s, nil
	}
	s := base64.StdEncoding.EncodeToString(b)
	return nil, &s
}
