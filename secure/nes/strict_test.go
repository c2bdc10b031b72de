package nes

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha1" // of a signature that is refused
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strings"
	"sync"
	"testing"

	"parley"
)

// weakKey returns a key of 1024 bits: two primes that nobody keeps secret.
var weakKey = sync.OnceValue(func() *rsa.PrivateKey {
	for {
		p, err := rand.Prime(rand.Reader, 512)
		if err != nil {
			panic(err)
		}
		q, err := rand.Prime(rand.Reader, 512)
		if err != nil {
			panic(err)
		}
		one := big.NewInt(1)
		phi := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
		d := new(big.Int).ModInverse(big.NewInt(65537), phi)
		n := new(big.Int).Mul(p, q)
		if d == nil || n.BitLen() != 1024 || p.Cmp(q) == 0 {
			continue
		}
		return &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: n, E: 65537}, D: d, Primes: []*big.Int{p, q}}
	}
})

// uniform is what every refusal after the private key was used looks like.
const uniform = "nes: packet is not authentic"

const hello = `{"from":"alice","to":"bob","timestamp":1642802942123,"message":"hi"}`

// Plaintexts that somebody really signed and sealed.
func TestPlaintexts(t *testing.T) {
	for _, test := range []struct{ name, plaintext, text string }{
		{"usual", hello, "hi"},
		{"order, space, further members", " {\n\"message\" : \"<&>\", \"n\":{\"from\":\"carol\"} ,\"timestamp\":-1,\"to\":\"bob\",\"from\":\"alice\",\"l\":[]}\r\n", "<&>"},
		{"some members", `{` + many(990) + hello[1:], "hi"},
		{"names escaped", `{"\u0066rom":"alice","to":"bob","timestamp":0,"message":"\ud83d\ude00"}`, "😀"},
		{"lone surrogate", `{"from":"alice","to":"bob","timestamp":0,"message":"\ud83dx"}`, "\ufffdx"},
		{"not UTF-8", "{\"from\":\"alice\",\"to\":\"bob\",\"timestamp\":0,\"message\":\"a\xffb\"}", "a\ufffdb"},
		{"lowest time", `{"from":"alice","to":"bob","timestamp":-9223372036854775808,"message":"x"}`, "x"},
		{"presence that is not ours", `{"from":"alice","to":"bob","timestamp":0,"message":"","presence":true}`, ""},
		{"text and presence", `{"from":"alice","to":"bob","timestamp":0,"message":"x","presence":"AAAA"}`, "x"},
		{"presence not base64", `{"from":"alice","to":"bob","timestamp":0,"message":"","presence":"AAA"}`, ""},
	} {
		m, err := open(t, from(t, "alice", test.plaintext).envelope(t), "bob")
		if err != nil || m.From != "alice" || m.To != "bob" || m.Text != test.text || m.Presence != nil {
			t.Errorf("%s: %+v, %v", test.name, m, err)
		}
	}
	long := strings.Repeat("a", MaxText)
	for name, plaintext := range map[string]string{
		"empty": "", "null": "null", "array": "[]", "text": `"x"`, "no JSON": "hello", "cut": hello[:len(hello)-1], "twice": hello + hello,
		"something behind": hello + "x", "NUL behind": hello + "\x00", "BOM": "\ufeff" + hello,
		"no from":    `{"to":"bob","timestamp":0,"message":"x"}`,
		"no to":      `{"from":"alice","timestamp":0,"message":"x"}`,
		"no time":    `{"from":"alice","to":"bob","message":"x"}`,
		"no message": `{"from":"alice","to":"bob","timestamp":0}`,
		"null from":  `{"from":null,"to":"bob","timestamp":0,"message":"x"}`, "from a number": `{"from":1,"to":"bob","timestamp":0,"message":"x"}`,
		"null message":   `{"from":"alice","to":"bob","timestamp":0,"message":null}`,
		"message a list": `{"from":"alice","to":"bob","timestamp":0,"message":["x"]}`,
		"control":        "{\"from\":\"alice\",\"to\":\"bob\",\"timestamp\":0,\"message\":\"a\nb\"}",
		"bad escape":     `{"from":"alice","to":"bob","timestamp":0,"message":"\x"}`,
		"cut escape":     `{"from":"alice","to":"bob","timestamp":0,"message":"\"}`,
		"cut \\u":        `{"from":"alice","to":"bob","timestamp":0,"message":"\u12"}`,
		"from twice":     `{"from":"alice","from":"carol","to":"bob","timestamp":0,"message":"x"}`,
		"message twice":  `{"from":"alice","to":"bob","timestamp":0,"message":"x","mess\u0061ge":"y"}`,
		"From":           `{"From":"alice","to":"bob","timestamp":0,"message":"x"}`,
		"from and From":  `{"from":"alice","From":"carol","to":"bob","timestamp":0,"message":"x"}`,
		"to and TO":      `{"from":"alice","to":"bob","TO":"carol","timestamp":0,"message":"x"}`,
		// K, the sign of kelvin, and the long s are the letters k and s to a Go decoder.
		"me\u017f\u017fage": `{"from":"alice","to":"bob","timestamp":0,"message":"x","me` + "\u017f\u017f" + `age":"y"}`,
		"many members":      `{` + many(2000) + hello[1:],
		"too long":          `{"from":"alice","to":"bob","timestamp":0,"message":"` + long + `a"}`,
		"too long, ordered": `{"message":"` + long + `a","from":"alice","to":"bob","timestamp":0}`,
	} {
		if s, err := Decrypt(from(t, "alice", plaintext).envelope(t), keysOf(t, "bob").message); err == nil || err.Error() != uniform || s != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, ts := range []string{`"0"`, "null", "1.0", "1642802942.5", "1e3", "9223372036854775808", "-9223372036854775809", "01", "+1", "- 1", "0x1", "1_0", "true", "[]", "NaN"} {
		p := `{"from":"alice","to":"bob","timestamp":` + ts + `,"message":"x"}`
		if _, err := Decrypt(from(t, "alice", p).envelope(t), keysOf(t, "bob").message); err == nil || err.Error() != uniform {
			t.Errorf("timestamp %s: %v", ts, err)
		}
	}
	for _, name := range []string{"", "al", "Alice", "ALICE", "alice ", "alice\\u0000", "alice/../carol", "carol?alice", "carol#", "al%69ce", "\\u001b[31m", "alicé", strings.Repeat("a", 33)} {
		for _, p := range []string{`{"from":"%s","to":"bob","timestamp":0,"message":"x"}`, `{"from":"alice","to":"%s","timestamp":0,"message":"x"}`} {
			p = fmt.Sprintf(p, name)
			if _, err := Decrypt(from(t, "alice", p).envelope(t), keysOf(t, "bob").message); err == nil || err.Error() != uniform {
				t.Errorf("%s: %v", p, err)
			}
		}
	}
}

// many returns n members of an object, each with a comma behind.
func many(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"%d":"[,{\"]",`, i)
	}
	return b.String()
}

// Everything that can be seen to be wrong without a private key is ErrMalformed, and no
// key is used for it.
func TestEnvelopes(t *testing.T) {
	e := from(t, "alice", hello).parts(t)
	b := base64.URLEncoding.EncodeToString
	k, c, s := b(e.cipherkey), b(e.ciphertext), b(e.signature)
	frame := func(k, c, s string) string {
		return `{"cipherkey":"` + k + `","ciphertext":"` + c + `","signature":"` + s + `"}`
	}
	for name, envelope := range map[string]string{
		"usual":           frame(k, c, s),
		"order and space": "\n{ \"signature\" :\"" + s + "\", \"x\":{\"y\":[1]}, \"ciphertext\":\"" + c + "\",\"cipherkey\":\"" + k + "\" } ",
		"escapes":         frame(k, c, fmt.Sprintf(`\u%04x`, s[0])+s[1:]),
	} {
		if m, err := open(t, []byte(envelope), "bob"); err != nil || m.Text != "hi" {
			t.Errorf("%s: %v", name, err)
		}
	}
	standard := func(s string) string { return strings.NewReplacer("-", "+", "_", "/").Replace(s) + "+" }
	for name, envelope := range map[string]string{
		"empty": "", "null": "null", "array": "[]", "no JSON": "hello", "HTML": "<html>", "cut": frame(k, c, s)[:100], "twice": frame(k, c, s) + frame(k, c, s),
		"NUL behind":      frame(k, c, s) + "\x00",
		"member twice":    `{"cipherkey":"` + k + `",` + frame(k, c, s)[1:],
		"member twice, 2": `{"signature":"",` + frame(k, c, s)[1:],
		"other case":      `{"CipherKey":"` + k + `","ciphertext":"` + c + `","signature":"` + s + `"}`,
		"both cases":      `{"CipherKey":"` + k + `",` + frame(k, c, s)[1:],
		"no cipherkey":    `{"ciphertext":"` + c + `","signature":"` + s + `"}`,
		"no ciphertext":   `{"cipherkey":"` + k + `","signature":"` + s + `"}`,
		"no signature":    `{"cipherkey":"` + k + `","ciphertext":"` + c + `"}`,
		"null members":    `{"cipherkey":null,"ciphertext":null,"signature":null}`,
		"numbers":         `{"cipherkey":1,"ciphertext":2,"signature":3}`,
		"all empty":       frame("", "", ""), "empty cipherkey": frame("", c, s), "empty ciphertext": frame(k, "", s), "empty signature": frame(k, c, ""),
		"line ends":           frame(k, c[:8]+`\r\n`+c[8:], s),
		"junk behind":         frame(k, c, s+"!"),
		"base64 behind":       frame(k, c, s+"AAAA=="),
		"standard alphabet":   frame(k, standard(c), s),
		"no padding":          frame(strings.TrimRight(k, "="), c, s),
		"loose bits":          frame(k, c, b(make([]byte, 256))[:341]+"B=="),
		"hex":                 frame(fmt.Sprintf("%x", e.cipherkey), c, s),
		"cipherkey too short": frame(b(e.cipherkey[:255]), c, s),
		"cipherkey too long":  frame(b(append([]byte{0}, e.cipherkey...)), c, s),
		"cipherkey of 4096":   frame(b(make([]byte, 512)), c, s),
		"cipherkey huge":      frame(b(make([]byte, maxKey+1)), c, s),
		"signature huge":      frame(k, c, b(make([]byte, maxKey+1))),
		"ciphertext 1":        frame(k, b(e.ciphertext[:1]), s),
		"ciphertext 15":       frame(k, b(e.ciphertext[:15]), s),
		"ciphertext 17":       frame(k, b(e.ciphertext[:17]), s),
		"ciphertext huge":     frame(k, b(make([]byte, maxPlain/16*16+32)), s),
		"envelope huge":       frame(k, c, s) + strings.Repeat(" ", MaxEnvelope),
		"many members":        `{` + many(2000) + frame(k, c, s)[1:],
		"deep":                strings.Repeat(`{"cipherkey":`, 100000),
	} {
		d := &counting{Decrypter: keysOf(t, "bob").message}
		if s, err := Decrypt([]byte(envelope), d); !errors.Is(err, parley.ErrMalformed) || s != nil || d.used > 0 {
			t.Errorf("%s: %v, the key was used %d times", name, err, d.used)
		}
	}
	// A ciphertext of one block is whole, but holds no message.
	if _, err := Decrypt([]byte(frame(k, b(e.ciphertext[:16]), s)), keysOf(t, "bob").message); err == nil || err.Error() != uniform {
		t.Error(err)
	}
}

// counting counts how often a key is used.
type counting struct {
	crypto.Decrypter
	used int
}

func (c *counting) Decrypt(r io.Reader, msg []byte, o crypto.DecrypterOpts) ([]byte, error) {
	c.used++
	return c.Decrypter.Decrypt(r, msg, o)
}

func TestSignatures(t *testing.T) {
	alice, carol := keysOf(t, "alice").sign, keysOf(t, "carol").sign
	f := forger{plaintext: []byte(hello)}
	for _, salt := range []int{0, 1, 20, 32, 222} {
		f.sign = signPSS(t, alice, crypto.SHA256, max(salt, 1))
		if salt == 0 {
			f.sign = func(p []byte) []byte { return saltless(t, alice, p) }
		}
		if m, err := open(t, f.envelope(t), "bob"); err != nil || m.Text != "hi" {
			t.Errorf("a salt of %d: %v", salt, err)
		}
	}
	good := signPSS(t, alice, crypto.SHA256, 32)
	for name, sign := range map[string]func([]byte) []byte{
		"another user's":          signPSS(t, carol, crypto.SHA256, 32),
		"the message key's":       signPSS(t, keysOf(t, "alice").message, crypto.SHA256, 32),
		"the recipient's":         signPSS(t, keysOf(t, "bob").sign, crypto.SHA256, 32),
		"PKCS 1 v1.5":             signPKCS1(t, "alice"),
		"PSS with SHA-1":          signPSS(t, alice, crypto.SHA1, 20),
		"PSS with SHA-512":        signPSS(t, alice, crypto.SHA512, 64),
		"a weak key's":            func([]byte) []byte { return make([]byte, 128) },
		"of another text":         func(p []byte) []byte { return good(append(p[:len(p):len(p)], ' ')) },
		"cut":                     func(p []byte) []byte { return good(p)[:255] },
		"longer":                  func(p []byte) []byte { return append(good(p), 0) },
		"longer in front":         func(p []byte) []byte { return append([]byte{0}, good(p)...) },
		"zeros":                   func([]byte) []byte { return make([]byte, 256) },
		"ones":                    func([]byte) []byte { return bytes.Repeat([]byte{0xff}, 256) },
		"one":                     func([]byte) []byte { return append(make([]byte, 255), 1) },
		"one byte":                func([]byte) []byte { return []byte{1} },
		"the same number plus N":  func(p []byte) []byte { return new(big.Int).Add(new(big.Int).SetBytes(good(p)), alice.N).Bytes() },
		"of the ciphertext's sum": func([]byte) []byte { return good(nil) },
	} {
		f.sign = sign
		m, err := open(t, f.envelope(t), "bob")
		if err == nil || err.Error() != uniform || !errors.Is(err, parley.ErrForged) || !equal(m, Message{}) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s, err := Decrypt(from(t, "alice", hello).envelope(t), keysOf(t, "bob").message)
	must(t, err)
	for _, key := range []*rsa.PublicKey{nil, {}, &weakKey().PublicKey} {
		if m, err := s.Open("bob", key); err == nil || !errors.Is(err, parley.ErrUntrusted) && !errors.Is(err, parley.ErrNoKey) || !equal(m, Message{}) {
			t.Errorf("with a key that proves nothing: %v", err)
		}
	}
}

// saltless signs with a salt of 0 bytes, for which Go has no option.
func saltless(t *testing.T, key *rsa.PrivateKey, p []byte) []byte {
	h := crypto.SHA256.New()
	h.Write(p)
	digest := h.Sum(nil)
	h.Reset()
	h.Write(make([]byte, 8))
	h.Write(digest)
	sum := h.Sum(nil)
	em := make([]byte, key.Size())
	db := em[:len(em)-33]
	db[len(db)-1] = 1
	for i, n := 0, 0; n < len(db); i++ { // MGF1
		h.Reset()
		h.Write(sum)
		h.Write([]byte{0, 0, 0, byte(i)})
		for _, b := range h.Sum(nil) {
			if n < len(db) {
				db[n] ^= b
				n++
			}
		}
	}
	em[0] &= 0x7f
	copy(em[len(db):], sum)
	em[len(em)-1] = 0xbc
	return new(big.Int).Exp(new(big.Int).SetBytes(em), key.D, key.N).FillBytes(em)
}

// After a change of keys, either opens; a failing device is not the envelope's fault.
func TestSeveralKeys(t *testing.T) {
	envelope := from(t, "alice", hello).envelope(t)
	bob, alice, carol := keysOf(t, "bob").message, keysOf(t, "alice").message, keysOf(t, "carol").message
	for name, keys := range map[string][]crypto.Decrypter{
		"only": {bob}, "first": {bob, alice}, "last": {alice, carol, bob}, "with rubbish": {nil, weakKey(), broken{alice}, bob},
	} {
		if s, err := Decrypt(envelope, keys...); err != nil || s.Claimed() != "alice" {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, test := range map[string]struct {
		keys []crypto.Decrypter
		want error
	}{
		"none": {nil, parley.ErrNoKey}, "nil": {[]crypto.Decrypter{nil}, parley.ErrNoKey}, "weak": {[]crypto.Decrypter{weakKey()}, parley.ErrNoKey},
		"another": {[]crypto.Decrypter{alice}, parley.ErrForged}, "another size": {[]crypto.Decrypter{carol}, parley.ErrMalformed},
		"two others": {[]crypto.Decrypter{carol, alice, carol}, parley.ErrForged}, "device": {[]crypto.Decrypter{alice, broken{bob}, carol}, parley.ErrNoKey},
		"short answer": {[]crypto.Decrypter{short{bob}}, parley.ErrForged},
	} {
		if s, err := Decrypt(envelope, test.keys...); !errors.Is(err, test.want) || s != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A number that is not below N.
	e := from(t, "alice", hello).parts(t)
	for i := range e.cipherkey {
		e.cipherkey[i] = 0xff
	}
	if _, err := Decrypt(e.marshal(), bob); err == nil || err.Error() != uniform {
		t.Error(err)
	}
}

type broken struct{ *rsa.PrivateKey }

func (broken) Decrypt(io.Reader, []byte, crypto.DecrypterOpts) ([]byte, error) {
	return nil, errors.New("the card was pulled out: PIN 1234")
}

type short struct{ *rsa.PrivateKey }

func (short) Decrypt(io.Reader, []byte, crypto.DecrypterOpts) ([]byte, error) {
	return []byte("abc"), nil
}

// Nothing that is not verified gets out by printing.
func TestSealedIsSilent(t *testing.T) {
	s, err := Decrypt(from(t, "alice", strings.Replace(hello, "hi", "SECRET", 1)).envelope(t), keysOf(t, "bob").message)
	must(t, err)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if out := fmt.Sprintf(verb, s); out != "an envelope that claims to be from alice" {
			t.Errorf("%s: %s", verb, out)
		}
	}
}
