package parleytest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"parley"
)

// A Field is one part of a Message that a secure transport may carry.
type Field uint8

// Fields. Body is always carried.
const (
	FieldID Field = 1 << iota
	FieldGroup
	FieldAMP
	FieldSeq
	FieldSent
	AllFields = FieldID | FieldGroup | FieldAMP | FieldSeq | FieldSent
)

// A SecureFixture tells [SecureTransport] what it tests.
type SecureFixture struct {
	// Lines makes the two ends of a fresh line that can seal both ways. Each call
	// makes another line; its ends' Now should be [Then].
	Lines func(t testing.TB) (alice, bob *SecureLine)
	// Fields are those that arrive as they were sent.
	Fields Field
	// Counts says that a packet opens once, and is ErrSeen afterwards.
	Counts bool
	// Unordered says that packets open in any order.
	Unordered bool
	// MaxBody is the largest body that is tried, in bytes; 0 means 10,000.
	MaxBody int
}

// Then is the time in which the suite lives: a transport that asked a clock
// instead of its Conversation would find packets 25 years off.
var Then = time.Date(2001, 9, 9, 1, 46, 40, 0, time.UTC)

// A SecureLine is one end of a line, with its memory.
type SecureLine struct {
	Transport parley.SecureTransport
	// Conversation of this end. Its State is Bucket.
	Conversation parley.Conversation
	Bucket       *Bucket
}

// NewSecureLine makes an end between self and peer with an empty memory.
func NewSecureLine(tr parley.SecureTransport, n parley.STP, self, peer parley.Name) *SecureLine {
	b := NewBucket()
	return &SecureLine{tr, parley.Conversation{
		STP: n, Self: self, Peers: []parley.Name{peer}, State: b, Now: Then, Post: func([]byte) {},
	}, b}
}

// Seal seals m and commits; a failing Seal must have written nothing.
func (l *SecureLine) Seal(m *parley.Message) ([]byte, error) {
	l.Bucket.Begin()
	p, err := l.Transport.Seal(context.Background(), &l.Conversation, m)
	return p, l.end(err)
}

// Open opens a packet and commits; a failing Open must have written nothing.
func (l *SecureLine) Open(packet []byte) (*parley.Message, error) {
	given := string(packet)
	l.Bucket.Begin()
	m, err := l.Transport.Open(context.Background(), &l.Conversation, packet)
	if err != nil && m != nil {
		err = fmt.Errorf("a message and an error: %w", errContract)
	}
	if given != string(packet) {
		err = fmt.Errorf("Open changed the packet: %w", errContract)
	}
	return m, l.end(err)
}

// errContract is the suite's own finding, never a transport's error.
var errContract = errors.New("contract broken")

func (l *SecureLine) end(err error) error {
	if err == nil {
		l.Bucket.Commit()
		return nil
	}
	if l.Bucket.Changed() {
		err = fmt.Errorf("a failing call wrote to State (%w): %v", errContract, err)
	}
	l.Bucket.Rollback()
	return err
}

// TestMessage makes message i with a body of n bytes of UTF-8 text.
func TestMessage(i, n int) *parley.Message {
	m := &parley.Message{
		ID: [16]byte{byte(i), byte(i >> 8), 3, 0xff, 0, '\n'}, Group: []byte("a group"),
		AMP: parley.TextPlain, Seq: uint32(i) + 7, Sent: Then.Add(time.Duration(i) * time.Second),
		Body: make([]byte, n),
	}
	for j := range m.Body {
		m.Body[j] = "Parley\n "[(i+j)%8]
	}
	return m
}

// SecureTransport checks that a secure transport keeps its contract. Every
// implementation's tests run it.
func SecureTransport(t *testing.T, f SecureFixture) {
	if f.MaxBody == 0 {
		f.MaxBody = 10000
	}
	for _, test := range []struct {
		name string
		run  func(*testing.T, SecureFixture)
	}{
		{"Guarantees", testGuarantees},
		{"RoundTrip", testRoundTrip},
		{"Order", testOrder},
		{"Repetition", testRepetition},
		{"Tampering", testTampering},
		{"Garbage", testGarbage},
		{"WrongLine", testWrongLine},
		{"Rollback", testRollback},
		{"Concurrent", testConcurrent},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, f) })
	}
}

// secureDrop reports whether err is one of those that a receiver acts on.
func secureDrop(err error) bool {
	for _, e := range []error{
		parley.ErrForged, parley.ErrMalformed, parley.ErrSeen,
		parley.ErrNoKey, parley.ErrUntrusted, parley.ErrDenied,
	} {
		if errors.Is(err, e) {
			return !errors.Is(err, errContract)
		}
	}
	var in *parley.Introduction
	return errors.As(err, &in)
}
