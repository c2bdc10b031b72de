package qr

import (
	"errors"
	"fmt"
	"strings"
)

// A reader of level L codes up to version 15, written from the standard and
// sharing nothing with the encoder: finder patterns, timing, alignment, format
// and version information, mask, interleaving, Reed-Solomon syndromes, modes.

type lowBlocks struct{ blocks, check int }

var levelL = [16]lowBlocks{
	1: {1, 7}, 2: {1, 10}, 3: {1, 15}, 4: {1, 20}, 5: {1, 26}, 6: {2, 18}, 7: {2, 20}, 8: {2, 24},
	9: {2, 30}, 10: {4, 18}, 11: {4, 20}, 12: {4, 24}, 13: {4, 26}, 14: {4, 30}, 15: {6, 22},
}

var centres = [16][]int{
	2: {6, 18}, 3: {6, 22}, 4: {6, 26}, 5: {6, 30}, 6: {6, 34}, 7: {6, 22, 38}, 8: {6, 24, 42},
	9: {6, 26, 46}, 10: {6, 28, 50}, 11: {6, 30, 54}, 12: {6, 32, 58}, 13: {6, 34, 62},
	14: {6, 26, 46, 66}, 15: {6, 26, 48, 70},
}

// modules reads what Draw drew back to true for dark, and checks the quiet zone.
func modules(drawn string, colour bool) ([][]bool, error) {
	var rows [][]bool
	for _, l := range strings.Split(strings.TrimSuffix(drawn, "\n"), "\n") {
		if colour {
			l = strings.TrimSuffix(strings.TrimPrefix(l, colours), reset)
		}
		var up, down []bool
		for _, r := range l {
			u, d := r == '█' || r == '▀', r == '█' || r == '▄'
			up, down = append(up, u == colour), append(down, d == colour)
		}
		rows = append(rows, up, down)
	}
	n := len(rows[0])
	if len(rows) != n && len(rows) != n+1 {
		return nil, fmt.Errorf("%d rows, %d columns", len(rows), n)
	}
	for y := range n {
		for x := range n {
			if (x < 4 || y < 4 || x >= n-4 || y >= n-4) && rows[y][x] {
				return nil, fmt.Errorf("the quiet zone is dark at %d,%d", x, y)
			}
		}
	}
	var m [][]bool
	for y := 4; y < n-4; y++ {
		m = append(m, rows[y][4:n-4])
	}
	return m, nil
}

