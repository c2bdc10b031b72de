package messenger

import (
	"context"
	"crypto/rand"
	"errors"

	"parley"
)

var errNoMailbox = errors.New("no mailbox could be made yet")

func newID() (id [16]byte) {
	rand.Read(id[:])
	return id
}

// advanceClaim is step 3 and 4 of pairing for the acceptor's line: a mailbox at
// each relay that it wants one at, then the answer. Relays that cannot be reached
// are left out once another one could.
func (m *Messenger) advanceClaim(ctx context.Context, id int64) error {
	var wants []path
	err := m.tx(ctx, "claim: look", func(t *tx) (err error) {
		wants, err = t.paths("line = ? AND state = 'want'", id)
		return err
	})
	if err != nil {
		return err
	}
	var failed []error
	for _, p := range wants {
		e, err := m.claimAt(ctx, p.scheme, p.relay, p.claimAddress())
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			failed = append(failed, err)
			if err := m.notClaimed(ctx, p, err); err != nil {
				return err
			}
			continue
		}
		n := int64(0)
		err = m.tx(settled(ctx), "claim", func(t *tx) (err error) {
			n, err = t.count("UPDATE paths SET address = ?, secret = ?, mark = ?, max = ?, state = 'open', why = '' WHERE id = ? AND state = 'want'",
				e.Address, e.Secret, e.Mark, e.Max, p.id)
			t.poke(workEars)
			return err
		})
		if err != nil {
			return err
		}
		if n == 0 { // the contact has been removed meanwhile
			m.unclaim(ctx, []parley.Endpoint{e})
		}
	}
	return m.tx(settled(ctx), "admit", func(t *tx) error {
		l, err := t.line(id)
		if isNone(err) || err == nil && l.state != claiming {
			return nil
		}
		if err != nil {
			return err
		}
		var have int
		if err := t.row("SELECT count(*) FROM paths WHERE line = ? AND dir = 'in' AND state = 'open'", id)(&have); err != nil {
			return err
		}
		if have == 0 && (l.shared || l.role == accountRole || l.isPad()) && len(failed) > 0 {
			return errors.Join(failed...)
		}
		if have == 0 {
			return errors.Join(append(failed, errNoMailbox)...)
		}
		if err := t.exec("DELETE FROM paths WHERE line = ? AND state = 'want'", id); err != nil {
			return err
		}
		t.then(func() { m.unblock(id) })
		if l.shared {
			return t.enter(l)
		}
		if l.role == accountRole {
			t.poke(workEars)
			return t.setLine(&l, accountReady)
		}
		if l.isPad() {
			t.poke(workEars | workSeal)
			return t.setLine(&l, connected)
		}
		return t.admit(l)
	})
}

// notClaimed notes why a topic is not received from yet, where Status shows it.
func (m *Messenger) notClaimed(ctx context.Context, p path, cause error) error {
	return m.tx(settled(ctx), "claim: trouble", func(t *tx) error {
		return t.exec("UPDATE paths SET why = ? WHERE id = ? AND state = 'want' AND line IN (SELECT id FROM lines WHERE shared OR role = 'account' OR stp_type = ?)", topicWhy(cause), p.id, parley.OneTimePad.Type)
	})
}

// claimNow does the same while the user waits.
func (m *Messenger) claimNow(ctx context.Context, id int64) error {
	key := lineKey(id)
	result := make(chan error, 1)
	attempt := func(within context.Context, _ *errand) {
		within, cancel := context.WithCancel(within)
		defer cancel()
		defer context.AfterFunc(ctx, cancel)()
		err := m.advanceClaim(within, id)
		if err != nil {
			m.tire(key, err)
		} else {
			m.rested(key)
		}
		result <- err
	}
	// The loop may have been faster. How it fared only a try of our own can tell; it
	// finds nothing to do if all went well.
	for other := m.send(key, attempt); other != nil; other = m.send(key, attempt) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-other.ended:
		}
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-m.ctx.Done():
		return ErrClosed
	case err := <-result:
		return err
	}
}
