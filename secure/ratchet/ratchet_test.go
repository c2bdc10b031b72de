package ratchet

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"parley"
	"parley/parleytest"
)

var ctx = context.Background()

type line = parleytest.SecureLine

// ends makes both ends of a line on which nothing happened yet.
func ends() (alice, bob *line) {
	return parleytest.NewSecureLine(New(), parley.Ratchet, "Alice", "Bob"),
		parleytest.NewSecureLine(New(), parley.Ratchet, "Bob", "Alice")
}

// open expects an Introduction.
func open(t testing.TB, l *line, packet []byte, kind parley.Kind) *parley.Introduction {
	t.Helper()
	_, err := l.Open(packet)
	var in *parley.Introduction
	if !errors.As(err, &in) || in.Kind != kind {
		t.Fatalf("Open: %v, want an introduction of kind %d", err, kind)
	}
	return in
}

// admit is Bob's answer to an offer.
func admit(t testing.TB, l *line, offer, payload []byte) []byte {
	t.Helper()
	in := open(t, l, offer, parley.Offer)
	in.Payload = payload
	p, err := l.Transport.(parley.Introducer).Admit(ctx, &l.Conversation, in)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func introduce(t testing.TB, l *line) []byte {
	t.Helper()
	p, err := l.Transport.(parley.Introducer).Introduce(ctx, &l.Conversation)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func accept(l *line, in *parley.Introduction) error {
	return l.Transport.(parley.Introducer).Accept(ctx, &l.Conversation, in)
}

// agreedLine is a line after the handshake; Bob can't seal yet.
func agreedLine(t testing.TB) (alice, bob *line) {
	t.Helper()
	alice, bob = ends()
	answer := admit(t, bob, introduce(t, alice), []byte("reply to me here"))
	if err := accept(alice, open(t, alice, answer, parley.Answer)); err != nil {
		t.Fatal(err)
	}
	return alice, bob
}

// readyLine is one on which both can seal.
func readyLine(t testing.TB) (alice, bob *line) {
	t.Helper()
	alice, bob = agreedLine(t)
	send(t, alice, bob, 999)
	return alice, bob
}

func sealTo(t testing.TB, l *line, i int) []byte {
	t.Helper()
	p, err := l.Seal(parleytest.TestMessage(i, 20))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func openAs(t testing.TB, l *line, p []byte, i int) {
	t.Helper()
	m, err := l.Open(p)
	if err != nil {
		t.Fatalf("message %d: %v", i, err)
	}
	if want := parleytest.TestMessage(i, 20); m.ID != want.ID || !bytes.Equal(m.Body, want.Body) {
		t.Fatalf("message %d arrived as another", i)
	}
}

func send(t testing.TB, from, to *line, i int) []byte {
	t.Helper()
	p := sealTo(t, from, i)
	openAs(t, to, p, i)
	return p
}

// refused expects an error of that kind and an untouched state.
func refused(t testing.TB, l *line, p []byte, want error) {
	t.Helper()
	if _, err := l.Open(p); !errors.Is(err, want) {
		t.Fatalf("Open: %v, want %v", err, want)
	}
}

func TestConformance(t *testing.T) {
	parleytest.SecureTransport(t, parleytest.SecureFixture{
		Lines:  func(t testing.TB) (*line, *line) { return readyLine(t) },
		Fields: parleytest.AllFields, Counts: true, Unordered: true,
		MaxBody: 20000,
	})
}
