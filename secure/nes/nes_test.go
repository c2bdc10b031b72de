package nes

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"os"
	"sync"
	"testing"

	"parley/internal/rsakey"
)

// vectors are known answers made with the original client, v0.2.0.
type vectors struct {
	Users    map[string]vectorUser `json:"users"`
	Messages []struct {
		ID        string `json:"id"`
		Envelope  string `json:"envelope"`
		Sender    string `json:"sender"`
		Recipient string `json:"recipient"`
		Message   string `json:"message"`
		Input     []byte `json:"input_message_b64"` // what was typed, if it is not Message
		Time      int64  `json:"timestamp_ms"`
		Plaintext []byte `json:"plaintext_b64"`
		SHA256    string `json:"plaintext_sha256"`
		Key       string `json:"aes_key_hex"`
		IV        string `json:"iv_hex"`
		Salt      int    `json:"pss_salt_len"`
		Topic     string `json:"topic"`
	} `json:"messages"`
	Other []struct {
		ID        string `json:"id"`
		Envelope  string `json:"envelope"`
		Recipient string `json:"recipient"`
		Safe      string `json:"safe"`
		What      string `json:"what"`
		Original  struct {
			Result string `json:"result"`
			Shown  *struct {
				From    string `json:"from"`
				To      string `json:"to"`
				Message string `json:"message"`
				Time    int64  `json:"timestamp"`
			} `json:"shown"`
		} `json:"original"`
	} `json:"other_envelopes"`
}

type vectorUser struct {
	Message struct {
		PEM string `json:"private_pem"`
	} `json:"message"`
	Sign struct {
		PEM string `json:"private_pem"`
	} `json:"sign"`
}

var readVectors = sync.OnceValue(func() (v vectors) {
	b, err := os.ReadFile("testdata/nes.json")
	if err == nil {
		err = json.Unmarshal(b, &v)
	}
	if err != nil {
		panic(err)
	}
	return v
})

// keys are a user's private keys.
type keys struct{ message, sign *rsa.PrivateKey }

var readKeys = sync.OnceValue(func() map[string]keys {
	out := map[string]keys{}
	for name, u := range readVectors().Users {
		m, err := rsakey.ParsePrivate([]byte(u.Message.PEM))
		if err != nil {
			panic(err)
		}
		s, err := rsakey.ParsePrivate([]byte(u.Sign.PEM))
		if err != nil {
			panic(err)
		}
		out[name] = keys{m, s}
	}
	return out
})

// keysOf returns the keys of alice and bob (2048 bits) or carol (4096 bits).
func keysOf(tb testing.TB, user string) keys {
	tb.Helper()
	k, ok := readKeys()[user]
	if !ok {
		tb.Fatalf("no user %q", user)
	}
	return k
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

var errUnknown = errors.New("no such user")

// open decrypts with a user's key and opens with the claimed sender's.
func open(tb testing.TB, envelope []byte, self string) (Message, error) {
	tb.Helper()
	s, err := Decrypt(envelope, keysOf(tb, self).message)
	if err != nil {
		return Message{}, err
	}
	sender, ok := readKeys()[s.Claimed()]
	if !ok {
		return Message{}, errUnknown
	}
	return s.Open(self, &sender.sign.PublicKey)
}

// A forger makes envelopes that Seal would not: any plaintext, padding and key material.
type forger struct {
	plaintext []byte
	padding   []byte // nil: as it should be
	material  []byte // nil: 48 random bytes
	sign      func(plaintext []byte) []byte
	seal      func(material []byte) []byte
}

func from(tb testing.TB, user, plaintext string) forger {
	return forger{plaintext: []byte(plaintext), sign: func(p []byte) []byte {
		sig, err := rsakey.Sign(keysOf(tb, user).sign, p)
		must(tb, err)
		return sig
	}}
}

// parts seals to bob.
func (f forger) parts(tb testing.TB) envelope {
	tb.Helper()
	material := f.material
	if material == nil {
		material = make([]byte, materialSize)
		rand.Read(material)
	}
	seal := f.seal
	if seal == nil {
		seal = func(m []byte) []byte {
			//lint:ignore SA1019 the format's
			c, err := rsa.EncryptPKCS1v15(rand.Reader, &keysOf(tb, "bob").message.PublicKey, m)
			must(tb, err)
			return c
		}
	}
	full := append(append([]byte{}, material...), make([]byte, materialSize)...)[:materialSize]
	e := envelope{cipherkey: seal(material), signature: f.sign(f.plaintext)}
	if f.padding == nil {
		e.ciphertext = encrypt(full, f.plaintext)
		return e
	}
	padded := append(append([]byte{}, f.plaintext...), f.padding...)
	e.ciphertext = encrypt(full, padded)[:len(padded)]
	return e
}

func (f forger) envelope(tb testing.TB) []byte {
	e := f.parts(tb)
	return e.marshal()
}

func signPKCS1(tb testing.TB, user string) func([]byte) []byte {
	return func(p []byte) []byte {
		d := sha256.Sum256(p)
		sig, err := rsa.SignPKCS1v15(nil, keysOf(tb, user).sign, crypto.SHA256, d[:])
		must(tb, err)
		return sig
	}
}

func signPSS(tb testing.TB, key *rsa.PrivateKey, h crypto.Hash, salt int) func([]byte) []byte {
	return func(p []byte) []byte {
		d := h.New()
		d.Write(p)
		sig, err := rsa.SignPSS(rand.Reader, key, h, d.Sum(nil), &rsa.PSSOptions{SaltLength: salt})
		must(tb, err)
		return sig
	}
}
