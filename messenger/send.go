package messenger

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"parley"
	"parley/content"
	"parley/envelope"
	"parley/messenger/profile"
)

// A message on its way out, in the order of this file and the next:
//
//  1. Send     timeline row and one intent for each target line: one commit
//  2. seal     per line, oldest intent first: protocol state, packet and outbox
//              rows instead of the intent: one commit
//  3. carry    (outbox.go) per path, oldest row first: the same bytes, until the
//              relay has them: one commit for each piece
//  4. relayed  (outbox.go) the first path that has all of it: "relay"
//  5. receipts (receipt.go) from the peer: "device", "read"

// window is how many packets of a line may be sealed and not yet at any relay.
// The rest stays unsealed, so that it can be cancelled without a trace, moves to
// another line when this one is replaced, and gets the newest keys.
const window = 16

// Send commits the message to disk and returns; Wait tells how it goes.
func (m *Messenger) Send(ctx context.Context, contact, text string) (Message, error) {
	amp, body, err := encodeText(text)
	if err != nil {
		return Message{}, err
	}
	var id [16]byte
	rand.Read(id[:])
	var msg Message
	err = m.tx(ctx, "send", func(t *tx) error {
		who, err := t.find(contact)
		if err != nil {
			return err
		}
		msg, err = t.sendText(who, id, amp, body, text)
		return err
	})
	return msg, err
}

func encodeText(text string) (amp parley.AMP, body []byte, err error) {
	switch {
	case len(text) > MaxText:
		err = fmt.Errorf("%w: %d bytes, at most %d", ErrTooLong, len(text), MaxText)
	case !utf8.ValidString(text):
		err = fmt.Errorf("%w: the text is not valid UTF-8", ErrState)
	case text == "":
		err = fmt.Errorf("%w: the text is empty", ErrState)
	}
	if err != nil {
		return amp, nil, err
	}
	return content.Encode(content.Text{Text: text})
}

// sendText is step 1.
func (t *tx) sendText(who int64, id [16]byte, amp parley.AMP, body []byte, text string) (msg Message, err error) {
	lines, err := t.sendable(who, len(body))
	if err != nil {
		return msg, err
	}
	conv, err := t.conversation(who)
	if err != nil {
		return msg, err
	}
	hash := sha256.Sum256(body)
	now := t.stampNow()
	seq, err := t.insert(`INSERT INTO timeline (conversation, author, id, kind, text, hash, sent, state)
		VALUES (?, 0, ?, 'text', ?, ?, ?, ?)`, conv, id[:], text, hash[:], now, Queued)
	if err != nil {
		return msg, err
	}
	for _, l := range lines {
		if err := t.intend(l.id, seq, "message", id[:], amp, body, now); err != nil {
			return msg, err
		}
	}
	if err := t.exec("UPDATE contacts SET last = ? WHERE id = ?", now, who); err != nil {
		return msg, err
	}
	t.changed(seq)
	return t.message(seq)
}

// sendable returns the contact's target lines, or why nothing can be sent.
func (t *tx) sendable(contact int64, size int) ([]line, error) {
	lines, err := t.targets(contact)
	if err != nil {
		return nil, err
	}
	if len(lines) == 0 {
		return nil, fmt.Errorf("%w: there is no line to this contact: invite it again", ErrState)
	}
	for _, l := range lines {
		if l.shared {
			if _, _, g, err := t.group(l); err != nil || g.Removed {
				if err == nil {
					err = fmt.Errorf("%w: a member has removed you from this conversation: nobody would take what you send", ErrState)
				}
				return nil, err
			}
		}
		if l.oneway {
			return nil, fmt.Errorf("%w: this peer gave no mailbox of its own, so that nothing can be sent to it: only it can write", ErrState)
		}
		if l.isPad() {
			if err := t.padFits(l, size); err != nil {
				return nil, err
			}
		}
		if !l.bare {
			continue
		}
		if l.account != 0 {
			a, err := t.account(l.account)
			if err != nil {
				return nil, err
			}
			if most := a.system.MaxText(); size > most {
				return nil, fmt.Errorf("%w: %d bytes, at most %d to a contact in %s", ErrTooLong, size, most, a.kind)
			}
			continue
		}
		var most int
		if err := t.row("SELECT coalesce(min(max), 0) FROM paths WHERE line = ? AND max > 0", l.id)(&most); err != nil {
			return nil, err
		}
		if l.shared {
			most = max(most-sealRoom, 0)
		}
		if most > 0 && size > most {
			return nil, fmt.Errorf("%w: %d bytes, at most %d in a bare conversation, which cannot split it", ErrTooLong, size, most)
		}
	}
	return lines, nil
}

