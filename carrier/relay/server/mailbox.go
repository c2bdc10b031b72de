package server

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"

	"github.com/ncruces/go-sqlite3"

	"parley/carrier/relay"
)

// What a request can be refused for. The texts go to clients.
var (
	errToken    = errors.New("this mailbox belongs to somebody: the token is missing or wrong")
	errUsed     = errors.New("this mailbox is in use and cannot be claimed; its user may ask the relay's operator, or take another name")
	errUnowned  = errors.New("this mailbox belongs to nobody; its messages stay until they are old")
	errBoxFull  = errors.New("the mailbox is full, for now")
	errFull     = errors.New("the relay is full, for now")
	errConflict = errors.New("this ID was used for other contents")
)

// A mailbox is a row of its table.
type mailbox struct {
	id              int64
	receive, send   []byte // nil: none
	permit          bool
	last            int64
	messages, bytes int64
	used            int64
}

func (b *mailbox) claimed() bool { return b != nil && b.receive != nil }

// reserved: a sender with a token came before the owner, who will claim it.
func (b *mailbox) reserved() bool { return b != nil && b.receive == nil && b.send != nil }

// mailbox returns a mailbox, or nil.
func (c *conn) mailbox(uid string) (*mailbox, error) {
	var b *mailbox
	err := c.Each("SELECT id, receive, send, permit, last_ref, messages, bytes, used FROM mailbox WHERE uid = ?", func(s *sqlite3.Stmt) error {
		b = &mailbox{
			id: s.ColumnInt64(0), receive: hashColumn(s, 1), send: hashColumn(s, 2), permit: s.ColumnInt64(3) != 0,
			last: s.ColumnInt64(4), messages: s.ColumnInt64(5), bytes: s.ColumnInt64(6), used: s.ColumnInt64(7),
		}
		return nil
	}, uid)
	return b, err
}

// hashColumn reads a hash or NULL; a blob of any other length lets nobody in.
func hashColumn(s *sqlite3.Stmt, i int) []byte {
	if s.ColumnType(i) == sqlite3.NULL {
		return nil
	}
	return append([]byte{}, s.ColumnRawBlob(i)...)
}

// mayReceive reports whether a token opens the mailbox for reading.
func (b *mailbox) mayReceive(token string) error {
	if b.reserved() || b.claimed() && !matches(b.receive, token) {
		return errToken
	}
	return nil
}

func (b *mailbox) maySend(token string) error {
	if b != nil && b.send != nil && !matches(b.send, token) {
		return errToken
	}
	return nil
}

// matches compares in constant time; what is compared are hashes in any case.
func matches(hash []byte, token string) bool {
	h := relay.HashToken(token)
	return token != "" && subtle.ConstantTimeCompare(hash, h[:]) == 1
}

// make makes a mailbox if there is none yet.
func (s *Server) make(c *conn, uid string, now int64) (*mailbox, error) {
	b, err := c.mailbox(uid)
	if b != nil || err != nil {
		return b, err
	}
	n, err := c.Int64("SELECT mailboxes FROM total")
	if err != nil {
		return nil, err
	}
	if n >= int64(s.o.Limits.Mailboxes) {
		return nil, errFull
	}
	if err := c.Exec("INSERT INTO mailbox (uid, used) VALUES (?, ?)", uid, now); err != nil {
		return nil, err
	}
	return c.mailbox(uid)
}

// put stores a message and returns its number. With an ID, one that is there already is
// not stored again.
func (s *Server) put(c *conn, m relay.Message, token string, id *relay.ID) (ref int64, repeated bool, err error) {
	now := s.o.Now().UnixMilli()
	b, err := c.mailbox(m.Recipient)
	if b == nil && err == nil {
		if b, err = s.make(c, m.Recipient, now); err == nil && token != "" {
			h := relay.HashToken(token)
			b.send = h[:]
			err = c.Exec("UPDATE mailbox SET send = ? WHERE id = ?", b.send, b.id)
		}
	}
	if err != nil {
		return 0, false, err
	}
	if err := b.maySend(token); err != nil {
		return 0, false, err
	}
	var key, digest [32]byte
	if id != nil {
		key = sha256.Sum256(append([]byte(m.Sender+"\x00"), id[:]...))
		digest = sha256.Sum256([]byte(m.Contents))
		var known []byte
		err := c.Each("SELECT digest, ref FROM sent WHERE mailbox = ? AND id = ?", func(s *sqlite3.Stmt) error {
			known, ref = append([]byte{}, s.ColumnRawBlob(0)...), s.ColumnInt64(1)
			return nil
		}, b.id, key[:])
		switch {
		case err != nil:
			return 0, false, err
		case known != nil && string(known) != string(digest[:]):
			return 0, false, errConflict
		case known != nil:
			return ref, true, nil
		}
	}
	size := int64(overhead + len(m.Sender) + len(m.Contents))
	if b.messages >= int64(s.o.Limits.MailboxMessages) || b.bytes+size > s.o.Limits.MailboxBytes {
		return 0, false, errBoxFull
	}
	total, err := c.Int64("SELECT bytes FROM total")
	if err != nil {
		return 0, false, err
	}
	if total+size > s.o.Limits.Bytes {
		return 0, false, errFull
	}
	if ref, err = s.insert(c, b.id, m.Sender, m.Contents, now); err != nil {
		return 0, false, err
	}
	if id != nil {
		err = c.Exec("INSERT INTO sent (mailbox, id, digest, ref, created) VALUES (?, ?, ?, ?, ?)", b.id, key[:], digest[:], ref, now)
	}
	return ref, false, err
}

