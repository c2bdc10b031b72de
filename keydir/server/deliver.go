package server

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// mailsPerTrip is how many mails one connection to the mail server carries at most:
// a login costs more than a mail, and many servers bound what follows one.
const mailsPerTrip = 50

// deliver sends what waits, until ctx ends.
func (d *Directory) deliver(ctx context.Context) {
	for ctx.Err() == nil {
		var all []*waiting
		var next int64
		err := d.store.read(func(c *conn) (err error) { all, next, err = c.due(d.o.Now()); return err })
		if len(all) > 0 {
			d.carry(ctx, all)
			continue
		}
		var timer <-chan time.Time
		switch {
		case err != nil:
			d.o.Trouble("the outbox of the directory", err)
			timer = time.After(retryMin)
		case next != 0:
			// Looked at again in between: the clock may be set.
			timer = time.After(min(retryMax, max(time.Millisecond, time.UnixMilli(next).Sub(d.o.Now()))))
		}
		select {
		case <-ctx.Done():
		case <-d.wake:
		case <-timer:
		}
	}
}

// A round is the carrying of some mails, over one connection while that lives.
type round struct {
	d     *Directory
	trip  trip
	used  bool  // the connection has carried a mail
	fault error // of reaching the mail server: it is not tried again in this round
}

// carry sends mails and takes them from the outbox, or puts them off. A mail that the
// server never answers holds the others up for mailPatience.
func (d *Directory) carry(ctx context.Context, all []*waiting) {
	r := &round{d: d}
	defer r.leave()
	for _, w := range all {
		err := r.mail(ctx, w)
		if err != nil && ctx.Err() != nil {
			return // cut off by the end: it waits for the next start
		}
		if !d.settle(ctx, w, err) {
			return
		}
	}
}

// reach opens the connection if there is none.
func (r *round) reach(ctx context.Context) error {
	if r.trip == nil && r.fault == nil {
		r.used = false
		r.trip, r.fault = r.d.post.open(ctx)
	}
	return r.fault
}

func (r *round) leave() {
	if r.trip != nil {
		r.trip.close()
		r.trip = nil
	}
}

// mail sends one mail. Without an error it is sent, or nobody is to get it.
func (r *round) mail(ctx context.Context, w *waiting) error {
	a, err := r.d.recipient(w)
	if errors.Is(err, errNotFound) || errors.Is(err, errMailbox) {
		return nil
	}
	for again := false; err == nil; again = true {
		// Reached before tokens are made: a server that is away for a day costs none.
		if err := r.reach(ctx); err != nil {
			return err
		}
		used := r.used
		r.used = true
		err := r.d.mailOne(r.trip, a, w)
		if err == nil || !r.trip.over() {
			return err
		}
		r.leave()
		// A server may end a connection that has carried something: then a new one is
		// tried, once. One that was silent has held the others up enough.
		var fault *mailFault
		if !used || again || errors.As(err, &fault) && fault.slow {
			return err
		}
	}
	return err
}

// mailOne makes the links of one mail and sends it.
func (d *Directory) mailOne(t trip, a *account, w *waiting) error {
	var activate string
	var activateHash []byte
	remove, removeHash := newToken()
	if w.account != 0 {
		activate, activateHash = newToken()
	}
	now := d.o.Now()
	if err := d.store.write(func(c *conn) error {
		kind := requestedLink
		if activate != "" {
			kind = welcomeLink
			if err := c.addLink(a.id, activateHash, activationLink, time.UnixMilli(a.created).Add(activationTime)); err != nil {
				return err
			}
		}
		return c.addLink(a.id, removeHash, kind, now.Add(deletionTime))
	}); err != nil {
		return err
	}
	l, err := d.letter(a, activate, remove)
	if err != nil {
		return err
	}
	from := d.o.Mail.sender(d.o.URL)
	m, err := l.message(from, w.address, d.post.form(), now)
	if err != nil {
		return &mailFault{what: "the mail cannot be written", final: true}
	}
	if err := t.send(m, from, w.address, fmt.Sprintf("%s-%d", a.name, w.id)); err != nil {
		return err
	}
	d.counts.mailsSent.Add(1)
	return nil
}
