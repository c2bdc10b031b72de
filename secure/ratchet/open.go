package ratchet

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"parley"
	"parley/envelope"
)

// Open takes a packet of the peer's in any order. It fails with [parley.ErrSeen]
// for one it opened before, [parley.ErrMalformed] or [parley.ErrForged] for what
// the peer did not make for this line, [ErrForked] for what a copy of the peer
// made, and [parley.ErrNoKey] where nothing is agreed yet; a failing Open has
// written nothing. Offers and Answers are returned as [*parley.Introduction].
func (t *Transport) Open(_ context.Context, c *parley.Conversation, packet []byte) (*parley.Message, error) {
	if len(packet) == 0 {
		return nil, malformed("an empty packet")
	}
	switch packet[0] {
	case kindOffer:
		return nil, openOffer(c, packet)
	case kindAnswer:
		return nil, openAnswer(c, packet)
	case kindMessage:
		return openMessage(c, packet)
	}
	return nil, malformed("begins with %#x, which this version does not know", packet[0])
}

// incoming is a message packet in parts.
type incoming struct {
	salt, header, bodySalt, body []byte
	digest                       [32]byte // of bodySalt and body
}

func splitPacket(p []byte) (*incoming, error) {
	if len(p) == 0 || len(p)%PacketUnit != 0 || len(p) > maxPacket {
		return nil, malformed("a packet has a multiple of %d bytes, at most %d", PacketUnit, maxPacket)
	}
	rest := p[1+sealedHeader:]
	return &incoming{
		salt: p[1 : 1+saltSize], header: p[1+saltSize : 1+sealedHeader],
		bodySalt: rest[:saltSize], body: rest[saltSize:], digest: sha256.Sum256(rest),
	}, nil
}

func openMessage(c *parley.Conversation, packet []byte) (*parley.Message, error) {
	in, err := splitPacket(packet)
	if err != nil {
		return nil, err
	}
	o, s, err := load(c.State)
	switch {
	case err != nil:
		return nil, err
	case o != nil:
		return nil, forged("a message before any Answer")
	case s == nil:
		return nil, fmt.Errorf("ratchet: nothing agreed yet: %w", parley.ErrNoKey)
	}

	// 1. Whose header is it? From here on the packet is genuine, unless a copy made it.
	newest, err := s.newest(c.State)
	if err != nil {
		return nil, err
	}
	ch, header, err := s.findChain(c.State, newest, in)
	if err != nil {
		return nil, err
	}
	head, n := header[:chainHeadSize], binary.BigEndian.Uint32(header[chainHeadSize:])

	// 2. The key of its message: of a new chain, of an old one, or one we kept.
	var b batch
	if ch == nil {
		if ch, err = s.followChain(c.State, newest, head, &b); err != nil {
			return nil, err
		}
	} else if ch.id != chainID(s.transcript, ch.turn, head) {
		return nil, ErrForked
	}
	key, err := s.messageKey(c.State, ch, n, in.digest, &b)
	if err != nil {
		return nil, err
	}

	// 3. The body.
	plain, ok := unseal(key[:], in.bodySalt, labelBody, in.body, bodyExtra(s.transcript, header))
	if !ok {
		return nil, forged("its body is not under its chain's key")
	}
	if plain, err = unpad(plain); err != nil {
		return nil, err
	}
	m, err := envelope.ParseMessage(plain)
	if err != nil {
		return nil, fmt.Errorf("ratchet: %w", err)
	}
	m.From, m.To = peer(c), []parley.Name{c.Self}
	m.Once = binary.BigEndian.AppendUint32(clone(ch.id[:]), n)

	// 4. The state that goes with the message.
	b.put(turnKey(chainKey, ch.turn), ch.marshal())
	b.put(messageKey(digestKey, ch.turn, n), in.digest[:16])
	b.apply(c.State)
	s.digests++
	s.skipped += uint32(len(b.skipped))
	s.dropped += b.dropped
	if err := s.bound(c.State); err != nil {
		return nil, err
	}
	s.save(c.State)
	return m, nil
}

