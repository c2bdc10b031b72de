package messenger

import (
	"crypto/sha256"
	"fmt"
	"unicode/utf8"

	"parley"
	"parley/content"
)

// event takes in what a message of the peer's means. An error is trouble with
// the disk.
func (t *tx) event(l line, c *parley.Conversation, msg *parley.Message, ev content.Event) error {
	if _, text := ev.(content.Text); l.shared && !text {
		// One of many cannot speak for all: it has no mailboxes to tell and nothing
		// to receipt.
		return t.notShown(l, msg)
	}
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
	author, err := t.author(l, msg.From)
	if err != nil {
		return err
	}
	hash := sha256.Sum256(msg.Body)
	now := t.stampNow()
	r, err := t.ExecContext(t.ctx, `INSERT OR IGNORE INTO timeline (conversation, author, id, grp, kind, text, hash, sent, received, state)
		VALUES (?, ?, ?, ?, 'text', ?, ?, ?, ?, ?)`, conv, author, msg.ID[:], msg.Group, e.Text, hash[:], t.sentAt(msg), now, Received)
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
		conv, author, msg.ID[:], hash[:])(&seq, &state)
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
	return t.noticeFrom(l, msg, fmt.Sprintf("A message came that this version cannot show (content type %d version %d).", msg.AMP.Type, msg.AMP.Version))
}

// noticeFrom puts what became of a message in its place, as from its sender.
func (t *tx) noticeFrom(l line, msg *parley.Message, text string) error {
	author, err := t.author(l, msg.From)
	if err != nil {
		return err
	}
	return t.noticeAs(l.contact, author, msg.ID[:], text)
}

// sentAt is the sender's own time, if it tells one that a calendar has.
func (t *tx) sentAt(msg *parley.Message) int64 {
	if y := msg.Sent.Year(); msg.Sent.IsZero() || y < 1970 || y > 9999 {
		return t.stampNow()
	}
	return stamp(msg.Sent)
}

// isText reports whether bytes can be shown as what somebody wrote.
func isText(b []byte) bool { return len(b) > 0 && len(b) <= MaxText && utf8.Valid(b) }

// mostPreview is how many bytes of what is no text are shown.
const mostPreview = 32

// rawBytes shows that a device has sent what is no text.
func (t *tx) rawBytes(l line, msg *parley.Message) error {
	n := len(msg.Body)
	switch {
	case n == 0:
		return t.noticeFrom(l, msg, "An empty message came.")
	case utf8.Valid(msg.Body):
		return t.noticeFrom(l, msg, fmt.Sprintf("A text of %d bytes came, which is too long to be shown (at most %d).", n, MaxText))
	}
	more := ""
	if n > mostPreview {
		more = " …"
	}
	return t.noticeFrom(l, msg, fmt.Sprintf("A message of %d bytes came that is no text: %x%s", n, msg.Body[:min(n, mostPreview)], more))
}
