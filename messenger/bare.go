package messenger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	"parley"
)

// Bare pairing speaks the original system's format and nothing else: SMP's
// out-of-band message is the invitation, the confirmation's clientBody is the
// out-of-band message of our own mailbox, and the inviter's confirmation of that
// one is empty. A peer whose clientBody is something else gave no way back: its
// conversation is one-way, and what it wrote instead is shown.

// bareBody is the text's decryptedBody with nothing reserved (seeds/smp-2020-10,
// "Send message command").
func bareBody(body string) []byte { return []byte("\n" + body + "\n") }

func bareInfo(packet []byte) (string, bool) {
	_, body, ok := bytes.Cut(packet, []byte{'\n'})
	if !ok || len(body) == 0 || body[len(body)-1] != '\n' {
		return "", false
	}
	return string(body[:len(body)-1]), true
}

// mailboxForms returns the forms of a scheme's addresses.
func (m *Messenger) mailboxForms(a parley.Address) (Mailboxes, error) {
	scheme, _, _ := strings.Cut(string(a), ":")
	if f := m.o.Mailboxes[scheme]; f != nil {
		return f, nil
	}
	return nil, fmt.Errorf("%w: %s: has no bare form", ErrInvitation, scheme)
}

func (m *Messenger) bareRelay(relay parley.Address) (parley.Address, error) {
	f, err := m.mailboxForms(relay)
	if err != nil {
		return "", err
	}
	return f.Bare(relay)
}

// bareLine recognises an original invitation.
func (m *Messenger) bareLine(s string) (parley.Address, bool) {
	line := strings.Join(strings.Fields(s), " ")
	for _, f := range m.o.Mailboxes {
		if a, err := f.ParseLine(line); err == nil {
			return a, true
		}
	}
	return "", false
}

func (m *Messenger) inviteBare(ctx context.Context, o InviteOptions, relays []parley.Address) (inv Invitation, err error) {
	if len(relays) > 1 {
		if len(o.Relays) > 1 {
			return inv, fmt.Errorf("%w: a bare invitation names one relay", ErrState)
		}
		relays = relays[:1]
	}
	f, err := m.mailboxForms(relays[0])
	if err != nil {
		return inv, err
	}
	if _, err := m.transport(parley.SMPBare); err != nil {
		return inv, err
	}
	relay, err := f.Bare(relays[0])
	if err != nil {
		return inv, err
	}
	end, err := m.claim(ctx, relay)
	if err != nil {
		return inv, err
	}
	err = m.tx(ctx, "invite bare", func(t *tx) error {
		text, err := f.Line(end.Address)
		if err != nil {
			return err
		}
		contact, device, err := t.contactFor(o.As)
		if err != nil {
			return err
		}
		id, err := t.newLine(device, parley.SMPBare, true, inviter, invited, nil)
		if err != nil {
			return err
		}
		digest := sha256.Sum256([]byte(text))
		if err := t.exec("UPDATE lines SET invitation = ? WHERE id = ?", digest[:], id); err != nil {
			return err
		}
		if err := t.addPath(id, "in", opened, end.Address, end); err != nil {
			return err
		}
		inv.Text, inv.Bare = text, true
		t.poke(workEars)
		return t.row("SELECT name FROM contacts WHERE id = ?", contact)(&inv.Contact)
	})
	if err != nil {
		m.unclaim(ctx, []parley.Endpoint{end})
		return Invitation{}, err
	}
	return inv, nil
}

func (m *Messenger) acceptBare(ctx context.Context, o AcceptOptions, mailbox parley.Address) (Contact, error) {
	if _, err := m.transport(parley.SMPBare); err != nil {
		return Contact{}, err
	}
	f, err := m.mailboxForms(mailbox)
	if err != nil {
		return Contact{}, err
	}
	text, err := f.Line(mailbox)
	if err != nil {
		return Contact{}, err
	}
	off := offering{stp: parley.SMPBare, mailboxes: []parley.Address{mailbox}, digest: sha256.Sum256([]byte(text))}
	return m.accept(ctx, o, off, true)
}

// admitBare confirms with the out-of-band message of our own mailbox.
func (t *tx) admitBare(l line) error {
	in, err := t.paths("line = ? AND dir = 'in' AND state = 'open'", l.id)
	if err != nil {
		return err
	}
	if len(in) == 0 {
		return errors.New("messenger: no mailbox to be answered at")
	}
	f, err := t.m.mailboxForms(in[0].end.Address)
	if err != nil {
		return err
	}
	text, err := f.Line(in[0].end.Address)
	if err != nil {
		return err
	}
	if err := t.post(l, 0, "confirm", bareBody(text)); err != nil {
		return err
	}
	return t.setLine(&l, connecting)
}

// bareConfirmed takes the first confirmation of a bare invitation: whoever holds
// the invitation could write it, and the first to do so is the contact.
func (t *tx) bareConfirmed(l line, a *arrival) (verdict, error, error) {
	if len(a.bind) == 0 {
		return dropped, fmt.Errorf("%w: no confirmation", parley.ErrMalformed), nil
	}
	info, ok := bareInfo(a.packet)
	if !ok {
		return dropped, fmt.Errorf("%w: not a decryptedBody", parley.ErrMalformed), nil
	}
	if err := t.bind(l, a); err != nil {
		return 0, nil, err
	}
	if back, found := t.m.bareLine(info); found {
		if err := t.addPath(l.id, "out", joining, back, parley.Endpoint{}); err != nil {
			return 0, nil, err
		}
		if err := t.post(l, 0, "confirm", bareBody("")); err != nil {
			return 0, nil, err
		}
	} else {
		if err := t.exec("UPDATE lines SET oneway = 1 WHERE id = ?", l.id); err != nil {
			return 0, nil, err
		}
		text := "This contact gave no mailbox of its own: it can write to you, and you cannot answer."
		if info != "" {
			text += " It wrote instead: " + strings.ToValidUTF8(info, "\ufffd")
		}
		if err := t.notice(l.contact, text); err != nil {
			return 0, nil, err
		}
	}
	return taken, nil, t.bareMet(l)
}

// bareAnswered takes the inviter's confirmation of our own mailbox.
func (t *tx) bareAnswered(l line, a *arrival) (verdict, error, error) {
	info, ok := bareInfo(a.packet)
	if !ok {
		return dropped, fmt.Errorf("%w: not a decryptedBody", parley.ErrMalformed), nil
	}
	if err := t.bind(l, a); err != nil {
		return 0, nil, err
	}
	if info != "" {
		if err := t.notice(l.contact, "The contact introduced itself: "+strings.ToValidUTF8(info, "\ufffd")); err != nil {
			return 0, nil, err
		}
	}
	return taken, nil, t.bareMet(l)
}

func (t *tx) bareMet(l line) error {
	if err := t.setLine(&l, connected); err != nil {
		return err
	}
	t.poke(workSeal | workEars)
	return t.replace(l)
}