func (s *Server) insert(c *conn, mailbox int64, sender, contents string, now int64) (int64, error) {
	if err := c.Exec("INSERT INTO message (mailbox, sender, contents, created) VALUES (?, ?, ?, ?)", mailbox, sender, contents, now); err != nil {
		return 0, err
	}
	return c.LastInsertRowID(), nil
}

// claim gives a mailbox to who has the token. One that was ever used, by sending or by
// reading, can be claimed only with the operator's leave: its user may be one of the
// original's, who knows no tokens and would be locked out. Where senders with a token came
// first, who knows it may claim. The same claim again is fine.
func (s *Server) claim(c *conn, r relay.ClaimRequest) error {
	now := s.o.Now().UnixMilli()
	b, err := c.mailbox(r.Recipient)
	if err != nil {
		return err
	}
	var send any
	if r.Send != nil {
		send = r.Send[:]
	}
	if b != nil {
		sameSend := (b.send != nil) == (r.Send != nil) && (b.send == nil || subtle.ConstantTimeCompare(b.send, r.Send[:]) == 1)
		switch {
		case b.claimed() && sameSend && subtle.ConstantTimeCompare(b.receive, r.Receive[:]) == 1:
			return nil
		case b.claimed() || !b.permit && !(b.reserved() && sameSend):
			return errUsed
		}
	} else if b, err = s.make(c, r.Recipient, now); err != nil {
		return err
	}
	return c.Exec("UPDATE mailbox SET receive = ?, send = ?, permit = 0, used = ? WHERE id = ?", r.Receive[:], send, now, b.id)
}

// finish deletes messages that the owner has.
func (c *conn) finish(r relay.DoneRequest, token string) (deleted int, err error) {
	b, err := c.mailbox(r.Recipient)
	if err != nil {
		return 0, err
	}
	if !b.claimed() {
		return 0, errUnowned
	}
	if err := b.mayReceive(token); err != nil {
		return 0, err
	}
	before, err := c.Int64("SELECT messages FROM mailbox WHERE id = ?", b.id)
	if err != nil {
		return 0, err
	}
	for i, ref := range r.Refs {
		same := true
		if r.Sums != nil {
			err := c.Each("SELECT contents FROM message WHERE ref = ? AND mailbox = ?", func(s *sqlite3.Stmt) error {
				same = relay.SumOf(s.ColumnText(0)) == r.Sums[i]
				return nil
			}, ref, b.id)
			if err != nil {
				return 0, err
			}
		}
		if !same {
			continue
		}
		if err := c.Exec("DELETE FROM message WHERE ref = ? AND mailbox = ?", ref, b.id); err != nil {
			return 0, err
		}
	}
	after, err := c.Int64("SELECT messages FROM mailbox WHERE id = ?", b.id)
	return int(before - after), err
}

// messages reads what a question asks for, within the limits of one answer.
func (s *Server) messages(c *conn, q relay.Question, token string) (a relay.Messages, b *mailbox, err error) {
	a = relay.Messages{Recipient: q.Recipient, Messages: []relay.Message{}, Complete: true}
	if b, err = c.mailbox(q.Recipient); err != nil || b == nil {
		return a, b, err
	}
	if err := b.mayReceive(token); err != nil {
		return a, b, err
	}
	most, size := s.o.Limits.AnswerMessages, 0
	if q.Most >= 0 {
		most = min(most, q.Most)
	}
	sql, args := "SELECT ref, sender, contents FROM message WHERE mailbox = ? AND ref >= ? ORDER BY ref LIMIT ?", []any{b.id, q.Start, int64(most) + 1}
	if q.From != "" {
		sql, args = "SELECT ref, sender, contents FROM message WHERE mailbox = ? AND ref >= ? AND sender = ? ORDER BY ref LIMIT ?", []any{b.id, q.Start, q.From, int64(most) + 1}
	}
	err = c.Each(sql, func(st *sqlite3.Stmt) error {
		n := len(st.ColumnRawText(2))
		if !a.Complete || len(a.Messages) == most || len(a.Messages) > 0 && size+n > s.o.Limits.AnswerBytes {
			a.Complete = false
			return nil
		}
		size += n
		a.Messages = append(a.Messages, relay.Message{Ref: st.ColumnInt64(0), Recipient: q.Recipient, Sender: st.ColumnText(1), Contents: st.ColumnText(2)})
		return nil
	}, args...)
	a.Count = len(a.Messages)
	return a, b, err
}
