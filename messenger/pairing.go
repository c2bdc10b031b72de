package messenger

import (
	"context"
	"errors"
	"fmt"

	"parley"
	"parley/content"
)

// Pairing. Each step is a commit, and after a crash goes on from there:
//
//	inviter                               acceptor
//	1 Invite: mailboxes, offer            2 Accept: line, offer and the inviter's
//	  (invited)                             mailboxes (claiming)
//	                                      3 own mailboxes, one by one
//	                                      4 answer in the outbox (connecting)
//	                                      5 Confirm on every path, as long as it takes
//	6 inbox with bind, ACK
//	7 Open, Accept: keys, the peer's
//	  mailboxes, hello as an intent
//	  (connected)
//	8 Secure each mailbox by which that
//	  very answer came; forget its address
//	9 hello sealed, Confirm on every path
//	                                      10 inbox with bind, ACK, Open: (connected)
//	                                      11 Secure; forget
//
// A relay's "denied" is no failure: the mailbox may not be open to us yet. Bare
// pairing (bare.go) has the same steps with other packets.

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
	for _, i := range ids {
		l, err := t.line(i)
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

// introduced is step 7: an answer to an invitation of ours.
func (t *tx) introduced(l line, p parley.SecureTransport, c *parley.Conversation, in *parley.Introduction) error {
	i, ok := p.(parley.Introducer)
	if !ok || in.Kind != parley.Answer || l.role != inviter || l.state != invited {
		return fmt.Errorf("%w: an introduction that this line does not expect", parley.ErrForged)
	}
	ev, err := content.Decode(parley.Hello, in.Payload)
	if err != nil {
		return err
	}
	h := ev.(content.Hello)
	out, err := t.usable(h.Paths)
	if err != nil {
		return err
	}
	if err := i.Accept(t.ctx, c, in); err != nil {
		return err
	}
	for _, a := range out {
		if err := t.addPath(l.id, "out", joining, a, parley.Endpoint{}); err != nil {
			return errDisk{err}
		}
	}
	hello, err := t.ownHello(l)
	if err != nil {
		return errDisk{err}
	}
	number := newID()
	if err := t.intend(l.id, 0, "hello", number[:], parley.Hello, hello, t.stampNow()); err != nil {
		return errDisk{err}
	}
	if err := t.met(l, c, h); err != nil {
		return errDisk{err}
	}
	return nil
}

// usable returns those of a peer's mailboxes that we can send to.
func (t *tx) usable(list []parley.Address) (out []parley.Address, err error) {
	for _, a := range list {
		scheme, _ := t.m.relayOf(a)
		if _, e := t.m.carrier(scheme); e != nil {
			err = e
			continue
		}
		if len(out) < maxRelays {
			out = append(out, a)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%w: the peer names no mailbox that we can send to (%w)", parley.ErrMalformed, err)
	}
	return out, nil
}

// hello is step 10, or a later change of name.
func (t *tx) hello(l line, c *parley.Conversation, h content.Hello) error {
	if l.state == connecting && l.role == acceptor {
		return t.met(l, c, h)
	}
	if err := t.exec("UPDATE devices SET number = ?, label = ? WHERE id = ?", h.Device[:], cleanName(h.DeviceName), l.device); err != nil {
		return err
	}
	return t.exec("UPDATE contacts SET display = ? WHERE id = ?", cleanName(h.Name), l.contact)
}

// met connects a line.
func (t *tx) met(l line, c *parley.Conversation, h content.Hello) error {
	if err := t.learnName(l.contact, h.Name); err != nil {
		return err
	}
	if err := t.exec("UPDATE devices SET number = ?, label = ? WHERE id = ?", h.Device[:], cleanName(h.DeviceName), l.device); err != nil {
		return err
	}
	if err := t.setLine(&l, connected); err != nil {
		return err
	}
	if err := t.pin(l, c); err != nil {
		return err
	}
	t.poke(workSeal | workEars)
	return t.replace(l)
}
