package messenger

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"parley"
)

// maxPacket is the largest packet taken from a carrier, in bytes.
const maxPacket = 3 << 20

// listenAll receives from every mailbox of ours that nobody receives from yet,
// and from no other.
func (m *Messenger) listenAll() error {
	var all []path
	err := m.tx(m.ctx, "mailboxes: look", func(t *tx) (err error) {
		all, err = t.paths("dir = 'in' AND line IS NOT NULL AND state IN ('open', 'secure', 'closed')")
		return err
	})
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	is := map[int64]bool{}
	for _, p := range all {
		is[p.id] = true
		if m.ears[p.id] != nil || m.ctx.Err() != nil {
			continue
		}
		ctx, cancel := context.WithCancel(m.ctx)
		m.ears[p.id] = cancel
		m.wg.Go(func() { m.ear(ctx, p) })
	}
	for id, stop := range m.ears {
		if !is[id] {
			stop()
			delete(m.ears, id)
		}
	}
	return nil
}

// ear receives from one mailbox until ctx ends.
func (m *Messenger) ear(ctx context.Context, p path) {
	for n := 1; ctx.Err() == nil; n++ {
		c, err := m.carrier(p.scheme)
		if err == nil {
			err = c.Receive(ctx, []parley.Endpoint{p.end}, func(_ int, d parley.Delivery) error {
				n = 1
				return m.keep(ctx, p.id, d)
			})
		}
		if ctx.Err() != nil {
			return
		}
		m.heard(p.relay, err)
		m.log.Info("messenger: a mailbox cannot be received from", "path", p.id, "error", err)
		timer := time.NewTimer(offlinePause(n, m.o.Jitter()))
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
		err = m.tx(ctx, "mailbox: look", func(t *tx) error {
			q, err := t.path(p.id)
			if err == nil {
				p.end = q.end
			}
			return err
		})
		if err != nil {
			m.log.Info("messenger: a mailbox cannot be read from the profile", "path", p.id, "error", err)
		}
	}
}

// keep commits a packet with its mark and its bind. Once it has returned nil the
// carrier may acknowledge: the packet is ours to keep.
func (m *Messenger) keep(ctx context.Context, id int64, d parley.Delivery) error {
	if err := m.makeRoom(ctx); err != nil {
		return err
	}
	return m.tx(ctx, "keep", func(t *tx) error {
		p, err := t.path(id)
		if isNone(err) || err == nil && (p.line == 0 || p.state == gone) {
			return nil // the contact is gone: nobody wants it
		}
		if err != nil {
			return err
		}
		if err := t.exec("UPDATE paths SET mark = ? WHERE id = ?", d.Mark, id); err != nil {
			return err
		}
		if len(d.Packet) > maxPacket {
			t.m.log.Info("messenger: a packet is too large", "path", id, "size", len(d.Packet))
			t.then(m.countDropped)
			return nil
		}
		digest := sha256.Sum256(d.Packet)
		var bare, shared, many bool
		var waits int
		if err := t.row("SELECT bare, shared, role = 'account' FROM lines WHERE id = ?", p.line)(&bare, &shared, &many); err != nil {
			return err
		}
		if shared && p.why != "" { // whatever the trouble was
			if err := t.exec("UPDATE paths SET why = '' WHERE id = ?", id); err != nil {
				return err
			}
		}
		if many { // it may wait at a contact's line by now
			if err := t.row("SELECT count(*) FROM inbox WHERE path = ? AND digest = ?", id, digest[:])(&waits); err != nil {
				return err
			}
		} else if !bare || shared { // where equal packets are equal messages
			if err := t.row("SELECT count(*) FROM inbox WHERE line = ? AND path = ? AND digest = ?", p.line, id, digest[:])(&waits); err != nil {
				return err
			}
		}
		if waits > 0 {
			if !shared { // a topic's repetitions are nothing to count
				t.then(m.countDropped)
			}
			return nil
		}
		packet := d.Packet
		if packet == nil {
			packet = []byte{}
		}
		t.then(func() { m.load(1) })
		if shared {
			t.then(func() {
				m.mu.Lock()
				m.came[p.line] = m.now()
				m.mu.Unlock()
			})
		}
		t.poke(workInbox)
		return t.exec("INSERT INTO inbox (line, path, digest, packet, bind, came, state) VALUES (?, ?, ?, ?, ?, ?, 'new')",
			p.line, id, digest[:], packet, d.Bind, t.stampNow())
	})
}

