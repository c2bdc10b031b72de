package nes

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"slices"
	"testing"

	"parley"
	"parley/internal/rsakey"
)

// What the original has sealed opens, and each part is what the vectors say.
func TestVectors(t *testing.T) {
	v := readVectors()
	if len(v.Messages) == 0 {
		t.Fatal("no vectors")
	}
	for _, x := range v.Messages {
		t.Run(x.ID, func(t *testing.T) {
			self, peer := keysOf(t, x.Recipient), keysOf(t, x.Sender)
			e, err := parseEnvelope([]byte(x.Envelope))
			must(t, err)
			if !bytes.Equal(e.marshal(), []byte(x.Envelope)) {
				t.Error("the envelope would be written otherwise")
			}
			//lint:ignore SA1019 the format's
			material, err := rsa.DecryptPKCS1v15(nil, self.message, e.cipherkey)
			if err != nil || hex.EncodeToString(material) != x.Key+x.IV {
				t.Fatalf("key material of %d bytes is another: %v", len(material), err)
			}
			plaintext, good := decrypt(material, e.ciphertext)
			if good != 1 || !bytes.Equal(plaintext, x.Plaintext) {
				t.Fatalf("plaintext %q", plaintext)
			}
			digest := sha256.Sum256(plaintext)
			if err := rsa.VerifyPSS(&peer.sign.PublicKey, crypto.SHA256, digest[:], e.signature, &rsa.PSSOptions{SaltLength: x.Salt}); err != nil {
				t.Error(err)
			}

			s, err := Decrypt([]byte(x.Envelope), self.message)
			must(t, err)
			if s.Claimed() != x.Sender {
				t.Error(s.Claimed())
			}
			m, err := s.Open(x.Recipient, &peer.sign.PublicKey)
			must(t, err)
			want := Message{ID: digest, From: x.Sender, To: x.Recipient, Time: x.Time, Text: x.Message}
			if !equal(m, want) || hex.EncodeToString(m.ID[:]) != x.SHA256 || Topic(m.To) != x.Topic {
				t.Errorf("%+v, want %+v", m, want)
			}
			// The other way: from what was typed, the same bytes are signed.
			if x.Input != nil {
				want.Text = string(x.Input)
			}
			if p, err := want.plaintext(); err != nil || !bytes.Equal(p, x.Plaintext) {
				t.Errorf("we would sign %q, %v", p, err)
			}
		})
	}
}

func equal(a, b Message) bool {
	return a.ID == b.ID && a.From == b.From && a.To == b.To && a.Time == b.Time && a.Text == b.Text &&
		(a.Presence == nil) == (b.Presence == nil) && bytes.Equal(a.Presence, b.Presence)
}

// Foreign, altered and malformed envelopes meet the verdict of a careful receiver, in any
// order and after each other.
func TestOtherEnvelopes(t *testing.T) {
	v := readVectors()
	if len(v.Other) == 0 {
		t.Fatal("no vectors")
	}
	bucket := newBucket()
	var guard Guard
	for _, x := range v.Messages { // the duplicates are of these
		if x.Recipient == "bob" {
			m, err := open(t, []byte(x.Envelope), "bob")
			must(t, err)
			must(t, guard.Take(bucket, m))
		}
	}
	for _, x := range slices.Concat(v.Other, v.Other) {
		m, err := open(t, []byte(x.Envelope), x.Recipient)
		if err != nil && !equal(m, Message{}) {
			t.Errorf("%s: a message and an error", x.ID)
		}
		switch x.Safe {
		case "accept", "flag", "accept-but-neutralise":
			if err != nil {
				t.Errorf("%s (%s): %v", x.ID, x.What, err)
			} else if s := x.Original.Shown; s != nil && (m.From != s.From || m.To != s.To || m.Text != s.Message || m.Time != s.Time) {
				t.Errorf("%s: %+v, the original shows %+v", x.ID, m, s)
			}
		case "either":
			if err == nil && x.Original.Shown == nil {
				t.Errorf("%s: we take what the original does not", x.ID)
			}
		case "reject-as-duplicate":
			must(t, err)
			if err := guard.Take(bucket, m); !errors.Is(err, parley.ErrSeen) {
				t.Errorf("%s: taken twice: %v", x.ID, err)
			}
		case "reject", "ignore", "ignored":
			if err == nil {
				t.Errorf("%s (%s): opened", x.ID, x.What)
			} else if !errors.Is(err, parley.ErrForged) && !errors.Is(err, parley.ErrMalformed) && !errors.Is(err, errUnknown) {
				t.Errorf("%s: %v", x.ID, err)
			}
		default:
			t.Errorf("%s: no verdict %q", x.ID, x.Safe)
		}
	}
}

