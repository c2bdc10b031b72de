package messenger

import (
	"fmt"

	"parley"
	"parley/content"
)

// Pairing (invite.go, accept.go, claim.go, and here what comes back). Each step
// is a commit, and after a crash goes on from there:
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

// introduction takes one in, on a line of two or of many.
func (t *tx) introduction(l line, p parley.SecureTransport, c *parley.Conversation, in *parley.Introduction) error {
	if i, ok := p.(parley.Introducer); ok && l.shared {
		return t.asked(l, i, c, in)
	}
	return t.introduced(l, p, c, in)
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
