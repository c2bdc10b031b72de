package ratchet

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"parley"
	"parley/parleytest"
)

func TestHandshake(t *testing.T) {
	alice, bob := ends()
	offer := introduce(t, alice)
	if len(offer) != 65 {
		t.Errorf("an offer of %d bytes", len(offer))
	}
	if again := introduce(t, alice); !bytes.Equal(again, offer) {
		t.Error("a repeated Introduce makes another offer")
	}
	payload := bytes.Repeat([]byte("reply "), 300)
	answer := admit(t, bob, offer, payload)
	if len(answer) != PacketUnit {
		t.Errorf("an answer of %d bytes", len(answer))
	}
	// Each step may be repeated until it commits.
	for range 2 {
		in := open(t, alice, answer, parley.Answer)
		if !bytes.Equal(in.Payload, payload) || in.From != "Bob" || len(in.Key) != 32 {
			t.Fatalf("introduction %+v", in)
		}
	}
	in := open(t, alice, answer, parley.Answer)
	alice.Bucket.Begin()
	if err := accept(alice, in); err != nil {
		t.Fatal(err)
	}
	alice.Bucket.Rollback()
	if err := accept(alice, in); err != nil {
		t.Fatal(err)
	}

	if _, err := bob.Seal(parleytest.TestMessage(1, 5)); !errors.Is(err, parley.ErrNoKey) {
		t.Errorf("Bob's Seal before Alice's first packet: %v", err)
	}
	// Bob's state is that of the handshake until the packet's State commits.
	first := sealTo(t, alice, 1)
	openAs(t, bob, first, 1)
	for i := range 7 { // all KEM steps
		send(t, bob, alice, i)
		send(t, alice, bob, i)
	}
	if s, err := StatusOf(&bob.Conversation); err != nil || !s.Ready || s.Turns != 15 || s.Missing != 0 {
		t.Errorf("status %+v, %v", s, err)
	}
}

func TestPayloadSizes(t *testing.T) {
	for _, test := range []struct{ payload, packet int }{
		{0, 1}, {2043, 1}, {2044, 2}, {MaxPayload, 6},
	} {
		alice, bob := ends()
		answer := admit(t, bob, introduce(t, alice), make([]byte, test.payload))
		if len(answer) != test.packet*PacketUnit {
			t.Errorf("payload of %d bytes: an answer of %d", test.payload, len(answer))
		}
		if in := open(t, alice, answer, parley.Answer); len(in.Payload) != test.payload {
			t.Errorf("payload of %d bytes came as %d", test.payload, len(in.Payload))
		}
	}
	alice, bob := ends()
	in := open(t, bob, introduce(t, alice), parley.Offer)
	in.Payload = make([]byte, MaxPayload+1)
	if _, err := New().Admit(ctx, &bob.Conversation, in); !errors.Is(err, parley.ErrRefused) || bob.Bucket.Size() != 0 {
		t.Errorf("a payload that is too long: %v", err)
	}
}

func TestSecondAnswer(t *testing.T) {
	alice, bob := ends()
	_, eve := ends()
	offer := introduce(t, alice)
	answer, other := admit(t, bob, offer, []byte("Bob")), admit(t, eve, offer, []byte("Eve"))
	in, inOther := open(t, alice, answer, parley.Answer), open(t, alice, other, parley.Answer)
	if err := accept(alice, in); err != nil {
		t.Fatal(err)
	}
	state := alice.Bucket.Clone()
	refused(t, alice, answer, parley.ErrSeen)
	refused(t, alice, other, parley.ErrForged)
	refused(t, alice, other, parley.ErrRefused)
	if err := accept(alice, in); !errors.Is(err, parley.ErrSeen) {
		t.Errorf("the same answer accepted twice: %v", err)
	}
	if err := accept(alice, inOther); !errors.Is(err, parley.ErrRefused) {
		t.Errorf("another answer accepted: %v", err)
	}
	if !alice.Bucket.Equal(state) {
		t.Error("state changed")
	}
	send(t, alice, bob, 1)
	refused(t, eve, sealTo(t, alice, 2), parley.ErrForged)
}

func TestHandshakeOnUsedLines(t *testing.T) {
	alice, bob := ends()
	offer := introduce(t, alice)
	refused(t, alice, offer, parley.ErrForged) // her own
	admit(t, bob, offer, nil)
	refused(t, bob, offer, parley.ErrSeen)
	carol, _ := ends()
	foreign := introduce(t, carol)
	refused(t, bob, foreign, parley.ErrForged)
	for _, l := range []*line{alice, bob} {
		if _, err := New().Admit(ctx, &l.Conversation, &parley.Introduction{Kind: parley.Offer, Packet: foreign}); !errors.Is(err, parley.ErrRefused) {
			t.Errorf("Admit on a used line: %v", err)
		}
	}
	if _, err := New().Introduce(ctx, &bob.Conversation); !errors.Is(err, parley.ErrRefused) {
		t.Errorf("Introduce on a used line: %v", err)
	}
	if _, err := New().Admit(ctx, &carol.Conversation, &parley.Introduction{Kind: parley.Answer, Packet: offer}); !errors.Is(err, parley.ErrMalformed) {
		t.Errorf("Admit of no offer: %v", err)
	}
	if err := accept(alice, &parley.Introduction{Kind: parley.Offer, Packet: offer}); !errors.Is(err, parley.ErrMalformed) {
		t.Errorf("Accept of no answer: %v", err)
	}
}

