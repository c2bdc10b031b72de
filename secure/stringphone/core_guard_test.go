package stringphone

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
)

func TestGuardIsBounded(t *testing.T) {
	g := NewGuard(4)
	alice, bob := pair(t, Options{})
	bob.guard = g
	var sent [][]byte
	for i := range 20 {
		m := mustEncode(t, alice, fmt.Appendf(nil, "%d", i))
		sent = append(sent, m)
		decodes(t, bob, m, fmt.Appendf(nil, "%d", i), nil)
		if g.Len() != min(i+1, 4) || len(g.seen) != g.Len() || g.Size() != 4 {
			t.Fatalf("%d remembered", g.Len())
		}
		if d, ok := g.Newest(); !ok || d != guardDigest(m) {
			t.Fatal("Newest is not the newest")
		}
		for _, old := range sent[max(0, i-3):] {
			decodes(t, bob, old, nil, ErrReplay)
		}
	}
	decodes(t, bob, sent[0], []byte("0"), nil) // forgotten: a guard is bounded
	if NewGuard(0).Size() != 65536 || NewGuard(-1).Size() != 65536 {
		t.Error("the default size")
	}
	if _, ok := NewGuard(1).Newest(); ok {
		t.Error("an empty guard has a newest")
	}
}

// What was refused is not remembered: else anybody could block a message by
// sending a damaged copy first.
func TestGuardRemembersGoodOnly(t *testing.T) {
	alice, bob := pair(t, Options{Guard: nil})
	bob.guard = NewGuard(0)
	m := mustEncode(t, alice, []byte("x"))
	bad := bytes.Clone(m)
	bad[1] ^= 1
	decodes(t, bob, bad, nil, ErrBadSignature)
	key := bob.participants[alice.ID()]
	bob.RemoveParticipant(alice.ID())
	decodes(t, bob, m, nil, ErrUntrustedKey)
	decodes(t, bob, m, nil, nil, IgnoreUntrusted)
	bob.AddParticipant(key)
	decodes(t, bob, mustEncode(t, bob, nil), nil, nil) // our own
	if bob.guard.Len() != 0 {
		t.Errorf("%d remembered", bob.guard.Len())
	}
	decodes(t, bob, m, []byte("x"), nil)
	decodes(t, bob, m, nil, ErrReplay)
}

func TestGuardSurvivesRestart(t *testing.T) {
	for _, n := range []int{0, 1, 3, 4, 5, 9} {
		g := NewGuard(4)
		for i := range n {
			g.add(digest{byte(i)})
			g.add(digest{byte(i)}) // twice counts once
		}
		b, err := g.MarshalBinary()
		if err != nil || len(b) != 5+16*min(n, 4) {
			t.Fatal(len(b), err)
		}
		var back Guard
		if err := back.UnmarshalBinary(b); err != nil {
			t.Fatal(err)
		}
		for i := range n + 1 {
			if want := i < n && i >= n-4; back.has(digest{byte(i)}) != want || g.has(digest{byte(i)}) != want {
				t.Errorf("%d of %d: %v", i, n, !want)
			}
		}
		// The order survives: the same one is forgotten next.
		g.add(digest{100})
		back.add(digest{100})
		x, _ := g.MarshalBinary()
		if y, _ := back.MarshalBinary(); !bytes.Equal(x, y) {
			t.Errorf("after %d: %x, %x", n, x, y)
		}
	}
}

// A file to which newest digests were appended is read as the guard that wrote them.
func TestGuardInAFile(t *testing.T) {
	g := NewGuard(4)
	file, _ := g.MarshalBinary()
	for i := range 12 {
		g.add(digest{byte(i)})
		d, _ := g.Newest()
		file = append(file, d[:]...)
		var back Guard
		if err := back.UnmarshalBinary(file); err != nil {
			t.Fatal(i, err)
		}
		x, _ := g.MarshalBinary()
		if y, _ := back.MarshalBinary(); !bytes.Equal(x, y) {
			t.Fatalf("after %d: %x, %x", i, x, y)
		}
	}
	if err := new(Guard).UnmarshalBinary(append(file, make([]byte, 16)...)); !errors.Is(err, ErrMalformed) {
		t.Errorf("no bound: %v", err)
	}
}

func TestGuardOfGarbage(t *testing.T) {
	good, _ := NewGuard(4).MarshalBinary()
	for name, b := range map[string][]byte{
		"nothing": {}, "cut": good[:4], "version": append([]byte{2}, good[1:]...), "half a digest": append(bytes.Clone(good), make([]byte, 15)...),
		"size 0": {1, 0, 0, 0, 0}, "huge": {1, 0xff, 0xff, 0xff, 0xff}, "too many": append(bytes.Clone(good), make([]byte, 13*16)...),
	} {
		g := NewGuard(2)
		g.add(digest{1})
		if err := g.UnmarshalBinary(b); !errors.Is(err, ErrMalformed) || !g.has(digest{1}) || g.Size() != 2 {
			t.Errorf("%s: %v", name, err)
		}
	}
}
