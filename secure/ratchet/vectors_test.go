package ratchet

import (
	"bytes"
	"crypto/mlkem"
	"crypto/mlkem/mlkemtest"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"reflect"
	"testing"
	"time"

	"parley"
	"parley/parleytest"
)

var update = flag.Bool("update", false, "write testdata/vectors.json anew")

const vectorFile = "testdata/vectors.json"

// octets are shown as hex.
type octets []byte

func (o octets) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(o)), nil }

func (o *octets) UnmarshalText(b []byte) (err error) {
	*o, err = hex.DecodeString(string(b))
	return err
}

// vectors are one conversation with its randomness written down. docs/ratchet.md
// names the values.
type vectors struct {
	About     string          `json:"about"`
	Handshake handshakeVector `json:"handshake"`
	Messages  []messageVector `json:"messages"`
}

type handshakeVector struct {
	OfferRandom  octets `json:"offer_random"`  // private IKa, private EPKa
	Offer        octets `json:"offer"`         //
	AnswerRandom octets `json:"answer_random"` // private IKb, private EKb, KEM seed, salt
	Payload      octets `json:"payload"`
	Answer       octets `json:"answer"`
	Transcript   octets `json:"transcript"`
	PayloadKey   octets `json:"payload_key"`
	Root         octets `json:"root"`
	HeaderKey    octets `json:"header_key"`
	SafetyNumber octets `json:"safety_number"`
	FingerprintA octets `json:"fingerprint_inviter"`
	FingerprintB octets `json:"fingerprint_answerer"`
}

type messageVector struct {
	Inviter bool   `json:"from_inviter"`
	Turn    uint64 `json:"turn"`
	N       uint32 `json:"n"`
	KEM     byte   `json:"kem"`
	Random  octets `json:"random"` // in the order in which it is used
	// A first message of a chain: the root after its step, and that of the chain
	// the key of its message 0.
	Root       octets `json:"root,omitempty"`
	ChainKey   octets `json:"chain_key"` // of this message
	MessageKey octets `json:"message_key"`
	HeaderKey  octets `json:"header_key"`
	Header     octets `json:"header"` // plain; its hash is bound to the root
	// The message.
	ID    octets `json:"id"`
	Group octets `json:"group,omitempty"`
	AMP   [2]int `json:"amp"`
	Seq   uint32 `json:"seq"`
	Sent  int64  `json:"sent_ms"`
	Body  octets `json:"body"`
	Plain octets `json:"plain"` // with the inner header, before padding
	Once  octets `json:"once"`

	Packet   octets            `json:"packet"`
	Sender   map[string]octets `json:"sender_state"`   // before; keys of the Bucket in hex
	Receiver map[string]octets `json:"receiver_state"` // before
}

// stream is SHA-256(label ‖ counter) … : randomness that is none.
type stream struct {
	left []byte
	n    uint64
	used []byte
}

func (s *stream) Read(b []byte) (int, error) {
	for len(s.left) < len(b) {
		h := hash("parley ratchet vectors", binary.BigEndian.AppendUint64(nil, s.n))
		s.left = append(s.left, h[:]...)
		s.n++
	}
	n := copy(b, s.left)
	s.left = s.left[n:]
	s.used = append(s.used, b...)
	return n, nil
}

func (s *stream) took() octets {
	u := s.used
	s.used = nil
	return u
}

// fixedTransport takes all its randomness from r.
func fixedTransport(r interface{ Read([]byte) (int, error) }) *Transport {
	t := &Transport{random: r}
	t.encapsulateBy = func(ek *mlkem.EncapsulationKey768) ([]byte, []byte) {
		m := make([]byte, 32)
		if _, err := r.Read(m); err != nil {
			panic(err)
		}
		secret, ciphertext, err := mlkemtest.Encapsulate768(ek, m)
		if err != nil {
			panic(err)
		}
		return secret, ciphertext
	}
	return t
}

func dump(b *parleytest.Bucket) map[string]octets {
	m := map[string]octets{}
	for k, v := range b.Scan("") {
		m[hex.EncodeToString([]byte(k))] = v
	}
	return m
}

