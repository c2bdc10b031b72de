package server

import (
	"crypto/rand"
	"errors"
	"io"
	"math/big"
	"net/http"

	"github.com/ncruces/go-sqlite3"

	"parley/carrier/relay"
)

// getHome answers GET / for people.
func (s *Server) getHome(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	io.WriteString(w, "A relay of One Time Chat. It keeps packets that it cannot read.\n\n"+
		"GET /check\nPOST /send  recipient_uid, sender_uid, contents\nGET /getmessages?recipient_uid=U&start_ref=N[&maxcount=N]\nGET /getnextref?recipient_uid=U\n")
}

const mischiefPage = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Mischief</title></head><body>
<h1>Mischief</h1>
<p>What a relay that cannot be trusted may do with the newest messages for a user. A client must notice.</p>
<form action="/mischief" method="post">
<label>User <input name="userid" required></label>
<button name="kind" value="drop">Drop the last</button>
<button name="kind" value="corrupt">Corrupt the last</button>
<button name="kind" value="replay">Deliver the last again</button>
<button name="kind" value="reorder">Swap the last two</button>
</form></body></html>
`

func (s *Server) getMischief(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	io.WriteString(w, mischiefPage)
}

var errKind = errors.New("mischief: kind is none of drop, corrupt, replay and reorder")

// postMischief answers POST /mischief.
func (s *Server) postMischief(w http.ResponseWriter, r *http.Request) {
	b, ok := s.body(w, r, formBody, small)
	if !ok {
		return
	}
	kind, uid, err := relay.ParseMischief(string(b))
	told, _ := s.told.Load(uid)
	known, _ := told.(int64)
	drop := func(c *conn, mailbox int64) error { return drop(c, mailbox, known) }
	do := map[string]func(*conn, int64) error{"drop": drop, "corrupt": corrupt, "replay": s.replay, "reorder": reorder}[kind]
	if err == nil && do == nil {
		err = errKind
	}
	if err != nil {
		s.refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	err = s.store.write(func(c *conn) error {
		b, err := c.mailbox(uid)
		if b == nil || err != nil {
			return err
		}
		return do(c, b.id)
	})
	if err != nil {
		s.fail(w, err)
		return
	}
	s.waiting.ring(uid)
	s.store.CheckpointSoon()
	http.Redirect(w, r, relay.PathMischief, http.StatusFound)
}

// last reads the newest messages of a mailbox, the newest first.
func last(c *conn, mailbox, n int64) (all []relay.Message, err error) {
	err = c.Each("SELECT ref, sender, contents FROM message WHERE mailbox = ? ORDER BY ref DESC LIMIT ?", func(s *sqlite3.Stmt) error {
		all = append(all, relay.Message{Ref: s.ColumnInt64(0), Sender: s.ColumnText(1), Contents: s.ColumnText(2)})
		return nil
	}, mailbox, n)
	return all, err
}

// drop deletes the newest message. If no message has come after it, the next has its
// number, as the original's has: the number alone must not show what was done. Numbers up
// to known are not given again: a client of ours that has one asks from the next on.
func drop(c *conn, mailbox, known int64) error {
	all, err := last(c, mailbox, 1)
	if len(all) == 0 || err != nil {
		return err
	}
	ref := all[0].Ref
	changes := []string{"DELETE FROM message WHERE ref = ?", "DELETE FROM sent WHERE ref = ?"}
	if ref > known {
		changes = append(changes, "UPDATE sqlite_sequence SET seq = seq - 1 WHERE name = 'message' AND seq = ?")
	}
	for _, sql := range changes {
		if err := c.Exec(sql, ref); err != nil {
			return err
		}
	}
	return c.Exec("UPDATE mailbox SET last_ref = coalesce((SELECT max(ref) FROM message WHERE mailbox = ?1), -1) WHERE id = ?1", mailbox)
}

// corrupt puts letters in the place of a few characters of the newest message.
func corrupt(c *conn, mailbox int64) error {
	all, err := last(c, mailbox, 1)
	if len(all) == 0 || err != nil {
		return err
	}
	text := []rune(all[0].Contents)
	for range min(3, len(text)) {
		i, letter := random(len(text)), rune('a'+random(26))
		if text[i] == '=' {
			continue // without its padding it would be no base64, and that is too easy to notice
		}
		if text[i] == letter {
			letter = 'A'
		}
		text[i] = letter
	}
	return c.Exec("UPDATE message SET contents = ? WHERE ref = ?", string(text), all[0].Ref)
}

func random(n int) int {
	i, err := rand.Int(rand.Reader, big.NewInt(int64(n)))
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	return int(i.Int64())
}

// replay delivers the newest message again.
func (s *Server) replay(c *conn, mailbox int64) error {
	all, err := last(c, mailbox, 1)
	if len(all) == 0 || err != nil {
		return err
	}
	_, err = s.insert(c, mailbox, all[0].Sender, all[0].Contents, s.o.Now().UnixMilli())
	return err
}

// reorder swaps the newest two messages.
func reorder(c *conn, mailbox int64) error {
	all, err := last(c, mailbox, 2)
	if len(all) < 2 || err != nil {
		return err
	}
	for i, m := range all {
		if err := c.Exec("UPDATE message SET sender = ?, contents = ? WHERE ref = ?", m.Sender, m.Contents, all[1-i].Ref); err != nil {
			return err
		}
	}
	return nil
}