// Nothing opens or seals before its time.
func TestTooEarly(t *testing.T) {
	a, b := readyLine(t)
	packet := sealTo(t, a, 1)
	answer := admit(t, func() *line { _, l := ends(); return l }(), func() []byte { l, _ := ends(); return introduce(t, l) }(), nil)

	empty, offering := ends()
	introduce(t, offering)
	refused(t, empty, packet, parley.ErrNoKey)
	refused(t, empty, answer, parley.ErrForged)
	refused(t, offering, packet, parley.ErrForged)
	refused(t, offering, answer, parley.ErrForged) // to another invitation
	refused(t, b, answer, parley.ErrForged)
	for _, l := range []*line{empty, offering} {
		if _, err := l.Seal(parleytest.TestMessage(1, 5)); !errors.Is(err, parley.ErrNoKey) {
			t.Errorf("Seal: %v", err)
		}
		if _, err := SafetyNumber(&l.Conversation); !errors.Is(err, parley.ErrNoKey) {
			t.Errorf("SafetyNumber: %v", err)
		}
	}
	accepted, _ := agreedLine(t)
	refused(t, accepted, packet, parley.ErrForged)
}

// Points of low order, which make every secret the same.
var lowOrder = [][]byte{
	make([]byte, 32),
	append([]byte{1}, make([]byte, 31)...),
	{0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00},
}

func TestBadOffers(t *testing.T) {
	alice, bob := ends()
	offer := introduce(t, alice)
	bad := [][]byte{append(bytes.Clone(offer), 0)}
	for n := range len(offer) {
		bad = append(bad, offer[:n])
	}
	for _, p := range lowOrder {
		bad = append(bad, slices.Concat(offer[:1], p, offer[33:]), slices.Concat(offer[:33], p))
	}
	bad = append(bad, slices.Concat(offer[:33], offer[1:33]))
	for _, kind := range []byte{0, 0x10, 0x21, 0xff} {
		bad = append(bad, append([]byte{kind}, offer[1:]...))
	}
	for _, p := range bad {
		refused(t, bob, p, parley.ErrMalformed)
		if _, err := New().Admit(ctx, &bob.Conversation, &parley.Introduction{Kind: parley.Offer, Packet: p}); !errors.Is(err, parley.ErrMalformed) || bob.Bucket.Size() != 0 {
			t.Errorf("Admit of %x: %v", p, err)
		}
	}
	// An altered offer is another one: the answer to it doesn't fit.
	for i := 1; i < len(offer); i += 5 {
		q := bytes.Clone(offer)
		q[i] ^= 4
		_, other := ends()
		refused(t, alice, admit(t, other, q, nil), parley.ErrForged)
	}
}

func TestBadAnswers(t *testing.T) {
	alice, bob := ends()
	answer := admit(t, bob, introduce(t, alice), []byte("payload"))
	state := alice.Bucket.Clone()
	for n := range len(answer) {
		if n%16 == 0 || n < 100 {
			refused(t, alice, answer[:n], parley.ErrMalformed)
		}
	}
	refused(t, alice, append(bytes.Clone(answer), 0), parley.ErrMalformed)
	refused(t, alice, append(bytes.Clone(answer), make([]byte, PacketUnit)...), parley.ErrForged)
	refused(t, alice, append(bytes.Clone(answer), make([]byte, 10*PacketUnit)...), parley.ErrMalformed)
	for i := range answer {
		if i > 80 && i < answerHead && i%17 != 0 || i > answerHead+40 && i%41 != 0 {
			continue
		}
		q := bytes.Clone(answer)
		q[i] ^= 1 << (i % 8)
		_, err := alice.Open(q)
		if !errors.Is(err, parley.ErrForged) && !errors.Is(err, parley.ErrMalformed) {
			t.Fatalf("bit flipped at %d: %v", i, err)
		}
		in := &parley.Introduction{Kind: parley.Answer, Packet: q, Payload: []byte("payload")}
		if err := accept(alice, in); err == nil {
			t.Fatalf("bit flipped at %d: accepted", i)
		}
	}
	for _, p := range lowOrder {
		refused(t, alice, slices.Concat(answer[:1], p, answer[33:]), parley.ErrMalformed)
		refused(t, alice, slices.Concat(answer[:33], p, answer[65:]), parley.ErrMalformed)
	}
	if !alice.Bucket.Equal(state) {
		t.Error("state changed")
	}
	if err := accept(alice, open(t, alice, answer, parley.Answer)); err != nil {
		t.Error(err)
	}
}

