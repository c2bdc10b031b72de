package stringphone

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	"parley"
	"parley/envelope"
)

// A Transport is a topic as a plug-in, [parley.StringPhone]: a line is a topic with
// all its members. Its zero value is ready; all memory is in the Conversation's
// State, where a [Member] keeps it.
//
// A line begins with [Transport.Accept] of an Offer whose Payload is a marshalled
// [Setup]. In a bare conversation the body is the text that String phone devices
// see, and its ID is in the nonce; else the inner header of package envelope comes
// before it.
type Transport struct{}

var (
	_ parley.Introducer = (*Transport)(nil)
	_ parley.Grouper    = (*Transport)(nil)
)

// New returns the plug-in.
func New() *Transport { return new(Transport) }

// Guarantees reports what every mode promises; see [GuaranteesOf].
func (*Transport) Guarantees() parley.Guarantee { return GuaranteesOf(Plain) }

// NameOf is how a member is called in conversations: its ID in 32 hex digits.
func NameOf(id ID) parley.Name { return parley.Name(id.String()) }

func member(c *parley.Conversation) (*Member, error) {
	m, err := Load(c.State, c.Post)
	return m, outward(err)
}

// Seal makes the packet that carries m: all of it, or in a bare conversation ID
// and Body of a text. What a bare conversation cannot carry is [parley.ErrRefused].
func (*Transport) Seal(_ context.Context, c *parley.Conversation, m *parley.Message) ([]byte, error) {
	body := m.Body
	if c.Bare {
		if m.AMP != parley.TextPlain {
			return nil, fmt.Errorf("stringphone: devices take plain texts, and this is type %d: %w", m.AMP.Type, parley.ErrRefused)
		}
	} else {
		if err := envelope.CheckMessage(m); err != nil {
			return nil, fmt.Errorf("stringphone: %w: %w", parley.ErrRefused, err)
		}
		body = envelope.MarshalMessage(m)
	}
	s, err := member(c)
	if err != nil {
		return nil, err
	}
	p, err := s.Seal(c.Now, m.ID, body)
	return p, outward(err)
}

// Open takes a packet of the topic. Our own, and resends, are [parley.ErrSeen].
func (*Transport) Open(_ context.Context, c *parley.Conversation, packet []byte) (*parley.Message, error) {
	s, err := member(c)
	if err != nil {
		return nil, err
	}
	if err := othersOnly(s, packet); err != nil {
		return nil, err
	}
	var m *parley.Message
	o, _, err := s.open(c.Now, packet, OpenOptions{}, func(o *Opened) (err error) {
		if c.Bare {
			m = &parley.Message{AMP: parley.TextPlain, ID: o.ID, Sent: o.Sent, Body: o.Body}
		} else if m, err = envelope.ParseMessage(o.Body); err == nil && m.ID != o.ID {
			err = badFormat("two different IDs in one message")
		}
		return err
	})
	if errors.Is(err, ErrErased) && beforeUs(c, s, packet) {
		return nil, fmt.Errorf("stringphone: from before we were in the topic: %w", parley.ErrSeen)
	}
	if err != nil || o == nil {
		return nil, outward(err)
	}
	m.From, m.To = NameOf(o.From), []parley.Name{c.Self}
	m.Once = bytes.Clone(packet[boxAt : boxAt+NonceSize])
	return m, nil
}

// othersOnly refuses what cannot be for us, before anything is written.
func othersOnly(m *Member, packet []byte) error {
	if len(packet) == 0 {
		return nil
	}
	st := m.record()
	switch {
	case packet[0] == m.self.typeByte() && len(packet) >= Overhead && ID(packet[1+signatureSize:]) == m.self.id:
		if !verifyStrict(m.self.public(), packet[1+signatureSize:], packet[1:1+signatureSize]) {
			return outward(ErrBadSignature)
		}
		return fmt.Errorf("stringphone: our own packet: %w", parley.ErrSeen)
	case packet[0] == byte(TypeIntro) && len(packet) == IntroSize && bytes.Equal(packet[1:introSigAt], m.self.public()):
		return fmt.Errorf("stringphone: our own introduction: %w", parley.ErrSeen)
	case packet[0] == byte(TypeIntro) && !st.has(flagKey):
		return fmt.Errorf("stringphone: an introduction, and we have no key to give: %w", parley.ErrSeen)
	case packet[0] == byte(TypeReply) && len(packet) >= shortestReply && !bytes.Equal(packet[1:replyKeyAt], m.self.id[:]):
		return fmt.Errorf("stringphone: a reply that answers somebody else: %w", parley.ErrSeen)
	case packet[0] == byte(TypeReply) && m.bucket.Get(introRow) == nil:
		return fmt.Errorf("stringphone: a reply to no introduction of ours: %w", parley.ErrSeen)
	}
	return nil
}

// Introduce makes our introduction: see [Member.Introduce].
func (*Transport) Introduce(_ context.Context, c *parley.Conversation) ([]byte, error) {
	m, err := member(c)
	if err != nil {
		return nil, err
	}
	p, err := m.Introduce(c.Now)
	return p, outward(err)
}

// Admit answers a Request: see [Member.Admit]. A reply has no place for a Payload.
func (*Transport) Admit(_ context.Context, c *parley.Conversation, in *parley.Introduction) ([]byte, error) {
	if in.Kind != parley.Request || len(in.Payload) > 0 {
		return nil, fmt.Errorf("stringphone: only a request without a payload can be admitted: %w", parley.ErrRefused)
	}
	m, err := member(c)
	if err != nil {
		return nil, err
	}
	p, err := m.Admit(c.Now, in.Packet)
	return p, outward(err)
}

