package messenger

import (
	"context"
	"errors"
	"fmt"

	"parley"
	"parley/content"
)

// Accept takes an invitation. When it returns, the acceptance is on disk and goes
// on by itself, also when a relay cannot be reached right now.
func (m *Messenger) Accept(ctx context.Context, o AcceptOptions) (c Contact, err error) {
	if l, ok := m.bareLine(o.Invitation); ok {
		return m.acceptBare(ctx, o, l)
	}
	off, err := m.parseInvitation(o.Invitation)
	if err != nil {
		return c, err
	}
	if _, ok := m.o.Registry.Secure[off.stp].(parley.Introducer); !ok {
		return c, fmt.Errorf("%w: it needs secure transport %d version %d, which this program does not speak: update it", ErrInvitation, off.stp.Type, off.stp.Version)
	}
	return m.accept(ctx, o, off, false)
}

// accept is steps 2 to 4.
func (m *Messenger) accept(ctx context.Context, o AcceptOptions, off offering, bare bool) (c Contact, err error) {
	var fallback []parley.Address
	for _, a := range off.mailboxes {
		scheme, relay := m.relayOf(a)
		if _, err := m.carrier(scheme); err != nil {
			return c, fmt.Errorf("%w: %w", ErrInvitation, err)
		}
		fallback = append(fallback, relay)
	}
	relays, _, err := m.relaysFor(o.Relays, fallback)
	if err != nil {
		return c, err
	}
	var id, contact int64
	fresh := false
	err = m.tx(ctx, "accept", func(t *tx) error {
		if id, contact, err = t.usedBefore(off); err != nil || id != 0 {
			return err
		}
		var before int
		if err := t.row("SELECT count(*) FROM contacts")(&before); err != nil {
			return err
		}
		var device int64
		if contact, device, err = t.contactFor(o.As); err != nil {
			return err
		}
		var after int
		if err := t.row("SELECT count(*) FROM contacts")(&after); err != nil {
			return err
		}
		fresh = after > before
		if o.As == "" {
			if err := t.learnName(contact, off.name); err != nil {
				return err
			}
		}
		if id, err = t.newLine(device, off.stp, bare, acceptor, claiming, off.offer); err != nil {
			return err
		}
		if err := t.exec("UPDATE lines SET invitation = ? WHERE id = ?", off.digest[:], id); err != nil {
			return err
		}
		if !bare {
			if err := t.tryOffer(id, off); err != nil {
				return err
			}
		}
		for _, a := range off.mailboxes {
			if err := t.addPath(id, "out", joining, a, parley.Endpoint{}); err != nil {
				return err
			}
		}
		for _, r := range relays {
			if bare {
				if r, err = m.bareRelay(r); err != nil {
					return err
				}
			}
			if err := t.addPath(id, "in", want, r, parley.Endpoint{}); err != nil {
				return err
			}
			if bare {
				break
			}
		}
		return nil
	})
	if err != nil {
		return c, err
	}
	err = m.claimNow(ctx, id)
	switch {
	case err == nil, errors.Is(err, parley.ErrOffline):
	case ctx.Err() != nil:
		return c, ctx.Err()
	case errors.Is(err, parley.ErrRefused):
		if undo := m.undoAccept(ctx, id, contact, fresh); undo != nil {
			return c, errors.Join(err, undo)
		}
		return c, err
	default:
		m.log.Info("messenger: an acceptance goes on later", "line", id, "error", err)
	}
	err = m.tx(ctx, "contact", func(t *tx) error {
		c, err = t.contact(contact)
		return err
	})
	return c, err
}

