package qr

import "strings"

// quiet is the light border that ISO/IEC 18004 asks for, in modules.
const quiet = 4

// Black on white by number, so that neither the terminal's theme nor a dark
// background changes them.
const (
	colours = "\x1b[38;5;16;48;5;231m"
	reset   = "\x1b[0m"
)

// Draw returns c with its quiet zone, two modules to a character. With colour it
// is black on white whatever the terminal's own colours are. Without, blocks
// stand for light modules, as readers expect on a dark background; most read
// the reverse as well.
func (c *Code) Draw(colour bool) string {
	var b strings.Builder
	for y := -quiet; y < c.Size+quiet; y += 2 {
		if colour {
			b.WriteString(colours)
		}
		for x := -quiet; x < c.Size+quiet; x++ {
			up, down := c.Dark(x, y), c.Dark(x, y+1)
			if !colour {
				up, down = !up, !down
				if y+1 >= c.Size+quiet {
					down = false // below the last row: no module
				}
			}
			switch {
			case up && down:
				b.WriteRune('█')
			case up:
				b.WriteRune('▀')
			case down:
				b.WriteRune('▄')
			default:
				b.WriteByte(' ')
			}
		}
		if colour {
			b.WriteString(reset)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
