package messenger

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"parley"
	"parley/content"
	"parley/envelope"
	"parley/messenger/profile"
)

// A packet on its way in, in the order of this file and the next:
//
//  1. keep     (mailbox.go) inbox row, mark and bind: one commit; then the
//              carrier acknowledges
//  2. process  oldest first, one commit each:
//     a. open    envelope; its number must be the line's; pieces are joined;
//                the transport opens it, or it is dropped, or kept for later
//     b. take    (event.go) what it means: timeline row, receipt, hello …
//     c. bind    whose packet has opened, the mailbox is closed to all others
//     d. commit  protocol state + once + timeline − inbox row

// Bounds of what waits in the inbox of one line because it cannot be opened yet.
// The oldest is dropped first, and counted.
const (
	maxKept      = 256
	maxKeptBytes = 4 << 20
	// With a pad they are not forged, as far as anybody knows: a person was not asked yet.
	maxKeptPad      = 64 << 10
	maxKeptPadBytes = 1 << 30
)

// maxBacklog is how many packets may wait to be processed before mailboxes
// are no longer read.
const maxBacklog = 512

// An arrival is one row of the inbox.
type arrival struct {
	id, line, path int64
	packet, bind   []byte
	digest         [32]byte
	tries          int
	came           int64
	doubt          bool   // no key that we know verifies it
	genuine        bool   // one did, when it was looked at before
	others         bool   // with an open mailbox: another pad of the contact's is tried next
	who            string // at an account: whom it claims to be from
	news           bool   // keys or members of a shared line have changed by it
}

// verdict is what becomes of an inbox row.
type verdict int

const (
	taken   verdict = iota // opened: state commits
	held                   // a piece, stored: wait for the others
	dropped                // forged, malformed or repeated
	kept                   // a key, trust or permission is missing
)

