package messenger

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"parley"
	"parley/messenger/profile"
)

// How strangers get into a conversation of many: who has no key says who it is,
// again and again, since nobody may be listening; a member's user lets it in, or
// the member itself if the key is trusted already; the answer brings the key.

// maxRequests is how many strangers may wait for an answer on one line. The
// oldest is forgotten first: who still wants to come in asks again.
const maxRequests = 32

// mostAsked is how often we introduce ourselves before we wait for the next start
// or the next reason: for a day and a half, or for an hour and a half if we are in
// already and lack one key.
const (
	mostAsked      = 500
	mostAskedAgain = 25
)

// An asking is one line that introduces itself.
type asking struct {
	n   int
	due time.Time
}

// askPause is how long to wait for an answer before the introduction goes out
// again: from 2 seconds to 5 minutes, half of that to all of it.
func askPause(n int, jitter float64) time.Duration {
	d := min(2*time.Second<<min(max(n-1, 0), 8), 5*time.Minute)
	return time.Duration(float64(d) * (0.5 + 0.5*jitter))
}

// ask begins to introduce us on a line, if we are not at it.
func (m *Messenger) ask(line int64) {
	m.mu.Lock()
	if m.asking[line] == nil {
		m.asking[line] = &asking{}
	}
	m.mu.Unlock()
	m.poke(workJobs)
}

// goOnAsking begins with what had no answer when the profile was last used.
func (t *tx) goOnAsking() error {
	lines, err := t.ids("SELECT id FROM lines WHERE shared AND state IN ('connecting', 'connected') ORDER BY id")
	for _, id := range lines {
		t.then(func() { t.m.ask(id) })
	}
	return err
}

// introductions sends those that are due, and returns when the next one is.
func (m *Messenger) introductions() (next time.Time, err error) {
	now := m.now()
	var due []int64
	m.mu.Lock()
	for id, a := range m.asking {
		if a.due.After(now) {
			next = earliest(next, a.due)
			continue
		}
		due = append(due, id)
	}
	m.mu.Unlock()
	for _, id := range due {
		more := false
		m.mu.Lock()
		asked := 0
		if a := m.asking[id]; a != nil {
			asked = a.n
		}
		m.mu.Unlock()
		err := m.tx(m.ctx, "introduce", func(t *tx) (err error) {
			more, err = t.introduceOn(id, asked)
			return err
		})
		if err != nil {
			return next, err
		}
		m.mu.Lock()
		a := m.asking[id]
		if a != nil && more {
			a.n++
			a.due = now.Add(askPause(a.n, m.o.Jitter()))
			next = earliest(next, a.due)
		} else {
			delete(m.asking, id)
		}
		m.mu.Unlock()
	}
	return next, nil
}