func TestSafetyNumber(t *testing.T) {
	number := func(l *line) string {
		t.Helper()
		n, err := SafetyNumber(&l.Conversation)
		if err != nil || len(n) != 32 {
			t.Fatalf("%x, %v", n, err)
		}
		return string(n)
	}
	seen := map[string]bool{}
	for range 20 {
		a, b := agreedLine(t)
		before := number(a)
		if before != number(b) || seen[before] {
			t.Fatal("safety numbers differ between the sides, or come twice")
		}
		seen[before] = true
		for i := range 4 {
			send(t, a, b, i)
			a, b = b, a
		}
		if number(a) != before || number(b) != before {
			t.Fatal("the safety number changed on the way")
		}
	}
	// Somebody in the middle has one line with each.
	alice, bob := ends()
	toAlice, toBob := ends()
	if err := accept(alice, open(t, alice, admit(t, toAlice, introduce(t, alice), nil), parley.Answer)); err != nil {
		t.Fatal(err)
	}
	if err := accept(toBob, open(t, toBob, admit(t, bob, introduce(t, toBob), nil), parley.Answer)); err != nil {
		t.Fatal(err)
	}
	if number(alice) == number(bob) {
		t.Error("equal in spite of somebody in the middle")
	}
}

func TestReset(t *testing.T) {
	a, b := readyLine(t)
	old, _ := SafetyNumber(&a.Conversation)
	late := sealTo(t, a, 1)
	for _, l := range []*line{a, b} {
		New().Reset(&l.Conversation)
		if l.Bucket.Size() != 0 {
			t.Error("something stayed")
		}
	}
	if err := accept(b, open(t, b, admit(t, a, introduce(t, b), nil), parley.Answer)); err != nil {
		t.Fatal(err)
	}
	refused(t, b, late, parley.ErrForged)
	send(t, b, a, 2)
	send(t, a, b, 3)
	if now, _ := SafetyNumber(&a.Conversation); bytes.Equal(now, old) {
		t.Error("the safety number did not change with the keys")
	}
}

// Private keys that are done with are in no state any more.
func TestErasure(t *testing.T) {
	alice, bob := ends()
	offer := introduce(t, alice)
	o, _, err := load(alice.Bucket)
	if err != nil {
		t.Fatal(err)
	}
	answer := admit(t, bob, offer, nil)
	_, waiting, _ := load(bob.Bucket)
	seed := bob.Bucket.Get(seedKey)
	if err := accept(alice, open(t, alice, answer, parley.Answer)); err != nil {
		t.Fatal(err)
	}
	gone(t, alice, "identity key of the offer", o.identity[:])
	gone(t, alice, "prekey of the offer", o.prekey[:])
	_, before, _ := load(alice.Bucket)
	send(t, alice, bob, 1)
	gone(t, alice, "root before turn 0", before.root[:])
	gone(t, bob, "root before turn 0", waiting.root[:])
	gone(t, bob, "ratchet key of the answer", waiting.ours[:])
	gone(t, bob, "seed of the KEM key", seed)
	for i := range 8 {
		from, to := bob, alice
		if i%2 == 1 {
			from, to = alice, bob
		}
		_, sender, _ := load(from.Bucket)
		_, receiver, _ := load(to.Bucket)
		send(t, from, to, i)
		gone(t, from, "root", sender.root[:])
		gone(t, to, "root", receiver.root[:])
		gone(t, to, "ratchet key", receiver.ours[:])
		gone(t, to, "sending key", receiver.sendKey[:])
		_, sealed, _ := load(from.Bucket)
		_, receiver, _ = load(to.Bucket)
		received, err := receiver.newest(to.Bucket)
		if err != nil {
			t.Fatal(err)
		}
		send(t, from, to, 10)
		gone(t, from, "chain key", sealed.sendKey[:])
		gone(t, to, "chain key", received.key[:])
		older, err := chainsBefore(to.Bucket, received.turn)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range older {
			if !allZero(c.key[:]) {
				t.Error("a closed chain has its key still")
			}
		}
	}
}

func gone(t *testing.T, l *line, what string, secret []byte) {
	t.Helper()
	if allZero(secret) {
		t.Fatalf("%s was not there at all", what)
	}
	for k, v := range l.Bucket.Scan("") {
		if bytes.Contains(v, secret) {
			t.Errorf("%s is still in %q", what, k)
		}
	}
}

func TestDamagedState(t *testing.T) {
	a, b := readyLine(t)
	p := sealTo(t, a, 1)
	state := b.Bucket.Get(stateKey)
	for _, bad := range [][]byte{{}, {1}, {1, 9}, state[:len(state)-1], append(bytes.Clone(state), 0), append([]byte{2}, state[1:]...)} {
		b.Bucket.Put(stateKey, bad)
		if _, err := b.Open(p); err == nil || errors.Is(err, parley.ErrForged) || errors.Is(err, parley.ErrMalformed) {
			t.Errorf("Open blames the packet: %v", err)
		}
		if _, err := b.Seal(parleytest.TestMessage(1, 1)); err == nil {
			t.Error("Seal with a damaged state")
		}
		if _, err := StatusOf(&b.Conversation); err == nil {
			t.Error("status of a damaged state")
		}
		if _, err := New().Introduce(ctx, &b.Conversation); err == nil {
			t.Error("Introduce over a damaged state")
		}
	}
	b.Bucket.Put(stateKey, state)
	openAs(t, b, p, 1)
}
