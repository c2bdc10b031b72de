package stringphone

import (
	"bytes"
	"errors"
	"fmt"
	"time"
)

// Open verifies and decrypts a packet, in this order: trust, signature, mode and
// key, box, header, guard. It returns nil, nil when there is nothing to show: for
// our own packets, rotations and announcements that it took in, a resend of what
// was shown, introductions while we have no key, and replies to others. A failing
// Open has written nothing.
//
// The errors are the core's, [ErrReplay], [ErrNoHeader], [ErrWrongTopic],
// [ErrWrongSender], [ErrSkip] and [ErrEpoch]; an introduction is an [*IntroError],
// a reply to ours a [*ReplyError].
func (m *Member) Open(now time.Time, packet []byte, o OpenOptions) (*Opened, error) {
	opened, _, err := m.open(now, packet, o, nil)
	return opened, err
}

// open also reports whether a packet with nothing to show is nothing new. What
// check refuses has not been opened.
func (m *Member) open(now time.Time, packet []byte, o OpenOptions, check func(*Opened) error) (opened *Opened, idle bool, err error) {
	err = m.do(now, func(d *draft) error {
		typ, err := d.typeOf(packet)
		if err != nil {
			return err
		}
		switch typ {
		case TypeIntro:
			idle, err = d.openIntro(packet)
		case TypeReply:
			idle, err = true, d.openReply(packet)
		default:
			opened, idle, err = d.openMessage(packet, o)
		}
		if err == nil && opened != nil && check != nil {
			err = check(opened)
		}
		return err
	})
	var lack *lackError
	if errors.As(err, &lack) {
		m.noteLack(lack)
	}
	if err != nil {
		return nil, false, err
	}
	return opened, idle, nil
}

// typeOf returns the type of a packet that is long enough for it.
func (d *draft) typeOf(packet []byte) (Type, error) {
	if len(packet) > 0 && packet[0] == d.self.typeByte() {
		if len(packet) < Overhead {
			return 0, badFormat("a message of %d bytes, the shortest has %d", len(packet), Overhead)
		}
		return TypeMessage, nil
	}
	t, err := Message(packet).Type()
	switch {
	case err != nil:
		return 0, err
	case t == TypeMessage:
		return 0, badFormat("a message of the library's type where the manual's is expected")
	case t == TypeIntro && len(packet) != IntroSize, t == TypeReply && len(packet) < shortestReply:
		return 0, badFormat("%v of %d bytes", t, len(packet))
	}
	return t, nil
}

// openIntro verifies an introduction.
func (d *draft) openIntro(packet []byte) (idle bool, err error) {
	key, _, err := checkIntro(packet)
	if err != nil {
		return false, err
	}
	id := IDOf(key)
	if id == d.self.id || !d.st.has(flagKey) {
		return true, nil
	}
	p, err := d.participant(id)
	if err != nil {
		return false, err
	}
	answered := d.seen(d.tag(guardAnswer, packet))
	if answered && (p == nil || p.outside() || p.heard()) {
		return false, errAnswered
	}
	gone := d.isGone(id)
	return false, &IntroError{Message: bytes.Clone(packet), Key: bytes.Clone(key), Member: p != nil && !p.outside(), Removed: gone, Answered: answered}
}

// openReply looks whether a reply answers our introduction.
func (d *draft) openReply(packet []byte) error {
	in := d.introduction()
	if in == nil || !bytes.Equal(packet[1:replyKeyAt], d.self.id[:]) {
		return nil
	}
	if len(packet) < SignedReplySize && d.self.setup.AcceptUnsigned {
		e := &ReplyError{Message: bytes.Clone(packet)}
		if len(packet) >= ReplySize {
			e.Key = bytes.Clone(packet[replySignerAt:ReplySize])
		}
		return e
	}
	from, _, err := checkReply(in.packet, packet, d.self.setup.Pins)
	if err != nil {
		return err
	}
	return &ReplyError{Message: bytes.Clone(packet), Key: bytes.Clone(from), Signed: true}
}

