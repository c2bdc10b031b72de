package messenger

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"parley"
	"parley/content"
)

// Resend tries again now. A message that waits keeps its packet, byte for byte.
// One that failed, was cancelled, or is at the relay and perhaps lost there, is
// sealed anew under the same ID, so that the peer shows it once; only a bare
// conversation has no IDs and may show it twice.
func (m *Messenger) Resend(ctx context.Context, id string) (msg Message, err error) {
	err = m.tx(ctx, "resend", func(t *tx) error {
		if msg, err = t.ours(id); err != nil {
			return err
		}
		switch msg.State {
		case Queued:
			err = t.hasten(msg.Seq)
		case AtRelay:
			// Copies that wait for other relays stay in their places.
			if err = t.hasten(msg.Seq); err == nil {
				err = t.again(msg)
			}
		case Failed, Canceled:
			if err = t.again(msg); err == nil {
				err = t.exec("UPDATE timeline SET state = ?, error = '' WHERE seq = ?", Queued, msg.Seq)
			}
		default:
			err = fmt.Errorf("%w: the message is on the peer's device already", ErrState)
		}
		if err != nil {
			return err
		}
		msg, err = t.message(msg.Seq)
		return err
	})
	return msg, err
}

// ours finds a message that we sent.
func (t *tx) ours(id string) (Message, error) {
	msg, err := t.lookup(id)
	if err == nil && (msg.Direction != "out" || msg.Kind != "text") {
		err = fmt.Errorf("%w: that message is not one of ours", ErrState)
	}
	return msg, err
}

// hasten makes the message's rows due, and those before them on the same paths.
func (t *tx) hasten(seq int64) error {
	paths, err := t.ids("SELECT DISTINCT o.path FROM outbox o JOIN packets p ON p.id = o.packet WHERE p.message = ?", seq)
	if err != nil {
		return err
	}
	for _, p := range paths {
		err := t.exec(`UPDATE outbox SET next = 0 WHERE path = ?1 AND id <=
			(SELECT max(o.id) FROM outbox o JOIN packets p ON p.id = o.packet WHERE p.message = ?2 AND o.path = ?1)`, p, seq)
		if err != nil {
			return err
		}
		t.then(func() { t.m.rested(pathKey(p)) })
	}
	t.changed(seq)
	t.poke(workSend | workSeal)
	return nil
}

// again makes new intents for a message, under its old ID.
func (t *tx) again(msg Message) error {
	who, err := t.find(msg.Contact)
	if err != nil {
		return err
	}
	amp, body, err := content.Encode(content.Text{Text: msg.Text})
	if err != nil {
		return err
	}
	lines, err := t.sendable(who, len(body))
	if err != nil {
		return err
	}
	// Not twice: a second Resend changes nothing while the first one waits.
	if err := t.exec("DELETE FROM intents WHERE message = ? AND kind = 'message'", msg.Seq); err != nil {
		return err
	}
	number, err := hex.DecodeString(msg.ID)
	if err != nil {
		return err
	}
	for _, l := range lines {
		if err := t.intend(l.id, msg.Seq, "message", number, amp, body, stamp(msg.Sent)); err != nil {
			return err
		}
	}
	t.changed(msg.Seq)
	return nil
}

// withdraw takes everything that a message still has to send out of the way.
func (t *tx) withdraw(seq int64) error {
	if err := t.exec("DELETE FROM intents WHERE message = ? AND kind = 'message'", seq); err != nil {
		return err
	}
	t.poke(workSend | workSeal)
	return t.exec("DELETE FROM packets WHERE message = ?", seq)
}

// Cancel ends the sending of a message that no relay has yet. A try of which
// the answer never came may have reached the peer all the same; a receipt then
// says so.
func (m *Messenger) Cancel(ctx context.Context, id string) (msg Message, err error) {
	defer func() { m.freeze(msg.Seq, false) }()
	for {
		var wait <-chan struct{}
		err = m.tx(ctx, "cancel", func(t *tx) error {
			if msg, err = t.ours(id); err != nil {
				return err
			}
			if msg.State == Failed || msg.State == Canceled {
				return fmt.Errorf("%w: the message is not being sent", ErrState)
			}
			if msg.State != Queued {
				return fmt.Errorf("%w: a relay has the message already", ErrState)
			}
			packets, err := t.ids("SELECT id FROM packets WHERE message = ?", msg.Seq)
			if err != nil {
				return err
			}
			// What is on its way right now decides: stop it, and look again.
			m.freeze(msg.Seq, true)
			if wait = m.stopErrand(packets); wait != nil {
				return nil
			}
			if err := t.withdraw(msg.Seq); err != nil {
				return err
			}
			t.changed(msg.Seq)
			if err := t.exec("UPDATE timeline SET state = ? WHERE seq = ?", Canceled, msg.Seq); err != nil {
				return err
			}
			msg, err = t.message(msg.Seq)
			return err
		})
		if err != nil || wait == nil {
			return msg, err
		}
		select {
		case <-ctx.Done():
			return msg, ctx.Err()
		case <-wait:
		}
	}
}

