package messenger

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// Authors of timeline rows that are not a contact.
const (
	authorUs   = 0
	authorSelf = -1 // the messenger itself; what is below is a member of a group
)

const messageColumns = `t.seq, t.id, coalesce(c.name, ''), coalesce(nullif(b.name, ''), substr(b.member, 1, 8), ''), t.author, t.kind, t.text, t.sent, t.received, t.state, t.error, t.tries,
	coalesce((SELECT max(o.next) FROM outbox o JOIN packets p ON p.id = o.packet WHERE p.message = t.seq), 0)
	FROM timeline t JOIN conversations v ON v.id = t.conversation LEFT JOIN contacts c ON c.id = v.contact
	LEFT JOIN members b ON b.id = -1 - t.author`

func scanMessage(scan func(...any) error) (Message, error) {
	var m Message
	var id []byte
	var author, sent, received, next int64
	err := scan(&m.Seq, &id, &m.Contact, &m.From, &author, &m.Kind, &m.Text, &sent, &received, &m.State, &m.Error, &m.Tries, &next)
	m.ID = hex.EncodeToString(id)
	m.Direction = "in"
	if author == authorUs {
		m.Direction = "out"
	}
	m.Sent, m.Received, m.NextTry = instant(sent), instant(received), instant(next)
	return m, err
}

func (t *tx) message(seq int64) (Message, error) {
	return scanMessage(t.row("SELECT "+messageColumns+" WHERE t.seq = ?", seq))
}

func (t *tx) messageList(tail string, args ...any) ([]Message, error) {
	all := []Message{}
	err := t.each("SELECT "+messageColumns+" "+tail, args, func(scan func(...any) error) error {
		m, err := scanMessage(scan)
		all = append(all, m)
		return err
	})
	return all, err
}

// rank orders the states of what we send; a message never goes back.
func rank(s State) int {
	switch s {
	case Queued:
		return 1
	case AtRelay:
		return 2
	case AtDevice:
		return 3
	case Read:
		return 4
	}
	return 0 // failed and cancelled: only proof of arrival is better
}

// advance moves a message of ours to a state that is further on.
func (t *tx) advance(seq int64, to State) error {
	var is State
	if err := t.row("SELECT state FROM timeline WHERE seq = ?", seq)(&is); err != nil {
		return err
	}
	if rank(to) <= rank(is) || rank(is) == 0 && rank(to) < rank(AtDevice) {
		return nil
	}
	t.changed(seq)
	return t.exec("UPDATE timeline SET state = ?, error = '' WHERE seq = ?", to, seq)
}

// fail ends a message that is still queued and has nothing left that could
// bring it on.
func (t *tx) fail(seq int64, reason string) error {
	var left int
	err := t.row("SELECT (SELECT count(*) FROM intents WHERE message = ?1 AND kind = 'message') + (SELECT count(*) FROM packets WHERE message = ?1)", seq)(&left)
	if err != nil || left > 0 {
		return err
	}
	n, err := t.count("UPDATE timeline SET state = ?, error = ? WHERE seq = ? AND state = ?", Failed, reason, seq, Queued)
	if n > 0 {
		t.changed(seq)
	}
	return err
}

// notice puts the messenger's own word into a contact's timeline.
func (t *tx) notice(contact int64, text string) error {
	var id [16]byte
	rand.Read(id[:])
	return t.noticeAs(contact, authorSelf, id[:], text)
}

// noticeOnce puts a notice into the timeline once for each line and reason.
func (t *tx) noticeOnce(l line, reason, text string) error {
	id := sha256.Sum256(fmt.Appendf(nil, "%s on line %d", reason, l.id))
	return t.noticeAs(l.contact, authorSelf, id[:16], text)
}

func (t *tx) noticeAs(contact, author int64, id []byte, text string) error {
	conv, err := t.conversation(contact)
	if err != nil {
		return err
	}
	hash := sha256.Sum256([]byte(text))
	now := t.stampNow()
	r, err := t.ExecContext(t.ctx, `INSERT OR IGNORE INTO timeline (conversation, author, id, kind, text, hash, sent, received, state)
		VALUES (?, ?, ?, 'notice', ?, ?, ?, ?, ?)`, conv, author, id, text, hash[:], now, now, Shown)
	if err != nil {
		return err
	}
	if n, err := r.RowsAffected(); err != nil || n == 0 {
		return err
	}
	seq, err := r.LastInsertId()
	t.changed(seq)
	return err
}

// lookup finds a message by its ID or a unique prefix of at least 4 digits.
func (t *tx) lookup(id string) (Message, error) {
	id = strings.ToLower(strings.TrimSpace(id))
	if len(id) < 4 || len(id) > 32 || strings.Trim(id, "0123456789abcdef") != "" {
		return Message{}, fmt.Errorf("%w: %q is not an ID: 4 to 32 hex digits", ErrNoMessage, id)
	}
	low, _ := hex.DecodeString(id + strings.Repeat("0", 32-len(id)))
	high, _ := hex.DecodeString(id + strings.Repeat("f", 32-len(id)))
	all, err := t.messageList("WHERE t.id >= ? AND t.id <= ? ORDER BY t.author <> 0, t.seq LIMIT 2", low, high)
	switch {
	case err != nil:
		return Message{}, err
	case len(all) == 0:
		return Message{}, fmt.Errorf("%w: %s", ErrNoMessage, id)
	case len(all) > 1 && all[0].ID != all[1].ID:
		return Message{}, fmt.Errorf("%w: %s is the beginning of several IDs: give more digits", ErrNoMessage, id)
	case len(all) > 1 && all[0].Direction == "out" && all[1].Direction == "in":
		return all[0], nil // others may write under our ID, and not hide ours
	case len(all) > 1:
		return Message{}, fmt.Errorf("%w: %s is in several conversations", ErrNoMessage, id)
	}
	return all[0], nil
}

// Message returns one message.
func (m *Messenger) Message(ctx context.Context, id string) (msg Message, err error) {
	err = m.tx(ctx, "message", func(t *tx) (err error) {
		msg, err = t.lookup(id)
		return err
	})
	return msg, err
}

// History returns the last limit messages, oldest first (0: all).
func (m *Messenger) History(ctx context.Context, contact string, limit int) (all []Message, err error) {
	if limit <= 0 {
		limit = -1
	}
	err = m.tx(ctx, "history", func(t *tx) error {
		who, err := t.find(contact)
		if err != nil {
			return err
		}
		all, err = t.messageList(`WHERE t.seq IN (SELECT seq FROM timeline JOIN conversations ON conversations.id = conversation
			WHERE contact = ? ORDER BY seq DESC LIMIT ?) ORDER BY t.seq`, who, limit)
		return err
	})
	return all, err
}
