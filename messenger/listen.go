package messenger

import (
	"context"
	"fmt"
)

// Wait returns when the message has got to the state or beyond, or has failed or
// been cancelled: its State says which.
func (m *Messenger) Wait(ctx context.Context, id string, until State) (Message, error) {
	if rank(until) == 0 {
		return Message{}, fmt.Errorf("%w: one can wait for %s, %s, %s or %s", ErrState, Queued, AtRelay, AtDevice, Read)
	}
	s := m.fan.subscribe()
	defer s.close()
	msg, err := m.Message(ctx, id)
	if err != nil {
		return msg, err
	}
	if msg.Direction != "out" || msg.Kind != "text" {
		return msg, fmt.Errorf("%w: that message is not one of ours", ErrState)
	}
	if err := m.reachable(ctx, msg, until); err != nil {
		return msg, err
	}
	for {
		if rank(msg.State) >= rank(until) || msg.State == Failed || msg.State == Canceled {
			return msg, nil
		}
		changes, err := s.next(ctx, m.ctx.Done())
		if err != nil {
			return msg, err
		}
		for _, c := range changes {
			if c.Message != nil && c.Message.Seq == msg.Seq {
				msg = *c.Message
			}
		}
	}
}

// reachable refuses to wait for what a bare line can never tell.
func (m *Messenger) reachable(ctx context.Context, msg Message, until State) error {
	if rank(until) < rank(AtDevice) || rank(msg.State) >= rank(until) {
		return nil
	}
	return m.tx(ctx, "wait", func(t *tx) error {
		who, err := t.find(msg.Contact)
		if err != nil {
			return err
		}
		lines, err := t.targets(who)
		for _, l := range lines {
			if l.shared {
				return fmt.Errorf("%w: a topic has no receipts: a message is known to be at the broker, and never to be on anybody's device", ErrState)
			}
			if l.bare {
				return fmt.Errorf("%w: a bare conversation has no receipts: a message is known to be at the relay, and never to be on the device", ErrState)
			}
		}
		return err
	})
}

// Listen calls show with each message from others that no face has shown yet,
// oldest first, then with those that come, until ctx ends or show fails.
func (m *Messenger) Listen(ctx context.Context, contact string, show func(Message) error) error {
	m.beHere(ctx)
	s := m.fan.subscribe()
	defer s.close()
	var who int64
	if contact != "" {
		err := m.tx(ctx, "listen: contact", func(t *tx) (err error) {
			who, err = t.find(contact)
			return err
		})
		if err != nil {
			return err
		}
	}
	for {
		msg, ok, err := m.nextUnshown(ctx, who)
		if err != nil {
			return err
		}
		if !ok {
			if _, err := s.next(ctx, m.ctx.Done()); err != nil {
				return err
			}
			continue
		}
		err = show(msg)
		if err == nil {
			err = m.shown(ctx, msg.Seq)
		}
		m.mu.Lock()
		delete(m.showing, msg.Seq)
		m.mu.Unlock()
		if err != nil {
			m.fan.publish([]Change{{Message: &msg}}) // another listener may show it
			return err
		}
	}
}

// nextUnshown takes the oldest message that nobody has shown or is showing.
func (m *Messenger) nextUnshown(ctx context.Context, who int64) (msg Message, ok bool, err error) {
	err = m.tx(ctx, "listen: next", func(t *tx) error {
		ok = false
		ids, err := t.ids(`SELECT seq FROM timeline t JOIN conversations v ON v.id = t.conversation
			WHERE t.state = 'received' AND (?1 = 0 OR v.contact = ?1) ORDER BY seq LIMIT 64`, who)
		if err != nil {
			return err
		}
		for _, seq := range ids {
			m.mu.Lock()
			taken := m.showing[seq]
			m.showing[seq] = true
			m.mu.Unlock()
			if taken {
				continue
			}
			msg, err = t.message(seq)
			ok = err == nil
			return err
		}
		return nil
	})
	return msg, ok, err
}

// shown commits that a face has shown a message, and the receipt that says so.
// It is committed even when ctx has just ended: the face did show it.
func (m *Messenger) shown(ctx context.Context, seq int64) error {
	return m.tx(settled(ctx), "shown", func(t *tx) error {
		n, err := t.count("UPDATE timeline SET state = 'shown' WHERE seq = ? AND state = 'received'", seq)
		if err != nil || n == 0 {
			return err
		}
		t.changed(seq)
		var who int64
		if err := t.row("SELECT coalesce(v.contact, 0) FROM timeline t JOIN conversations v ON v.id = t.conversation WHERE t.seq = ?", seq)(&who); err != nil {
			return err
		}
		t.contactChanged(who)
		return t.acknowledge(who, seq, "read")
	})
}

// Watch calls changed with everything that happens from now on.
func (m *Messenger) Watch(ctx context.Context, changed func(Change) error) error {
	s := m.fan.subscribe()
	defer s.close()
	for {
		changes, err := s.next(ctx, m.ctx.Done())
		if err != nil {
			return err
		}
		for _, c := range changes {
			if err := changed(c); err != nil {
				return err
			}
		}
	}
}