// freeze keeps a message from being handed over while it is being cancelled.
func (m *Messenger) freeze(seq int64, on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if on {
		m.frozen[seq] = true
		return
	}
	delete(m.frozen, seq)
}

// stopErrand interrupts the sending of one of the packets, if it is under way,
// and returns when it has ended.
func (m *Messenger) stopErrand(packets []int64) <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.busy {
		for _, p := range packets {
			if e.packet == p {
				e.cancel()
				return e.ended
			}
		}
	}
	return nil
}

// Queue lists what waits to be sent, in the order of each path.
func (m *Messenger) Queue(ctx context.Context) (all []QueueEntry, err error) {
	err = m.tx(ctx, "queue", func(t *tx) error {
		all = []QueueEntry{}
		err := t.each(`SELECT coalesce(hex(tl.id), ''), coalesce(c.name, ''), pa.relay, pa.id, p.id, o.tries, o.next, o.why
			FROM outbox o JOIN packets p ON p.id = o.packet JOIN paths pa ON pa.id = o.path
			JOIN lines l ON l.id = p.line JOIN devices d ON d.id = l.device LEFT JOIN contacts c ON c.id = d.contact
			LEFT JOIN timeline tl ON tl.seq = p.message ORDER BY o.path, o.id`, nil, func(scan func(...any) error) error {
			e := QueueEntry{State: "waiting"}
			var path, packet, next int64
			if err := scan(&e.Message, &e.Contact, &e.Relay, &path, &packet, &e.Tries, &next, &e.Why); err != nil {
				return err
			}
			e.NextTry = m.due(pathKey(path), instant(next))
			if m.sending(path, packet) {
				e.State = "sending"
			}
			all = append(all, e)
			return nil
		})
		if err != nil {
			return err
		}
		return t.each(`SELECT hex(tl.id), coalesce(c.name, ''), i.line, l.trouble, l.stp_type = ?,
			coalesce((SELECT relay FROM paths WHERE line = i.line AND dir = 'out' ORDER BY id LIMIT 1), '') FROM intents i JOIN timeline tl ON tl.seq = i.message
			JOIN lines l ON l.id = i.line JOIN devices d ON d.id = l.device LEFT JOIN contacts c ON c.id = d.contact
			WHERE i.kind = 'message' ORDER BY i.line, i.id`, []any{parley.OneTimePad.Type}, func(scan func(...any) error) error {
			var e QueueEntry
			var line int64
			var trouble string
			var pad bool
			if err := scan(&e.Message, &e.Contact, &line, &trouble, &pad, &e.Relay); err != nil {
				return err
			}
			if e.State, e.Why = m.whyBlocked(line); trouble != "" {
				e.State, e.Why = waitingForKeys, trouble
			}
			if pad && e.State == waitingForKeys {
				e.State = "waiting for the pad"
			}
			all = append(all, e)
			return nil
		})
	})
	for i := range all {
		all[i].Message = strings.ToLower(all[i].Message)
		if all[i].Why == "" || all[i].Why == othersFirst {
			all[i].Why = m.away(parley.Address(all[i].Relay), all[i].Why)
		}
		if all[i].NextTry.Equal(time.Time{}) || all[i].NextTry.Before(m.now()) {
			all[i].NextTry = time.Time{}
		}
	}
	return all, err
}

func (m *Messenger) sending(path, packet int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.busy[pathKey(path)]
	return e != nil && e.packet == packet
}

func (m *Messenger) whyBlocked(line int64) (state, why string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if why := m.blocked[line]; why != "" {
		return waitingForKeys, why
	}
	if why := m.settling[line]; why != "" {
		return "waiting", why
	}
	return "waiting", othersFirst
}

const (
	othersFirst    = "others go first"
	waitingForKeys = "waiting for keys"
)

// away returns why a relay cannot be reached, if it is known, or else what was
// known before.
func (m *Messenger) away(relay parley.Address, known string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if l := m.relays[relay]; l != nil && !l.connected && l.why != "" {
		return l.why
	}
	return known
}
