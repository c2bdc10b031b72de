package ratchet

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"

	"parley"
	"parley/envelope"
)

// Seal makes the packet that carries m: its ID, Group, AMP, Seq, Sent (to the
// millisecond) and Body. Its length is a multiple of [PacketUnit]. Before keys
// are agreed, and for the answerer until the inviter's first packet came, it
// fails with [parley.ErrNoKey]; a message above [MaxMessage] is
// [parley.ErrRefused]. A Seal that fails has written nothing.
func (t *Transport) Seal(_ context.Context, c *parley.Conversation, m *parley.Message) ([]byte, error) {
	_, s, err := load(c.State)
	switch {
	case err != nil:
		return nil, err
	case s == nil:
		return nil, fmt.Errorf("ratchet: nothing agreed yet: %w", parley.ErrNoKey)
	case s.waiting():
		return nil, fmt.Errorf("ratchet: waiting for the inviter's first packet: %w", parley.ErrNoKey)
	}
	if err := envelope.CheckMessage(m); err != nil {
		return nil, fmt.Errorf("ratchet: %w: %w", parley.ErrRefused, err)
	}
	plain := envelope.MarshalMessage(m)
	if len(plain) > MaxMessage {
		return nil, fmt.Errorf("ratchet: message of %d bytes, at most %d: %w", len(plain), MaxMessage, parley.ErrRefused)
	}

	// 1. Our turn: begin a chain with a fresh key.
	var b batch
	head := c.State.Get(headKey)
	if s.ourTurn() {
		if head, err = t.beginChain(c.State, s, &b); err != nil {
			return nil, err
		}
	}
	if len(head) != chainHeadSize {
		return nil, errState
	}
	if s.sent == math.MaxUint32 {
		return nil, fmt.Errorf("ratchet: this chain is used up until the peer writes: %w", parley.ErrNoKey)
	}

	// 2. One step of the chain makes the message's key.
	key, next := chainStep(s.sendKey)
	header := binary.BigEndian.AppendUint32(clone(head), s.sent)
	packet, err := t.sealPacket(s, key, header, plain)
	if err != nil {
		return nil, err
	}

	// 3. The state that goes with the packet.
	s.sendKey = next
	s.sent++
	b.apply(c.State)
	s.save(c.State)
	return packet, nil
}

// beginChain does our root step and returns the head of the new chain: DH key,
// length of our chain before, KEM field.
func (t *Transport) beginChain(state parley.Bucket, s *agreed, b *batch) ([]byte, error) {
	turn := s.steps
	key, err := t.newKey()
	if err != nil {
		return nil, err
	}
	head := append(make([]byte, 0, headerSize), key.PublicKey().Bytes()...)
	head = binary.BigEndian.AppendUint32(head, s.sent)
	head = append(head, kemOf(turn))
	var field, kem []byte
	switch kemOf(turn) {
	case kemOffer:
		seed, err := t.newSeed()
		if err != nil {
			return nil, err
		}
		if field, err = encapsulationKey(seed); err != nil {
			return nil, err
		}
		b.put(seedKey, seed)
	case kemCiphertext:
		ek, err := parseEncapsulationKey(state.Get(offerKey))
		if err != nil {
			return nil, errState
		}
		kem, field = t.encapsulate(ek)
		b.delete(offerKey)
	}
	head = append(head, field...)
	head = append(head, make([]byte, chainHeadSize-len(head))...)

	secret, err := dh(key.Bytes(), s.theirs[:])
	if err != nil {
		return nil, errState // the peer's key was checked when it came
	}
	s.sendHeader = s.ahead[0]
	s.sendKey = s.step(secret, kem, head)
	s.ours = [32]byte(key.Bytes())
	s.sent = 0
	b.put(headKey, head)
	return head, nil
}

// step does one root step, for either side, and returns the new chain key.
func (s *agreed) step(secret, kem, head []byte) (chain [32]byte) {
	turn := s.steps
	root, chain, header, reply := rootStep(s.root[:], secret, kem, s.transcript, turn, head)
	if turn == 0 {
		s.ahead[1] = reply
	}
	s.root = root
	s.ahead = [2][32]byte{s.ahead[1], header}
	s.steps++
	return chain
}

// sealPacket: the body is bound to the header's plain text, and the header's box
// to the sealed body, so that whoever opens a header knows that the whole packet
// is genuine.
func (t *Transport) sealPacket(s *agreed, key [32]byte, header, plain []byte) ([]byte, error) {
	var salts [2 * saltSize]byte
	if err := t.read(salts[:]); err != nil {
		return nil, err
	}
	size := units(packetOverhead + len(plain))
	body := append(make([]byte, 0, size), salts[saltSize:]...)
	body = seal(body, key[:], salts[saltSize:], labelBody,
		pad(plain, size-packetOverhead+lenSize), bodyExtra(s.transcript, header))
	p := append(make([]byte, 0, size), kindMessage)
	p = append(p, salts[:saltSize]...)
	p = seal(p, s.sendHeader[:], salts[:saltSize], labelHeader, header, headerExtra(s.transcript, sha256.Sum256(body)))
	return append(p, body...), nil
}

// bodyExtra is what the body's box authenticates besides.
func bodyExtra(transcript [32]byte, header []byte) []byte {
	b := append(make([]byte, 0, 1+32+headerSize), kindMessage)
	return append(append(b, transcript[:]...), header...)
}

// headerExtra is what the header's box authenticates besides: body is SHA-256 of
// the body's salt and box.
func headerExtra(transcript, body [32]byte) []byte {
	b := append(make([]byte, 0, 1+32+32), kindMessage)
	return append(append(b, transcript[:]...), body[:]...)
}