func restore(t *testing.T, tr *Transport, self, peer parley.Name, state map[string]octets) *line {
	t.Helper()
	l := parleytest.NewSecureLine(tr, parley.Ratchet, self, peer)
	for k, v := range state {
		key, err := hex.DecodeString(k)
		if err != nil {
			t.Fatal(err)
		}
		l.Bucket.Put(string(key), v)
	}
	return l
}

// script is what is said: by whom, and what opens at once, late or never.
var script = []struct {
	inviter bool
	late    bool
	size    int
}{
	{true, false, 11}, {true, true, 20}, {true, false, 0}, // turn 0: ciphertext
	{false, false, 30},                     // 1: encapsulation key
	{true, false, 2100}, {true, false, 15}, // 2: ciphertext, two units
	{false, true, 3}, {false, false, 4}, // 3: neither
	{true, false, 5},  // 4: encapsulation key
	{false, false, 6}, // 5: ciphertext
}

func makeVectors(t *testing.T) *vectors {
	r := new(stream)
	tr := fixedTransport(r)
	alice, bob := ends()
	alice.Transport, bob.Transport = tr, tr
	v := &vectors{About: "A conversation over the ratchet, STP 67 version 1, with its randomness written down. docs/ratchet.md names the values; all are hex."}
	h := &v.Handshake
	h.Offer = introduce(t, alice)
	h.OfferRandom = r.took()
	o, _, _ := load(alice.Bucket)
	h.Payload = []byte("payload")
	h.Answer = admit(t, bob, h.Offer, h.Payload)
	h.AnswerRandom = r.took()
	a, err := agreeAsInviter(o, h.Offer, h.Answer[:answerHead])
	if err != nil {
		t.Fatal(err)
	}
	h.Transcript, h.PayloadKey, h.Root, h.HeaderKey, h.SafetyNumber = a.transcript[:], a.payload[:], a.root[:], a.header[:], a.safety[:]
	in := open(t, alice, h.Answer, parley.Answer)
	h.FingerprintA, h.FingerprintB = fingerprint(splitOffer(h.Offer).identity), in.Key
	if err := accept(alice, in); err != nil {
		t.Fatal(err)
	}
	sides := map[bool]*line{true: alice, false: bob}
	for i, s := range script {
		v.Messages = append(v.Messages, makeMessage(t, r, i, s.size, sides[s.inviter], sides[!s.inviter], !s.late))
	}
	for i, s := range script {
		if m := &v.Messages[i]; s.late {
			to := sides[!s.inviter]
			m.Receiver = dump(to.Bucket)
			got, err := to.Open(m.Packet)
			if err != nil {
				t.Fatal(err)
			}
			m.Once = got.Once
		}
	}
	return v
}

func makeMessage(t *testing.T, r *stream, i, size int, from, to *line, opens bool) messageVector {
	m := parleytest.TestMessage(i, size)
	if i%2 == 0 {
		m.Group = nil
	}
	v := messageVector{
		ID: m.ID[:], Group: m.Group, AMP: [2]int{int(m.AMP.Type), int(m.AMP.Version)}, Seq: m.Seq,
		Sent: m.Sent.UnixMilli(), Body: m.Body, Sender: dump(from.Bucket), Receiver: dump(to.Bucket),
	}
	_, before, _ := load(from.Bucket)
	v.Inviter = before.inviter
	p, err := from.Seal(m)
	if err != nil {
		t.Fatal(err)
	}
	v.Random, v.Packet = r.took(), p
	_, after, _ := load(from.Bucket)
	chain := before.sendKey
	v.Turn, v.N = after.steps-1, after.sent-1
	head := from.Bucket.Get(headKey)
	v.KEM = head[keySize+4]
	if before.ourTurn() {
		// The chain key before its first step: recompute the root step as the peer does.
		_, peer, _ := load(to.Bucket)
		var b batch
		c, err := peer.followChain(to.Bucket, mustNewest(t, peer, to), head, &b)
		if err != nil {
			t.Fatal(err)
		}
		chain = c.key
		v.Root = clone(after.root[:])
	}
	key, _ := chainStep(chain)
	v.ChainKey, v.MessageKey, v.HeaderKey = clone(chain[:]), clone(key[:]), clone(after.sendHeader[:])
	in, err := splitPacket(p)
	if err != nil {
		t.Fatal(err)
	}
	header, ok := unseal(after.sendHeader[:], in.salt, labelHeader, in.header, headerExtra(after.transcript, in.digest))
	if !ok {
		t.Fatal("header")
	}
	plain, ok := unseal(key[:], in.bodySalt, labelBody, in.body, bodyExtra(after.transcript, header))
	if !ok {
		t.Fatal("body")
	}
	if plain, err = unpad(plain); err != nil {
		t.Fatal(err)
	}
	v.Header, v.Plain = header, plain
	if opens {
		got, err := to.Open(p)
		if err != nil {
			t.Fatal(err)
		}
		v.Once = got.Once
	}
	return v
}