// sealRoom is what sealing may add to a text in a bare conversation of many, in
// bytes.
const sealRoom = 512

// conversation returns the contact's conversation.
func (t *tx) conversation(contact int64) (id int64, err error) {
	err = t.row("SELECT id FROM conversations WHERE contact = ?", contact)(&id)
	return id, err
}

// intend commits that something is to be sent on a line. message is 0 for what
// has no place in the timeline.
func (t *tx) intend(line, message int64, kind string, id []byte, amp parley.AMP, body []byte, sent int64) error {
	_, err := t.insert(`INSERT INTO intents (line, message, kind, number, amp_type, amp_version, body, sent) VALUES (?, nullif(?, 0), ?, ?, ?, ?, ?, ?)`,
		line, message, kind, id, amp.Type, amp.Version, body, sent)
	t.poke(workSeal)
	return err
}

// sealAll seals what can be sealed on every line.
func (m *Messenger) sealAll() error {
	var lines []int64
	err := m.tx(m.ctx, "seal: look", func(t *tx) (err error) {
		lines, err = t.ids("SELECT DISTINCT line FROM intents ORDER BY line")
		return err
	})
	if err != nil {
		return err
	}
	var next time.Time
	settling := map[int64]string{}
	for _, l := range lines {
		due, why, err := m.settles(l)
		if err != nil {
			return err
		}
		if !due.IsZero() {
			next, settling[l] = earliest(next, due), why
			continue
		}
		for {
			m.mu.Lock()
			_, stuck := m.blocked[l]
			m.mu.Unlock()
			if stuck {
				break
			}
			more, err := m.sealNext(l)
			if err != nil {
				return err
			}
			if !more {
				break
			}
		}
	}
	m.mu.Lock()
	m.settling, m.sealDue = settling, next
	m.mu.Unlock()
	return nil
}

// An intent is one row of intents.
type intent struct {
	id, message int64
	kind        string
	msg         parley.Message
	merged      []int64 // other receipts that went into this one
}

// errStuck undoes a commit whose line cannot seal yet.
var (
	errStuck = errors.New("the line cannot seal yet")
	errNoWay = errors.New("waiting for the peer to tell where it receives")
)

// stuck undoes the commit and lets the line wait until it opens a packet.
func (t *tx) stuck(line int64, cause error) error {
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	t.m.blocked[line] = why(cause)
	if pending := (*PadPending)(nil); errors.As(cause, &pending) {
		t.m.blocked[line] = pending.Why
	}
	return errStuck
}

// sealNext seals the oldest intent of a line, and reports whether there may be
// another.
func (m *Messenger) sealNext(id int64) (more bool, err error) {
	err = m.tx(m.ctx, "seal", func(t *tx) error {
		more = false
		var unsent int
		if err := t.row("SELECT count(*) FROM packets WHERE line = ? AND relayed = 0", id)(&unsent); err != nil || unsent >= window {
			return err
		}
		in, err := t.oldestIntent(id)
		if isNone(err) {
			return nil
		}
		if err != nil {
			return err
		}
		more = true
		l, err := t.line(id)
		if err != nil {
			return err
		}
		var ways int
		if err := t.row("SELECT count(*) FROM paths WHERE line = ? AND dir = 'out' AND state <> 'dead'", id)(&ways); err != nil {
			return err
		}
		if ways == 0 {
			return t.stuck(id, errNoWay)
		}
		return t.seal(l, in)
	})
	if errors.Is(err, errStuck) {
		return false, nil
	}
	return more, err
}