func decode(m [][]bool) (string, error) {
	n := len(m)
	v := (n - 17) / 4
	if v < 1 || v > 15 || v*4+17 != n {
		return "", fmt.Errorf("%d modules", n)
	}
	used := make([][]bool, n)
	for y := range used {
		used[y] = make([]bool, n)
	}
	mark := func(x, y, w, h int) {
		for j := y; j < y+h; j++ {
			for i := x; i < x+w; i++ {
				used[j][i] = true
			}
		}
	}
	for _, f := range [][2]int{{0, 0}, {n - 7, 0}, {0, n - 7}} {
		for j := range 7 {
			for i := range 7 {
				d := max(i-3, 3-i, j-3, 3-j)
				if m[f[1]+j][f[0]+i] != (d != 2) {
					return "", errors.New("finder pattern")
				}
			}
		}
	}
	mark(0, 0, 9, 9)
	mark(n-8, 0, 8, 9)
	mark(0, n-8, 9, 8)
	for i := 8; i < n-8; i++ {
		if m[6][i] != (i%2 == 0) || m[i][6] != (i%2 == 0) {
			return "", errors.New("timing pattern")
		}
	}
	mark(8, 6, n-16, 1)
	mark(6, 8, 1, n-16)
	for _, cy := range centres[v] {
		for _, cx := range centres[v] {
			if cx == 6 && cy == 6 || cx == 6 && cy == n-7 || cx == n-7 && cy == 6 {
				continue
			}
			for j := -2; j <= 2; j++ {
				for i := -2; i <= 2; i++ {
					if m[cy+j][cx+i] != (max(i, -i, j, -j) != 1) {
						return "", errors.New("alignment pattern")
					}
				}
			}
			mark(cx-2, cy-2, 5, 5)
		}
	}
	if v >= 7 {
		got := 0
		for i := 17; i >= 0; i-- {
			a, b := m[i/3][n-11+i%3], m[n-11+i%3][i/3]
			if a != b {
				return "", errors.New("the two version informations differ")
			}
			got = got<<1 | bit(a)
		}
		if got != v<<12|bch(v<<12, 0x1f25, 12) {
			return "", fmt.Errorf("version information %x", got)
		}
		mark(n-11, 0, 3, 6)
		mark(0, n-11, 6, 3)
	}
	mask, err := format(m)
	if err != nil {
		return "", err
	}
	return payload(v, read(m, used, mask))
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

func bch(value, poly, deg int) int {
	for i := 31; i >= deg; i-- {
		if value>>i&1 == 1 {
			value ^= poly << (i - deg)
		}
	}
	return value
}

func format(m [][]bool) (int, error) {
	n := len(m)
	a, b := 0, 0
	for i := 14; i >= 0; i-- { // bit 14 first
		k := 14 - i
		switch {
		case k < 6:
			a = a<<1 | bit(m[8][k])
		case k == 6:
			a = a<<1 | bit(m[8][7])
		case k == 7:
			a = a<<1 | bit(m[8][8])
		case k == 8:
			a = a<<1 | bit(m[7][8])
		default:
			a = a<<1 | bit(m[14-k][8])
		}
		if k < 7 {
			b = b<<1 | bit(m[n-1-k][8])
		} else {
			b = b<<1 | bit(m[8][n-15+k])
		}
	}
	if a != b {
		return 0, fmt.Errorf("format informations differ: %015b %015b", a, b)
	}
	a ^= 0x5412
	if bch(a&^0x3ff, 0x537, 10) != a&0x3ff {
		return 0, errors.New("format information")
	}
	if a>>13 != 1 {
		return 0, errors.New("not level L")
	}
	if !m[n-8][8] {
		return 0, errors.New("the dark module is light")
	}
	return a >> 10 & 7, nil
}

func read(m, used [][]bool, mask int) []byte {
	n := len(m)
	var out []byte
	acc, have, up := 0, 0, true
	for right := n - 1; right > 0; right -= 2 {
		if right == 6 {
			right--
		}
		for k := range n {
			y := k
			if up {
				y = n - 1 - k
			}
			for x := right; x >= right-1; x-- {
				if used[y][x] {
					continue
				}
				acc, have = acc<<1|bit(m[y][x] != inverted(mask, x, y)), have+1
				if have == 8 {
					out, acc, have = append(out, byte(acc)), 0, 0
				}
			}
		}
		up = !up
	}
	return out
}

func inverted(mask, j, i int) bool { // j column, i row
	switch mask {
	case 0:
		return (i+j)%2 == 0
	case 1:
		return i%2 == 0
	case 2:
		return j%3 == 0
	case 3:
		return (i+j)%3 == 0
	case 4:
		return (i/2+j/3)%2 == 0
	case 5:
		return i*j%2+i*j%3 == 0
	case 6:
		return (i*j%2+i*j%3)%2 == 0
	}
	return ((i+j)%2+i*j%3)%2 == 0
}

func payload(v int, raw []byte) (string, error) {
	l := levelL[v]
	short := len(raw)/l.blocks - l.check
	long := len(raw) % l.blocks
	blocks := make([][]byte, l.blocks)
	at := 0
	for i := 0; i <= short; i++ {
		for b := range blocks {
			if i < short || b >= l.blocks-long {
				blocks[b] = append(blocks[b], raw[at])
				at++
			}
		}
	}
	var data []byte
	for _, b := range blocks {
		data = append(data, b...)
	}
	for range l.check {
		for b := range blocks {
			blocks[b] = append(blocks[b], raw[at])
			at++
		}
	}
	for _, b := range blocks {
		if !clean(b, l.check) {
			return "", errors.New("error correction")
		}
	}
	return text(v, data)
}

// clean evaluates the block at the powers of the generator: all must be zero.
func clean(block []byte, check int) bool {
	mul := func(a, b int) (r int) {
		for ; b > 0; b >>= 1 {
			if b&1 == 1 {
				r ^= a
			}
			if a <<= 1; a&0x100 != 0 {
				a ^= 0x11d
			}
		}
		return r
	}
	root := 1
	for range check {
		s := 0
		for _, c := range block {
			s = mul(s, root) ^ int(c)
		}
		if s != 0 {
			return false
		}
		root = mul(root, 2)
	}
	return true
}

func text(v int, data []byte) (string, error) {
	pos := 0
	take := func(n int) (r int) {
		for range n {
			r = r<<1 | int(data[pos/8]>>(7-pos%8)&1)
			pos++
		}
		return r
	}
	class := bit(v > 9)
	var out strings.Builder
	switch mode := take(4); mode {
	case 1:
		for n := take(10 + 2*class); n > 0; n -= 3 {
			k := min(n, 3)
			fmt.Fprintf(&out, "%0*d", k, take(1+3*k))
		}
	case 2:
		const letters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"
		n := take(9 + 2*class)
		for ; n > 1; n -= 2 {
			c := take(11)
			out.WriteString(letters[c/45:c/45+1] + letters[c%45:c%45+1])
		}
		if n == 1 {
			out.WriteByte(letters[take(6)])
		}
	case 4:
		for n := take(8 + 8*class); n > 0; n-- {
			out.WriteByte(byte(take(8)))
		}
	default:
		return "", fmt.Errorf("mode %d", mode)
	}
	return out.String(), nil
}
