package messenger

import (
	"context"
	"errors"
	"fmt"

	"parley"
)

// Invite makes an invitation for one person.
func (m *Messenger) Invite(ctx context.Context, o InviteOptions) (inv Invitation, err error) {
	relays, chosen, err := m.relaysFor(o.Relays, nil)
	if err != nil {
		return inv, err
	}
	if o.Bare {
		return m.inviteBare(ctx, o, relays)
	}
	if _, ok := m.o.Registry.Secure[m.o.STP].(parley.Introducer); !ok {
		return inv, fmt.Errorf("messenger: secure transport %d cannot invite", m.o.STP.Type)
	}
	ends, err := m.claimAll(ctx, relays, chosen)
	if err != nil {
		return inv, err
	}
	err = m.tx(ctx, "invite", func(t *tx) error {
		contact, device, err := t.contactFor(o.As)
		if err != nil {
			return err
		}
		id, err := t.newLine(device, m.o.STP, false, inviter, invited, nil)
		if err != nil {
			return err
		}
		off := offering{stp: m.o.STP, name: shortName(m.set.Name)}
		for _, e := range ends {
			if err := t.addPath(id, "in", opened, e.Address, e); err != nil {
				return err
			}
			off.mailboxes = append(off.mailboxes, e.Address)
		}
		if off.offer, err = t.introduce(id); err != nil {
			return err
		}
		text, digest, err := m.formatInvitation(off)
		if err != nil {
			return err
		}
		if err := t.exec("UPDATE lines SET invitation = ? WHERE id = ?", digest[:], id); err != nil {
			return err
		}
		inv.Text = text
		t.poke(workEars)
		return t.row("SELECT name FROM contacts WHERE id = ?", contact)(&inv.Contact)
	})
	if err != nil {
		m.unclaim(ctx, ends)
		return Invitation{}, err
	}
	return inv, nil
}

// claimAll makes a mailbox at each relay. Relays that somebody chose for this
// contact must all be there; of the profile's own, one is enough.
func (m *Messenger) claimAll(ctx context.Context, relays []parley.Address, all bool) (ends []parley.Endpoint, err error) {
	var failed []error
	for _, r := range relays {
		e, err := m.claim(ctx, r)
		if err != nil {
			failed = append(failed, err)
			if all || ctx.Err() != nil {
				break
			}
			continue
		}
		ends = append(ends, e)
	}
	if len(ends) == 0 || all && len(failed) > 0 {
		m.unclaim(ctx, ends)
		return nil, errors.Join(failed...)
	}
	for _, err := range failed {
		m.log.Warn("messenger: an invitation goes without one relay", "error", err)
	}
	return ends, nil
}

func (t *tx) newLine(device int64, stp parley.STP, bare bool, role, state string, offer []byte) (int64, error) {
	return t.insert(`INSERT INTO lines (device, stp_type, stp_version, bare, role, state, offer, invitation, created) VALUES (?, ?, ?, ?, ?, ?, ?, X'', ?)`,
		device, stp.Type, stp.Version, bare, role, state, offer, t.stampNow())
}

func (t *tx) introduce(id int64) ([]byte, error) {
	l, err := t.line(id)
	if err != nil {
		return nil, err
	}
	p, c, err := t.speak(l)
	if err != nil {
		return nil, err
	}
	i, ok := p.(parley.Introducer)
	if !ok {
		return nil, fmt.Errorf("messenger: secure transport %d cannot invite", l.stp.Type)
	}
	offer, err := i.Introduce(t.ctx, c)
	if err != nil {
		return nil, err
	}
	return offer, t.bucket(c).Flush()
}