// introduceOn puts our introduction into the outbox, unless one is still there,
// and reports whether to do so again later.
func (t *tx) introduceOn(id int64, asked int) (more bool, err error) {
	l, err := t.line(id)
	if isNone(err) || err == nil && l.state == retired {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if asked >= mostAsked || l.state == connected && asked >= mostAskedAgain {
		return false, nil
	}
	if wanted, err := t.wantsKey(l); err != nil || !wanted {
		return false, err
	}
	var waits int
	if err := t.row("SELECT count(*) FROM packets WHERE line = ? AND kind = 'intro' AND relayed = 0", id)(&waits); err != nil || waits > 0 {
		return true, err
	}
	i, c, err := t.introducer(l)
	if errors.Is(err, profile.ErrTampered) || errors.Is(err, errNoTransport) {
		return false, nil // the notice about it is there
	}
	if err != nil {
		return false, err
	}
	bucket := t.bucket(c)
	bucket.Savepoint()
	posts := collect(c)
	packet, err := i.Introduce(t.ctx, c)
	if err != nil || len(packet) == 0 {
		bucket.Rollback()
		if err != nil {
			t.m.log.Warn("messenger: no introduction could be made", "line", id, "error", err)
		}
		return err != nil, nil
	}
	if err := bucket.Flush(); err != nil {
		return false, err
	}
	if err := t.post(l, 0, "intro", packet); err != nil {
		return false, err
	}
	return true, t.postAll(l, *posts)
}

// wantsKey reports whether a line has to introduce itself: it has no key yet, or
// packets wait for one that it has not.
func (t *tx) wantsKey(l line) (bool, error) {
	if l.state != connected {
		return l.state == connecting, nil
	}
	_, _, g, err := t.group(l)
	if errors.Is(err, profile.ErrTampered) || errors.Is(err, errNoTransport) {
		return false, nil // the notice about it is there
	}
	if err != nil || g.Removed || g.Asks {
		return err == nil && !g.Removed, err
	}
	var waits int
	err = t.row("SELECT count(*) FROM inbox WHERE line = ? AND state = 'kept' AND why = ?", l.id, why(parley.ErrNoKey))(&waits)
	return waits > 0, err
}

func (t *tx) introducer(l line) (parley.Introducer, *parley.Conversation, error) {
	p, c, err := t.speak(l)
	if err != nil {
		return nil, nil, err
	}
	i, ok := p.(parley.Introducer)
	if !ok {
		return nil, nil, fmt.Errorf("%w %d for groups", errNoTransport, l.stp.Type)
	}
	return i, c, nil
}

// collect makes c keep what it posts.
func collect(c *parley.Conversation) *[][]byte {
	posts := new([][]byte)
	c.Post = func(b []byte) { *posts = append(*posts, b) }
	return posts
}

func (t *tx) postAll(l line, posts [][]byte) error {
	for _, b := range posts {
		if err := t.post(l, 0, "protocol", b); err != nil {
			return err
		}
	}
	return nil
}

// asked takes an introduction on a shared line in. The error is the packet's own
// fault unless it is an errDisk.
func (t *tx) asked(l line, i parley.Introducer, c *parley.Conversation, in *parley.Introduction) error {
	_, _, g, err := t.group(l)
	if err != nil {
		return err
	}
	switch in.Kind {
	case parley.Request:
		if !g.has(in.From) {
			return disk(t.request(l, in))
		}
		// The user has decided about this key already: it lost ours, or was named
		// before it came.
		if soon, err := t.answeredSoon(l, g, in); err != nil || soon {
			return errors.Join(disk(err), parley.ErrSeen)
		}
		answer, err := i.Admit(t.ctx, c, in)
		if errors.Is(err, parley.ErrDenied) { // answered often enough: it asks again
			err = fmt.Errorf("%w: %w", parley.ErrSeen, err)
		}
		if err == nil {
			c.Post(answer)
			err = disk(t.noteAnswer(l, in.Packet))
		}
		return err
	case parley.Answer:
		return t.answered(l, i, c, in)
	}
	return fmt.Errorf("%w: an introduction that this line does not expect", parley.ErrForged)
}

// answerRest is how long the same introduction has no second answer, and one of
// whom another member has let in has none of ours: longer than askPause, so that
// whoever did not get the answer asks again after it. What was on its way before
// the answer was there would only cause a change of keys for nothing.
const answerRest = 6 * time.Minute

// answeredSoon reports whether somebody has answered an introduction just now.
func (t *tx) answeredSoon(l line, g Group, in *parley.Introduction) (bool, error) {
	for _, m := range g.Members {
		if m.ID == in.From && m.By != "" && t.now().Sub(m.Since) < answerRest {
			return true, nil
		}
	}
	digest := sha256.Sum256(in.Packet)
	var n int
	err := t.row("SELECT count(*) FROM answers WHERE line = ? AND digest = ? AND came > ?", l.id, digest[:], stamp(t.now().Add(-answerRest)))(&n)
	return n > 0, err
}

func (t *tx) noteAnswer(l line, introduction []byte) error {
	digest := sha256.Sum256(introduction)
	return t.exec("INSERT INTO answers (line, digest, came) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET came = excluded.came", l.id, digest[:], t.stampNow())
}

func disk(err error) error {
	if err == nil {
		return nil
	}
	return errDisk{err}
}

// answered lets the transport take the key in an answer to our introduction.
func (t *tx) answered(l line, i parley.Introducer, c *parley.Conversation, in *parley.Introduction) error {
	if err := i.Accept(t.ctx, c, in); err != nil {
		return t.notAccepted(l, err)
	}
	_, _, g, err := t.group(l)
	if err != nil {
		return err
	}
	if !g.Ready {
		return nil
	}
	who := "Somebody"
	if in.From != "" && g.has(in.From) {
		who = short(in.From)
	}
	text := fmt.Sprintf("%s has let us in.", who)
	if in.From != "" && len(in.Key) > 0 && g.has(in.From) {
		text += fmt.Sprintf(" Compare the fingerprint with theirs: %s.", t.fingerprint(in.Key))
	}
	if !g.has(in.From) {
		text += " Nobody vouches for the key that came with the answer: it was not signed."
	}
	if err := t.noticeOnce(l, "let in by "+string(in.From), text); err != nil {
		return errDisk{err}
	}
	return disk(t.connectGroup(l))
}

// notAccepted drops an answer: it gets no better with time.
func (t *tx) notAccepted(l line, cause error) error {
	if err := t.refusal(l, cause); err != nil {
		return errDisk{err}
	}
	return fmt.Errorf("%w: %w", parley.ErrSeen, cause)
}

// refusal says, once for each reason, why an answer to our introduction was not
// taken, if the user can do something about it.
func (t *tx) refusal(l line, cause error) error {
	why := t.m.o.Groups.Refusal(cause)
	if why == "" {
		return nil
	}
	return t.noticeOnce(l, "answer: "+why, "An answer to our introduction was not taken: "+why)
}

// request keeps what a stranger asked, once for each key, and says so once.
func (t *tx) request(l line, in *parley.Introduction) error {
	n, err := t.count("UPDATE requests SET packet = ? WHERE line = ? AND member = ?", in.Packet, l.id, string(in.From))
	if err != nil || n > 0 {
		return err
	}
	if _, err := t.insert("INSERT INTO requests (line, member, packet, came) VALUES (?, ?, ?, ?)",
		l.id, string(in.From), in.Packet, t.stampNow()); err != nil {
		return err
	}
	if n, err = t.count("DELETE FROM requests WHERE line = ?1 AND id NOT IN (SELECT id FROM requests WHERE line = ?1 ORDER BY id DESC LIMIT ?2)", l.id, maxRequests); err != nil {
		return err
	}
	if n > 0 { // a crowd, or one who pretends to be: no notice for each of them
		return t.noticeOnce(l, "crowd of "+t.now().UTC().Format(time.DateOnly),
			fmt.Sprintf("More than %d strangers ask to be let in. Only the newest are kept; who still wants to come in asks again.", maxRequests))
	}
	var name string
	if err := t.row("SELECT name FROM contacts WHERE id = ?", l.contact)(&name); err != nil {
		return err
	}
	return t.noticeOnce(l, "request of "+hex.EncodeToString(in.Key), fmt.Sprintf(
		"Somebody asks to be let in: %s, fingerprint: %s. If that is what they see themselves: parley topic admit %s %s",
		short(in.From), t.fingerprint(in.Key), shellName(name), short(in.From)))
}

// groupNews looks what a change of keys or members means for us.
func (t *tx) groupNews(l line) error {
	_, _, g, err := t.group(l)
	if err != nil {
		return err
	}
	if g.Removed {
		return t.noticeOnce(l, "removed", "A member has removed you from this conversation: the others take nothing from you any more, and what they write from now on cannot be read here.")
	}
	if g.Asks {
		t.then(func() { t.m.ask(l.id) })
	}
	return nil
}

// waits says what it means that a packet on a shared line has to wait.
func (t *tx) waits(l line, cause error) error {
	_, _, g, err := t.group(l)
	if err != nil || g.Removed { // what comes now is not for us, and the user knows it
		return err
	}
	switch {
	case errors.Is(cause, parley.ErrNoKey) && l.state == connected:
		t.then(func() { t.m.ask(l.id) })
		return t.noticeOnce(l, "no key", "A message has come under a key that this device lacks. It waits, and the members are asked for the key.")
	case errors.Is(cause, parley.ErrUntrusted):
		var name string
		if err := t.row("SELECT name FROM contacts WHERE id = ?", l.contact)(&name); err != nil {
			return err
		}
		return t.noticeOnce(l, "untrusted", fmt.Sprintf(
			"Something has come from somebody whose key you do not trust, or not yet. What it says waits, the newest of it, and is shown when you let its writer in: parley topic people %s", shellName(name)))
	}
	return nil
}
