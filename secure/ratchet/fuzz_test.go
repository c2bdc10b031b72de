package ratchet

import (
	"bytes"
	"errors"
	"testing"

	"parley"
)

// unharmed checks an error that is no surprise, on a line that it left alone.
func unharmed(t *testing.T, l *line, p []byte) {
	_, err := l.Open(p)
	var in *parley.Introduction
	switch {
	case errors.Is(err, parley.ErrForged), errors.Is(err, parley.ErrMalformed), errors.Is(err, parley.ErrSeen),
		errors.Is(err, parley.ErrNoKey), errors.As(err, &in):
	default:
		t.Fatalf("Open: %v", err)
	}
}

// FuzzOpen: nothing but the genuine packets opens, and they still do afterwards.
func FuzzOpen(f *testing.F) {
	a, b := readyLine(f)
	missing := sealTo(f, a, 1)
	opened := send(f, a, b, 2)
	coming := sealTo(f, a, 3)
	f.Add(missing[:PacketUnit/2], 0)
	f.Add([]byte{kindMessage}, 1)
	f.Add([]byte{1, 2, 3}, 5000)
	f.Add([]byte{}, 0)
	genuine := [][]byte{missing, coming}
	f.Fuzz(func(t *testing.T, patch []byte, at int) {
		for _, base := range [][]byte{nil, missing, opened, coming} {
			p := bytes.Clone(base)
			if len(p) > 0 && at >= 0 {
				copy(p[at%len(p):], patch)
			} else {
				p = patch
			}
			same := false
			for _, g := range genuine {
				same = same || bytes.Equal(g, p)
			}
			if !same {
				unharmed(t, b, p)
			}
		}
		once := *b
		once.Bucket = b.Bucket.Clone()
		once.Conversation.State = once.Bucket
		openAs(t, &once, missing, 1)
		openAs(t, &once, coming, 3)
	})
}

// FuzzOffer: what Open takes for an Offer can be admitted, or is refused there.
func FuzzOffer(f *testing.F) {
	alice, _ := ends()
	offer := introduce(f, alice)
	f.Add(offer)
	f.Add(offer[:64])
	f.Add(append([]byte{kindOffer}, make([]byte, 64)...))
	f.Fuzz(func(t *testing.T, p []byte) {
		_, bob := ends()
		_, err := bob.Open(p)
		var in *parley.Introduction
		if !errors.As(err, &in) {
			unharmed(t, bob, p)
			return
		}
		answer, err := New().Admit(ctx, &bob.Conversation, in)
		if err != nil || len(answer)%PacketUnit != 0 {
			t.Fatalf("Open took the offer, Admit doesn't: %v", err)
		}
		if !bytes.Equal(p, offer) {
			unharmed(t, alice, answer)
		}
	})
}

// FuzzAnswer: nothing but the genuine Answer is one.
func FuzzAnswer(f *testing.F) {
	alice, bob := ends()
	answer := admit(f, bob, introduce(f, alice), []byte("payload"))
	f.Add([]byte{1, 2, 3}, 70)
	f.Add(answer, 0)
	f.Add([]byte{kindAnswer}, 0)
	f.Fuzz(func(t *testing.T, patch []byte, at int) {
		for _, base := range [][]byte{nil, answer} {
			p := bytes.Clone(base)
			if len(p) > 0 && at >= 0 {
				copy(p[at%len(p):], patch)
			} else {
				p = patch
			}
			_, err := alice.Open(p)
			var in *parley.Introduction
			if taken := errors.As(err, &in) && in.Kind == parley.Answer; taken != bytes.Equal(p, answer) {
				t.Fatalf("an altered answer is taken: %v; or the genuine one isn't: %v", taken, err)
			}
			unharmed(t, alice, p)
		}
	})
}