// usedBefore returns the line that an earlier Accept of the same invitation has
// begun and not finished; one that is finished, or an invitation of our own, is
// an error.
func (t *tx) usedBefore(off offering) (id, contact int64, err error) {
	ids, err := t.ids("SELECT id FROM lines WHERE invitation = ?", off.digest[:])
	if err != nil {
		return 0, 0, err
	}
	if len(ids) > 0 {
		l, err := t.line(ids[0])
		if err != nil {
			return 0, 0, err
		}
		if l.role == inviter {
			return 0, 0, fmt.Errorf("%w: this invitation is your own: give it to the person it is for", ErrInvitation)
		}
		if l.state == claiming || l.state == connecting {
			return l.id, l.contact, nil
		}
		var name string
		if err := t.row("SELECT name FROM contacts WHERE id = ?", l.contact)(&name); err != nil {
			return 0, 0, err
		}
		return 0, 0, fmt.Errorf("%w: you have used it already: it made the contact %q", ErrInvitation, name)
	}
	for _, a := range off.mailboxes {
		var n int
		if err := t.row("SELECT count(*) FROM paths WHERE dir = 'in' AND address = ?", a)(&n); err != nil {
			return 0, 0, err
		}
		if n > 0 {
			return 0, 0, fmt.Errorf("%w: its mailbox is your own", ErrInvitation)
		}
	}
	return 0, 0, nil
}

// tryOffer lets the transport look at the offer before anything is promised.
func (t *tx) tryOffer(id int64, off offering) error {
	l, err := t.line(id)
	if err != nil {
		return err
	}
	p, c, err := t.speak(l)
	if err != nil {
		return err
	}
	bucket := t.bucket(c)
	bucket.Savepoint()
	_, err = p.Open(t.ctx, c, off.offer)
	bucket.Rollback()
	var in *parley.Introduction
	if !errors.As(err, &in) || in.Kind != parley.Offer {
		return fmt.Errorf("%w: what it offers cannot be read: %v", ErrInvitation, err)
	}
	return nil
}

func (m *Messenger) undoAccept(ctx context.Context, id, contact int64, fresh bool) error {
	return m.tx(settled(ctx), "accept: undo", func(t *tx) error {
		if err := t.dropLine(id); err != nil || !fresh {
			return err
		}
		return t.exec("DELETE FROM contacts WHERE id = ?", contact)
	})
}

// admit is step 4: the answer goes into the outbox with our mailboxes in it.
func (t *tx) admit(l line) error {
	if l.bare {
		return t.admitBare(l)
	}
	p, c, err := t.speak(l)
	if err != nil {
		return err
	}
	i, ok := p.(parley.Introducer)
	if !ok {
		return fmt.Errorf("messenger: secure transport %d cannot answer", l.stp.Type)
	}
	_, err = i.Open(t.ctx, c, l.offer)
	var in *parley.Introduction
	if !errors.As(err, &in) {
		return fmt.Errorf("messenger: the offer cannot be opened any more: %w", err)
	}
	if in.Payload, err = t.ownHello(l); err != nil {
		return err
	}
	packet, err := i.Admit(t.ctx, c, in)
	if err != nil {
		return err
	}
	if err := t.bucket(c).Flush(); err != nil {
		return err
	}
	if err := t.post(l, 0, "answer", packet); err != nil {
		return err
	}
	if err := t.exec("UPDATE lines SET offer = NULL WHERE id = ?", l.id); err != nil {
		return err
	}
	return t.setLine(&l, connecting)
}

// ownHello says who we are and where we receive on this line.
func (t *tx) ownHello(l line) ([]byte, error) {
	h := content.Hello{Name: t.m.set.Name, DeviceName: t.m.set.Device}
	copy(h.Device[:], t.m.set.Number)
	var level string
	if err := t.row("SELECT receipts FROM contacts WHERE id = ?", l.contact)(&level); err != nil {
		return nil, err
	}
	h.Receipts = receiptLevel(level)
	in, err := t.paths("line = ? AND dir = 'in' AND address <> '' AND state IN ('open', 'secure')", l.id)
	if err != nil {
		return nil, err
	}
	for _, p := range in {
		h.Paths = append(h.Paths, p.end.Address)
	}
	_, body, err := content.Encode(h)
	return body, err
}
