package messenger

import (
	"time"

	"parley/content"
)

// retireAfter is how long a replaced line still receives what was sent before
// its peer knew of the new one.
const retireAfter = 7 * 24 * time.Hour

// Bounds on what is remembered only to recognise repetitions and to join pieces.
const (
	keepSeen    = 60 * 24 * time.Hour
	keepPieces  = 14 * 24 * time.Hour
	keepAnswers = 24 * time.Hour
)

// replace lets a line that has just connected take over from those its device
// had before. The key has changed then, which is said loudly: no verification
// carries over. What no relay has yet moves to the new line; what was sealed for
// the old one is sealed anew under the same ID.
func (t *tx) replace(l line) error {
	old, err := t.ids("SELECT id FROM lines WHERE device = ? AND id < ? AND state <> 'retired' ORDER BY id", l.device, l.id)
	if err != nil {
		return err
	}
	changed := false
	for _, id := range old {
		o, err := t.line(id)
		if err != nil {
			return err
		}
		changed = changed || o.state == connected
		if err := t.move(o, l); err != nil {
			return err
		}
		if o.state == connected {
			err = t.exec("UPDATE lines SET state = 'retired', retired = ? WHERE id = ?", t.stampNow(), id)
		} else {
			err = t.dropLine(id) // a pairing that never came about
		}
		if err != nil {
			return err
		}
	}
	if !changed {
		return nil
	}
	k, err := t.trustOf(l.id)
	if err != nil {
		return err
	}
	if err := t.savePin(l.id, k.number, false, true); err != nil {
		return err
	}
	t.contactChanged(l.contact)
	return t.notice(l.contact, "The key of this contact has changed: it was paired anew. Compare safety numbers before you write anything that matters.")
}

// unconfirmed is how long ago a message may have been sent that a new line sends
// once more because no receipt came for it: longer than relays keep messages.
const unconfirmed = 30 * 24 * time.Hour

// move gives to the new line, in order, what the old line has not sent, and what
// a relay has and the peer has not confirmed: the peer may have lost the keys
// for it, which can be why the contact was paired anew. The IDs stay, so the peer
// shows nothing twice. A bare line has no receipts and no IDs that would tell.
func (t *tx) move(from, to line) error {
	messages, err := t.ids(`SELECT message FROM packets WHERE line = ?1 AND relayed = 0 AND kind = 'message' AND message IS NOT NULL
		UNION SELECT seq FROM timeline WHERE NOT ?2 AND author = 0 AND kind = 'text' AND state = 'relay' AND sent > ?3
			AND conversation IN (SELECT id FROM conversations WHERE contact = ?4)
			AND NOT EXISTS (SELECT 1 FROM intents WHERE message = seq)
		ORDER BY 1`, from.id, from.bare || to.bare, stamp(t.now().Add(-unconfirmed)), to.contact)
	if err != nil {
		return err
	}
	for _, seq := range messages {
		if err := t.intendAgain(to.id, seq); err != nil {
			return err
		}
	}
	if err := t.exec("DELETE FROM packets WHERE line = ?", from.id); err != nil {
		return err
	}
	// New numbers, so that the new line's own hello stays the first.
	err = t.exec(`INSERT INTO intents (line, message, kind, number, amp_type, amp_version, body, sent)
		SELECT ?, message, kind, number, amp_type, amp_version, body, sent FROM intents WHERE line = ? AND kind <> 'hello' ORDER BY id`, to.id, from.id)
	if err != nil {
		return err
	}
	t.poke(workSeal | workSend)
	return t.exec("DELETE FROM intents WHERE line = ?", from.id)
}

// intendAgain makes an intent of a message of ours that had one before, under its ID.
func (t *tx) intendAgain(line, seq int64) error {
	msg, err := t.message(seq)
	if err != nil {
		return err
	}
	var number []byte
	if err := t.row("SELECT id FROM timeline WHERE seq = ?", seq)(&number); err != nil {
		return err
	}
	amp, body, err := content.Encode(content.Text{Text: msg.Text})
	if err != nil {
		return err
	}
	return t.intend(line, seq, "message", number, amp, body, stamp(msg.Sent))
}

// expire forgets what is only kept for a while.
func (t *tx) expire() error {
	before := func(d time.Duration) int64 { return stamp(t.now().Add(-d)) }
	old, err := t.ids("SELECT id FROM lines WHERE state = 'retired' AND retired < ?", before(retireAfter))
	if err != nil {
		return err
	}
	for _, id := range old {
		if err := t.dropLine(id); err != nil {
			return err
		}
	}
	if err := t.exec("DELETE FROM seen WHERE came < ?", before(keepSeen)); err != nil {
		return err
	}
	if err := t.exec("DELETE FROM answers WHERE came < ?", before(keepAnswers)); err != nil {
		return err
	}
	return t.exec("DELETE FROM fragments WHERE came < ?", before(keepPieces))
}
