package ratchet

import (
	"context"
	"crypto/sha256"
	"fmt"

	"parley"
)

// Introduce makes the Offer for an invitation: 65 bytes, for one person. Called
// again before the Answer came it returns the same Offer. On a line that has
// agreed keys it fails with [parley.ErrRefused]: see [Transport.Reset].
func (t *Transport) Introduce(_ context.Context, c *parley.Conversation) ([]byte, error) {
	o, s, err := load(c.State)
	if err != nil {
		return nil, err
	}
	if s != nil {
		return nil, fmt.Errorf("ratchet: this line has agreed keys already: %w", parley.ErrRefused)
	}
	if o != nil {
		return o.packet()
	}
	o = new(offered)
	for _, k := range []*[keySize]byte{&o.identity, &o.prekey} {
		if err := t.read(k[:]); err != nil {
			return nil, err
		}
	}
	p, err := o.packet()
	if err != nil {
		return nil, err
	}
	o.save(c.State)
	return p, nil
}

// packet is the Offer.
func (o *offered) packet() ([]byte, error) {
	p := append(make([]byte, 0, offerSize), kindOffer)
	for _, k := range [][keySize]byte{o.identity, o.prekey} {
		public, err := publicOf(k[:])
		if err != nil {
			return nil, err
		}
		p = append(p, public...)
	}
	return p, nil
}

// openOffer checks an Offer that came in an invitation. Nothing is written.
func openOffer(c *parley.Conversation, p []byte) error {
	if err := checkOffer(p); err != nil {
		return err
	}
	o, s, err := load(c.State)
	if err != nil {
		return err
	}
	if s != nil && !s.inviter && s.origin == sha256.Sum256(p) {
		return fmt.Errorf("ratchet: this invitation was accepted already: %w", parley.ErrSeen)
	}
	if s != nil || o != nil {
		return forged("an Offer on a line that is in use")
	}
	return &parley.Introduction{Kind: parley.Offer, From: peer(c), Key: fingerprint(splitOffer(p).identity), Packet: clone(p)}
}

// Admit answers an Offer: the packet carries in.Payload (at most [MaxPayload]
// bytes) sealed, and a KEM key. Until the inviter's first packet came, Seal
// fails with [parley.ErrNoKey].
func (t *Transport) Admit(_ context.Context, c *parley.Conversation, in *parley.Introduction) ([]byte, error) {
	if in.Kind != parley.Offer {
		return nil, malformed("Admit takes an Offer")
	}
	if len(in.Payload) > MaxPayload {
		return nil, fmt.Errorf("ratchet: payload of %d bytes, at most %d: %w", len(in.Payload), MaxPayload, parley.ErrRefused)
	}
	offer := in.Packet
	if err := checkOffer(offer); err != nil {
		return nil, err
	}
	if o, s, err := load(c.State); err != nil {
		return nil, err
	} else if o != nil || s != nil {
		return nil, fmt.Errorf("ratchet: this line is in use: %w", parley.ErrRefused)
	}
	identity, err := t.newKey()
	if err != nil {
		return nil, err
	}
	ratchet, err := t.newKey()
	if err != nil {
		return nil, err
	}
	seed, err := t.newSeed()
	if err != nil {
		return nil, err
	}
	kem, err := encapsulationKey(seed)
	if err != nil {
		return nil, err
	}
	size := units(answerOverhead + len(in.Payload))
	p := append(make([]byte, 0, size), kindAnswer)
	p = append(p, identity.PublicKey().Bytes()...)
	p = append(p, ratchet.PublicKey().Bytes()...)
	p = append(p, kem...)
	a, err := agreeAsAnswerer(identity.Bytes(), ratchet.Bytes(), offer, p)
	if err != nil {
		return nil, err
	}
	var salt [saltSize]byte
	if err := t.read(salt[:]); err != nil {
		return nil, err
	}
	head := clone(p)
	p = append(p, salt[:]...)
	p = seal(p, a.payload[:], salt[:], labelPayload, pad(in.Payload, size-len(p)-tagSize), head)

	s := newAgreed(a, false, sha256.Sum256(offer))
	s.ours = [32]byte(ratchet.Bytes())
	s.save(c.State)
	c.State.Put(seedKey, seed)
	return p, nil
}

