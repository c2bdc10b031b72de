package messenger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"parley"
	"parley/messenger/profile"
)

// pin keeps a line's safety number, so that a later one that differs is noticed.
// The profile's own authentication code over it keeps whoever can write to the
// file, but lacks the passphrase, from swapping it.
func (t *tx) pin(l line, c *parley.Conversation) error {
	if t.m.o.Number == nil {
		return nil
	}
	number := t.m.o.Number(c)
	if number == nil {
		return nil
	}
	return t.savePin(l.id, number, false, false)
}

func (t *tx) savePin(line int64, number []byte, verified, changed bool) error {
	return t.exec("UPDATE lines SET number = ?, verified = ?, changed = ?, mac = ? WHERE id = ?",
		number, verified, changed, t.m.pinMAC(line, number, verified, changed), line)
}

func (m *Messenger) pinMAC(line int64, number []byte, verified, changed bool) []byte {
	flag := func(b bool) byte {
		if b {
			return 1
		}
		return 0
	}
	sum := m.p.MAC("messenger pin 1", fmt.Appendf(nil, "%d", line), number, []byte{flag(verified), flag(changed)})
	return sum[:]
}

// A trust is what a line's row says about its pinned number.
type trust struct {
	number            []byte
	verified, changed bool
	genuine           bool // the row is as we wrote it
}

func (t *tx) trustOf(line int64) (trust, error) {
	var k trust
	var mac []byte
	err := t.row("SELECT number, verified, changed, mac FROM lines WHERE id = ?", line)(&k.number, &k.verified, &k.changed, &mac)
	k.genuine = k.number == nil && !k.verified || bytes.Equal(mac, t.m.pinMAC(line, k.number, k.verified, k.changed))
	return k, err
}

// checkPins compares what is pinned with what we wrote and with what the lines'
// state says. A difference is loud: in the log, in the timeline, and on the
// contact until it is verified again.
func (t *tx) checkPins() error {
	ids, err := t.ids("SELECT id FROM lines WHERE state = 'connected'")
	if err != nil {
		return err
	}
	for _, id := range ids {
		k, err := t.trustOf(id)
		if err != nil {
			return err
		}
		l, err := t.line(id)
		if err != nil {
			return err
		}
		live := k.number
		_, c, err := t.speak(l)
		switch {
		case errors.Is(err, profile.ErrTampered):
			if err := t.tampered(l, err); err != nil {
				return err
			}
		case errors.Is(err, errNoTransport):
		case err != nil:
			return err
		case l.account != 0:
			if live, err = t.peerNumber(l); err != nil {
				return err
			}
		case t.m.o.Number != nil:
			live = t.m.o.Number(c)
		}
		if k.genuine && bytes.Equal(live, k.number) {
			continue
		}
		t.m.log.Error("messenger: the pinned key of a contact is not what was pinned", "line", id)
		if err := t.savePin(id, live, false, true); err != nil {
			return err
		}
		if err := t.notice(l.contact, "The key of this contact is not the one that was kept on this device. Somebody may have changed the profile's file. Compare safety numbers before you write anything that matters."); err != nil {
			return err
		}
		t.contactChanged(l.contact)
	}
	return nil
}

// tampered says once that a line cannot be used any more.
func (t *tx) tampered(l line, cause error) error {
	t.m.log.Error("messenger: protocol state was changed from outside", "line", l.id, "error", cause)
	id := sha256.Sum256(fmt.Appendf(nil, "tampered line %d", l.id))
	return t.noticeAs(l.contact, authorSelf, id[:16], "The keys that this device keeps for the contact were changed from outside: nothing can be sent or opened with them. Pair anew, and find out who can write to this profile.")
}