func mustNewest(t *testing.T, s *agreed, l *line) *chain {
	t.Helper()
	c, err := s.newest(l.Bucket)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestVectors: the file is what this code makes, bit for bit.
func TestVectors(t *testing.T) {
	made, err := json.MarshalIndent(makeVectors(t), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	made = append(made, '\n')
	if *update {
		if err := os.WriteFile(vectorFile, made, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := os.ReadFile(vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	if sha256.Sum256(made) != sha256.Sum256(kept) {
		t.Errorf("%s differs from what this code makes: the format has changed", vectorFile)
	}
}

// TestVectorsBothWays: each known state, with the message and the randomness,
// makes the packet; and each known state opens the packet to the message.
func TestVectorsBothWays(t *testing.T) {
	file, err := os.ReadFile(vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(file, &v); err != nil {
		t.Fatal(err)
	}
	h := &v.Handshake
	alice, bob := ends()
	alice.Transport = fixedTransport(bytes.NewReader(h.OfferRandom))
	bob.Transport = fixedTransport(bytes.NewReader(h.AnswerRandom))
	if !bytes.Equal(introduce(t, alice), h.Offer) || !bytes.Equal(admit(t, bob, h.Offer, h.Payload), h.Answer) {
		t.Error("the handshake differs")
	}
	in := open(t, alice, h.Answer, parley.Answer)
	if !bytes.Equal(in.Payload, h.Payload) || !bytes.Equal(in.Key, h.FingerprintB) {
		t.Error("the answer opens to something else")
	}
	for i, m := range v.Messages {
		want := &parley.Message{
			ID: [16]byte(m.ID), Group: m.Group, AMP: parley.AMP{Type: uint16(m.AMP[0]), Version: uint16(m.AMP[1])},
			Seq: m.Seq, Sent: time.UnixMilli(m.Sent).UTC(), Body: m.Body,
		}
		random := bytes.NewReader(m.Random)
		sender := restore(t, fixedTransport(random), "Alice", "Bob", m.Sender)
		p, err := sender.Seal(want)
		if err != nil || !bytes.Equal(p, m.Packet) || random.Len() != 0 {
			t.Errorf("message %d: sealed to another packet, %v", i, err)
		}
		receiver := restore(t, New(), "Bob", "Alice", m.Receiver)
		got, err := receiver.Open(m.Packet)
		if err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
		want.From, want.To, want.Once = "Alice", []parley.Name{"Bob"}, m.Once
		if len(want.Body) == 0 {
			want.Body = nil
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("message %d: opened to %+v, want %+v", i, got, want)
		}
		if _, err := receiver.Open(m.Packet); !errors.Is(err, parley.ErrSeen) {
			t.Errorf("message %d again: %v", i, err)
		}
		for _, at := range []int{0, 1, 20, 1257, 1258, 1275, len(m.Packet) - 1} {
			q := bytes.Clone(m.Packet)
			q[at] ^= 0x80
			other := restore(t, New(), "Bob", "Alice", m.Receiver)
			if _, err := other.Open(q); !errors.Is(err, parley.ErrForged) && !errors.Is(err, parley.ErrMalformed) {
				t.Errorf("message %d altered at %d: %v", i, at, err)
			}
		}
	}
}