// jobs sends somebody to each mailbox that has to be made, secured or deleted,
// and returns when the next one is due.
func (m *Messenger) jobs() (next time.Time, err error) {
	var paths []path
	var lines []int64
	err = m.tx(m.ctx, "jobs: look", func(t *tx) (err error) {
		if paths, err = t.paths("state IN ('secure', 'delete')"); err != nil {
			return err
		}
		lines, err = t.ids("SELECT id FROM lines WHERE state = 'claiming' ORDER BY id")
		return err
	})
	if err != nil {
		return next, err
	}
	now := m.now()
	try := func(key string, do func(context.Context) error) {
		if due := m.due(key, time.Time{}); due.After(now) {
			next = earliest(next, due)
			return
		}
		m.send(key, func(ctx context.Context, _ *errand) {
			if err := do(ctx); err != nil && ctx.Err() == nil {
				m.log.Info("messenger: a mailbox is not ready", "job", key, "error", err)
				m.tire(key, err)
				return
			}
			m.rested(key)
		})
	}
	for _, p := range paths {
		// Not the key of its outbox: a mailbox of ours has none.
		try(pathKey(p.id), func(ctx context.Context) error { return m.tend(ctx, p) })
	}
	for _, l := range lines {
		try(lineKey(l), func(ctx context.Context) error { return m.advanceClaim(ctx, l) })
	}
	if err := m.rotations(try); err != nil {
		return next, err
	}
	look, err := m.lookups(try)
	return earliest(next, look), err
}

func lineKey(id int64) string { return fmt.Sprintf("line %d", id) }

// tend secures or deletes a mailbox.
func (m *Messenger) tend(ctx context.Context, p path) error {
	c, err := m.carrier(p.scheme)
	if err != nil {
		return err
	}
	if p.state == gone {
		if d, ok := c.(interface {
			Delete(context.Context, parley.Endpoint) error
		}); ok {
			err = d.Delete(ctx, p.end)
		}
		switch sort(ctx, err) {
		case stopped, offline:
			return err
		}
		if err != nil && !errors.Is(err, parley.ErrDenied) && !errors.Is(err, parley.ErrRefused) {
			return err
		}
		return m.tx(settled(ctx), "mailbox: deleted", func(t *tx) error {
			return t.exec("DELETE FROM paths WHERE id = ? AND state = 'delete'", p.id)
		})
	}
	if b, ok := c.(parley.Binder); ok {
		if err := b.Secure(ctx, p.end, p.bind); err != nil {
			return err
		}
	}
	// The sender's key and the mailbox's address have served: whoever steals
	// this profile later cannot write in the peer's name.
	return m.tx(settled(ctx), "mailbox: secured", func(t *tx) error {
		n, err := t.count("UPDATE paths SET state = 'closed', bind = NULL, address = '', why = '' WHERE id = ? AND state = 'secure'", p.id)
		if err != nil || n == 0 {
			return err
		}
		return t.welcome(p.line)
	})
}

// welcome tells the inviter that the acceptor's mailbox takes its messages now:
// until then the relay has denied them, and it would try again only later.
func (t *tx) welcome(line int64) error {
	l, err := t.line(line)
	if isNone(err) {
		return nil // removed meanwhile
	}
	if err != nil || l.bare || l.role != acceptor || l.state != connected {
		return err
	}
	hello, err := t.ownHello(l)
	if err != nil {
		return err
	}
	number := newID()
	return t.intend(l.id, 0, "hello", number[:], parley.Hello, hello, t.stampNow())
}

// claim makes a mailbox at a relay.
func (m *Messenger) claim(ctx context.Context, relay parley.Address) (parley.Endpoint, error) {
	scheme, at := m.relayOf(relay)
	return m.claimAt(ctx, scheme, at, relay)
}

func (m *Messenger) claimAt(ctx context.Context, scheme string, at, address parley.Address) (parley.Endpoint, error) {
	c, err := m.carrier(scheme)
	if err != nil {
		return parley.Endpoint{}, err
	}
	end, err := c.Claim(ctx, address)
	m.heard(at, err)
	if err != nil {
		return end, fmt.Errorf("no mailbox at %s: %w", at, err)
	}
	return end, nil
}

// unclaim deletes mailboxes that nobody will use; what cannot be deleted expires
// at the relay.
func (m *Messenger) unclaim(ctx context.Context, ends []parley.Endpoint) {
	for _, e := range ends {
		scheme, _ := m.relayOf(e.Address)
		if c, err := m.carrier(scheme); err == nil {
			if d, ok := c.(interface {
				Delete(context.Context, parley.Endpoint) error
			}); ok {
				_ = d.Delete(settled(ctx), e)
			}
		}
	}
}
