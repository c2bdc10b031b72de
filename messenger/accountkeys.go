package messenger

import (
	"context"
	"errors"
	"fmt"

	"parley"
)

// New keys for an account, in steps that each can be repeated:
//
//  1. the new keys are committed beside the old ones
//  2. the directory takes them, because the old ones say so; if its answer is lost,
//     it is asked which it has
//  3. the new ones take the place of the old, which still open what was sealed to them
//
// Until 3 everything goes on under the old keys.

// RotateAccount gives an account new keys, which are in setup as for AddAccount. If a
// former try was cut short, its keys are used instead.
func (m *Messenger) RotateAccount(ctx context.Context, kind, name string, setup []byte) (a Account, err error) {
	var row account
	var question []byte
	var ask, registered bool
	state := func(t *tx) (parley.Bucket, func() error, error) {
		b, err := t.Bucket(row.line)
		if err != nil {
			return nil, nil, err
		}
		return b, b.Flush, nil
	}
	err = m.tx(ctx, "rotate: new keys", func(t *tx) error {
		if row, err = t.findAccount(kind, name); err != nil {
			return err
		}
		b, flush, err := state(t)
		if err != nil {
			return err
		}
		if err := row.system.NextKeys(b, setup); err != nil {
			return err
		}
		question, ask = row.system.Question(b, row.name)
		registered = row.system.Describe(b).Registered
		return flush()
	})
	if err != nil {
		return a, err
	}
	var answer []byte
	if ask {
		answer, err = row.system.Rotate(ctx, question)
		if errors.Is(err, ErrNoUser) && !registered {
			err = nil // there is nobody to tell yet
		}
		if errors.Is(err, ErrNoUser) {
			err = fmt.Errorf("%w: the account is not active at the directory: follow the link in the mail first", ErrState)
		}
		if err != nil {
			return a, err
		}
	}
	err = m.tx(settled(ctx), "rotate: done", func(t *tx) error {
		b, flush, err := state(t)
		if err != nil {
			return err
		}
		if err := row.system.Rotated(b, answer); err != nil {
			return err
		}
		if err := flush(); err != nil {
			return err
		}
		peers, err := t.peersOf(line{id: row.line})
		if err != nil {
			return err
		}
		for _, l := range peers { // both numbers that people compared are old now
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
			t.contactChanged(l.contact)
		}
		a, err = t.describeAccount(row)
		return err
	})
	return a, err
}
