package messenger

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"parley"
)

// How often a directory is asked for the keys of one user: again after a day when
// nothing has changed, soon when it knew nobody.
const (
	lookAgain  = 24 * time.Hour
	lookNobody = 10 * time.Minute
	lookDoubt  = 10 * time.Second
)

// lookups sends somebody to the directory for each contact in an older system whose
// keys are missing, in doubt, or were looked at long ago, and for strangers. Nobody
// waits for them: what needs keys that are not there yet stays where it is.
func (m *Messenger) lookups(try func(key string, do func(context.Context) error)) (next time.Time, err error) {
	if len(m.o.Systems) == 0 {
		return next, nil
	}
	type question struct {
		account, line int64
		user          string
	}
	var due []question
	err = m.tx(m.ctx, "lookups: look", func(t *tx) error {
		due = nil
		now := t.stampNow()
		err := t.each("SELECT account, id, peer FROM lines WHERE account IS NOT NULL AND state = 'connected' AND looked <= ? ORDER BY id", []any{now}, func(scan func(...any) error) error {
			var q question
			err := scan(&q.account, &q.line, &q.user)
			due = append(due, q)
			return err
		})
		if err != nil {
			return err
		}
		err = t.each("SELECT account, name FROM strangers WHERE next <= ? ORDER BY next LIMIT 8", []any{now}, func(scan func(...any) error) error {
			var q question
			err := scan(&q.account, &q.user)
			due = append(due, q)
			return err
		})
		if err != nil {
			return err
		}
		var at int64
		err = t.row(`SELECT coalesce(min(x), 0) FROM (SELECT min(looked) x FROM lines WHERE account IS NOT NULL AND state = 'connected' AND looked > ?1
			UNION ALL SELECT min(next) FROM strangers WHERE next > ?1)`, now)(&at)
		next = instant(at)
		return err
	})
	if err != nil {
		return next, err
	}
	for _, q := range due {
		try(fmt.Sprintf("keys of %s at account %d", q.user, q.account), func(ctx context.Context) error { return m.lookUp(ctx, q.account, q.line, q.user) })
	}
	return next, nil
}

