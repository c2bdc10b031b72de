package messenger

import (
	"context"
	"errors"
	"fmt"

	"parley"
	"parley/messenger/profile"
)

// brokenForGood is what lacks without [parley.Healing].
const brokenForGood = "stolen keys open new messages too"

// promises puts guarantees into words, for what is promised and what is not.
var promises = []struct {
	bit      parley.Guarantee
	has, not string
}{
	{parley.Confidential, "outsiders and relays cannot read", "outsiders may read"},
	{parley.Authentic, "the sender is proven", "the sender is not proven: whoever knows the address can write"},
	{parley.NonRepudiable, "and can be proven to others", ""},
	{parley.Deniable, "and cannot be proven to others", ""},
	{parley.ForwardSecret, "stolen keys do not open old messages", "stolen keys open old messages"},
	{parley.Healing, "nor new ones, after both have written", brokenForGood},
	{parley.PostQuantum, "holds against quantum computers", "quantum computers could open it"},
	{parley.Everlasting, "holds against unlimited computation", ""},
	{parley.Group, "one message reaches all members, and every member reads all", ""},
}

// contact returns a contact as faces see it.
func (t *tx) contact(id int64) (Contact, error) {
	c := Contact{Promises: []string{}, Lacks: []string{}, Relays: []string{}}
	var created, last int64
	err := t.row(`SELECT name, receipts, created, last,
		(SELECT count(*) FROM timeline JOIN conversations v ON v.id = conversation WHERE v.contact = c.id AND author = 0 AND state = 'queued'),
		(SELECT count(*) FROM timeline JOIN conversations v ON v.id = conversation WHERE v.contact = c.id AND author <> 0 AND state = 'received')
		FROM contacts c WHERE id = ?`, id)(&c.Name, &c.Receipts, &created, &last, &c.Queued, &c.Unread)
	if err != nil {
		return c, err
	}
	c.Created, c.LastSeen = instant(created), instant(last)
	lines, err := t.targets(id)
	if err != nil {
		return c, err
	}
	c.State = invited
	for i, l := range lines {
		switch {
		case l.state == connected:
			c.State = connected
		case l.state != invited && c.State != connected:
			c.State = connecting
		}
		k, err := t.trustOf(l.id)
		if err != nil {
			return c, err
		}
		// One device that is not verified, or has changed, counts for all.
		c.Verified = k.verified && k.genuine && (i == 0 || c.Verified)
		c.KeyChanged = c.KeyChanged || k.changed || !k.genuine
		if err := t.describe(&c, l); err != nil {
			return c, err
		}
	}
	return c, nil
}

// describe adds what a line promises and where it goes.
func (t *tx) describe(c *Contact, l line) error {
	c.Protocol = "ratchet"
	if l.account != 0 {
		if err := t.describePeer(c, l); err != nil {
			return err
		}
	} else if l.isPad() {
		return t.describePad(c, l)
	} else if l.bare {
		c.Protocol = "smp-bare"
	} else if l.stp != parley.Ratchet {
		c.Protocol = "other"
	}
	if l.shared {
		if err := t.describeGroup(c, l); err != nil {
			return err
		}
	} else if p, err := t.m.transport(l.stp); err == nil {
		c.promise(p.Guarantees())
	}
	if l.bare && !l.shared && l.account == 0 {
		c.Lacks = append(c.Lacks, "no receipts: a message is known to be at the relay, and no further")
	}
	if l.oneway {
		c.Lacks = append(c.Lacks, "one way: the peer gave no mailbox of its own, so only it can write")
	}
	return t.relaysOf(c, l)
}

// relaysOf adds where a line goes.
func (t *tx) relaysOf(c *Contact, l line) error {
	return t.each("SELECT DISTINCT relay FROM paths WHERE line = ? AND dir = 'out' AND state <> 'dead' ORDER BY relay", []any{l.id}, func(scan func(...any) error) error {
		var r string
		err := scan(&r)
		c.Relays = append(c.Relays, r)
		return err
	})
}

// promise adds what is promised and what is not.
func (c *Contact) promise(g parley.Guarantee) {
	for _, w := range promises {
		switch {
		case g&w.bit != 0:
			c.Promises = append(c.Promises, w.has)
		case w.not != "":
			c.Lacks = append(c.Lacks, w.not)
		}
	}
}

// describeGroup adds what a conversation of many promises in its mode.
func (t *tx) describeGroup(c *Contact, l line) error {
	if c.Protocol = "group"; l.stp == parley.StringPhone {
		c.Protocol = "string-phone"
	}
	_, _, g, err := t.group(l)
	if errors.Is(err, profile.ErrTampered) || errors.Is(err, errNoTransport) {
		return nil
	}
	if err != nil {
		return err
	}
	c.Mode, c.Members = g.Mode, len(g.Members)+1
	c.promise(g.Promises)
	c.Lacks = append(append(c.Lacks, g.Lacks...), "no receipts: a message is known to be at the broker, and no further")
	return nil
}

