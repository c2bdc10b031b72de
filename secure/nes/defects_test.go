package nes

import (
	"bytes"
	"crypto/rsa"
	"errors"
	"fmt"
	"testing"

	"parley"
)

// The original has defects that anybody could use. Each test is named after its number in
// the table of docs/nes-format.md.

// Key material of any other length than 48 bytes crashed the original.
func TestDefect3KeyMaterialLengths(t *testing.T) {
	lengths := []int{0, 1, 3, 16, 31, 32, 33, 47, 49, 64, 128, 244, 245}
	for _, n := range lengths {
		f := from(t, "alice", hello)
		f.material = bytes.Repeat([]byte{7}, n)
		if s, err := Decrypt(f.envelope(t), keysOf(t, "bob").message); err == nil || err.Error() != uniform || s != nil {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	// OAEP, no padding at all, and rubbish are refused in the same way.
	key := &keysOf(t, "bob").message.PublicKey
	for name, seal := range map[string]func([]byte) []byte{
		"nothing": func([]byte) []byte { return make([]byte, key.Size()) },
		"one":     func([]byte) []byte { return append(make([]byte, key.Size()-1), 1) },
		"rubbish": func(m []byte) []byte { return bytes.Repeat(m, 6)[:key.Size()] },
	} {
		f := from(t, "alice", hello)
		f.material, f.seal = bytes.Repeat([]byte{7}, 48), seal
		if s, err := Decrypt(f.envelope(t), keysOf(t, "bob").message); err == nil || err.Error() != uniform || s != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// So did a ciphertext that is not whole blocks, or none: it is refused before a key is used.
func TestDefect3CiphertextLengths(t *testing.T) {
	e := from(t, "alice", hello).parts(t)
	whole := e.ciphertext
	for n := range len(whole) {
		e.ciphertext = whole[:n]
		d := &counting{Decrypter: keysOf(t, "bob").message}
		s, err := Decrypt(e.marshal(), d)
		switch {
		case s != nil || err == nil:
			t.Errorf("%d bytes opened", n)
		case (n == 0 || n%blockSize != 0) && (!errors.Is(err, parley.ErrMalformed) || d.used != 0):
			t.Errorf("%d bytes: %v, the key was used %d times", n, err, d.used)
		case n > 0 && n%blockSize == 0 && err.Error() != uniform:
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// So did a padding longer than the text. All of it is checked.
func TestDefect3Padding(t *testing.T) {
	padded := func(n int) []byte { // whole blocks with n as the last byte
		room := blockSize - len(hello)%blockSize
		return append(bytes.Repeat([]byte{1}, room-1), byte(n))
	}
	for n := range 256 {
		f := from(t, "alice", hello)
		f.padding = padded(n)
		if s, err := Decrypt(f.envelope(t), keysOf(t, "bob").message); s != nil || err == nil || err.Error() != uniform {
			t.Errorf("last byte %d: %v", n, err)
		}
	}
	// A right padding, of every length, and each of its bytes changed.
	for extra := range blockSize {
		text := hello[:len(hello)-2] + fmt.Sprintf("%*s\"}", extra, "")
		n := blockSize - len(text)%blockSize
		for at := -1; at < n; at++ {
			f := from(t, "alice", text)
			f.padding = bytes.Repeat([]byte{byte(n)}, n)
			if at >= 0 {
				f.padding[at] ^= 0x40
			}
			s, err := Decrypt(f.envelope(t), keysOf(t, "bob").message)
			if (at < 0) != (err == nil) || err != nil && (err.Error() != uniform || s != nil) {
				t.Errorf("a padding of %d with byte %d changed: %v", n, at, err)
			}
		}
	}
	// More than a block of it, though consistent.
	for _, n := range []int{17, 32, 200, 255} {
		f := from(t, "alice", hello)
		f.plaintext = append(f.plaintext, bytes.Repeat([]byte{' '}, blockSize-len(hello)%blockSize)...)
		f.padding = bytes.Repeat([]byte{byte(n)}, (n+blockSize-1)/blockSize*blockSize)
		if s, err := Decrypt(f.envelope(t), keysOf(t, "bob").message); s != nil || err == nil || err.Error() != uniform {
			t.Errorf("a padding of %d: %v", n, err)
		}
	}
	for _, n := range []int{0, 1, 15, 16, 17, 200, 255} { // nothing but padding
		f := from(t, "alice", "")
		f.padding = bytes.Repeat([]byte{byte(n)}, blockSize)
		if s, err := Decrypt(f.envelope(t), keysOf(t, "bob").message); s != nil || err == nil || err.Error() != uniform {
			t.Errorf("a block of %d: %v", n, err)
		}
	}
}

// passOn seals to another what a recipient got, as it was signed.
func passOn(t *testing.T, s *Sealed, to *rsa.PublicKey) []byte {
	t.Helper()
	f := forger{plaintext: s.signed, sign: func([]byte) []byte { return s.signature }, seal: func(m []byte) []byte {
		//lint:ignore SA1019 the format's
		c, err := rsa.EncryptPKCS1v15(nil, to, m)
		must(t, err)
		return c
	}}
	return f.envelope(t)
}

// The original shows what a recipient passed on as if it had been written to whom it is
// passed on to.
func TestDefect4Forwarding(t *testing.T) {
	s, err := Decrypt(from(t, "alice", hello).envelope(t), keysOf(t, "bob").message)
	must(t, err)
	m, err := open(t, passOn(t, s, &keysOf(t, "carol").message.PublicKey), "carol")
	if !errors.Is(err, ErrNotForUs) || !errors.Is(err, parley.ErrForged) || !equal(m, Message{}) {
		t.Errorf("%+v, %v", m, err)
	}
	// It is no oracle: whose signature is wrong hears of no recipient.
	carol, err := Decrypt(passOn(t, s, &keysOf(t, "carol").message.PublicKey), keysOf(t, "carol").message)
	must(t, err)
	if _, err := carol.Open("carol", &keysOf(t, "bob").sign.PublicKey); errors.Is(err, ErrNotForUs) || err == nil || err.Error() != uniform {
		t.Error(err)
	}
	for _, self := range []string{"", "Bob", "bob ", "alice"} {
		if _, err := s.Open(self, &keysOf(t, "alice").sign.PublicKey); !errors.Is(err, ErrNotForUs) {
			t.Errorf("%q: %v", self, err)
		}
	}
}

// The original shows an envelope as often as it comes. It is known again also in another
// envelope.
func TestDefect4Replay(t *testing.T) {
	b := newBucket()
	envelope := from(t, "alice", hello).envelope(t)
	m, err := open(t, envelope, "bob")
	must(t, err)
	must(t, Guard{}.Take(b, m))
	s, err := Decrypt(envelope, keysOf(t, "bob").message)
	must(t, err)
	for name, envelope := range map[string][]byte{
		"itself": envelope, "sealed again": from(t, "alice", hello).envelope(t), "passed on": passOn(t, s, &keysOf(t, "bob").message.PublicKey),
	} {
		again, err := open(t, envelope, "bob")
		must(t, err)
		if err := (Guard{}).Take(b, again); !errors.Is(err, parley.ErrSeen) || again.ID != m.ID {
			t.Errorf("%s: %v", name, err)
		}
	}
	other, err := open(t, from(t, "alice", hello+" ").envelope(t), "bob")
	must(t, err)
	must(t, Guard{}.Take(b, other))
}

// Any timestamp opens, as it was signed, for the caller to mark; none can be changed.
func TestDefect4Timestamps(t *testing.T) {
	for _, at := range []int64{-1 << 63, -62135596800000, -1, 0, 1, 4102444800000, 253402300800000, 1<<53 + 1, 1<<63 - 1} {
		envelope, _, err := Seal(Message{From: "alice", To: "bob", Time: at, Text: "x"}, &keysOf(t, "bob").message.PublicKey, keysOf(t, "alice").sign)
		must(t, err)
		if m, err := open(t, envelope, "bob"); err != nil || m.Time != at {
			t.Errorf("%d: %d, %v", at, m.Time, err)
		}
	}
	s, err := Decrypt(from(t, "alice", hello).envelope(t), keysOf(t, "bob").message)
	must(t, err)
	s.signed = bytes.Replace(s.signed, []byte("1642802942123"), []byte("1642802942124"), 1)
	if _, err := s.Open("bob", &keysOf(t, "alice").sign.PublicKey); !errors.Is(err, parley.ErrForged) {
		t.Error(err)
	}
}

// The original looks a sender's key up under whatever the plaintext says, and shows that.
func TestDefect5SenderNames(t *testing.T) {
	for _, name := range []string{"carol?alice", "carol#", "alice/../carol", "../users/carol", "carol%3f", "carol\\u0000", "\\u001b[2Jcarol", "CAROL"} {
		p := `{"from":"` + name + `","to":"bob","timestamp":0,"message":"x"}`
		if s, err := Decrypt(from(t, "carol", p).envelope(t), keysOf(t, "bob").message); s != nil || err == nil || err.Error() != uniform {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A good name is a claim only: carol cannot write as alice.
	if _, err := open(t, from(t, "carol", hello).envelope(t), "bob"); err == nil || err.Error() != uniform {
		t.Error(err)
	}
}

// The original takes keys that anybody can break.
func TestDefect9WeakKeys(t *testing.T) {
	weak := weakKey()
	if _, _, err := Seal(Message{From: "alice", To: "bob"}, &weak.PublicKey, keysOf(t, "alice").sign); !errors.Is(err, parley.ErrUntrusted) {
		t.Errorf("sealed to a weak key: %v", err)
	}
	s, err := Decrypt(from(t, "alice", hello).envelope(t), keysOf(t, "bob").message)
	must(t, err)
	if _, err := s.Open("bob", &weak.PublicKey); !errors.Is(err, parley.ErrUntrusted) {
		t.Errorf("verified with a weak key: %v", err)
	}
}

// Nothing here makes old messages safe from a stolen key, and nothing says so.
func TestDefect10NoForwardSecrecy(t *testing.T) {
	if g := New().Guarantees(); g != parley.Confidential|parley.Authentic|parley.NonRepudiable {
		t.Errorf("promises %b", g)
	}
}
