package messenger

import (
	"errors"
	"fmt"

	"parley"
	"parley/messenger/profile"
)

// Bounds of what waits at an account for keys of users that we do not know.
const (
	maxStrangers  = 64 // names that packets claim to be from
	maxOfStranger = 32 // packets of one of them
)

// errStranger says that a packet claims to be from somebody whose keys are not known
// yet. It waits for them within bounds.
var errStranger = errors.New("from somebody whose keys are not known yet")

// sorted finds the line that a packet of an account's mailbox belongs to. Its claim
// decides nothing but whose key is tried: the transport proves it. Packets of users
// who are no contacts wait until their keys have been looked up; the first that
// verifies makes them contacts, marked as strangers.
func (t *tx) sorted(l line, a *arrival) (to line, v verdict, cause, err error) {
	acc, err := t.accountOf(l)
	if errors.Is(err, errNoTransport) {
		return l, kept, err, nil
	}
	if err != nil {
		return l, 0, nil, err
	}
	p, err := t.m.transport(l.stp)
	sorter, ok := p.(parley.Sorter)
	if err != nil || !ok {
		return l, kept, fmt.Errorf("%w %d for accounts", errNoTransport, l.stp.Type), nil
	}
	state, err := t.Bucket(acc.line)
	if errors.As(err, new(*profile.TamperedError)) {
		return l, kept, err, nil
	}
	if err != nil {
		return l, 0, nil, err
	}
	keys := acc.system.Keyring(state)
	from, cause := sorter.Claimed(t.ctx, keys, a.packet)
	if cause != nil {
		v, cause, err := t.sortCause(l, cause)
		return l, v, cause, err
	}
	user := string(from)
	if to, err = t.peerLine(acc.id, user); err == nil {
		return to, taken, nil, nil
	}
	if !isNone(err) {
		return l, 0, nil, err
	}
	if acc.system.Keys(state, user).Pinned == nil {
		return t.stranger(l, acc, state, a, user)
	}
	// The keys have come. Only what they prove makes a contact.
	c := &parley.Conversation{
		STP: l.stp, Self: parley.Name(acc.name), Peers: []parley.Name{from}, Keys: keys, State: state, Now: t.now(), Bare: true,
	}
	b := t.bucket(c)
	b.Savepoint()
	_, cause = p.Open(t.ctx, c, a.packet)
	b.Rollback()
	if cause != nil {
		v, cause, err := t.sortCause(l, cause)
		return l, v, cause, err
	}
	to, err = t.strangerMet(acc, user)
	return to, taken, nil, err
}

// accountOf returns the account of its own line.
func (t *tx) accountOf(l line) (account, error) {
	var id int64
	if err := t.row("SELECT id FROM accounts WHERE line = ?", l.id)(&id); err != nil {
		return account{}, err
	}
	return t.account(id)
}

// stranger lets a packet wait for the keys of whom it claims to be from.
func (t *tx) stranger(l line, acc account, state parley.Bucket, a *arrival, user string) (line, verdict, error, error) {
	if _, ask := acc.system.Question(state, user); !ask {
		return l, kept, fmt.Errorf("%w: %s; there is no directory to ask: parley contact add-%s --keys", errStranger, user, acc.kind), nil
	}
	var names, of int
	var waits bool
	err := t.row(`SELECT (SELECT count(*) FROM strangers WHERE account = ?1), (SELECT count(*) FROM inbox WHERE line = ?3 AND state = 'kept' AND why LIKE ?4),
		EXISTS (SELECT 1 FROM strangers WHERE account = ?1 AND name = ?2)`, acc.id, user, l.id, strangerWhy(user))(&names, &of, &waits)
	if err != nil {
		return l, 0, nil, err
	}
	if of >= maxOfStranger || !waits && names >= maxStrangers {
		return l, dropped, fmt.Errorf("%w: too many packets of strangers wait", parley.ErrDenied), nil
	}
	if !waits {
		if err := t.exec("INSERT INTO strangers (account, name) VALUES (?, ?)", acc.id, user); err != nil {
			return l, 0, nil, err
		}
		t.poke(workJobs)
	}
	return l, kept, errors.New(strangerWhy(user)), nil
}

func strangerWhy(user string) string { return "the keys of " + user + " are being looked up" }

// strangerMet makes a contact of somebody who has written, and proven to be who the
// directory says.
func (t *tx) strangerMet(acc account, user string) (line, error) {
	name, err := t.uniqueName(user, 0)
	if err != nil {
		return line{}, err
	}
	l, err := t.newPeer(acc, user, name)
	if err != nil {
		return l, err
	}
	if err := t.exec("UPDATE lines SET stranger = 1 WHERE id = ?", l.id); err != nil {
		return l, err
	}
	if err := t.learned(acc, l, News{First: true}); err != nil {
		return l, err
	}
	return l, t.notice(l.contact, fmt.Sprintf("You did not add %s: the directory vouches for the key, and nobody else. Compare safety numbers before you write anything that matters.", user))
}

// reroute gives a packet to the line that it belongs to.
func (t *tx) reroute(a *arrival, to line) error {
	a.line = to.id
	return t.exec("UPDATE inbox SET line = ? WHERE id = ?", to.id, a.id)
}