// Whoever is named, keys of 2048 and 4096 bits work both ways, and the longest fit.
func TestSealOpen(t *testing.T) {
	long := string(bytes.Repeat([]byte{1}, MaxText)) // each byte is six in JSON
	for _, test := range []struct {
		name string
		m    Message
		want string
	}{
		{"text", Message{From: "alice", To: "bob", Time: 1642802942123, Text: "Hello Bob!"}, "Hello Bob!"},
		{"empty", Message{From: "alice", To: "bob"}, ""},
		{"to itself", Message{From: "bob", To: "bob", Text: "note"}, "note"},
		{"4096 bits", Message{From: "carol", To: "carol", Time: -1, Text: "x"}, "x"},
		{"from 4096 to 2048 bits", Message{From: "carol", To: "alice", Text: "x"}, "x"},
		{"from 2048 to 4096 bits", Message{From: "bob", To: "carol", Text: "x"}, "x"},
		{"first time", Message{From: "alice", To: "bob", Time: -1 << 63, Text: "x"}, "x"},
		{"last time", Message{From: "alice", To: "bob", Time: 1<<63 - 1, Text: "x"}, "x"},
		{"scripts", Message{From: "alice", To: "bob", Text: "żółw Ελλάδα 日本語 עברית 👩🏽‍🚀"}, "żółw Ελλάδα 日本語 עברית 👩🏽‍🚀"},
		{"escapes", Message{From: "alice", To: "bob", Text: "<>&\"\\/\u2028\u2029\x00\x1b\x7f\b\f\n\r\t\u0080"}, "<>&\"\\/\u2028\u2029\x00\x1b\x7f\b\f\n\r\t\u0080"},
		{"not UTF-8", Message{From: "alice", To: "bob", Text: "a\xff\xfeb\xed\xa0\x80"}, "a\ufffd\ufffdb\ufffd\ufffd\ufffd"},
		{"longest", Message{From: "alice", To: "bob", Text: long}, long},
		{"presence", Message{From: "alice", To: "bob", Presence: []byte{8, 4, 0xff}}, ""},
		{"empty presence", Message{From: "alice", To: "bob", Presence: []byte{}}, ""},
		{"longest presence", Message{From: "alice", To: "bob", Presence: make([]byte, MaxPresence)}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			from, to := keysOf(t, test.m.From), keysOf(t, test.m.To)
			envelope, id, err := Seal(test.m, &to.message.PublicKey, from.sign)
			must(t, err)
			if len(envelope) > MaxEnvelope {
				t.Fatalf("an envelope of %d bytes", len(envelope))
			}
			m, err := open(t, envelope, test.m.To)
			must(t, err)
			want := test.m
			want.ID, want.Text = id, test.want
			if !equal(m, want) {
				t.Errorf("%.200v, want %.200v", m, want)
			}
			again, id2, err := Seal(test.m, &to.message.PublicKey, from.sign)
			if err != nil || id2 != id || bytes.Equal(again, envelope) {
				t.Error("sealed again it is not the same message in another envelope", err)
			}
		})
	}
}

// What cannot be said is refused and not cut or changed.
func TestSealRefuses(t *testing.T) {
	good := Message{From: "alice", To: "bob", Text: "x"}
	with := func(change func(*Message)) Message { m := good; change(&m); return m }
	to, sign := &keysOf(t, "bob").message.PublicKey, keysOf(t, "alice").sign
	weak := weakKey()
	for _, test := range []struct {
		name string
		m    Message
		to   *rsa.PublicKey
		sign crypto.Signer
		want error
	}{
		{"sender", with(func(m *Message) { m.From = "Alice" }), to, sign, parley.ErrRefused},
		{"recipient", with(func(m *Message) { m.To = "bob/#" }), to, sign, parley.ErrRefused},
		{"no recipient", with(func(m *Message) { m.To = "" }), to, sign, parley.ErrRefused},
		{"too long", with(func(m *Message) { m.Text = string(make([]byte, MaxText+1)) }), to, sign, parley.ErrRefused},
		{"too long once it is UTF-8", with(func(m *Message) { m.Text = string(bytes.Repeat([]byte{0xff}, MaxText/3+1)) }), to, sign, parley.ErrRefused},
		{"text and presence", with(func(m *Message) { m.Presence = []byte("x") }), to, sign, parley.ErrRefused},
		{"presence too long", with(func(m *Message) { m.Text, m.Presence = "", make([]byte, MaxPresence+1) }), to, sign, parley.ErrRefused},
		{"no key", good, nil, sign, parley.ErrNoKey},
		{"weak key", good, &weak.PublicKey, sign, parley.ErrUntrusted},
		{"no signer", good, to, nil, parley.ErrNoKey},
		{"weak signer", good, to, weak, parley.ErrNoKey},
		{"signer that fails", good, to, failing{sign}, parley.ErrNoKey},
	} {
		envelope, id, err := Seal(test.m, test.to, test.sign)
		if !errors.Is(err, test.want) || envelope != nil || id != [32]byte{} {
			t.Errorf("%s: %v", test.name, err)
		}
		if err != nil && bytes.Contains([]byte(err.Error()), []byte(test.m.Text)) && len(test.m.Text) > 1 {
			t.Errorf("%s: the error holds the text", test.name)
		}
	}
}

// failing is a key whose device is gone.
type failing struct{ *rsa.PrivateKey }

func (failing) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("no card")
}

func TestCheckName(t *testing.T) {
	for name, good := range map[string]bool{
		"bob": true, "a-z": true, "___": true, "0-9_abcdefghijklmnopqrstuvwxyz-0": true, "ab": false, "": false,
		"0-9_abcdefghijklmnopqrstuvwxyz-01": false, "Bob": false, "bob ": false, "bob\n": false, "b\x00b": false, "bób": false, "b/b": false,
		"b+b": false, "#bb": false, "a?b": false, "../": false, "b%2": false, "b.b": false,
	} {
		if err := CheckName(name); (err == nil) != good || !good && !errors.Is(err, ErrName) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if Topic("bob") != "nes/bob/message" {
		t.Error(Topic("bob"))
	}
	if keysOf(t, "bob").message.N.BitLen() < rsakey.MinBits {
		t.Error("the vectors' keys are too short")
	}
}
