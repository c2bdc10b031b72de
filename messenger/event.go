package messenger

import (
	"crypto/sha256"
	"fmt"

	"parley"
	"parley/content"
)

// event takes in what a message of the peer's means. An error is trouble with
// the disk.
func (t *tx) event(l line, c *parley.Conversation, msg *parley.Message, ev content.Event) error {
	switch e := ev.(type) {
	case content.Text:
		return t.text(l, msg, e)
	case content.Receipt:
		return t.receipted(l, e)
	case content.Hello:
		return t.hello(l, c, e)
	case content.Presence:
		return nil // true for a moment only
	}
	return t.notShown(l, msg)
}

// text puts a message into the timeline, once, and says so to its sender. A
// message that comes again was sent again, so its receipt is repeated too.
func (t *tx) text(l line, msg *parley.Message, e content.Text) error {
	conv, err := t.conversation(l.contact)
	if err != nil {
		return err
	}
	hash := sha256.Sum256(msg.Body)
	now := t.stampNow()
	r, err := t.ExecContext(t.ctx, `INSERT OR IGNORE INTO timeline (conversation, author, id, grp, kind, text, hash, sent, received, state)
		VALUES (?, ?, ?, ?, 'text', ?, ?, ?, ?, ?)`, conv, l.contact, msg.ID[:], msg.Group, e.Text, hash[:], stamp(msg.Sent), now, Received)
	if err != nil {
		return err
	}
	n, err := r.RowsAffected()
	if err != nil {
		return err
	}
	var seq int64
	if n > 0 {
		if seq, err = r.LastInsertId(); err != nil {
			return err
		}
		if err := t.exec("UPDATE contacts SET last = ? WHERE id = ?", now, l.contact); err != nil {
			return err
		}
		t.changed(seq)
		return t.acknowledge(l.contact, seq, "delivered")
	}
	t.then(t.m.countDropped)
	var state State
	err = t.row("SELECT seq, state FROM timeline WHERE conversation = ? AND author = ? AND id = ? AND kind = 'text' AND hash = ?",
		conv, l.contact, msg.ID[:], hash[:])(&seq, &state)
	if isNone(err) {
		return nil // the same ID with other words: the first ones stand
	}
	if err != nil {
		return err
	}
	if state == Shown {
		if err := t.acknowledge(l.contact, seq, "read"); err != nil {
			return err
		}
	}
	return t.acknowledge(l.contact, seq, "delivered")
}

// notShown leaves a trace of what this version cannot show.
func (t *tx) notShown(l line, msg *parley.Message) error {
	return t.noticeAs(l.contact, l.contact, msg.ID[:],
		fmt.Sprintf("A message came that this version cannot show (content type %d version %d).", msg.AMP.Type, msg.AMP.Version))
}
