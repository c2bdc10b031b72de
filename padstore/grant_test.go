package padstore

import (
	"bytes"
	"os"
	"slices"
	"testing"

	"parley"
	"parley/secure/otp"
)

// TestGrants: both give to each other, out of order and across restarts, and each uses
// what it got to the last byte.
func TestGrants(t *testing.T) {
	w := newWorld(t, otp.V2, 8000)
	a, b := w.both()
	grant := func(p *Pad, n int, size int64) []byte {
		packet, err := p.Grant(ctx, id(n), size)
		check(t, err)
		again, err := p.Grant(ctx, id(n), size)
		if err != nil || !bytes.Equal(packet, again) {
			t.Fatal("the same id gave another grant", err)
		}
		_, err = p.Grant(ctx, id(n), size+1)
		is(t, err, parley.ErrRefused)
		_, err = p.Package(ctx, id(n), p.Peer(), otp.MarshalGrant(0, 1))
		is(t, err, parley.ErrRefused)
		return packet
	}
	one, two, three := grant(a, 1, 700), grant(a, 2, 500), grant(b, 1, 900)
	for _, packet := range [][]byte{two, one} { // the second one first
		o, err := b.Unpackage(ctx, "alice", packet)
		check(t, err)
		if o.Message != nil {
			t.Errorf("a grant shows %q", o.Message)
		}
		finished(t, b, packet)
	}
	check(t, b.Close())
	b = w.open(1)
	_, err := a.Unpackage(ctx, "bob", three)
	check(t, err)
	for _, p := range []*Pad{a, b} {
		s, err := p.Status(ctx, p.Peer())
		check(t, err)
		if want := map[*Pad]int64{a: 4000 - 2*96 - 1200 + 900, b: 4000 - 96 - 900 + 1200}[p]; s.Left != want {
			t.Errorf("%d left, want %d", s.Left, want)
		}
		pic, _ := p.Layout()
		var kinds []string
		for _, r := range pic.Ranges {
			kinds = append(kinds, r.Kind)
		}
		if !slices.Contains(kinds, OursGranted) || !slices.Contains(kinds, TheirsGranted) {
			t.Errorf("drawn as %v", pic.Ranges)
		}
	}
	var all spans
	for lane, p := range []*Pad{a, b} {
		for n := 100; ; n++ {
			s, err := p.Status(ctx, p.Peer())
			check(t, err)
			if s.Largest == 0 && s.Left < 96 {
				break
			}
			msg := bytes.Repeat([]byte{1}, int(min(s.Largest, 300)))
			if len(msg) == 0 {
				break
			}
			packet, err := p.Package(ctx, id(n), p.Peer(), msg)
			if s.Largest < 48 {
				is(t, err, nil)
			}
			check(t, err)
			at := used(t, otp.V2, 8000, packet, lane)
			if all.overlaps(at) {
				t.Fatalf("%v was used twice", at)
			}
			all.add(at)
			unpack(t, []*Pad{b, a}[lane], packet, string(msg))
		}
		if _, err := p.Grant(ctx, id(999), 4000); err == nil {
			t.Error("granted what is not there")
		}
	}
	if all.count() < 8000-4*96-3*160 {
		t.Errorf("only %d bytes could be used", all.count())
	}
	if told := w.told(); !slices.Equal(told, []string{Gap}) { // the second before the first
		t.Errorf("told %v", told)
	}
	_, err = a.Grant(ctx, id(5), 0)
	is(t, err, parley.ErrRefused)
}

// forge seals a packet of bob's as he never would.
func forge(t *testing.T, w *world, at int64, seq uint64, in otp.Inner) []byte {
	t.Helper()
	use := otp.Use(len(in.Body))
	packet, err := otp.Seal(otp.Header{Lane: 1, PadID: [8]byte{1, 2, 3}, Offset: uint64(at), Seq: seq}, in, w.bytes[at:at+use])
	check(t, err)
	return packet
}