func agreeAsAnswerer(identity, ratchet, offer, head []byte) (*agreement, error) {
	o := splitOffer(offer)
	return agreeBy(offer, head, [3][2][]byte{{identity, o.prekey}, {ratchet, o.identity}, {ratchet, o.prekey}})
}

func agreeAsInviter(o *offered, offer, head []byte) (*agreement, error) {
	a := splitAnswer(head)
	return agreeBy(offer, head, [3][2][]byte{{o.prekey[:], a.identity}, {o.identity[:], a.ratchet}, {o.prekey[:], a.ratchet}})
}

func agreeBy(offer, head []byte, pairs [3][2][]byte) (*agreement, error) {
	var d [3][]byte
	for i, p := range pairs {
		var err error
		if d[i], err = dh(p[0], p[1]); err != nil {
			return nil, err
		}
	}
	return agree(d[0], d[1], d[2], offer, head), nil
}

// newAgreed is a line before turn 0.
func newAgreed(a *agreement, inviter bool, origin [32]byte) *agreed {
	return &agreed{
		inviter: inviter, transcript: a.transcript, safety: a.safety, origin: origin,
		root: a.root, ahead: [2][32]byte{a.header},
	}
}

// openAnswer verifies an Answer to our Offer. Nothing is written: see Accept.
func openAnswer(c *parley.Conversation, p []byte) error {
	_, payload, err := verifyAnswer(c, p)
	if err != nil {
		return err
	}
	return &parley.Introduction{
		Kind: parley.Answer, From: peer(c), Key: fingerprint(splitAnswer(p).identity),
		Packet: clone(p), Payload: payload,
	}
}

func verifyAnswer(c *parley.Conversation, p []byte) (*agreement, []byte, error) {
	o, s, err := load(c.State)
	if err != nil {
		return nil, nil, err
	}
	if s != nil && s.inviter && s.origin == sha256.Sum256(p) {
		return nil, nil, fmt.Errorf("ratchet: this Answer was accepted already: %w", parley.ErrSeen)
	}
	if err := checkAnswer(p); err != nil {
		return nil, nil, err
	}
	if s != nil {
		return nil, nil, fmt.Errorf("ratchet: a second Answer, and an invitation works once (%w): %w", parley.ErrRefused, parley.ErrForged)
	}
	if o == nil {
		return nil, nil, forged("an Answer on a line without an invitation")
	}
	offer, err := o.packet()
	if err != nil {
		return nil, nil, err
	}
	parts := splitAnswer(p)
	a, err := agreeAsInviter(o, offer, parts.head)
	if err != nil {
		return nil, nil, err
	}
	plain, ok := unseal(a.payload[:], parts.salt, labelPayload, parts.box, parts.head)
	if !ok {
		return nil, nil, forged("an Answer that was not made for this invitation, or altered")
	}
	payload, err := unpad(plain)
	if err != nil {
		return nil, nil, err
	}
	if len(payload) > MaxPayload {
		return nil, nil, malformed("a payload of %d bytes, at most %d", len(payload), MaxPayload)
	}
	return a, clone(payload), nil
}

// Accept takes in an Answer that Open verified, and verifies it again. The
// private keys of the Offer are gone afterwards; Seal then makes turn 0, the
// first to hold the KEM's secret. Accepting the same Answer again is
// [parley.ErrSeen]; any other is refused.
func (t *Transport) Accept(_ context.Context, c *parley.Conversation, in *parley.Introduction) error {
	if in.Kind != parley.Answer {
		return malformed("Accept takes an Answer")
	}
	a, _, err := verifyAnswer(c, in.Packet)
	if err != nil {
		return err
	}
	parts := splitAnswer(in.Packet)
	s := newAgreed(a, true, sha256.Sum256(in.Packet))
	s.theirs = [32]byte(parts.ratchet)
	s.save(c.State)
	c.State.Put(offerKey, clone(parts.kem))
	return nil
}

// peer is the other side of a line.
func peer(c *parley.Conversation) parley.Name {
	if len(c.Peers) == 0 {
		return ""
	}
	return c.Peers[0]
}

func clone(b []byte) []byte { return append([]byte(nil), b...) }