// findChain tries the header keys: of the newest chain, of the one that may come
// next, then of the older ones. No chain with a header: it is the one that may come.
func (s *agreed) findChain(state parley.Bucket, newest *chain, in *incoming) (*chain, []byte, error) {
	extra := headerExtra(s.transcript, in.digest)
	try := func(key [32]byte) ([]byte, bool) {
		return unseal(key[:], in.salt, labelHeader, in.header, extra)
	}
	if newest != nil {
		if h, ok := try(newest.header); ok {
			return newest, h, nil
		}
	}
	if !s.ourTurn() {
		if h, ok := try(s.ahead[0]); ok {
			return nil, h, nil
		}
	}
	if newest != nil {
		older, err := chainsBefore(state, newest.turn)
		if err != nil {
			return nil, nil, err
		}
		for _, c := range older {
			if h, ok := try(c.header); ok {
				return c, h, nil
			}
		}
	}
	return nil, nil, forged("no key opens its header")
}

// followChain does the peer's root step: it closes the chain before, whose
// length head tells, and opens the new one.
func (s *agreed) followChain(state parley.Bucket, before *chain, head []byte, b *batch) (*chain, error) {
	turn := s.steps
	length := binary.BigEndian.Uint32(head[keySize:])
	field := head[keySize+4+1:]
	if head[keySize+4] != kemOf(turn) {
		return nil, malformed("a chain with the wrong KEM step")
	}
	switch {
	case before == nil && length != 0:
		return nil, malformed("a first chain that is not the first")
	case before != nil && length < before.next:
		return nil, ErrForked
	case before != nil && length-before.next > MaxJump:
		return nil, malformed("a gap of more than %d messages", MaxJump)
	}
	if before != nil {
		before.advance(length, b)
		before.end, before.key = length, [32]byte{}
		b.put(turnKey(chainKey, before.turn), before.marshal())
	}
	var kem []byte
	used := 0
	switch kemOf(turn) {
	case kemOffer:
		used = ekSize
		if _, err := parseEncapsulationKey(field); err != nil {
			return nil, err
		}
		b.put(offerKey, clone(field))
	case kemCiphertext:
		used = ctSize
		var err error
		if kem, err = decapsulate(state.Get(seedKey), field[:ctSize]); err != nil {
			return nil, err
		}
		b.delete(seedKey)
	}
	if !allZero(field[used:]) {
		return nil, malformed("a KEM field with something behind it")
	}
	secret, err := dh(s.ours[:], head[:keySize])
	if err != nil {
		return nil, err
	}
	c := &chain{turn: turn, header: s.ahead[0], id: chainID(s.transcript, turn, head), end: openEnd}
	c.key = s.step(secret, kem, head)
	s.theirs = [32]byte(head)
	// Our own chain is over: the next message takes a new key.
	s.ours, s.sendKey, s.sendHeader = [32]byte{}, [32]byte{}, [32]byte{}
	b.delete(headKey)
	s.chains++
	return c, nil
}

// messageKey finds the key of counter n, stepping the chain as needed.
func (s *agreed) messageKey(state parley.Bucket, c *chain, n uint32, digest [32]byte, b *batch) (key [32]byte, err error) {
	if n >= c.end {
		return key, ErrForked
	}
	if n >= c.next {
		if n-c.next > MaxJump {
			return key, malformed("a gap of more than %d messages", MaxJump)
		}
		c.advance(n, b)
		key, c.key = chainStep(c.key)
		c.next++
		return key, nil
	}
	at := messageKey(skipKey, c.turn, n)
	if k := state.Get(at); k != nil {
		if len(k) != keySize {
			return key, errState
		}
		b.delete(at)
		s.skipped--
		return [32]byte(k), nil
	}
	switch d := state.Get(messageKey(digestKey, c.turn, n)); {
	case d != nil && string(d) != string(digest[:16]):
		return key, ErrForked
	case d == nil && n < c.floor:
		return key, ErrDropped
	}
	return key, fmt.Errorf("ratchet: %w", parley.ErrSeen)
}
