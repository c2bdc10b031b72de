package padstore

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"parley"
	"parley/secure/otp"
)

// scratch writes over a piece of a pad, in the travel coordinates of the lane.
func scratch(t *testing.T, p *Pad, at span, value byte) {
	t.Helper()
	f, err := os.OpenFile(p.Path(), os.O_RDWR, 0)
	check(t, err)
	where := p.l.positions(p.lane, at)
	_, err = f.WriteAt(bytes.Repeat([]byte{value}, int(at.len())), p.base+where.start)
	check(t, errors.Join(err, f.Close()))
}

// TestDamaged: Check finds what sending refuses, at its place, and says how much to skip.
func TestDamaged(t *testing.T) {
	const size = 28 << 20
	for _, v := range bothVersions {
		for lane := range 2 {
			w := newWorld(t, v, size)
			for _, c := range []struct {
				name  string
				at    []span
				value byte
			}{
				{"nine zeros", []span{{500, 509}}, 0},
				{"nine equal", []span{{500, 509}}, 0xff},
				{"some", []span{{400, 1000}}, 7},
				{"two near each other", []span{{400, 1000}, {3000, 3009}}, 0},
				{"far in", []span{{13 << 20, 13<<20 + 9000}}, 0},
				{"between two chunks", []span{{checkChunk - 4, checkChunk + 5}}, 1},
				{"through chunks", []span{{checkChunk - 400, 2*checkChunk + 5}}, 1},
			} {
				w.t = t
				p := w.open(lane)
				check(t, p.Check(ctx, nil))
				for _, at := range c.at {
					scratch(t, p, at, c.value)
				}
				err := p.Check(ctx, nil)
				var d *Damage
				if !errors.As(err, &d) || !errors.Is(err, parley.ErrMalformed) {
					t.Fatalf("v%d lane %d %s: %v", v, lane, c.name, err)
				}
				end := c.at[len(c.at)-1].end
				want := p.l.positions(uint8(lane), span{c.at[0].start, end})
				if d.Start > want.start || d.Start < want.start-20 || d.End < want.end || d.End > want.end+20 || d.Hole < end || d.Hole > end+20 {
					t.Errorf("v%d lane %d %s: %+v, want %v and to skip %d", v, lane, c.name, d, want, end)
				}
				if at := c.at[0].start; at < 1<<20 {
					_, err := p.Package(ctx, id(1), p.peer, make([]byte, at))
					is(t, err, errHole, parley.ErrRefused)
				}
				hole, err := p.Hole(ctx)
				check(t, err)
				if hole != d.Hole {
					t.Errorf("%d and %d", hole, d.Hole)
				}
				check(t, p.Skip(hole))
				check(t, p.Check(ctx, nil))
				packet, err := p.Package(ctx, id(1), p.peer, []byte("behind it"))
				check(t, err)
				if got := p.l.positions(uint8(lane), used(t, v, size, packet, lane)); got.start != hole {
					t.Errorf("sent at %d, skipped %d", got.start, hole)
				}
				check(t, p.Close())
				for _, dir := range []string{w.dirs[lane], w.marks[lane]} {
					check(t, os.RemoveAll(dir))
				}
				check(t, os.Mkdir(w.dirs[lane], 0o700))
				names, data := padFiles(t, v, w.bytes, size/2, lane)
				for i := range names {
					check(t, os.WriteFile(filepath.Join(w.dirs[lane], names[i]), data[i], 0o600))
				}
				if testing.Short() {
					break
				}
			}
		}
	}
}

// TestRepeated compares the quick search with a slow one.
func TestRepeated(t *testing.T) {
	for n := range 40 {
		for from := range n {
			for to := from; to <= n; to++ {
				b := randomBytes(uint64(n), int64(n))
				for i := from; i < to; i++ {
					b[i] = 9
				}
				want := -1
				for i := 0; i+repeatRun <= n && want < 0; i++ {
					if bytes.Equal(b[i:i+repeatRun], bytes.Repeat(b[i:i+1], repeatRun)) {
						want = i
					}
				}
				if got := repeated(b); got != want {
					t.Fatalf("%d of %d to %d: %d, want %d", n, from, to, got, want)
				}
			}
		}
	}
	for _, c := range []struct {
		b    []byte
		want int
	}{
		{nil, -1}, {make([]byte, 8), -1}, {make([]byte, 9), 0}, {append([]byte{1}, make([]byte, 9)...), 1},
		{bytes.Repeat([]byte{5}, 30), -1}, {append(bytes.Repeat([]byte{5}, 30), make([]byte, 9)...), 30}, {append(bytes.Repeat([]byte{5}, 30), 0, 0, 1), -1},
	} {
		if got := zeroRun(c.b); got != c.want {
			t.Errorf("%x: %d, want %d", c.b, got, c.want)
		}
	}
}

// TestWeakPadOpens: what a peer has sealed with pad that we would not seal with is opened,
// except under zeros, with which everybody could make a packet.
func TestWeakPadOpens(t *testing.T) {
	eachVersion(t, func(t *testing.T, v otp.Version) {
		for _, c := range []struct {
			at    span
			value byte
			opens bool
		}{{span{2, 200}, 0xff, true}, {span{40, 60}, 0, true}, {span{0, 400}, 0, false}} {
			pad := randomBytes(3, 4000)
			for i := c.at.start; i < c.at.end; i++ {
				pad[i] = c.value
			}
			w := newWorld(t, v, 4000)
			for lane := range 2 {
				names, data := padFiles(t, v, pad, 2000, lane)
				for i := range names {
					check(t, os.WriteFile(w.dirs[lane]+"/"+names[i], data[i], 0o600))
				}
			}
			msg := []byte("a genuine message, from who does not test")
			var packet []byte
			var err error
			if v == otp.V1 {
				packet, err = otp.SealV1(0, msg, pad[:otp.UseV1(len(msg))])
			} else {
				packet, err = otp.Seal(otp.Header{PadID: [8]byte{1, 2, 3}, Seq: 1}, otp.Inner{Kind: otp.KindMessage, Body: msg}, pad[:otp.Use(len(msg))])
			}
			check(t, err)
			b := w.open(1)
			o, err := b.Unpackage(ctx, "alice", packet)
			if (err == nil) != c.opens || c.opens && string(o.Message) != string(msg) {
				t.Errorf("%+v: %v", c, err)
			}
			if _, err = w.open(0).Package(ctx, id(1), "bob", msg); c.opens || !errors.Is(err, otp.ErrHeld) { // zeros look burned
				is(t, err, errHole)
			}
		}
	})
}
