package messenger

import (
	"context"
	"errors"
	"fmt"

	"parley"
)

// New keys for an account, in steps that each can be repeated:
//
//  1. the new keys are committed beside the old ones; from then on nothing is sealed,
//     since it is not known which keys others take for ours
//  2. the directory takes them, because the old ones say so; if its answer is lost,
//     it is asked which it has
//  3. the new ones take the place of the old, which still open what was sealed to them.
//     What was sealed under the old ones and is at no server yet is sealed anew
//
// A rotation that was cut short is gone on with by itself (jobs), at start and until
// the directory has answered.

// RotateAccount gives an account new keys, which are in setup as for AddAccount. If a
// former try was cut short, its keys are used instead. After an error that leaves it
// open whether the directory has them, it goes on by itself.
func (m *Messenger) RotateAccount(ctx context.Context, kind, name string, setup []byte) (a Account, err error) {
	done, err := m.rotateAlone(ctx)
	if err != nil {
		return a, err
	}
	defer done()
	var row account
	var fresh bool
	err = m.tx(ctx, "rotate: new keys", func(t *tx) error {
		if row, err = t.findAccount(kind, name); err != nil {
			return err
		}
		b, err := t.Bucket(row.line)
		if err != nil {
			return err
		}
		fresh = !row.system.Describe(b).Rotating
		if err := row.system.NextKeys(b, setup); err != nil {
			return err
		}
		return b.Flush()
	})
	if err != nil {
		return a, err
	}
	if err := m.rotateAccount(ctx, row.id, fresh); err != nil {
		return a, err
	}
	return m.oneAccount(ctx, kind, name)
}

// rotateAlone waits until no other rotation is under way: two would take each other's
// answer for a refusal.
func (m *Messenger) rotateAlone(ctx context.Context) (done func(), err error) {
	select {
	case m.rotating <- struct{}{}:
		return func() { <-m.rotating }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// rotateAccount is step 2 and 3, if new keys are there. fresh says that nobody was
// asked about them before.
func (m *Messenger) rotateAccount(ctx context.Context, id int64, fresh bool) error {
	var row account
	var question []byte
	var ask, asked, rotating bool
	err := m.tx(ctx, "rotate: look", func(t *tx) error {
		a, b, err := t.accountState(id)
		if err != nil {
			return err
		}
		row = a
		question, ask = row.system.Question(b, row.name)
		d := row.system.Describe(b)
		asked, rotating = d.Registered || d.Asked, d.Rotating
		return nil
	})
	if isNone(err) || err == nil && !rotating {
		return nil
	}
	if err != nil {
		return err
	}
	var answer []byte
	if ask {
		answer, err = row.system.Rotate(ctx, question)
		if errors.Is(err, ErrNoUser) {
			if err = nil; asked {
				err = fmt.Errorf("%w: %w: the account is not active at the directory: follow the link in the mail first", ErrNotAsked, ErrState)
			}
		}
		if err != nil {
			return m.notRotated(ctx, row, fresh, err)
		}
	}
	return m.tx(settled(ctx), "rotate: done", func(t *tx) error {
		if _, gone := t.account(id); gone != nil {
			return nil
		}
		b, err := t.Bucket(row.line)
		if err != nil {
			return err
		}
		if err := row.system.Rotated(b, answer); err != nil {
			return err
		}
		if err := b.Flush(); err != nil {
			return err
		}
		return t.underNewKeys(row)
	})
}

// notRotated takes the new keys back if the directory is known not to have them, and
// in no other case: they may be what others take for ours.
func (m *Messenger) notRotated(ctx context.Context, row account, fresh bool, cause error) error {
	known := errors.Is(cause, ErrNotTaken) || fresh && errors.Is(cause, ErrNotAsked) && !errors.Is(cause, parley.ErrOffline)
	if !known || ctx.Err() != nil {
		return cause
	}
	return errors.Join(cause, m.tx(settled(ctx), "rotate: taken back", func(t *tx) error {
		b, err := t.Bucket(row.line)
		if err != nil {
			return err
		}
		row.system.Unchanged(b)
		if err := b.Flush(); err != nil {
			return err
		}
		return t.letGo(row)
	}))
}

// letGo lets the account's lines seal again.
func (t *tx) letGo(row account) error {
	peers, err := t.peersOf(line{id: row.line})
	for _, l := range peers {
		t.then(func() { t.m.unblock(l.id) })
	}
	t.poke(workSeal)
	return err
}

// underNewKeys seals anew what is at no server yet, and takes back what was compared:
// both numbers are old now.
func (t *tx) underNewKeys(row account) error {
	peers, err := t.peersOf(line{id: row.line})
	if err != nil {
		return err
	}
	for _, l := range peers {
		k, err := t.trustOf(l.id)
		if err != nil {
			return err
		}
		number, err := t.peerNumber(l)
		if err != nil {
			return err
		}
		if err := t.savePin(l.id, number, false, k.changed); err != nil {
			return err
		}
		if err := t.sealAnew(l); err != nil {
			return err
		}
		t.contactChanged(l.contact)
	}
	return t.letGo(row)
}

// sealAnew makes intents again of what is sealed and at no server. They go before what
// waits unsealed, in their order.
func (t *tx) sealAnew(l line) error {
	messages, err := t.ids("SELECT message FROM packets WHERE line = ? AND relayed = 0 AND kind = 'message' AND message IS NOT NULL ORDER BY id", l.id)
	if err != nil || len(messages) == 0 {
		return err
	}
	behind, err := t.ids("SELECT id FROM intents WHERE line = ? ORDER BY id", l.id)
	if err != nil {
		return err
	}
	for _, seq := range messages {
		if err := t.exec("DELETE FROM packets WHERE message = ? AND line = ?", seq, l.id); err != nil {
			return err
		}
		if err := t.intendAgain(l.id, seq); err != nil {
			return err
		}
	}
	for _, id := range behind { // new numbers behind them
		err := t.exec(`INSERT INTO intents (line, message, kind, number, amp_type, amp_version, body, sent)
			SELECT line, message, kind, number, amp_type, amp_version, body, sent FROM intents WHERE id = ?`, id)
		if err == nil {
			err = t.exec("DELETE FROM intents WHERE id = ?", id)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// rotations goes on with those that were cut short.
func (m *Messenger) rotations(try func(key string, do func(context.Context) error)) error {
	if len(m.o.Systems) == 0 {
		return nil
	}
	var due []int64
	err := m.tx(m.ctx, "rotations: look", func(t *tx) error {
		due = nil
		ids, err := t.ids("SELECT id FROM accounts ORDER BY id")
		if err != nil {
			return err
		}
		for _, id := range ids {
			a, b, err := t.accountState(id)
			if err != nil {
				continue // told elsewhere
			}
			if a.system.Describe(b).Rotating {
				due = append(due, id)
			}
		}
		return nil
	})
	for _, id := range due {
		try(fmt.Sprintf("keys of account %d", id), func(ctx context.Context) error {
			done, err := m.rotateAlone(ctx)
			if err != nil {
				return err
			}
			defer done()
			return m.rotateAccount(ctx, id, false)
		})
	}
	return err
}
