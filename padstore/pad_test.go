package padstore

import (
	"bytes"
	"os"
	"slices"
	"testing"

	"parley"
	"parley/secure/otp"
)

func TestConversation(t *testing.T) {
	eachVersion(t, func(t *testing.T, v otp.Version) {
		w := newWorld(t, v, 20000)
		pads := [2]*Pad{w.open(0), w.open(1)}
		n := 0
		for round := range 12 {
			for lane := range 2 {
				from, to := pads[lane], pads[1-lane]
				n++
				msg := string(bytes.Repeat([]byte{byte('a' + n)}, n*7%90))
				packet := pack(t, from, n, msg)
				if again := pack(t, from, n, msg); !bytes.Equal(again, packet) {
					t.Fatal("the same id gave other bytes")
				}
				_, err := from.Package(ctx, id(n), from.Peer(), []byte(msg+"!"))
				is(t, err, parley.ErrRefused)
				o := unpack(t, to, packet, msg)
				if again := unpack(t, to, packet, msg); again.Offset != o.Offset || again.Seq != o.Seq || again.Skipped {
					t.Fatalf("opened again: %+v, was %+v", again, o)
				}
				finished(t, to, packet)
				finished(t, from, packet)
				finished(t, from, packet)
				_, err = to.Unpackage(ctx, to.Peer(), packet)
				is(t, err, parley.ErrSeen)
				at := used(t, v, 20000, packet, lane)
				for _, p := range pads {
					b := make([]byte, at.len())
					p.pad.ReadAt(b, p.base+at.start)
					if !allZero(b) {
						t.Fatal("used pad is not burned")
					}
				}
			}
			if round%3 == 2 { // a new process
				for lane := range 2 {
					check(t, pads[lane].Close())
					pads[lane] = w.open(lane)
				}
			}
		}
		for lane, p := range pads {
			s, err := p.Status(ctx, p.Peer())
			check(t, err)
			other, _ := pads[1-lane].Status(ctx, p.Self())
			if s.Left != other.Theirs || s.Held != "" || s.Left <= 0 {
				t.Errorf("%+v and %+v", s, other)
			}
			pic, err := p.Layout()
			check(t, err)
			if pic.Sent != 12 || pic.Received != 12 || pic.Pending != 0 || pic.MissingSeqs != 0 {
				t.Errorf("%+v", pic)
			}
			at := int64(0)
			for _, r := range pic.Ranges {
				if r.Start != at || r.End <= r.Start {
					t.Errorf("ranges %v", pic.Ranges)
				}
				at = r.End
			}
			if at != pic.Size {
				t.Errorf("ranges %v", pic.Ranges)
			}
			check(t, p.Check(ctx, nil))
		}
		for _, kind := range w.told() {
			if kind != Reuse {
				t.Errorf("told %s", kind)
			}
		}
	})
}

func TestGapsAndSkips(t *testing.T) {
	eachVersion(t, func(t *testing.T, v otp.Version) {
		w := newWorld(t, v, 20000)
		a, b := w.both()
		var packets [][]byte
		for i := range 8 {
			packets = append(packets, pack(t, a, i, "text"))
		}
		for _, step := range []struct {
			i       int
			missing uint64
			skipped bool
		}{{0, 0, false}, {3, 2, true}, {2, 0, false}, {4, 0, false}, {7, 2, true}, {1, 0, false}} {
			o := unpack(t, b, packets[step.i], "text")
			if v == otp.V1 {
				step.missing = 0
			}
			if o.Skipped != step.skipped || o.Missing != step.missing {
				t.Errorf("packet %d: %+v", step.i, o)
			}
		}
		pic, _ := b.Layout()
		if v == otp.V2 && pic.MissingSeqs != 2 {
			t.Errorf("%d messages are missing, want 2", pic.MissingSeqs)
		}
		want := []string{Gap, Gap}
		if v == otp.V1 {
			want = []string{Skip, Skip}
		}
		if got := w.told(); !slices.Equal(got, want) {
			t.Errorf("told %v, want %v", got, want)
		}
	})
}

func TestOnce(t *testing.T) {
	eachVersion(t, func(t *testing.T, v otp.Version) {
		w := newWorld(t, v, 20000)
		a, b := w.both()
		for range 3 {
			packet, err := a.PackageOnce(ctx, []byte("once"))
			check(t, err)
			at := used(t, v, 20000, packet, 0)
			for _, p := range []*Pad{a, b} {
				if p == b {
					o, err := b.UnpackageOnce(ctx, packet)
					check(t, err)
					if string(o.Message) != "once" {
						t.Errorf("%q", o.Message)
					}
				}
				raw := make([]byte, at.len())
				p.pad.ReadAt(raw, p.base+at.start)
				if !allZero(raw) {
					t.Error("not burned before the reply")
				}
			}
			_, err = b.UnpackageOnce(ctx, packet)
			is(t, err, parley.ErrSeen)
		}
	})
}

func TestRefusals(t *testing.T) {
	eachVersion(t, func(t *testing.T, v otp.Version) {
		w := newWorld(t, v, 2000)
		a, b := w.both()
		before, _ := os.ReadFile(a.Path())
		_, err := a.Package(ctx, id(1), "carol", nil)
		is(t, err, parley.ErrNoKey)
		_, err = a.Unpackage(ctx, "carol", nil)
		is(t, err, parley.ErrNoKey)
		is(t, a.Done(ctx, "carol", [32]byte{}), parley.ErrNoKey)
		_, err = a.Status(ctx, "carol")
		is(t, err, parley.ErrNoKey)
		_, err = a.Package(ctx, id(1), "bob", make([]byte, MaxMessage+1))
		is(t, err, parley.ErrRefused)
		_, err = a.Package(ctx, id(1), "bob", make([]byte, 1000))
		is(t, err, parley.ErrRefused, otp.ErrDepleted)
		for _, packet := range [][]byte{nil, []byte("x"), bytes.Repeat([]byte{7}, 200)} {
			_, err = a.Unpackage(ctx, "bob", packet)
			is(t, err, parley.ErrMalformed)
		}
		own := pack(t, a, 1, "mine")
		_, err = a.Unpackage(ctx, "bob", own)
		is(t, err, parley.ErrMalformed)
		forged := bytes.Clone(own)
		forged[len(forged)-1] ^= 1
		_, err = b.Unpackage(ctx, "alice", forged)
		is(t, err, parley.ErrForged)
		is(t, a.Skip(-1), parley.ErrRefused)
		if v == otp.V1 {
			_, err = a.Grant(ctx, id(9), 10)
			is(t, err, parley.ErrRefused)
		}
		after, _ := os.ReadFile(a.Path())
		if !bytes.Equal(before, after) {
			t.Error("refused requests have changed the pad")
		}
		check(t, a.Close())
		check(t, a.Close())
		_, err = a.Package(ctx, id(2), "bob", nil)
		is(t, err, ErrClosed)
	})
}