// lookUp asks the directory about one user. line is 0 for a stranger.
func (m *Messenger) lookUp(ctx context.Context, acc, id int64, user string) error {
	var a account
	var question []byte
	var ask bool
	var asked int64
	err := m.tx(ctx, "lookup: ask", func(t *tx) (err error) {
		asked = t.stampNow()
		if a, err = t.account(acc); err != nil {
			return err
		}
		state, err := t.Bucket(a.line)
		if err != nil {
			return err
		}
		question, ask = a.system.Question(state, user)
		return nil
	})
	if isNone(err) || errors.Is(err, errNoTransport) {
		return nil
	}
	if err != nil {
		return err
	}
	var answer []byte
	if ask {
		answer, err = a.system.Lookup(ctx, question, user)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return errors.Join(m.tx(settled(ctx), "lookup: answer", func(t *tx) error {
		if _, gone := t.account(acc); gone != nil {
			return nil // removed meanwhile
		}
		if id == 0 {
			return t.strangerAnswer(a, user, answer, err, asked)
		}
		return t.peerAnswer(a, id, user, ask, answer, err, asked)
	}), worthATry(err, id))
}

// worthATry keeps an error that another try soon may mend. Strangers have their own
// schedule.
func worthATry(err error, line int64) error {
	if line == 0 || errors.Is(err, ErrNoUser) {
		return nil
	}
	return err
}

// peerAnswer takes in what a directory says, or does not say, about a contact.
func (t *tx) peerAnswer(a account, id int64, user string, ask bool, answer []byte, cause error, asked int64) error {
	l, err := t.line(id)
	if isNone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	state, err := t.Bucket(a.line)
	if err != nil {
		return err
	}
	later := func(d time.Duration) error {
		return t.exec("UPDATE lines SET looked = ?, checked = ? WHERE id = ?", stamp(t.now().Add(d)), asked, id)
	}
	if !ask {
		return later(lookAgain)
	}
	known := a.system.Keys(state, user).Pinned != nil
	switch {
	case errors.Is(cause, ErrNoUser):
		if known {
			// Whoever was here once may have left; the pinned keys stay good.
			if err := t.retryKept(id); err != nil {
				return err
			}
			return later(lookAgain)
		}
		if err := t.lacksKeys(id, fmt.Sprintf("%v: %s", cause, user)); err != nil {
			return err
		}
		return later(lookNobody)
	case errors.Is(cause, parley.ErrOffline):
		if known {
			return nil
		}
		return t.lacksKeys(id, "the directory cannot be reached")
	case cause != nil:
		if !known {
			if err := t.lacksKeys(id, cause.Error()); err != nil {
				return err
			}
		}
		return t.directoryTrouble(l, cause)
	}
	state.Savepoint()
	news, err := a.system.Learn(state, user, answer)
	if err != nil {
		state.Rollback()
		if !known {
			if err := t.lacksKeys(id, err.Error()); err != nil {
				return err
			}
		}
		if err := t.directoryTrouble(l, err); err != nil {
			return err
		}
		return t.exec("UPDATE lines SET looked = ? WHERE id = ?", stamp(t.now().Add(lookNobody)), id)
	}
	if err := state.Flush(); err != nil {
		return err
	}
	if err := later(lookAgain); err != nil {
		return err
	}
	return t.learned(a, l, news)
}

// lacksKeys notes why there are none, where the queue shows it.
func (t *tx) lacksKeys(line int64, why string) error {
	return t.exec("UPDATE lines SET trouble = ? WHERE id = ? AND trouble <> ?", why, line, why)
}

// directoryTrouble says once a day that a directory cannot be believed.
func (t *tx) directoryTrouble(l line, cause error) error {
	t.m.log.Warn("messenger: a directory's answer was refused", "line", l.id, "error", cause)
	return t.noticeOnce(l, "directory on "+t.now().UTC().Format(time.DateOnly), "The directory's answer about this contact was refused: "+cause.Error())
}

// learned takes in what a look-up has changed: the first keys are pinned and let go
// on what waited for them; other keys than the pinned ones stop the conversation
// until the user has decided.
func (t *tx) learned(a account, l line, news News) error {
	state, err := t.Bucket(a.line)
	if err != nil {
		return err
	}
	keys := a.system.Keys(state, l.peer)
	t.contactChanged(l.contact)
	if err := t.lacksKeys(l.id, ""); err != nil {
		return err
	}
	if news.Note != "" {
		if err := t.noticeOnce(l, "note: "+news.Note, news.Note); err != nil {
			return err
		}
	}
	switch {
	case news.First:
		if err := t.savePin(l.id, keys.Number, false, false); err != nil {
			return err
		}
	case news.Refused:
		if err := t.noticeOnce(l, "refused on "+t.now().UTC().Format(time.DateOnly), "The directory still offers the keys that you have refused."); err != nil {
			return err
		}
	case news.Changed:
		if err := t.savePin(l.id, keys.Number, false, true); err != nil {
			return err
		}
		if news.Again {
			return nil
		}
		if err := t.notice(l.contact, changedText(keys)); err != nil {
			return err
		}
		if news.Skipped {
			err := t.notice(l.contact, "The keys of this contact have changed more than once since this device last asked. Messages that were signed with keys in between cannot be verified and are dropped: ask the contact whether something is missing.")
			if err != nil {
				return err
			}
		}
		return t.retryKept(l.id) // some are genuine under the new keys
	}
	if news.Withdrawn {
		if err := t.savePin(l.id, keys.Number, false, false); err != nil {
			return err
		}
		if err := t.notice(l.contact, "The directory offers the known keys of this contact again: the conversation goes on under them."); err != nil {
			return err
		}
	}
	t.then(func() { t.m.unblock(l.id) })
	t.poke(workSeal)
	return t.retryKept(l.id)
}

func changedText(k PeerKeys) string {
	vouched := "Nothing shows that the same person has both: somebody may want to sit between you."
	if k.Vouched {
		vouched = "The old key has signed the new one: whoever has the old private key made the change."
	}
	return fmt.Sprintf("The keys of this contact have changed at the directory, and nothing is sent or shown until you decide. %s\nKnown: %s\nNew: %s\nAsk the contact by another way and compare: parley verify",
		vouched, strings.Join(k.Pinned, "; "), strings.Join(k.Offered, "; "))
}

// decideKeys is what the user says of a number that was compared: the offered keys
// take the place of the pinned ones, or are refused for good; without an offer it is
// about the pinned ones.
func (t *tx) decideKeys(l line, k trust, same bool) error {
	a, state, err := t.accountState(l.account)
	if err != nil {
		return err
	}
	offered := a.system.Keys(state, l.peer).Offered != nil
	switch {
	case offered && same:
		err = a.system.Accept(state, l.peer, t.now())
	case offered:
		err = a.system.Refuse(state, l.peer)
	}
	if err != nil {
		return err
	}
	if err := state.Flush(); err != nil {
		return err
	}
	if offered && !same {
		// Who was verified before, under the pinned keys, is so no more: somebody tries
		// something.
		if err := t.notice(l.contact, "You have refused the keys that the directory offers. The conversation goes on under the known ones."); err != nil {
			return err
		}
		if err := t.exec("UPDATE lines SET looked = 0 WHERE id = ?", l.id); err != nil {
			return err
		}
	}
	number, err := t.peerNumber(l)
	if err != nil {
		return err
	}
	t.then(func() { t.m.unblock(l.id) })
	t.poke(workSeal | workJobs)
	if err := t.retryKept(l.id); err != nil {
		return err
	}
	return t.savePin(l.id, number, same, k.changed && !offered && !same)
}

// describePeer adds what is said of a contact in an older system.
func (t *tx) describePeer(c *Contact, l line) error {
	a, err := t.account(l.account)
	if errors.Is(err, errNoTransport) {
		c.Protocol = "other"
		return nil
	}
	if err != nil {
		return err
	}
	c.Protocol, c.Account, c.User = a.kind, a.name, l.peer
	state, err := t.Bucket(a.line)
	if err != nil {
		return nil // what was tampered with is said elsewhere
	}
	keys := a.system.Keys(state, l.peer)
	c.Key, c.NewKey = keys.Pinned, keys.Offered
	if keys.Pinned == nil {
		c.State = connecting
	}
	var stranger bool
	if err := t.row("SELECT stranger FROM lines WHERE id = ?", l.id)(&stranger); err != nil {
		return err
	}
	if stranger {
		c.Lacks = append(c.Lacks, "you have not added this contact: it wrote to you")
	}
	c.Lacks = append(c.Lacks, "no receipts: a message is known to be at the server, and no further", "the server sees who gets messages, when, and how long they are")
	return t.describePresence(c, l)
}
