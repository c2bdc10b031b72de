package nes

import (
	"context"
	"crypto"
	"crypto/rsa"
	"fmt"
	"time"
	"unicode/utf8"

	"parley"
)

// A Transport is NES as a plug-in, [parley.NES]: a line is one user's talk with one other,
// Self with Peers[0]. Its zero value is ready; all memory is in the Conversation's State.
//
// The format is the original's whether or not the Conversation is bare: a text, or a
// presence, which the original shows as an empty text. IDs, groups and Seq of messages
// are not carried.
type Transport struct{}

var (
	_ parley.SecureTransport = (*Transport)(nil)
	_ parley.Sorter          = (*Transport)(nil)
)

// New returns the plug-in.
func New() *Transport { return new(Transport) }

// Guarantees: no outsider reads, and the sender is proven, also to others. Old messages
// do not stay closed once a message key is stolen.
func (*Transport) Guarantees() parley.Guarantee {
	return parley.Confidential | parley.Authentic | parley.NonRepudiable
}

// Seal makes the envelope of a [parley.TextPlain] or a [parley.Presence]; anything else is
// [parley.ErrRefused]. Its timestamp is m.Sent, moved on by so much that no two messages
// to the peer have the same: see the State's [clock].
func (*Transport) Seal(ctx context.Context, c *parley.Conversation, m *parley.Message) ([]byte, error) {
	peer, err := pair(c)
	if err != nil {
		return nil, err
	}
	out := Message{From: string(c.Self), To: string(peer)}
	switch {
	case len(m.Group) > 0:
		return nil, refused("the format has no groups")
	case m.AMP == parley.Presence:
		out.Presence = append([]byte{}, m.Body...)
	case m.AMP != parley.TextPlain:
		return nil, refused("only texts can be sent, and this is type %d.%d", m.AMP.Type, m.AMP.Version)
	case !utf8.Valid(m.Body):
		return nil, refused("the text is not UTF-8")
	default:
		out.Text = string(m.Body)
	}
	to, err := public(ctx, c.Keys, KindMessage, peer)
	if err != nil {
		return nil, err
	}
	sign, err := c.Keys.Private(ctx, KindSign, peer)
	if err != nil {
		return nil, err
	}
	signer, ok := sign.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("nes: our signing key cannot sign: %w", parley.ErrNoKey)
	}
	at := m.Sent
	if at.IsZero() {
		at = c.Now
	}
	k, err := readClock(c.State)
	if err != nil {
		return nil, err
	}
	var known bool
	if out.Time, known, err = k.at(c.State, m.ID, at.UnixMilli()); err != nil {
		return nil, err
	}
	envelope, _, err := Seal(out, to, signer)
	if err != nil {
		return nil, err
	}
	switch {
	case known:
	case out.Presence != nil: // never sealed again
		k.passed(c.State, out.Time)
	default:
		k.used(c.State, m.ID, out.Time)
	}
	return envelope, nil
}

// Open verifies an envelope from the peer. The message's ID is the first 16 bytes of the
// SHA-256 of what was signed, Once all 32: the same message in another envelope has the
// same. Whether it was there before is for its caller to see. Errors of the Keyring pass through.
func (*Transport) Open(ctx context.Context, c *parley.Conversation, packet []byte) (*parley.Message, error) {
	peer, err := pair(c)
	if err != nil {
		return nil, err
	}
	s, err := decryptWith(ctx, c.Keys, peer, packet)
	if err != nil {
		return nil, err
	}
	if s.Claimed() != string(peer) {
		return nil, errForged
	}
	key, err := public(ctx, c.Keys, KindSign, peer)
	if err != nil {
		return nil, err
	}
	in, err := s.Open(string(c.Self), key)
	if err != nil {
		return nil, err
	}
	m := &parley.Message{
		ID: [16]byte(in.ID[:16]), AMP: parley.TextPlain, Sent: time.UnixMilli(in.Time).UTC(),
		From: peer, To: []parley.Name{c.Self}, Body: []byte(in.Text), Once: in.ID[:],
	}
	if in.Presence != nil {
		m.AMP, m.Body = parley.Presence, in.Presence
	}
	return m, nil
}

// Claimed names the user that an envelope claims to be from. It uses our message key as
// [Transport.Open] does, and its errors are those of [Decrypt] and of the Keyring.
func (*Transport) Claimed(ctx context.Context, k parley.Keyring, packet []byte) (parley.Name, error) {
	s, err := decryptWith(ctx, k, "", packet)
	if err != nil {
		return "", err
	}
	return parley.Name(s.Claimed()), nil
}

// pair checks who talks with whom.
func pair(c *parley.Conversation) (peer parley.Name, err error) {
	if len(c.Peers) != 1 || CheckName(string(c.Self)) != nil || CheckName(string(c.Peers[0])) != nil {
		return "", refused("a line has one peer, and both have names: %v", ErrName)
	}
	return c.Peers[0], nil
}

func public(ctx context.Context, k parley.Keyring, kind parley.KeyKind, peer parley.Name) (*rsa.PublicKey, error) {
	key, err := k.Public(ctx, kind, peer)
	if err != nil {
		return nil, err
	}
	r, ok := key.(*rsa.PublicKey)
	if !ok || r == nil {
		return nil, fmt.Errorf("nes: the peer's %s is no RSA key: %w", kind, parley.ErrNoKey)
	}
	return r, nil
}

func decryptWith(ctx context.Context, k parley.Keyring, peer parley.Name, packet []byte) (*Sealed, error) {
	if len(packet) > MaxEnvelope { // before a key is asked for
		return nil, malformed("an envelope of %d bytes, at most %d", len(packet), MaxEnvelope)
	}
	key, err := k.Private(ctx, KindMessage, peer)
	if err != nil {
		return nil, err
	}
	switch key := key.(type) {
	case interface{ Keys() []crypto.Decrypter }:
		return Decrypt(packet, key.Keys()...)
	case crypto.Decrypter:
		return Decrypt(packet, key)
	}
	return nil, fmt.Errorf("nes: our message key cannot decrypt: %w", parley.ErrNoKey)
}