func (m *Messenger) process() error {
	for m.ctx.Err() == nil {
		more, err := m.processNext()
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// processNext deals with the oldest packet that nobody has looked at.
func (m *Messenger) processNext() (more bool, err error) {
	err = m.tx(m.ctx, "process", func(t *tx) error {
		more = false
		var a arrival
		err := t.row("SELECT id, line, path, packet, bind, tries, came, tries > 0 AND doubt = 0 AND who <> '', who FROM inbox WHERE state = 'new' ORDER BY id LIMIT 1")(
			&a.id, &a.line, &a.path, &a.packet, &a.bind, &a.tries, &a.came, &a.genuine, &a.who)
		if isNone(err) {
			return nil
		}
		if err != nil {
			return err
		}
		more = true
		l, err := t.line(a.line)
		if err != nil {
			return err
		}
		if l.role == accountRole {
			to, v, cause, err := t.sorted(l, &a)
			if err != nil {
				return err
			}
			if v != taken {
				return t.conclude(l, a, v, cause)
			}
			if err := t.reroute(&a, to); err != nil {
				return err
			}
			l = to
		}
		v, cause, err := t.open(l, &a)
		if err != nil {
			return err
		}
		return t.conclude(l, a, v, cause)
	})
	return more, err
}

// conclude commits the verdict: the row goes, or stays within bounds.
func (t *tx) conclude(l line, a arrival, v verdict, cause error) error {
	t.then(t.m.unload)
	if v == kept {
		err := t.exec("UPDATE inbox SET state = 'kept', packet = ?, why = ?, who = ?, doubt = ?, tries = tries + 1 WHERE id = ?", a.packet, why(cause), a.who, a.doubt, a.id)
		if err != nil {
			return err
		}
		if l.shared {
			if err := t.waits(l, cause); err != nil {
				return err
			}
		}
		if l.role == accountRole || l.account != 0 {
			return t.boundWaiting(l)
		}
		return t.boundKept(l.id)
	}
	// On a topic our own packets come back, and others' come twice.
	if quiet := l.shared && errors.Is(cause, parley.ErrSeen); v == dropped && !quiet {
		t.m.log.Info("messenger: a packet was dropped", "line", l.id, "error", cause)
		t.then(t.m.countDropped)
	}
	// What waited since before we were in is not missing; what comes now is.
	if v == dropped && errors.Is(cause, parley.ErrLate) && a.tries == 0 {
		reason := "late on " + t.now().UTC().Format(time.DateOnly)
		if err := t.noticeOnce(l, reason, "A message came too late to be opened: it was written under a key that was replaced meanwhile. Ask the others to send it again."); err != nil {
			return err
		}
	}
	if err := t.exec("DELETE FROM inbox WHERE id = ?", a.id); err != nil || v != taken {
		return err
	}
	if l.shared {
		if !a.news {
			return nil
		}
		t.then(func() { t.m.unblock(l.id) })
		t.poke(workSeal)
		t.contactChanged(l.contact)
		if err := t.groupNews(l); err != nil {
			return err
		}
		return t.retryKept(l.id)
	}
	// Keys have moved on: what waited for them may open now, and seal.
	t.then(func() { t.m.unblock(l.id) })
	t.poke(workSeal)
	// The peer is there: what its mailbox denied before may go through now.
	if n, err := t.count("UPDATE outbox SET next = 0 WHERE next > ? AND path IN (SELECT id FROM paths WHERE line = ? AND dir = 'out')", t.stampNow(), l.id); err != nil {
		return err
	} else if n > 0 {
		t.poke(workSend)
	}
	if l.isPad() { // nothing waits for another packet: see padsAgain
		return nil
	}
	return t.retryKept(l.id)
}

// retryKept tries what waited for keys or trust once more.
func (t *tx) retryKept(line int64) error {
	n, err := t.count("UPDATE inbox SET state = 'new' WHERE line = ? AND state = 'kept'", line)
	if n > 0 {
		t.poke(workInbox)
	}
	t.then(func() { t.m.load(int(n)) })
	return err
}

// open decides about one packet. An error is trouble with the disk; everything
// that is wrong with the packet is in cause.
func (t *tx) open(l line, a *arrival) (v verdict, cause, err error) {
	alone := l.bare && !l.shared && l.account == 0 && !l.isPad() // paired in the original's way
	if alone && l.state == invited {
		return t.bareConfirmed(l, a)
	}
	if alone && l.state == connecting && len(a.bind) > 0 {
		return t.bareAnswered(l, a)
	}
	if alone && len(a.bind) > 0 {
		return dropped, fmt.Errorf("%w: a confirmation, and the line is connected", parley.ErrSeen), nil
	}
	packet := a.packet
	if !l.bare {
		e, err := envelope.Parse(packet)
		if err == nil && e.STP == parley.Fragment {
			whole, v, cause, disk := t.piece(l, e)
			if v != taken || disk != nil {
				return v, cause, disk
			}
			a.packet, a.bind = whole, nil
			e, err = envelope.Parse(whole)
		}
		if err != nil {
			return dropped, err, nil
		}
		if e.STP != l.stp {
			return dropped, fmt.Errorf("%w: it claims secure transport %d version %d, which is not this line's", parley.ErrMalformed, e.STP.Type, e.STP.Version), nil
		}
		packet = e.Payload
		a.digest = sha256.Sum256(a.packet)
		again, err := t.wasSeen(l.id, a.digest)
		if err != nil {
			return 0, nil, err
		}
		if again {
			// The same packet over another path: the bind is as good there.
			return dropped, parley.ErrSeen, t.bind(l, a)
		}
	}
	if l.isPad() && l.bare {
		return t.unsealAny(l, a, packet)
	}
	return t.unseal(l, a, packet)
}

// unseal lets the transport open the packet and takes in what it says.
func (t *tx) unseal(l line, a *arrival, packet []byte) (verdict, error, error) {
	p, c, err := t.speak(l)
	if errors.Is(err, profile.ErrTampered) || errors.Is(err, errNoTransport) {
		return kept, err, nil
	}
	if err != nil {
		return 0, nil, err
	}
	bucket := t.bucket(c)
	bucket.Savepoint()
	posts := collect(c)
	said := overhear(c)
	var msg *parley.Message
	var cause error
	former := false
	if l.account != 0 {
		msg, former, cause, err = t.openFor(l, p, c, a)
		if err != nil {
			return 0, nil, err
		}
	} else {
		msg, cause = p.Open(t.ctx, c, packet)
	}
	if t.ctx.Err() != nil {
		return 0, nil, t.ctx.Err()
	}
	var in *parley.Introduction
	if errors.As(cause, &in) {
		cause = t.introduction(l, p, c, in)
	}
	if cause == nil && msg != nil {
		cause, err = t.takeOnce(l, msg)
	}
	if cause == nil && err == nil {
		err = t.noticeAll(l, said.told)
	}
	if cause == nil && err == nil && msg != nil {
		cause, err = t.take(l, c, msg)
		if cause == nil && err == nil && l.account != 0 {
			err = t.remark(l, msg, former)
		}
	}
	if err != nil {
		return 0, nil, err
	}
	if cause != nil {
		bucket.Rollback()
		if a.doubt {
			if waits, err := t.doubted(l, a); waits || err != nil {
				return kept, cause, err
			}
		}
		if a.others && notThisPad(cause) {
			return dropped, cause, nil
		}
		return t.sortCause(l, cause)
	}
	a.news = msg == nil && bucket.Changed()
	if err := bucket.Flush(); err != nil {
		return 0, nil, err
	}
	if err := t.postAll(l, *posts); err != nil {
		return 0, nil, err
	}
	t.after = append(t.after, said.after...)
	if !l.bare && !(l.shared && in != nil) { // the same introduction may come again
		if err := t.exec("INSERT OR IGNORE INTO seen (line, digest, came) VALUES (?, ?, ?)", l.id, a.digest[:], t.stampNow()); err != nil {
			return 0, nil, err
		}
		if err := t.bind(l, a); err != nil {
			return 0, nil, err
		}
	}
	return taken, nil, nil
}

// errDisk marks trouble that is ours and not the packet's.
type errDisk struct{ error }

func (e errDisk) Unwrap() error { return e.error }

// sortCause says what becomes of a packet that did not open.
func (t *tx) sortCause(l line, cause error) (verdict, error, error) {
	if disk := (errDisk{}); errors.As(cause, &disk) {
		return 0, nil, disk.error
	}
	if l.shared && t.m.o.Groups != nil && t.m.o.Groups.Refusal(cause) != "" {
		return dropped, cause, t.refusal(l, cause)
	}
	switch {
	case l.isPad():
		return t.sortPad(l, cause)
	case errors.Is(cause, parley.ErrForged) && errors.Is(cause, parley.ErrRefused) && l.role == inviter:
		// Somebody else holds the invitation too.
		return dropped, cause, t.noticeOnce(l, "second answer", "Somebody tried to use the invitation of this contact a second time, and was turned away. If others have seen the invitation, compare safety numbers.")
	case errors.Is(cause, parley.ErrForked):
		// What a copy sends after its original has written cannot be opened: say
		// so, or messages would be missing in silence.
		return dropped, cause, t.noticeOnce(l, "forked", "A message could not be opened: this contact's messenger was put back from a copy, or somebody else has a copy of its keys. Messages may be missing. Ask over another channel which it is, and pair anew: invite it again under the same name.")
	case errors.Is(cause, parley.ErrForged) && l.state == connected && !l.bare && !l.shared:
		return dropped, cause, t.noticeOnce(l, "forged", "A packet on this line could not be opened with any key that we have, and was dropped. If this profile was put back from a copy, messages may be missing: pair anew, by inviting the contact again under the same name. If not, somebody without the keys wrote to the mailbox: they could not be read by it, and nothing of theirs was shown.")
	case errors.Is(cause, parley.ErrForged), errors.Is(cause, parley.ErrMalformed), errors.Is(cause, parley.ErrSeen), errors.Is(cause, parley.ErrLate):
		return dropped, cause, nil
	case l.shared && errors.Is(cause, parley.ErrDenied): // of one who was removed, or to us who were
		return dropped, cause, nil
	}
	return kept, cause, nil
}

// takeOnce refuses a nonce, counter or pad index that came before.
func (t *tx) takeOnce(l line, msg *parley.Message) (cause, err error) {
	if len(msg.Once) == 0 {
		return nil, nil
	}
	if l.account != 0 {
		n, err := t.count("INSERT OR IGNORE INTO account_once (account, sender, once) VALUES (?, ?, ?)", l.account, l.peer, msg.Once)
		if err == nil && n == 0 {
			cause = parley.ErrSeen
		}
		return cause, err
	}
	n, err := t.count("INSERT OR IGNORE INTO once (line, sender, once) VALUES (?, ?, ?)", l.id, string(msg.From), msg.Once)
	if err == nil && n == 0 {
		cause = parley.ErrSeen
	}
	return cause, err
}

func (t *tx) wasSeen(line int64, digest [32]byte) (bool, error) {
	var n int
	err := t.row("SELECT count(*) FROM seen WHERE line = ? AND digest = ?", line, digest[:])(&n)
	return n > 0, err
}

// bind notes whose alone the mailbox is to be: the sender of a packet that has
// opened, and nobody before that.
func (t *tx) bind(l line, a *arrival) error {
	if len(a.bind) == 0 {
		return nil
	}
	n, err := t.count("UPDATE paths SET bind = ?, state = 'secure' WHERE id = ? AND line = ? AND state = 'open'", a.bind, a.path, l.id)
	if n > 0 {
		t.poke(workJobs)
	}
	return err
}

// take gives what the packet says to where it belongs.
func (t *tx) take(l line, c *parley.Conversation, msg *parley.Message) (cause, err error) {
	if (l.shared || l.account != 0 || l.isPad()) && msg.AMP == parley.TextPlain && !isText(msg.Body) {
		return nil, t.rawBytes(l, msg)
	}
	ev, cause := content.Decode(msg.AMP, msg.Body)
	if unknown := (*content.UnknownError)(nil); errors.As(cause, &unknown) {
		return nil, t.notShown(l, msg)
	}
	if cause != nil {
		return cause, nil
	}
	return nil, t.event(l, c, msg, ev)
}