// TestBadGrants: a peer that has the pad and breaks the rules gains nothing.
func TestBadGrants(t *testing.T) {
	w := newWorld(t, otp.V2, 8000)
	a := w.open(0)
	before, _ := a.Status(ctx, "bob")
	at := int64(8000)
	for i, body := range [][]byte{
		nil, []byte("short"), otp.MarshalGrant(0, 100) /* ours */, otp.MarshalGrant(3900, 200), otp.MarshalGrant(7950, 100), /* used */
		otp.MarshalGrant(7900, 200) /* beyond */, otp.MarshalGrant(1<<62, 1<<62),
		otp.MarshalGrant(8000-96*8, 96), /* of itself */
	} {
		at -= 96
		in := otp.Inner{Kind: otp.KindGrant, Body: body}
		o, err := a.Unpackage(ctx, "bob", forge(t, w, at, uint64(i+1), in))
		if err != nil || o.Message != nil {
			t.Errorf("%d: %v, %v", i, o, err)
		}
		if told := w.told(); !slices.Equal(told, []string{Malformed}) {
			t.Errorf("%d: told %v", i, told)
		}
	}
	o, err := a.Unpackage(ctx, "bob", forge(t, w, at-96, 9, otp.Inner{Kind: 77, Body: []byte("?")}))
	if err != nil || o.Message != nil || !slices.Equal(w.told(), []string{Malformed}) {
		t.Errorf("an unknown kind: %v, %v", o, err)
	}
	if after, _ := a.Status(ctx, "bob"); after.Left != before.Left {
		t.Errorf("%d left, before %d", after.Left, before.Left)
	}
	o, err = a.Unpackage(ctx, "bob", forge(t, w, at-192, 9, otp.Inner{Kind: otp.KindMessage, Body: []byte("x")}))
	check(t, err)
	if !o.RolledBack {
		t.Error("a number that came twice is not noticed")
	}
	// Pad that was granted away is no longer the peer's.
	_, err = a.Unpackage(ctx, "bob", forge(t, w, at-288, 10, otp.Inner{Kind: otp.KindGrant, Body: otp.MarshalGrant(4000, 500)}))
	check(t, err)
	_, err = a.Unpackage(ctx, "bob", forge(t, w, 4100, 11, otp.Inner{Kind: otp.KindMessage}))
	is(t, err, parley.ErrMalformed)
}

// TestLastByte: everything of a half can be used, and one byte more can't.
func TestLastByte(t *testing.T) {
	eachVersion(t, func(t *testing.T, v otp.Version) {
		for lane := range 2 {
			w := newWorld(t, v, 2*1056)
			p, peer := w.open(lane), w.open(1-lane)
			s, err := p.Status(ctx, p.Peer())
			check(t, err)
			_, err = p.Package(ctx, id(1), p.Peer(), make([]byte, s.Largest+1))
			is(t, err, otp.ErrDepleted)
			msg := string(bytes.Repeat([]byte{9}, int(s.Largest)))
			packet := pack(t, p, 1, msg)
			unpack(t, peer, packet, msg)
			after, _ := p.Status(ctx, p.Peer())
			if after.Left > 1 || v == otp.V2 && after.Left != 0 {
				t.Errorf("lane %d: %d left", lane, after.Left)
			}
			_, err = p.Package(ctx, id(2), p.Peer(), nil)
			is(t, err, otp.ErrDepleted, parley.ErrRefused)
			if again := pack(t, p, 1, msg); !bytes.Equal(again, packet) {
				t.Error("the last message was not kept")
			}
		}
	})
}

// TestHole: pad that reads as zeros is not used, and told.
func TestHole(t *testing.T) {
	eachVersion(t, func(t *testing.T, v otp.Version) {
		w := newWorld(t, v, 60000)
		a, b := w.both()
		pack(t, a, 0, "so that there is a journal")
		check(t, a.Check(ctx, nil))
		f, err := os.OpenFile(a.Path(), os.O_RDWR, 0)
		check(t, err)
		_, err = f.WriteAt(make([]byte, 9000), a.base+100)
		check(t, err)
		f.Close()
		_, err = a.Package(ctx, id(1), "bob", make([]byte, 200))
		is(t, err, parley.ErrRefused, errHole)
		if told := w.told(); !slices.Contains(told, Hole) {
			t.Errorf("told %v", told)
		}
		err = a.Check(ctx, nil)
		is(t, err, parley.ErrMalformed)
		check(t, a.Skip(9200))
		unpack(t, b, pack(t, a, 1, "behind it"), "behind it")
		// The peer's copy has a hole: a genuine packet cannot be opened there.
		packet := pack(t, a, 2, "x")
		f, err = os.OpenFile(b.Path(), os.O_RDWR, 0)
		check(t, err)
		_, err = f.WriteAt(make([]byte, 200), b.base+used(t, v, 60000, packet, 0).start)
		check(t, err)
		f.Close()
		_, err = b.Unpackage(ctx, "alice", packet)
		is(t, err, parley.ErrRefused, errHole)
	})
}
