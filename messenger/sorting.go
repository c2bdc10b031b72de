package messenger

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"parley"
	"parley/messenger/profile"
)

// Bounds of what waits at an account for keys of users that are no contacts, and at a
// contact: packets that no known key verifies, and genuine ones that wait for the
// user's decision about changed keys.
const (
	maxStrangers = 256 // packets
	maxDoubted   = 32
	maxKeyless   = 512 // as long as there are no keys at all
	maxUndecided = 10_000
	maxBytes     = 64 << 20 // of each of these
)

// sorted finds the line that a packet of an account's mailbox belongs to. Its claim
// decides nothing but whose keys are tried: the transport proves it. Packets of users
// who are no contacts wait until their keys have been looked up (stranger.go).
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
	from, cause := sorter.Claimed(t.ctx, acc.system.Keyring(state), a.packet)
	if cause != nil {
		v, cause, err := t.sortCause(l, cause)
		return l, v, cause, err
	}
	if a.who = string(from); a.who == acc.name { // ourselves, by another program with our keys
		return l, dropped, fmt.Errorf("%w: from ourselves", parley.ErrDenied), nil
	}
	if to, err = t.peerLine(acc.id, a.who); err == nil {
		return to, taken, nil, nil
	}
	if !isNone(err) {
		return l, 0, nil, err
	}
	if _, ask := acc.system.Question(state, a.who); !ask {
		return l, kept, fmt.Errorf("it claims to be from %s, and there is no directory to ask: parley contact add-%s", a.who, acc.kind), nil
	}
	if err := t.askAbout(acc, a.who); err != nil {
		return l, 0, nil, err
	}
	return l, kept, errors.New("the keys of " + a.who + " are being looked up"), nil
}

// accountOf returns the account of its own line.
func (t *tx) accountOf(l line) (account, error) {
	var id int64
	if err := t.row("SELECT id FROM accounts WHERE line = ?", l.id)(&id); err != nil {
		return account{}, err
	}
	return t.account(id)
}

// reroute gives a packet to the line that it belongs to.
func (t *tx) reroute(a *arrival, to line) error {
	a.line = to.id
	return t.exec("UPDATE inbox SET line = ? WHERE id = ?", to.id, a.id)
}

// openFor opens a packet of a contact's with each pair of keys that may be the
// contact's. While the directory offers other keys than the pinned ones nothing is
// shown, but what verifies under either is genuine and waits; what verifies under none
// is doubtful (a.doubt). former says that keys of before have verified it.
func (t *tx) openFor(l line, p parley.SecureTransport, c *parley.Conversation, a *arrival) (msg *parley.Message, former bool, cause, err error) {
	acc, state, err := t.accountState(l.account)
	if err != nil {
		return nil, false, nil, err
	}
	rings := acc.system.Rings(state, l.peer, instant(a.came))
	undecided := acc.system.Keys(state, l.peer).Offered != nil
	keys := c.Keys
	defer func() { c.Keys = keys }()
	cause = fmt.Errorf("the keys of %s are not known yet: %w", l.peer, parley.ErrNoKey)
	for _, r := range rings {
		c.Keys = r.Keys
		m, err := p.Open(t.ctx, c, a.packet)
		if err == nil && (undecided || !r.Trusted) {
			return nil, false, fmt.Errorf("the keys of %s have changed; compare them: %w", l.peer, parley.ErrUntrusted), nil
		}
		if err == nil {
			return m, r.Former, nil, nil
		}
		if cause = err; !errors.Is(err, parley.ErrForged) {
			break
		}
	}
	a.doubt = errors.Is(cause, parley.ErrForged) || errors.Is(cause, parley.ErrNoKey)
	return nil, false, cause, nil
}

