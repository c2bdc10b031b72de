// Package qr draws QR codes in a terminal, and cuts a text that is too long for
// one code into a numbered sequence of codes.
package qr

import (
	"errors"
	"fmt"

	"rsc.io/qr/coding"
)

// MaxVersion is the largest code that is drawn: 77 by 77 modules, 85 columns and
// 43 lines with the quiet zone. It holds 520 bytes, or 758 capital letters and
// digits, at error correction level L.
const MaxVersion = 15

// ErrTooLong says that a text does not fit one code; [Split] cuts it.
var ErrTooLong = errors.New("text is too long for one QR code")

// A Code is a square of modules, without its quiet zone.
type Code struct {
	Version int
	Mask    int
	Size    int // modules on a side
	dark    []bool
}

// Dark reports whether the module in column x of row y is dark. Everything
// outside the code is light.
func (c *Code) Dark(x, y int) bool {
	return 0 <= x && x < c.Size && 0 <= y && y < c.Size && c.dark[y*c.Size+x]
}

// Encode makes the smallest code for text at level L, at most MaxVersion, in the
// tightest mode that holds all of text: digits, capitals and digits, or bytes.
// The mask is the one with the lowest penalty (ISO/IEC 18004, 7.8.3).
func Encode(text string) (*Code, error) {
	enc := encoding(text)
	for v := coding.Version(1); v <= MaxVersion; v++ {
		if enc.Bits(v) > v.DataBytes(coding.L)*8 {
			continue
		}
		var best *Code
		least := 0
		for mask := range 8 {
			c, err := draw(enc, v, mask)
			if err != nil {
				return nil, err
			}
			if p := penalty(c); best == nil || p < least {
				best, least = c, p
			}
		}
		return best, nil
	}
	return nil, ErrTooLong
}

func encoding(text string) coding.Encoding {
	if coding.Num(text).Check() == nil {
		return coding.Num(text)
	}
	if coding.Alpha(text).Check() == nil {
		return coding.Alpha(text)
	}
	return coding.String(text)
}

func draw(enc coding.Encoding, v coding.Version, mask int) (*Code, error) {
	plan, err := coding.NewPlan(v, coding.L, coding.Mask(mask))
	if err != nil {
		return nil, fmt.Errorf("QR code: %w", err)
	}
	made, err := plan.Encode(enc)
	if err != nil {
		return nil, fmt.Errorf("QR code: %w", err)
	}
	c := &Code{Version: int(v), Mask: mask, Size: made.Size, dark: make([]bool, made.Size*made.Size)}
	for y := range c.Size {
		for x := range c.Size {
			c.dark[y*c.Size+x] = made.Black(x, y)
		}
	}
	return c, nil
}

// penalty scores what makes a code hard to read: long runs, blocks of one
// colour, shapes like a finder pattern, and too much of one colour.
func penalty(c *Code) int {
	p, dark := 0, 0
	for a := range c.Size {
		p += line(c.Size, func(b int) bool { return c.Dark(b, a) })
		p += line(c.Size, func(b int) bool { return c.Dark(a, b) })
		for b := range c.Size {
			d := c.Dark(a, b)
			if d {
				dark++
			}
			if a+1 < c.Size && b+1 < c.Size && d == c.Dark(a+1, b) && d == c.Dark(a, b+1) && d == c.Dark(a+1, b+1) {
				p += 3
			}
		}
	}
	off := dark*20 - c.Size*c.Size*10 // twentieths away from one half
	if off < 0 {
		off = -off
	}
	return p + off/(c.Size*c.Size)*10
}

func line(n int, dark func(int) bool) int {
	const before, after, finder = 0b00001011101, 0b10111010000, 1<<11 - 1
	p, run, last, bits := 0, 0, false, 0
	for i := range n {
		d := dark(i)
		if i > 0 && d == last {
			run++
		} else {
			run = 1
		}
		switch {
		case run == 5:
			p += 3
		case run > 5:
			p++
		}
		last = d
		bits = bits << 1 & finder
		if d {
			bits |= 1
		}
		if i >= 10 && (bits == before || bits == after) {
			p += 40
		}
	}
	return p
}