// Contacts lists all contacts, the one with the newest message first.
func (m *Messenger) Contacts(ctx context.Context) (all []Contact, err error) {
	err = m.tx(ctx, "contacts", func(t *tx) error {
		all = []Contact{}
		ids, err := t.ids("SELECT id FROM contacts ORDER BY max(last, created) DESC, id DESC")
		if err != nil {
			return err
		}
		for _, id := range ids {
			c, err := t.contact(id)
			if err != nil {
				return err
			}
			all = append(all, c)
		}
		return nil
	})
	return all, err
}

// Contact returns one contact.
func (m *Messenger) Contact(ctx context.Context, name string) (c Contact, err error) {
	err = m.tx(ctx, "contact", func(t *tx) error {
		id, err := t.find(name)
		if err != nil {
			return err
		}
		c, err = t.contact(id)
		return err
	})
	return c, err
}

// newContact makes a contact with one device and a conversation. as is our name
// for it, or "" until the peer tells its own.
func (t *tx) newContact(as string) (contact, device int64, err error) {
	named := as != ""
	if !named {
		if as, err = t.placeholder(); err != nil {
			return 0, 0, err
		}
	}
	contact, err = t.insert("INSERT INTO contacts (name, named, receipts, created) VALUES (?, ?, ?, ?)", as, named, t.m.set.Receipts, t.stampNow())
	if err != nil {
		return 0, 0, err
	}
	if _, err := t.insert("INSERT INTO conversations (contact) VALUES (?)", contact); err != nil {
		return 0, 0, err
	}
	device, err = t.insert("INSERT INTO devices (contact) VALUES (?)", contact)
	t.contactChanged(contact)
	return contact, device, err
}

// contactFor returns the contact and device that a new line belongs to: an
// existing contact of that name, which then gets a new key, or a new one.
func (t *tx) contactFor(as string) (contact, device int64, err error) {
	if as == "" {
		return t.newContact("")
	}
	contact, err = t.find(as)
	if err == nil {
		if group, err := t.isGroup(contact); err != nil || group {
			if err == nil {
				err = fmt.Errorf("%w: %q is a topic", ErrTaken, as)
			}
			return 0, 0, err
		}
		if peer, err := t.isPeer(contact); err != nil || peer {
			if err == nil {
				err = fmt.Errorf("%w: %q is reached by an account of yours; pair under another name", ErrTaken, as)
			}
			return 0, 0, err
		}
		if pad, err := t.hasPad(contact); err != nil || pad {
			if err == nil {
				err = fmt.Errorf("%w: %q is reached with a pad; pair under another name", ErrTaken, as)
			}
			return 0, 0, err
		}
		err = t.row("SELECT id FROM devices WHERE contact = ? ORDER BY id LIMIT 1", contact)(&device)
		return contact, device, err
	}
	name, err := ownName(as)
	if err != nil {
		return 0, 0, err
	}
	return t.newContact(name)
}

// Remove deletes a contact, its timeline and its keys, and its mailboxes at the
// relays: now, or as soon as they can be reached.
func (m *Messenger) Remove(ctx context.Context, name string) error {
	return m.tx(ctx, "remove", func(t *tx) error {
		id, err := t.find(name)
		if err != nil {
			return err
		}
		return t.removeContact(id)
	})
}

func (t *tx) removeContact(id int64) error {
	lines, err := t.ids("SELECT l.id FROM lines l JOIN devices d ON d.id = l.device WHERE d.contact = ?", id)
	if err != nil {
		return err
	}
	for _, l := range lines {
		if err := t.forgetPeer(l); err != nil {
			return err
		}
		if err := t.dropLine(l); err != nil {
			return err
		}
	}
	return t.exec("DELETE FROM contacts WHERE id = ?", id)
}

// forgetPeer forgets the keys of a contact in an older system.
func (t *tx) forgetPeer(id int64) error {
	l, err := t.line(id)
	if err != nil || l.account == 0 {
		return err
	}
	a, err := t.account(l.account)
	if errors.Is(err, errNoTransport) {
		return nil
	}
	if err != nil {
		return err
	}
	b, err := t.Bucket(a.line)
	if err != nil {
		return err
	}
	a.system.Forget(b, l.peer)
	return b.Flush()
}

// dropLine deletes a line with all it remembers; its mailboxes are deleted at
// their relays afterwards.
func (t *tx) dropLine(id int64) error {
	if err := t.exec("DELETE FROM paths WHERE line = ? AND (dir = 'out' OR state = 'want')", id); err != nil {
		return err
	}
	if err := t.exec("UPDATE paths SET state = 'delete', line = NULL, bind = NULL WHERE line = ?", id); err != nil {
		return err
	}
	var waits int
	if err := t.row("SELECT count(*) FROM inbox WHERE line = ? AND state = 'new'", id)(&waits); err != nil {
		return err
	}
	t.then(func() { t.m.load(-waits) })
	t.poke(workJobs | workEars)
	if err := t.Forget(id); err != nil {
		return err
	}
	return t.exec("DELETE FROM lines WHERE id = ?", id)
}
