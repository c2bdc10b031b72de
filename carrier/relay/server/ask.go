package server

import (
	"net/http"
	"time"

	"parley/carrier/relay"
)

func (s *Server) getCheck(w http.ResponseWriter, r *http.Request) {
	s.answer(w, relay.Check{Status: "ok"})
}

// getMessages answers GET /getmessages. Parameters come from the query alone, whatever
// the body says.
func (s *Server) getMessages(w http.ResponseWriter, r *http.Request) {
	q, err := relay.ParseQuestion(r.URL.RawQuery)
	if err != nil {
		s.refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	s.counts.asked.Add(1)
	bell, leave := (chan struct{})(nil), func() {}
	if q.Wait > 0 {
		bell, leave = s.await(q.Recipient)
	}
	defer func() { leave() }()
	key := token(r)
	var over <-chan time.Time
	for {
		var a relay.Messages
		var b *mailbox
		err := s.store.read(func(c *conn) (err error) { a, b, err = s.messages(c, q, key); return err })
		if err == nil {
			err = s.use(r, q.Recipient, b)
		}
		if err != nil {
			s.fail(w, err)
			return
		}
		if a.Count > 0 || bell == nil || !a.Complete {
			if s.o.Mischief && q.Waits && a.Count > 0 {
				s.told.Store(q.Recipient, a.Messages[a.Count-1].Ref)
			}
			// The time for writing ran from the question on.
			http.NewResponseController(w).SetWriteDeadline(time.Now().Add(s.o.Limits.Write))
			s.answer(w, a)
			return
		}
		if over == nil {
			timer := time.NewTimer(q.Wait)
			defer timer.Stop()
			over = timer.C
		}
		select {
		case <-bell:
			leave()
			bell, leave = s.waiting.join(q.Recipient)
		case <-over:
			leave()
			bell, leave = nil, func() {}
		case <-s.ctx.Done():
			leave()
			bell, leave = nil, func() {}
		case <-r.Context().Done():
			return
		}
	}
}

// await begins to wait, before the first look, so that nothing comes between. When too
// many wait, it does not.
func (s *Server) await(uid string) (chan struct{}, func()) {
	bell, leave := s.waiting.join(uid)
	if bell == nil {
		s.counts.limited.Add(1)
	}
	return bell, leave
}

// day is how exactly it is kept when somebody looked into a mailbox.
const day = 24 * time.Hour

// use notes that a mailbox is in use, so that nobody claims the name of one who is only
// reading yet, and the sweep does not take it. Who makes mailboxes by looking is
// bounded like who makes them by sending; the look itself is answered.
func (s *Server) use(r *http.Request, uid string, b *mailbox) error {
	now := s.o.Now()
	if b != nil && now.Sub(time.UnixMilli(b.used)).Abs() < day {
		return nil
	}
	if b == nil {
		if _, ok := s.limits.mailboxes.Allow(s.clientOf(r), now); !ok {
			s.counts.limited.Add(1)
			return nil
		}
	}
	err := s.store.write(func(c *conn) error {
		if _, err := s.make(c, uid, now.UnixMilli()); err != nil {
			return err
		}
		return c.Exec("UPDATE mailbox SET used = ? WHERE uid = ?", now.UnixMilli(), uid)
	})
	if err != nil && s.ctx.Err() == nil {
		s.counts.unnoted.Add(1) // a full relay still answers
	}
	return nil
}

// getNextRef answers GET /getnextref.
func (s *Server) getNextRef(w http.ResponseWriter, r *http.Request) {
	uid, err := relay.ParseNextRef(r.URL.RawQuery)
	if err != nil {
		s.refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	s.counts.asked.Add(1)
	var b *mailbox
	err = s.store.read(func(c *conn) (err error) {
		if b, err = c.mailbox(uid); err == nil && b != nil {
			err = b.mayReceive(token(r))
		}
		return err
	})
	if err == nil {
		err = s.use(r, uid, b)
	}
	if err != nil {
		s.fail(w, err)
		return
	}
	a := relay.NextRef{}
	if b != nil {
		a.Next = b.last + 1
	}
	s.answer(w, a)
}

// sweep removes what is too old. What it removes is overwritten in the files.
func (s *Server) sweep() error {
	now := s.o.Now()
	before := func(age time.Duration) int64 { return now.Add(-age).UnixMilli() }
	return s.store.write(func(c *conn) error {
		for _, x := range []struct {
			sql string
			arg int64
		}{
			{"DELETE FROM message WHERE created < ?", before(s.o.Limits.MessageTTL)},
			{"DELETE FROM sent WHERE created < ?", before(s.o.Limits.MessageTTL)},
			// An owner who stays away for so long loses the name; a mailbox of nobody's stays
			// while something is in it.
			{"DELETE FROM mailbox WHERE used < ? AND (receive IS NOT NULL OR messages = 0)", before(s.o.Limits.MailboxTTL)},
			{"DELETE FROM sent WHERE (mailbox, id) IN (SELECT mailbox, id FROM sent ORDER BY created DESC LIMIT -1 OFFSET ?)", mostSent},
		} {
			if err := c.Exec(x.sql, x.arg); err != nil {
				return err
			}
		}
		return nil
	})
}

// mostSent is how many sendings are remembered as done, at most.
const mostSent = 1_000_000