// Accept begins a line with an Offer, or takes an Answer in: see [Create] and
// [Member.Accept].
func (*Transport) Accept(_ context.Context, c *parley.Conversation, in *parley.Introduction) error {
	switch in.Kind {
	case parley.Offer:
		var s Setup
		if err := s.UnmarshalBinary(in.Payload); err != nil {
			return outward(err)
		}
		_, err := Create(c.State, s)
		return outward(err)
	case parley.Answer:
		m, err := member(c)
		if err != nil {
			return err
		}
		if err := m.Accept(c.Now, in.Packet); err != nil {
			return outward(err)
		}
		if c.State.Get(joinRow) == nil {
			c.State.Put(joinRow, binary.BigEndian.AppendUint32(nil, m.Epoch()))
		}
		return nil
	}
	return fmt.Errorf("stringphone: only an offer or an answer can be accepted: %w", parley.ErrRefused)
}

// joinRow is the epoch in which we came into the topic.
const joinRow = "join"

// beforeUs reports whether a packet is of an epoch before that: nobody meant us to
// read it, so that nothing is missing.
func beforeUs(c *parley.Conversation, m *Member, packet []byte) bool {
	joined := c.State.Get(joinRow)
	if len(joined) != 4 {
		return false
	}
	d := draft{st: m.record()}
	epoch := int64(d.st.epoch) + int64(int8(d.epochByte(packet)-byte(d.st.epoch)))
	return epoch < int64(binary.BigEndian.Uint32(joined))
}

// Members names all whose messages are taken, and ourselves.
func (*Transport) Members(c *parley.Conversation) []parley.Name {
	m, err := member(c)
	if err != nil {
		return nil
	}
	var names []parley.Name
	for _, p := range m.Members() {
		if p.Trusted {
			names = append(names, NameOf(p.ID))
		}
	}
	return names
}

// Change trusts public keys (64 hex digits) and removes members (32 hex digits)
// for everybody. It gives nobody the topic key: who is added needs it from
// elsewhere, or has to introduce itself. In Plain nobody can be removed:
// [parley.ErrRefused].
func (*Transport) Change(_ context.Context, c *parley.Conversation, add, remove []parley.Name) error {
	m, err := member(c)
	if err != nil {
		return err
	}
	var ids []ID
	for _, n := range remove {
		b, err := hex.DecodeString(string(n))
		if err != nil || len(b) != IDSize {
			return fmt.Errorf("stringphone: a member's ID has 32 hex digits: %w", parley.ErrRefused)
		}
		ids = append(ids, ID(b))
	}
	var keys []ed25519.PublicKey
	for _, n := range add {
		b, err := hex.DecodeString(string(n))
		if err != nil || len(b) != PublicKeySize {
			return fmt.Errorf("stringphone: a public key has 64 hex digits: %w", parley.ErrRefused)
		}
		keys = append(keys, b)
	}
	return outward(m.change(c.Now, keys, ids))
}

// outward maps the package's errors to the contract's.
func outward(err error) error {
	if err == nil {
		return nil
	}
	var intro *IntroError
	var reply *ReplyError
	switch {
	case errors.As(err, &intro):
		f := Fingerprint(intro.Key)
		return &parley.Introduction{Kind: parley.Request, From: NameOf(IDOf(intro.Key)), Key: f[:], Packet: intro.Message}
	case errors.As(err, &reply):
		in := &parley.Introduction{Kind: parley.Answer, Packet: reply.Message}
		if reply.Signed {
			f := Fingerprint(reply.Key)
			in.From, in.Key = NameOf(IDOf(reply.Key)), f[:]
		}
		return in
	}
	for _, m := range []struct{ ours, theirs error }{
		{ErrReplay, parley.ErrSeen}, {ErrErased, parley.ErrLate},
		{ErrBadSignature, parley.ErrForged}, {ErrNoHeader, parley.ErrForged}, {ErrWrongTopic, parley.ErrForged},
		{ErrWrongSender, parley.ErrForged}, {ErrUnsignedReply, parley.ErrForged}, {ErrWrongReply, parley.ErrForged},
		{ErrMalformed, parley.ErrMalformed}, {parley.ErrMalformed, parley.ErrMalformed},
		{ErrUntrustedKey, parley.ErrUntrusted}, {ErrNotPinned, parley.ErrUntrusted},
		{ErrRemoved, parley.ErrDenied}, {ErrOften, parley.ErrDenied},
		{ErrMissingTopicKey, parley.ErrNoKey}, {ErrEpoch, parley.ErrNoKey}, {ErrSkip, parley.ErrNoKey},
		{ErrWrongTopicKey, parley.ErrNoKey}, {ErrNoState, parley.ErrNoKey},
		{ErrMode, parley.ErrRefused}, {ErrExists, parley.ErrRefused}, {ErrCrowded, parley.ErrRefused},
		{ErrUsedUp, parley.ErrRefused}, {ErrNoPost, parley.ErrRefused},
	} {
		if errors.Is(err, m.ours) {
			return fmt.Errorf("stringphone: %w (%w)", err, m.theirs)
		}
	}
	return fmt.Errorf("stringphone: %w", err)
}