// trusted returns the line whose number people compare: the one that reaches the
// contact now.
func (t *tx) trusted(name string) (line, trust, error) {
	id, err := t.find(name)
	if err != nil {
		return line{}, trust{}, err
	}
	lines, err := t.targets(id)
	if err != nil {
		return line{}, trust{}, err
	}
	for _, l := range lines {
		k, err := t.trustOf(l.id)
		if err != nil {
			return l, k, err
		}
		if l.shared {
			return l, k, fmt.Errorf("%w: a topic has many members, each with a key of its own: parley topic people %s shows the fingerprints to compare", ErrState, shellName(name))
		}
		if l.account != 0 {
			return l, k, t.comparable(l, &k)
		}
		if l.isPad() {
			return l, k, fmt.Errorf("%w: the pad itself is what proves the contact: compare its check on both sides, which “parley pad show” prints", ErrState)
		}
		if l.bare {
			return l, k, fmt.Errorf("%w: a bare conversation has no keys of people, and so nothing to compare", ErrState)
		}
		if len(k.number) > 0 && l.state == connected {
			return l, k, nil
		}
	}
	return line{}, trust{}, fmt.Errorf("%w: not connected yet: there is nothing to compare", ErrState)
}

// SafetyNumber returns what to compare with a contact.
func (m *Messenger) SafetyNumber(ctx context.Context, name string) (n SafetyNumber, err error) {
	err = m.tx(ctx, "safety number", func(t *tx) error {
		l, k, err := t.trusted(name)
		if err != nil {
			return err
		}
		if m.o.Words != nil {
			n = m.o.Words(k.number)
		}
		n.Verified, n.ID = k.verified && k.genuine, numberID(k.number)
		return t.row("SELECT name FROM contacts WHERE id = ?", l.contact)(&n.Contact)
	})
	return n, err
}

// numberID stands for a safety number.
func numberID(number []byte) string {
	sum := sha256.Sum256(append([]byte("parley compared 1\n"), number...))
	return hex.EncodeToString(sum[:16])
}

// SetVerified notes that a number was compared and is the same, or that it is not.
// Keys can change while people read a number to each other, so that only the one that
// they compared counts.
func (m *Messenger) SetVerified(ctx context.Context, n SafetyNumber, verified bool) error {
	return m.tx(ctx, "verified", func(t *tx) error {
		l, k, err := t.trusted(n.Contact)
		if err != nil {
			return err
		}
		if (verified || l.account != 0) && n.ID != numberID(k.number) {
			return ErrCompareAgain
		}
		t.contactChanged(l.contact)
		if l.account != 0 {
			return t.decideKeys(l, k, verified)
		}
		if verified {
			if err := t.closeRetired(l.device); err != nil {
				return err
			}
		}
		return t.savePin(l.id, k.number, verified, k.changed && !verified)
	})
}

// comparable puts in place what is compared with a contact in an older system: under
// the keys that the directory offers, if it offers others than the pinned ones, since
// these are what the user has to decide about.
func (t *tx) comparable(l line, k *trust) error {
	a, state, err := t.accountState(l.account)
	if err != nil {
		return err
	}
	keys := a.system.Keys(state, l.peer)
	switch {
	case keys.OfferedNumber != nil:
		k.number, k.verified = keys.OfferedNumber, false
	case keys.Number == nil:
		return fmt.Errorf("%w: the keys of %s are not known yet", ErrState, l.peer)
	}
	return nil
}

func (t *tx) peerNumber(l line) ([]byte, error) {
	a, state, err := t.accountState(l.account)
	if err != nil {
		return nil, err
	}
	return a.system.Keys(state, l.peer).Number, nil
}

// closeRetired ends the lines that a verified one has replaced: whoever holds
// their keys could still write, and it would stand under a name that is verified.
// What the peer sent there and saw no receipt for comes over the new line.
func (t *tx) closeRetired(device int64) error {
	old, err := t.ids(`SELECT id FROM lines WHERE device = ? AND state = 'retired'
		AND NOT EXISTS (SELECT 1 FROM inbox WHERE line = lines.id AND state = 'new') ORDER BY id`, device)
	if err != nil {
		return err
	}
	for _, id := range old {
		if err := t.dropLine(id); err != nil {
			return err
		}
	}
	return nil
}