// seal makes the packet of one intent. A transport that says never lets the
// message fail; one that says not yet lets the line wait.
func (t *tx) seal(l line, in intent) error {
	p, c, err := t.speak(l)
	if errors.Is(err, profile.ErrTampered) || errors.Is(err, errNoTransport) {
		return t.stuck(l.id, err)
	}
	if err != nil {
		return err
	}
	bucket := t.bucket(c)
	bucket.Savepoint()
	posts := collect(c)
	said := overhear(c)
	var packet []byte
	if in.kind == "grant" {
		packet, err = t.m.o.Pads.Grant(t.ctx, c, in.msg.ID, in.msg.Body)
	} else {
		packet, err = p.Seal(t.ctx, c, &in.msg)
	}
	switch {
	case err == nil:
	case t.ctx.Err() != nil:
		return t.ctx.Err()
	case l.isPad() && !errors.Is(err, parley.ErrRefused):
		return t.stuck(l.id, err)
	case l.shared && errors.Is(err, parley.ErrDenied): // we were removed: that is no matter of time
		bucket.Rollback()
		return t.unsealable(l, in, err)
	case errors.Is(err, parley.ErrNoKey), errors.Is(err, parley.ErrUntrusted), errors.Is(err, parley.ErrDenied):
		if l.shared && l.state == connected {
			t.m.ask(l.id)
		}
		return t.stuck(l.id, err)
	default:
		bucket.Rollback()
		return t.unsealable(l, in, err)
	}
	if err := bucket.Flush(); err != nil {
		return err
	}
	t.after = append(t.after, said.after...)
	if l.isPad() {
		if err := t.padLow(l, c); err != nil {
			return err
		}
	}
	// First what the message may need to be opened, such as a new key.
	if err := t.postAll(l, *posts); err != nil {
		return err
	}
	if err := t.post(l, in.message, in.kind, packet); err != nil {
		return err
	}
	return t.sealed(in)
}

// sealed removes an intent and those merged into it.
func (t *tx) sealed(in intent) error {
	for _, id := range append(in.merged, in.id) {
		if err := t.exec("DELETE FROM intents WHERE id = ?", id); err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) unsealable(l line, in intent, err error) error {
	t.m.log.Warn("messenger: an intent cannot be sealed", "line", l.id, "kind", in.kind, "error", err)
	if err := t.sealed(in); err != nil {
		return err
	}
	if in.kind == "grant" {
		return t.notice(l.contact, "No pad was given to the contact: "+err.Error())
	}
	if in.kind != "message" {
		return nil
	}
	return t.fail(in.message, "it cannot be sealed: "+err.Error())
}

// post puts a packet into the outbox of each of the line's paths.
func (t *tx) post(l line, message int64, kind string, packet []byte) error {
	if !l.bare {
		packet = envelope.Marshal(envelope.Envelope{STP: l.stp, Payload: packet})
	}
	if packet == nil {
		packet = []byte{}
	}
	id, err := t.insert("INSERT INTO packets (line, message, kind, packet) VALUES (?, nullif(?, 0), ?, ?)", l.id, message, kind, packet)
	if err != nil {
		return err
	}
	t.poke(workSend)
	return t.exec("INSERT INTO outbox (packet, path) SELECT ?, id FROM paths WHERE line = ? AND dir = 'out' AND state <> 'dead' ORDER BY id", id, l.id)
}

func (t *tx) oldestIntent(line int64) (intent, error) {
	var in intent
	var number []byte
	var sent int64
	err := t.row(`SELECT id, coalesce(message, 0), kind, number, amp_type, amp_version, body, sent FROM intents WHERE line = ? ORDER BY id LIMIT 1`, line)(
		&in.id, &in.message, &in.kind, &number, &in.msg.AMP.Type, &in.msg.AMP.Version, &in.msg.Body, &sent)
	if err != nil {
		return in, err
	}
	copy(in.msg.ID[:], number)
	in.msg.Sent = instant(sent)
	if in.kind == "delivered" || in.kind == "read" {
		err = t.mergeReceipts(line, &in)
	}
	return in, err
}
