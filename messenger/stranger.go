package messenger

import (
	"errors"
	"time"

	"parley"
)

// A stranger is a user who writes to an account of ours and is no contact. Anybody can
// write packets that claim to be from anybody, so that nothing of them is believed, and
// nothing kept for long, before the directory has given keys and a packet verifies:
//
//  1. sorted keeps the packet and has the keys looked up (askAbout)
//  2. with the answer, each packet of that name is tried (strangerAnswer): if one
//     verifies, the keys are pinned, the user becomes a contact, marked as one that we
//     did not add, and all packets of the name go to its line
//  3. if none does, those that came before the directory was asked are dropped, and
//     nothing is remembered of them but when to ask again at the earliest

// strangerRest is how long a name rests at least between two look-ups, strangerTries
// how often a directory may give an answer that is no good before its packets are
// dropped.
const (
	strangerRest  = 10 * time.Second
	strangerTries = 5
)

// strangerPause is how long after so many such answers the next one is asked for.
func strangerPause(n int) time.Duration { return time.Minute << (2 * min(n, 4)) }

// askAbout has the keys of a name looked up, soon.
func (t *tx) askAbout(acc account, user string) error {
	t.poke(workJobs)
	return t.exec("INSERT OR IGNORE INTO strangers (account, name, next) VALUES (?, ?, ?)", acc.id, user, t.stampNow())
}

// strangerAnswer takes in what a directory says, or does not say, about a stranger.
func (t *tx) strangerAnswer(a account, user string, answer []byte, cause error, asked int64) error {
	var tries int
	err := t.row("SELECT tries FROM strangers WHERE account = ? AND name = ?", a.id, user)(&tries)
	if isNone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	later := func(d time.Duration, bad int) error {
		return t.exec("UPDATE strangers SET next = ?, tries = tries + ? WHERE account = ? AND name = ?", stamp(t.now().Add(d)), bad, a.id, user)
	}
	if errors.Is(cause, parley.ErrOffline) {
		return later(offlinePause(4, t.m.o.Jitter()), 0)
	}
	if cause == nil {
		met, good, err := t.meet(a, user, answer)
		if met || err != nil {
			return err
		}
		if !good {
			cause = ErrDirectory
		}
	}
	if cause != nil && !errors.Is(cause, ErrNoUser) && tries < strangerTries {
		return later(strangerPause(tries), 1)
	}
	n, err := t.count("DELETE FROM inbox WHERE line = ? AND state = 'kept' AND who = ? AND came < ?", a.line, user, asked)
	if err != nil {
		return err
	}
	t.then(func() {
		t.m.mu.Lock()
		t.m.dropped += int(n)
		t.m.mu.Unlock()
	})
	var waits int
	if err := t.row("SELECT count(*) FROM inbox WHERE line = ? AND who = ?", a.line, user)(&waits); err != nil {
		return err
	}
	if waits == 0 && n == 0 { // nobody has written in that name since it was asked last
		return t.exec("DELETE FROM strangers WHERE account = ? AND name = ?", a.id, user)
	}
	return later(strangerRest, 0)
}

// meet makes a contact of a stranger if one of the packets verifies with the keys that
// the directory has given. good says that these could be taken for keys.
func (t *tx) meet(a account, user string, answer []byte) (met, good bool, err error) {
	state, err := t.Bucket(a.line)
	if err != nil {
		return false, false, err
	}
	p, err := t.m.transport(a.system.STP())
	if err != nil {
		return false, false, nil
	}
	state.Savepoint()
	if _, err := a.system.Learn(state, user, answer); err != nil {
		t.m.log.Warn("messenger: a directory's answer was refused", "account", a.id, "error", err)
		state.Rollback()
		return false, false, nil
	}
	genuine, err := t.anyGenuine(a, user, p, state)
	if err != nil || !genuine {
		state.Rollback()
		return false, true, err
	}
	if err := state.Flush(); err != nil {
		return false, true, err
	}
	return true, true, t.strangerMet(a, user)
}

// anyGenuine reports whether one of the packets that wait in a name verifies.
func (t *tx) anyGenuine(a account, user string, p parley.SecureTransport, state parley.Bucket) (bool, error) {
	var packets [][]byte
	err := t.each("SELECT packet FROM inbox WHERE line = ? AND state = 'kept' AND who = ? ORDER BY id", []any{a.line, user}, func(scan func(...any) error) error {
		var b []byte
		err := scan(&b)
		packets = append(packets, b)
		return err
	})
	if err != nil {
		return false, err
	}
	c := &parley.Conversation{
		STP: a.system.STP(), Self: parley.Name(a.name), Peers: []parley.Name{parley.Name(user)},
		Keys: a.system.Keyring(state), State: state, Now: t.now(), Bare: true,
	}
	for _, packet := range packets {
		if _, err := p.Open(t.ctx, c, packet); err == nil {
			return true, nil
		}
	}
	return false, nil
}

// strangerMet makes a contact of somebody who has proven to be who the directory says.
func (t *tx) strangerMet(acc account, user string) error {
	name, err := t.uniqueName(user, 0)
	if err != nil {
		return err
	}
	l, err := t.newPeer(acc, user, name)
	if err != nil {
		return err
	}
	if err := t.exec("UPDATE lines SET stranger = 1 WHERE id = ?", l.id); err != nil {
		return err
	}
	if err := t.learned(acc, l, News{First: true}); err != nil {
		return err
	}
	if err := t.exec("DELETE FROM strangers WHERE account = ? AND name = ?", acc.id, user); err != nil {
		return err
	}
	if err := t.notice(l.contact, "You did not add "+user+": the directory vouches for the key, and nobody else. Compare safety numbers before you write anything that matters."); err != nil {
		return err
	}
	return t.adopt(acc, l)
}

// adopt gives a new contact's line the packets that have waited for it.
func (t *tx) adopt(acc account, l line) error {
	n, err := t.count("UPDATE inbox SET line = ?, state = 'new' WHERE line = ? AND who = ? AND state = 'kept'", l.id, acc.line, l.peer)
	if n > 0 {
		t.poke(workInbox)
	}
	t.then(func() { t.m.load(int(n)) })
	return err
}
