package stringphone

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"slices"
	"time"
)

// Pinned reports whether only the answers of certain keys are taken: whoever pinned
// them has decided about them.
func (m *Member) Pinned() bool { return len(m.self.setup.Pins) > 0 }

// SetPins changes whose answers to our introduction are taken; none: those of
// anybody who signs. The errors are those of a Setup.
func (m *Member) SetPins(pins []ed25519.PublicKey) error {
	s := m.self.setup
	s.Pins = pins
	return m.resetup(s)
}

// SetAcceptUnsigned changes whether answers are taken that nobody has signed.
func (m *Member) SetAcceptUnsigned(on bool) error {
	s := m.self.setup
	s.AcceptUnsigned = on
	return m.resetup(s)
}

func (m *Member) resetup(s Setup) error {
	if err := s.check(); err != nil {
		return err
	}
	if err := m.self.setup.UnmarshalBinary(s.marshal()); err != nil { // a copy of our own
		return err
	}
	m.bucket.Put(selfRow, m.self.marshal())
	return nil
}

// ManualType reports whether messages have the manual's type.
func (m *Member) ManualType() bool { return m.self.setup.ManualType }

// Trust takes messages of a public key of 32 bytes from now on, and counts it as a
// member: the next rotation gives it the topic key. It does not give it the key
// now, see [Member.Admit]. A key that was removed is [ErrRemoved]: it has to
// introduce itself. Others are [ErrMalformed] and [ErrCrowded].
func (m *Member) Trust(key ed25519.PublicKey) error {
	return m.do(time.Time{}, func(d *draft) error { return d.trust(key) })
}

func (d *draft) trust(key ed25519.PublicKey) error {
	if err := checkSize("a public key", key, PublicKeySize); err != nil {
		return err
	}
	if d.isGone(IDOf(key)) {
		return fmt.Errorf("%w: it has to introduce itself again", ErrRemoved)
	}
	_, err := d.admit(key, d.self.id, memberTrusted)
	return err
}

// change trusts and removes in one step.
func (m *Member) change(now time.Time, add []ed25519.PublicKey, remove []ID) error {
	return m.do(now, func(d *draft) error {
		for _, k := range add {
			if err := d.trust(k); err != nil {
				return err
			}
		}
		if len(remove) == 0 {
			return nil
		}
		return d.remove(remove)
	})
}

// Distrust takes no more messages of a participant. It can still read; to change
// that for all members, Remove it. In Plain it is forgotten; elsewhere it stays a
// member, and no other member's word makes us trust it again.
func (m *Member) Distrust(id ID) error {
	return m.do(time.Time{}, func(d *draft) error {
		if d.st.mode == Plain {
			return d.drop(id)
		}
		p, err := d.participant(id)
		if err != nil || p == nil {
			return err
		}
		p.flags = memberDistrusted
		d.save(p)
		return nil
	})
}

// Members returns all participants and ourselves, in the order of their IDs.
func (m *Member) Members() []Participant {
	all := []Participant{{ID: m.self.id, Key: m.PublicKey(), By: m.self.id, Self: true, Trusted: true}}
	for _, b := range m.bucket.Scan(memberRow) {
		if p, err := parseParticipant(b); err == nil {
			all = append(all, Participant{ID: p.id, Key: p.key, By: p.by, Trusted: p.trusted(), Outside: p.outside(), Since: sinceOf(p)})
		}
	}
	slices.SortFunc(all, func(a, b Participant) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	return all
}

func sinceOf(p *participant) time.Time {
	if p.since == 0 {
		return time.Time{}
	}
	return timeOf(p.since)
}

// Remove removes members for everybody: it posts a rotation under whose key they
// can read nothing, and which makes the others refuse them. Whom they had vouched
// for stays: look at [Participant.By]. The errors are [ErrUntrustedKey] for who is
// no participant, [ErrMode] in Plain, [ErrMalformed] for ourselves or none at all,
// and those of Rotate.
func (m *Member) Remove(now time.Time, ids ...ID) error {
	return m.do(now, func(d *draft) error {
		if len(ids) == 0 {
			return badFormat("nobody to remove")
		}
		return d.remove(ids)
	})
}

func (d *draft) remove(ids []ID) error {
	if err := d.mayChange(); err != nil {
		return err
	}
	ids = slices.Clone(ids)
	slices.SortFunc(ids, func(a, b ID) int { return bytes.Compare(a[:], b[:]) })
	ids = slices.Compact(ids)
	for _, id := range ids {
		if id == d.self.id {
			return badFormat("a member cannot remove itself: forget the topic instead")
		}
		if d.get(row(memberRow, id)) == nil {
			return fmt.Errorf("%v is no member: %w", id, ErrUntrustedKey)
		}
	}
	_, err := d.rotate(ids, nil)
	return err
}

// Rotate gives all members a fresh topic key. The errors are [ErrMode] in Plain,
// [ErrMissingTopicKey], [ErrRemoved], [ErrEpoch], [ErrNoPost] and [ErrUsedUp].
func (m *Member) Rotate(now time.Time) error {
	return m.do(now, func(d *draft) error {
		_, err := d.rotate(nil, nil)
		return err
	})
}
