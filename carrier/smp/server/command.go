package smpserver

import (
	"bytes"
	"context"
	"crypto/rsa"
	"errors"
	"math/big"

	"parley/broker"
	"parley/broker/store"
	"parley/carrier/smp"
)

// A command is what is kept of a transmission until it has been carried out.
type command struct {
	id        smp.ID
	verb      smp.Verb
	signature []byte
	signed    []byte
	body      []byte // SEND; a part of signed
	key       []byte // CONN, KEY
}

func newCommand(t *smp.Transmission) *command {
	c := &command{
		id: t.ID, verb: t.Verb, key: bytes.Clone(t.Key),
		signature: bytes.Clone(t.Signature), signed: bytes.Clone(t.Signed),
	}
	if t.Verb == smp.SEND {
		// The body stands at or just before the end of what is signed.
		at := len(t.Signed) - len(t.Body)
		for at > 0 && !bytes.Equal(c.signed[at:at+len(t.Body)], t.Body) {
			at--
		}
		c.body = c.signed[at : at+len(t.Body)]
	}
	return c
}

// size is what the command counts in the server's budget.
func (c *command) size() int64 {
	return int64(256 + len(c.signed) + len(c.signature) + len(c.key))
}

// keyBytes is how the broker keeps a key: the modulus. The exponent is always
// [exponent].
func keyBytes(k *rsa.PublicKey) []byte { return k.N.Bytes() }

const exponent = 65537

func keyFrom(b []byte) *rsa.PublicKey {
	return &rsa.PublicKey{N: new(big.Int).SetBytes(b), E: exponent}
}

var (
	okay = slot{verb: smp.OK}
	auth = slot{verb: smp.ERR, code: smp.CodeAuth}
)

func failed(code smp.Code) slot { return slot{verb: smp.ERR, code: code} }

// execute carries out a command. The answer comes through c.answer, from here or
// from the broker, before anything that it allows to be delivered.
func (c *conn) execute(w work) {
	// What was begun is ended, even if the client goes: the disk doesn't wait for
	// anybody. Shutdown waits for it.
	ctx := context.Background()
	var err error
	switch w.verb {
	case smp.CONN:
		err = c.create(ctx, w)
	case smp.SEND:
		err = c.send(ctx, w.command)
		if err == nil {
			c.answer(w, okay)
		}
	default:
		err = c.receive(ctx, w)
	}
	if err != nil {
		c.answer(w, c.s.failure(err))
	}
}

// receive carries out the recipient's commands.
func (c *conn) receive(ctx context.Context, w work) error {
	var senderKey *rsa.PublicKey
	if w.verb == smp.KEY {
		var err error
		if senderKey, err = smp.ParseKey(w.key); err != nil {
			return smp.CodeBadParameters
		}
	}
	q, found, err := c.s.lookup(ctx, store.Recipient, w.id)
	if err != nil {
		return err
	}
	var key *rsa.PublicKey
	if found {
		key = keyFrom(q.RecipientKey)
	}
	if !c.verify(key, w.command) {
		return smp.CodeAuth
	}
	done := func() { c.answer(w, okay) }
	switch w.verb {
	case smp.SUB:
		return c.hub.Subscribe(ctx, q.ID, done)
	case smp.KEY:
		err := c.s.b.Secure(ctx, q.ID, keyBytes(senderKey))
		if err == nil {
			done()
		}
		return err
	case smp.ACK:
		return c.hub.Ack(ctx, q.ID, done)
	case smp.HOLD:
		return c.hub.Hold(ctx, q.ID, func(err error) {
			if err != nil {
				c.answer(w, c.s.failure(err))
				return
			}
			done()
		})
	case smp.DEL:
		return c.hub.Delete(ctx, q.ID, done)
	}
	return smp.CodeUnknown
}

// create carries out CONN.
func (c *conn) create(ctx context.Context, w work) error {
	key, err := smp.ParseKey(w.key)
	if err != nil {
		return smp.CodeBadParameters
	}
	if err := c.s.mayCreate(w.command); err != nil {
		return err
	}
	return c.hub.Create(ctx, keyBytes(key), smp.IDSize, c.maxBody(), func(q broker.Queue) {
		rid, _ := smp.MakeID(q.ID[:smp.IDSize])
		sid, _ := smp.MakeID(q.Sender[:smp.IDSize])
		c.answerIDs(w, rid, sid)
	})
}

// mayCreate checks CONN's signature: there is none, or one of a creator.
func (s *Server) mayCreate(cmd *command) error {
	signed := len(cmd.signature) > 0
	switch {
	case len(s.o.Creators) == 0 && signed:
		return smp.CodeHasCredentials
	case len(s.o.Creators) == 0:
		return nil
	case !signed:
		return smp.CodeNoCredentials
	}
	s.crypto <- struct{}{} // a verification for each creator: not for all CONNs at once
	defer func() { <-s.crypto }()
	for _, k := range s.o.Creators {
		if smp.Verify(k, cmd.signed, cmd.signature) {
			return nil
		}
	}
	return smp.CodeAuth
}

// send carries out SEND. Every way to ERR AUTH costs one lookup and one
// verification of the same size, so that the time tells none from another.
func (c *conn) send(ctx context.Context, cmd *command) error {
	s := c.s
	for range 8 {
		q, found, err := s.lookup(ctx, store.Sender, cmd.id)
		if err != nil {
			return err
		}
		var key *rsa.PublicKey
		open := false
		switch {
		case !found || q.Suspended:
		case q.SenderKey != nil:
			key = keyFrom(q.SenderKey)
		default:
			open = len(cmd.signature) == 0
		}
		if !open && !c.verify(key, cmd) {
			return smp.CodeAuth
		}
		if err = s.b.Send(ctx, q, cmd.body); !errors.Is(err, store.ErrChanged) {
			return err
		}
		// Secured, suspended or deleted meanwhile: the rules are others now.
	}
	return store.ErrChanged
}

// verify checks a command's signature. Of one connection only a few are checked
// at a time: one that sends nothing but signatures, which cost the server more
// than the client, must not crowd out the others.
func (c *conn) verify(key *rsa.PublicKey, cmd *command) bool {
	c.checks <- struct{}{}
	defer func() { <-c.checks }()
	return smp.Verify(key, cmd.signed, cmd.signature)
}

// lookup finds a queue. IDs that are not as long as ours are nobody's.
func (s *Server) lookup(ctx context.Context, r store.Role, id smp.ID) (broker.Queue, bool, error) {
	var name store.ID
	if id.Len() == smp.IDSize {
		copy(name[:], id.Bytes())
	}
	q, err := s.b.Lookup(ctx, r, name)
	if errors.Is(err, store.ErrNotFound) {
		return broker.Queue{}, false, nil
	}
	return q, err == nil, err
}

// failure is the answer to a command that failed.
func (s *Server) failure(err error) slot {
	var code smp.Code
	switch {
	case errors.As(err, &code):
		return failed(code)
	case errors.Is(err, store.ErrNotFound), errors.Is(err, broker.ErrSuspended), errors.Is(err, broker.ErrSecured):
		return auth
	case errors.Is(err, store.ErrFull), errors.Is(err, broker.ErrTooMany):
		return failed(smp.CodeQuota)
	case errors.Is(err, broker.ErrNothing):
		return failed(smp.CodeProhibited)
	case errors.Is(err, broker.ErrSize):
		return failed(smp.CodeSize)
	case !errors.Is(err, store.ErrClosed):
		s.o.Trouble("a command could not be carried out", err)
	}
	return failed(smp.CodeInternal)
}
