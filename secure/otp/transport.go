package otp

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"unicode/utf8"

	"parley"
	"parley/envelope"
)

// A Transport is the one-time pad as a plug-in: [parley.OneTimePad] for pads of version
// 1, [parley.OneTimePadV2] for those of version 2. The pad itself is the line's key of
// kind [KindPad], and remembers by itself what was used; the State only keeps which
// packets the pad has not been told to be safe.
//
// In version 1 a packet is a text and nothing else. Version 2 carries all of a message.
type Transport struct{ version Version }

var _ parley.SecureTransport = (*Transport)(nil)

// New returns the plug-in for one version.
func New(v Version) *Transport { return &Transport{version: v} }

// Guarantees is what a pad of a physical source promises. One of a computer's generator
// is not everlasting: see [Status.Unconditional].
func (*Transport) Guarantees() parley.Guarantee {
	return parley.Confidential | parley.Authentic | parley.Deniable | parley.ForwardSecret | parley.PostQuantum | parley.Everlasting
}

// doneKey begins the State's entries: packets whose pad may be burned.
const doneKey = "done/"

// line is what one call needs.
type line struct {
	pad  Pad
	peer parley.Name
	c    *parley.Conversation
	told []string // entries of the State that are of no more use
}

func open(ctx context.Context, c *parley.Conversation) (l line, err error) {
	if len(c.Peers) != 1 {
		return l, fmt.Errorf("%w: a pad is between two, not %d", parley.ErrRefused, len(c.Peers)+1)
	}
	if c.Keys == nil {
		return l, fmt.Errorf("%w: there is no pad", parley.ErrNoKey)
	}
	key, err := c.Keys.Private(ctx, KindPad, c.Peers[0])
	if err != nil {
		return l, err
	}
	pad, ok := key.(Pad)
	if !ok {
		return l, fmt.Errorf("%w: there is no pad", parley.ErrNoKey)
	}
	l = line{pad: pad, peer: c.Peers[0], c: c}
	l.settle(ctx)
	return l, nil
}

// settle tells the pad again what was committed before: it may not have heard.
func (l *line) settle(ctx context.Context) {
	var keys []string
	for key := range l.c.State.Scan(doneKey) {
		keys = append(keys, key)
	}
	for _, key := range keys {
		var digest [32]byte
		b, err := hex.DecodeString(key[len(doneKey):])
		if err == nil && copy(digest[:], b) == len(b) && l.pad.Done(ctx, l.peer, digest) != nil {
			continue // later
		}
		l.told = append(l.told, key)
	}
}

// safe has the pad burn what a packet used, once the State has committed.
func (l line) safe(ctx context.Context, packet []byte) {
	for _, key := range l.told {
		l.c.State.Delete(key)
	}
	digest := Digest(packet)
	l.c.State.Put(doneKey+hex.EncodeToString(digest[:]), []byte{1})
	if l.c.After != nil {
		ctx := context.WithoutCancel(ctx)
		l.c.After(func() { _ = l.pad.Done(ctx, l.peer, digest) }) // told again by the next settle
	}
}

// Seal has the pad make the packet. The same message gives the same packet until it is
// committed, also after a crash. Errors are the [Pad]'s; [parley.ErrRefused] besides for
// what version 1 cannot carry.
func (t *Transport) Seal(ctx context.Context, c *parley.Conversation, m *parley.Message) ([]byte, error) {
	body, err := t.body(m)
	if err != nil {
		return nil, err
	}
	l, err := open(ctx, c)
	if err != nil {
		return nil, err
	}
	packet, err := l.pad.Package(ctx, idOf(m, body), l.peer, body)
	if err != nil {
		return nil, err
	}
	l.safe(ctx, packet)
	return packet, nil
}

// idOf names a message to the pad: by its ID and its bytes, so that another message can
// never be taken for it.
func idOf(m *parley.Message, body []byte) (id [16]byte) {
	h := sha256.New()
	h.Write(m.ID[:])
	h.Write(body)
	copy(id[:], h.Sum(nil))
	return id
}

func (t *Transport) body(m *parley.Message) ([]byte, error) {
	if t.version == V2 {
		if err := envelope.CheckMessage(m); err != nil {
			return nil, fmt.Errorf("%w: %w", parley.ErrRefused, err)
		}
		body := envelope.MarshalMessage(m)
		if len(body) > MaxBody {
			return nil, fmt.Errorf("%w: a message of %d bytes, at most %d", parley.ErrRefused, len(body), MaxBody)
		}
		return body, nil
	}
	switch {
	case m.AMP != parley.TextPlain:
		return nil, fmt.Errorf("%w: a pad of version 1 carries texts only, and this is type %d.%d", parley.ErrRefused, m.AMP.Type, m.AMP.Version)
	case len(m.Group) > 0:
		return nil, fmt.Errorf("%w: a pad of version 1 has no groups", parley.ErrRefused)
	case !utf8.Valid(m.Body):
		return nil, fmt.Errorf("%w: the text is not UTF-8", parley.ErrRefused)
	}
	return m.Body, nil
}

// Open has the pad open a packet. What is missing before it, and a peer that was put
// back from a copy, is told to the user.
func (t *Transport) Open(ctx context.Context, c *parley.Conversation, packet []byte) (*parley.Message, error) {
	l, err := open(ctx, c)
	if err != nil {
		return nil, err
	}
	o, err := l.pad.Unpackage(ctx, l.peer, packet)
	if err != nil {
		return nil, err
	}
	m, err := t.message(o, packet)
	if err != nil {
		_ = l.pad.Done(ctx, l.peer, Digest(packet)) // genuine, and of no use to anybody
		return nil, err
	}
	l.safe(ctx, packet)
	l.tell(o)
	if m != nil {
		m.From = l.peer
		m.Once = binary.BigEndian.AppendUint64(nil, uint64(o.Offset))
	}
	return m, nil
}

func (t *Transport) message(o *Opened, packet []byte) (*parley.Message, error) {
	switch {
	case o.Message == nil:
		return nil, nil
	case t.version == V2:
		return envelope.ParseMessage(o.Message)
	}
	digest := Digest(packet)
	m := &parley.Message{AMP: parley.TextPlain, Body: o.Message}
	copy(m.ID[:], digest[:])
	return m, nil
}

func (l line) tell(o *Opened) {
	if l.c.Tell == nil {
		return
	}
	switch {
	case o.Missing == 1:
		l.c.Tell("A message from before the next one has not come. It may still be on its way, or the relay has dropped it.")
	case o.Missing > 1:
		l.c.Tell(fmt.Sprintf("%d messages from before the next one have not come. They may still be on their way, or the relay has dropped them.", o.Missing))
	case o.Skipped:
		l.c.Tell("Pad was skipped before the next message: one or more messages have not come. They may still be on their way, or the relay has dropped them.")
	}
	if o.RolledBack {
		l.c.Tell("This contact's pad was put back from an old copy: it has forgotten what it had received, and may use pad again that it has used. Tell it over another channel, and make a new pad.")
	}
}
