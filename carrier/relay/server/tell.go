package server

import (
	"net/http"

	"parley/carrier/relay"
)

// postSend answers POST /send, the original's.
func (s *Server) postSend(w http.ResponseWriter, r *http.Request) {
	// A byte of contents may take three in a form.
	b, ok := s.body(w, r, formBody, 3*int64(s.o.Limits.Contents)+small)
	if !ok {
		return
	}
	m, err := relay.ParseSend(string(b))
	if err != nil {
		s.refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	ref, _, ok := s.take(w, r, m, nil)
	if ok {
		s.answer(w, relay.Sent{EchoTail: relay.EchoTail(m.Contents), Received: true, Ref: ref})
	}
}

// postV2Send answers POST /v2/send, which may be repeated.
func (s *Server) postV2Send(w http.ResponseWriter, r *http.Request) {
	var q relay.SendRequest
	if !s.object(w, r, int64(s.o.Limits.Contents)+small, &q) {
		return
	}
	m := relay.Message{Recipient: q.Recipient, Sender: q.Sender, Contents: q.Contents}
	ref, repeated, ok := s.take(w, r, m, &q.ID)
	if ok {
		s.answer(w, relay.SendReply{Received: true, Ref: ref, Repeated: repeated})
	}
}

// take stores a message; when it returns true, the message is on disk.
func (s *Server) take(w http.ResponseWriter, r *http.Request, m relay.Message, id *relay.ID) (ref int64, repeated, ok bool) {
	if len(m.Contents) > s.o.Limits.Contents {
		s.refuse(w, http.StatusRequestEntityTooLarge, "the contents are too long")
		return 0, false, false
	}
	if !s.mayMake(w, r, m.Recipient) {
		return 0, false, false
	}
	err := s.store.write(func(c *conn) (err error) {
		ref, repeated, err = s.put(c, m, token(r), id)
		return err
	})
	if err != nil {
		s.fail(w, err)
		return 0, false, false
	}
	if repeated {
		s.counts.repeated.Add(1)
	} else {
		s.counts.sent.Add(1)
		s.waiting.ring(m.Recipient)
	}
	return ref, repeated, true
}

// postClaim answers POST /v2/claim.
func (s *Server) postClaim(w http.ResponseWriter, r *http.Request) {
	var q relay.ClaimRequest
	if !s.object(w, r, small, &q) || !s.mayMake(w, r, q.Recipient) {
		return
	}
	if err := s.store.write(func(c *conn) error { return s.claim(c, q) }); err != nil {
		s.fail(w, err)
		return
	}
	s.counts.claimed.Add(1)
	s.answer(w, relay.ClaimReply{Claimed: true})
}

// postDone answers POST /v2/done.
func (s *Server) postDone(w http.ResponseWriter, r *http.Request) {
	var q relay.DoneRequest
	if !s.object(w, r, small, &q) {
		return
	}
	deleted := 0
	err := s.store.write(func(c *conn) (err error) { deleted, err = c.finish(q, token(r)); return err })
	if err != nil {
		s.fail(w, err)
		return
	}
	if deleted > 0 {
		s.store.CheckpointSoon()
	}
	s.answer(w, relay.DoneReply{Deleted: deleted})
}