// doubted says whether a doubtful packet is to wait: until the directory was asked
// after it came, since the keys may have changed. If they have not, it is dropped then.
func (t *tx) doubted(l line, a *arrival) (waits bool, err error) {
	acc, state, err := t.accountState(l.account)
	if err != nil {
		return false, err
	}
	if _, ask := acc.system.Question(state, l.peer); !ask {
		// There is nobody to ask but the user.
		return true, t.noticeOnce(l, "unverified on "+t.now().UTC().Format(time.DateOnly), fmt.Sprintf(
			"Something that claims to be from %s does not verify with the keys that you gave. If %[1]s has new ones, give them: parley contact add-%s %[1]s with the files. It waits until then.", l.peer, acc.kind))
	}
	var checked int64
	if err := t.row("SELECT checked FROM lines WHERE id = ?", l.id)(&checked); err != nil {
		return false, err
	}
	if a.came < checked {
		if !a.genuine {
			return false, nil
		}
		return false, t.noticeOnce(l, "undecided keys on "+t.now().UTC().Format(time.DateOnly),
			"Messages were dropped that are signed with keys which the directory offered for a while, and for which you did not decide.")
	}
	t.poke(workJobs)
	// Not all the time, however many packets somebody makes up.
	return true, t.exec("UPDATE lines SET looked = min(looked, checked + ?) WHERE id = ?", lookDoubt.Milliseconds(), l.id)
}

// boundWaiting keeps within bounds what waits at an account or at one of its contacts.
// Of strangers' packets one of the name with the most goes first, of doubtful ones the
// oldest; genuine ones are not lost without a word.
func (t *tx) boundWaiting(l line) error {
	drop := func(q string, args ...any) (int64, error) {
		n, err := t.count("DELETE FROM inbox WHERE id IN ("+q+")", args...)
		for range n {
			t.then(t.m.countDropped)
		}
		return n, err
	}
	if l.role == accountRole {
		n, err := drop(`SELECT max(id) FROM inbox WHERE line = ?1 AND state = 'kept' GROUP BY who
			HAVING (SELECT count(*) FROM inbox WHERE line = ?1 AND state = 'kept') > ?2 ORDER BY count(*) DESC, max(id) DESC LIMIT 1`, l.id, maxStrangers)
		if err != nil || n == 0 {
			return err
		}
		return t.exec(`DELETE FROM strangers WHERE account = (SELECT id FROM accounts WHERE line = ?1) AND NOT EXISTS
			(SELECT 1 FROM inbox WHERE line = ?1 AND who = strangers.name)`, l.id)
	}
	// The newest that fit, by number and bytes.
	const beyond = `SELECT id FROM (SELECT id, row_number() OVER w n, sum(length(packet)) OVER w s FROM inbox
		WHERE line = ? AND state = 'kept' AND doubt = ? WINDOW w AS (ORDER BY id DESC)) WHERE n > ? OR s > ?`
	doubted := maxDoubted
	if acc, state, err := t.accountState(l.account); err != nil {
		return err
	} else if acc.system.Keys(state, l.peer).Pinned == nil {
		doubted = maxKeyless
	}
	if _, err := drop(beyond, l.id, true, doubted, maxBytes); err != nil {
		return err
	}
	n, err := drop(beyond, l.id, false, maxUndecided, maxBytes)
	if err == nil && n > 0 {
		err = t.noticeOnce(l, "undecided on "+t.now().UTC().Format(time.DateOnly), fmt.Sprintf("More than %d messages wait for your decision about the keys of this contact. The oldest are lost.", maxUndecided))
	}
	return err
}

// A time of a sender's that is further from ours than this is shown as odd.
const (
	oddAhead = 5 * time.Minute
	oddBack  = 24 * time.Hour
)

// remark says beside a message what its line cannot show: a time that is not about
// now, or keys that the contact does not use any more.
func (t *tx) remark(l line, msg *parley.Message, former bool) error {
	if msg.AMP == parley.Presence {
		return nil
	}
	var words []string
	switch d := msg.Sent.Sub(t.now()); {
	case msg.Sent.Year() < 1970 || msg.Sent.Year() > 9999 || msg.Sent.UnixMilli() == 0:
		words = append(words, "says that it was sent at an impossible time")
	case d > oddAhead || d < -oddBack:
		words = append(words, "was sent "+msg.Sent.UTC().Format("2006-01-02 15:04:05 UTC")+", by the clock of its sender")
	}
	if former {
		words = append(words, "is signed with the key that this contact had before")
	}
	if len(words) == 0 {
		return nil
	}
	id := msg.ID
	id[0] ^= 0xff // the notice's own
	return t.noticeAs(l.contact, authorSelf, id[:], "The message before "+strings.Join(words, ", and ")+".")
}