// openMessage takes in a message of any kind.
func (d *draft) openMessage(packet []byte, o OpenOptions) (*Opened, bool, error) {
	sig, signed := packet[1:1+signatureSize], packet[1+signatureSize:]
	sender := ID(signed)
	if sender == d.self.id {
		idle, err := d.openOwn(packet)
		return nil, idle, err
	}
	// 1. Trust, 2. signature.
	p, err := d.participant(sender)
	switch {
	case err != nil:
		return nil, false, err
	case p == nil || !p.trusted():
		if o.IgnoreUntrusted {
			return nil, true, nil
		}
		return nil, false, ErrUntrustedKey
	case !verifyStrict(p.key, signed, sig):
		return nil, false, ErrBadSignature
	case !d.st.has(flagKey):
		return nil, false, ErrMissingTopicKey
	}
	// 3. Key, 4. box.
	u, err := d.unseal(sender, packet)
	if err != nil {
		return nil, false, err
	}
	// 5. Header.
	h, body := header{kind: kindBody}, u.plain
	if d.st.mode != Plain {
		if h, body, err = parseHeader(u.plain); err != nil {
			return nil, false, err
		}
		if err := h.check(sender, d.self.topic, u.epoch); err != nil {
			return nil, false, err
		}
	}
	// 6. Guard.
	id := messageID(d.st.mode, packet)
	again, err := d.guardMessage(sender, id, &h, packet)
	if err != nil {
		return nil, false, err
	}
	// 7. What goes with the message.
	if u.epoch == d.st.epoch {
		d.settleHint(sender)
		if !p.heard() {
			p.flags |= memberHeard
			d.save(p)
		}
	}
	if u.used != nil {
		if err := u.used(); err != nil {
			return nil, false, err
		}
	}
	switch {
	case again:
		return nil, true, nil
	case h.kind == kindRotation:
		return nil, false, d.takeRotation(p, &h, packetHash(packet), body)
	case h.kind == kindAnnounce:
		return nil, false, d.takeAnnouncement(p, &h, body)
	}
	out := &Opened{From: sender, Key: p.key, ID: id, Epoch: u.epoch, Index: u.index, Body: body}
	if d.st.mode != Plain {
		out.Sent = timeOf(h.time)
	}
	return out, false, nil
}

// messageID is where the mode's nonce has it.
func messageID(mode Mode, packet []byte) [16]byte {
	if mode == ForwardSecret {
		return [16]byte(packet[boxAt+forwardIDAt:])
	}
	return [16]byte(packet[boxAt:])
}

// guardMessage refuses what was seen and remembers what was not. A resend, with
// another nonce and counter, is remembered too: again reports it.
func (d *draft) guardMessage(sender ID, id [16]byte, h *header, packet []byte) (again bool, err error) {
	switch d.st.mode {
	case Plain:
		box := d.boxTag(packet)
		if d.seen(box) {
			return false, ErrReplay
		}
		d.remember(box)
	case Headed:
		if !d.freshCounter(sender, h.counter) {
			return false, ErrReplay
		}
		d.countUp(sender, h.counter)
	}
	t := d.tag(guardID, sender[:], id[:])
	if again = d.seen(t); !again {
		d.remember(t)
	}
	return again, nil
}

func (d *draft) boxTag(packet []byte) guardTag {
	digest := guardDigest(packet)
	return d.tag(guardBox, digest[:])
}

// openOwn verifies a packet in our name, so that nobody makes us overlook
// something. One that is ahead of us was made by a copy of our state, before or
// after it was restored: we go on behind it.
func (d *draft) openOwn(packet []byte) (idle bool, err error) {
	if !verifyStrict(d.self.public(), packet[1+signatureSize:], packet[1:1+signatureSize]) {
		return false, fmt.Errorf("%w: it carries our own ID", ErrBadSignature)
	}
	if !d.st.has(flagKey) || d.st.mode == Plain {
		return true, nil
	}
	u, err := d.unseal(d.self.id, packet)
	if err != nil {
		if errors.Is(err, errDamaged) {
			return false, err
		}
		return true, nil
	}
	h, _, err := parseHeader(u.plain)
	if err != nil || h.check(d.self.id, d.self.topic, u.epoch) != nil {
		return true, nil
	}
	idle = u.used == nil && h.counter <= d.st.counter
	d.st.counter = max(d.st.counter, h.counter)
	if u.used != nil {
		if err := u.used(); err != nil {
			return false, err
		}
		return false, d.forgetSkipped(d.self.id)
	}
	return idle, nil
}
