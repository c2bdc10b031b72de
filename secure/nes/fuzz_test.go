package nes

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"parley"
)

// addPlaintexts are seeds for fuzzing plaintexts.
func addPlaintexts(add func([]byte)) {
	for _, x := range readVectors().Messages {
		add(x.Plaintext)
	}
	for _, s := range []string{
		"", hello, " " + hello + "\n", `{"from":"alice","to":"bob","timestamp":-0,"message":"\ud83d\ude00\/"}`,
		`{"message":"x","timestamp":1e3,"to":"bob","from":"alice","From":"carol"}`, `{"from":"alice","to":"bob","timestamp":0,"message":"","presence":"CAQ="}`,
		`{"from":"alice","to":"bob","timestamp":0,"message":"\"}`, "{\"from\":\"alice\",\"to\":\"bob\",\"timestamp\":0,\"message\":\"a\xff\"}",
	} {
		add([]byte(s))
	}
}

// FuzzDecrypt gives Decrypt envelopes of every kind: those of the fuzzer as they are, and, so
// that it gets past the private key, the fuzzer's bytes as plaintext and as padded blocks
// under good keys. Nothing may come out that the signature does not cover.
func FuzzDecrypt(f *testing.F) {
	for _, x := range readVectors().Messages {
		f.Add([]byte(x.Envelope), byte(0))
	}
	for _, x := range readVectors().Other {
		f.Add([]byte(x.Envelope), byte(0))
	}
	addPlaintexts(func(b []byte) { f.Add(b, byte(1)); f.Add(b, byte(2)) })
	bob, alice := keysOf(f, "bob").message, &keysOf(f, "alice").sign.PublicKey
	signed := from(f, "alice", hello).parts(f) // for all the fuzzer's plaintexts but this one it does not hold
	known := map[[32]byte]bool{sha256.Sum256([]byte(hello)): true}
	for _, x := range readVectors().Messages {
		known[sha256.Sum256(x.Plaintext)] = true
	}
	for _, x := range readVectors().Other {
		if s, err := Decrypt([]byte(x.Envelope), bob); err == nil {
			known[sha256.Sum256(s.signed)] = true
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, how byte) {
		envelope := b
		switch how % 3 {
		case 1: // the fuzzer's plaintext
			envelope = forger{plaintext: b, sign: func([]byte) []byte { return signed.signature }}.envelope(t)
		case 2: // the fuzzer's blocks
			padding := bytes.Repeat([]byte{how}, blockSize-len(b)%blockSize)
			envelope = forger{plaintext: b, padding: padding, sign: func([]byte) []byte { return signed.signature }}.envelope(t)
		}
		given := string(envelope)
		s, err := Decrypt(envelope, bob)
		if given != string(envelope) {
			t.Fatal("Decrypt changed the envelope")
		}
		if err != nil {
			forged := errors.Is(err, parley.ErrForged)
			if s != nil || forged == errors.Is(err, parley.ErrMalformed) || forged && err.Error() != uniform || strings.Contains(err.Error(), "\n") {
				t.Fatalf("%v", err)
			}
			return
		}
		if CheckName(s.Claimed()) != nil {
			t.Fatalf("claims to be from %q", s.Claimed())
		}
		m, err := s.Open("bob", alice)
		if err != nil {
			if !errors.Is(err, parley.ErrForged) || !equal(m, Message{}) {
				t.Fatal(err)
			}
			return
		}
		if m.From != s.Claimed() || m.To != "bob" || !utf8.ValidString(m.Text) || len(m.Text) > MaxText || len(m.Presence) > MaxPresence {
			t.Fatalf("%+v", m)
		}
		if !known[m.ID] {
			t.Fatalf("opened what nobody signed: %+v", m)
		}
	})
}

// FuzzPlaintext signs whatever the fuzzer has for a plaintext: it is read or refused, and what
// is read can be written and read again.
func FuzzPlaintext(f *testing.F) {
	addPlaintexts(func(b []byte) { f.Add(b) })
	f.Fuzz(func(t *testing.T, b []byte) {
		m, ok := parsePlaintext(b)
		if !ok {
			if !equal(m, Message{}) && len(m.Text) <= MaxText {
				t.Fatalf("refused, and %+v", m)
			}
			return
		}
		if err := m.check(); err != nil {
			t.Fatalf("read, but cannot be said: %v", err)
		}
		p, err := m.plaintext()
		if err != nil {
			t.Fatal(err)
		}
		again, ok := parsePlaintext(p)
		if !ok || !equal(again, m) {
			t.Fatalf("%+v, written and read %+v", m, again)
		}
	})
}

// FuzzUsual holds the quick readers of the usual forms to the general one.
func FuzzUsual(f *testing.F) {
	addPlaintexts(func(b []byte) { f.Add(b) })
	for _, x := range readVectors().Messages {
		f.Add([]byte(x.Envelope))
	}
	for _, x := range readVectors().Other {
		f.Add([]byte(x.Envelope))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, p := range [][]byte{b, bytes.Join([][]byte{[]byte(hello[:len(hello)-4]), b, []byte(closing)}, nil)} {
			if m, ok := usualPlaintext(p); ok {
				if o, ok := parseObject(p); len(m.Text) <= MaxText && (!ok || !equal(m, o)) {
					t.Fatalf("%q: %+v, %+v", p, m, o)
				}
			}
		}
		quick, err := parseEnvelope(b)
		slow, err2 := parseEnvelope(append([]byte{' '}, b...)) // not of the usual form
		if len(b) >= MaxEnvelope {
			return
		}
		if (err == nil) != (err2 == nil) || !bytes.Equal(quick.marshal(), slow.marshal()) {
			t.Fatalf("%v, %v", err, err2)
		}
	})
}
