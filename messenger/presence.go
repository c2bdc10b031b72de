package messenger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"parley"
	"parley/content"
)

// Presence is opt-in, per account: contacts of the account are told that we are here,
// each by a packet that only it can open, and told again before that expires. Who did
// not switch it on tells nobody anything, and hears nothing.

// presenceBeat is how often it is told, presenceHolds for how long it is good.
const (
	presenceBeat  = 2 * time.Minute
	presenceHolds = 5 * time.Minute
	presenceGone  = time.Hour // how long our word that we have gone holds
)

// A Presenter is a [System] whose server can tell people of others' presence.
type Presenter interface {
	// Presence stays at the server until ctx ends. It calls heard with each packet
	// about the presence of somebody who tells us, connected each time when the
	// server is reached, and passes on what comes over tell. When tell is closed it
	// passes on what is left, within a moment, and returns.
	Presence(ctx context.Context, server parley.Address, self string, tell <-chan Word, connected func(), heard func(packet []byte)) error
}

// A Word is a packet for one user of the server; an empty one makes the server forget
// the last.
type Word struct {
	User   string
	Packet []byte
}

// SetPresence switches an account's presence on or off. Off, the server is told to
// forget what it knows.
func (m *Messenger) SetPresence(ctx context.Context, kind, name string, on bool) (a Account, err error) {
	var was *account
	err = m.tx(ctx, "presence: set", func(t *tx) error {
		row, err := t.findAccount(kind, name)
		if err != nil {
			return err
		}
		if _, ok := row.system.(Presenter); !ok {
			return fmt.Errorf("%w: %s has no presence", ErrState, row.kind)
		}
		if row.presence && !on {
			was = &row
			if err := t.exec("DELETE FROM presence WHERE line IN (SELECT id FROM lines WHERE account = ?)", row.id); err != nil {
				return err
			}
		}
		if err := t.exec("UPDATE accounts SET presence = ? WHERE id = ?", on, row.id); err != nil {
			return err
		}
		row.presence = on
		a, err = t.describeAccount(row)
		return err
	})
	if err != nil {
		return a, err
	}
	if was != nil {
		m.forgetPresence(*was)
	}
	return a, m.tellPresence(ctx)
}

// forgetPresence makes the server forget our last words, also when nobody listens here
// right now. A server that cannot be reached has them until they expire.
func (m *Messenger) forgetPresence(a account) {
	m.mu.Lock()
	if m.here[a.id] == nil {
		m.stay(a)
	}
	m.mu.Unlock()
	m.hush(a.id, true)
}

// A presence is the goroutine that stays at a server for one account.
type presence struct {
	forget chan bool // ends it; true: make the server forget
	ended  chan struct{}
	cancel context.CancelFunc
}

// beHere is called when somebody begins to read what comes: from then on, until the
// messenger is closed, we are here. A command that only sends is not.
func (m *Messenger) beHere(ctx context.Context) {
	m.mu.Lock()
	m.seen = true
	m.mu.Unlock()
	if err := m.tellPresence(ctx); err != nil && ctx.Err() == nil {
		m.log.Warn("messenger: presence cannot be told", "error", err)
	}
}

// tellPresence starts what is switched on and does not run yet.
func (m *Messenger) tellPresence(ctx context.Context) error {
	m.mu.Lock()
	idle := !m.seen || len(m.o.Systems) == 0
	m.mu.Unlock()
	if idle {
		return nil
	}
	var all []account
	err := m.tx(ctx, "presence: look", func(t *tx) error {
		all = nil
		ids, err := t.ids("SELECT a.id FROM accounts a JOIN lines l ON l.id = a.line WHERE a.presence ORDER BY a.id")
		if err != nil {
			return err
		}
		for _, id := range ids {
			a, err := t.account(id)
			if errors.Is(err, errNoTransport) {
				continue
			}
			if err != nil {
				return err
			}
			all = append(all, a)
		}
		return nil
	})
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, a := range all {
		m.stay(a)
	}
	return nil
}

// stay starts to be here for an account. It is called with mu.
func (m *Messenger) stay(a account) {
	p, ok := a.system.(Presenter)
	if !ok || m.here[a.id] != nil || m.ctx.Err() != nil || m.closing {
		return
	}
	ctx, cancel := context.WithCancel(m.ctx)
	h := &presence{forget: make(chan bool, 1), ended: make(chan struct{}), cancel: cancel}
	m.here[a.id] = h
	m.wg.Go(func() {
		defer close(h.ended)
		defer cancel()
		m.stayHere(ctx, a, p, h)
	})
}

// hush ends an account's presence. forget makes the server forget it; else it learns
// that we have gone.
func (m *Messenger) hush(account int64, forget bool) {
	m.mu.Lock()
	h := m.here[account]
	delete(m.here, account)
	m.mu.Unlock()
	if h == nil {
		return
	}
	h.forget <- forget
	limit := time.NewTimer(2 * time.Second)
	defer limit.Stop()
	select {
	case <-h.ended:
	case <-limit.C:
		h.cancel()
		<-h.ended
	}
}

// hushAll ends all of them, at the end.
func (m *Messenger) hushAll() {
	m.mu.Lock()
	var all []int64
	for id := range m.here {
		all = append(all, id)
	}
	m.mu.Unlock()
	var done sync.WaitGroup
	for _, id := range all {
		done.Go(func() { m.hush(id, false) })
	}
	done.Wait()
}

// stayHere tells and hears until ctx ends.
func (m *Messenger) stayHere(ctx context.Context, a account, p Presenter, h *presence) {
	again := make(chan struct{}, 1)
	say := make(chan Word)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		for n := 1; ctx.Err() == nil; n++ {
			err := p.Presence(ctx, a.server, a.name, say, func() {
				select {
				case again <- struct{}{}:
				default:
				}
			}, func(packet []byte) { m.hearPresence(ctx, a.id, packet) })
			if err == nil || ctx.Err() != nil {
				return
			}
			m.log.Info("messenger: presence has to wait", "account", a.id, "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(offlinePause(n, m.o.Jitter())):
			}
		}
	}()
	pass := func(kind content.PresenceKind, holds time.Duration, forget bool) {
		words, err := m.presenceWords(ctx, a.id, kind, holds, forget)
		if err != nil {
			m.log.Info("messenger: presence cannot be told", "account", a.id, "error", err)
		}
		for _, w := range words {
			select {
			case say <- w:
			case <-gone:
				return
			case <-ctx.Done():
				return
			}
		}
	}
	beat := time.NewTicker(presenceBeat)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			<-gone
			return
		case <-gone:
			return
		case forget := <-h.forget:
			pass(content.Offline, presenceGone, forget)
			close(say)
			<-gone
			return
		case <-again:
			pass(content.Online, presenceHolds, false)
		case <-beat.C:
			pass(content.Online, presenceHolds, false)
		}
	}
}

// presenceWords seals our presence for each contact of an account that we have added.
func (m *Messenger) presenceWords(ctx context.Context, acc int64, kind content.PresenceKind, holds time.Duration, forget bool) (words []Word, err error) {
	amp, body, err := content.Encode(content.Presence{Kind: kind, Seconds: uint32(holds / time.Second)})
	if err != nil {
		return nil, err
	}
	err = m.tx(ctx, "presence: seal", func(t *tx) error {
		words = nil
		if a, err := t.account(acc); err != nil || !a.presence && !forget {
			return err // switched off, or removed, meanwhile
		}
		ids, err := t.ids("SELECT id FROM lines WHERE account = ? AND state = 'connected' AND (? OR stranger = 0 AND changed = 0) ORDER BY id", acc, forget)
		if err != nil {
			return err
		}
		for _, id := range ids {
			l, err := t.line(id)
			if err != nil {
				return err
			}
			if forget {
				words = append(words, Word{User: l.peer})
				continue
			}
			p, c, err := t.speak(l)
			if err != nil {
				return err
			}
			b := t.bucket(c)
			b.Savepoint()
			packet, err := p.Seal(ctx, c, &parley.Message{ID: newID(), AMP: amp, Sent: t.now(), Body: body})
			if err != nil { // keys that are not there yet: later
				b.Rollback()
				continue
			}
			if err := b.Flush(); err != nil {
				return err
			}
			words = append(words, Word{User: l.peer, Packet: packet})
		}
		return nil
	})
	return words, err
}

// hearPresence takes in what a contact says of itself. Anything else, and anything
// that is older than what we know, is nothing.
func (m *Messenger) hearPresence(ctx context.Context, acc int64, packet []byte) {
	err := m.tx(ctx, "presence: hear", func(t *tx) error {
		a, err := t.account(acc)
		if err != nil || !a.presence {
			return err
		}
		state, err := t.Bucket(a.line)
		if err != nil {
			return err
		}
		p, err := t.m.transport(a.system.STP())
		if err != nil {
			return err
		}
		sorter, ok := p.(parley.Sorter)
		if !ok {
			return nil
		}
		from, err := sorter.Claimed(ctx, a.system.Keyring(state), packet)
		if err != nil {
			return err
		}
		l, err := t.peerLine(acc, string(from))
		if isNone(err) {
			return nil
		}
		if err != nil {
			return err
		}
		_, c, err := t.speak(l)
		if err != nil {
			return err
		}
		b := t.bucket(c)
		b.Savepoint()
		msg, err := p.Open(ctx, c, packet)
		b.Rollback()
		if err != nil || msg == nil || msg.AMP != parley.Presence {
			return err
		}
		ev, err := content.Decode(msg.AMP, msg.Body)
		e, ok := ev.(content.Presence)
		if err != nil || !ok || msg.Sent.After(t.now().Add(presenceHolds)) {
			return err
		}
		until := msg.Sent.Add(time.Duration(e.Seconds) * time.Second)
		n, err := t.count(`INSERT INTO presence (line, kind, sent, until) VALUES (?, ?, ?, ?)
			ON CONFLICT (line) DO UPDATE SET kind = excluded.kind, sent = excluded.sent, until = excluded.until WHERE excluded.sent > presence.sent`,
			l.id, e.Kind, stamp(msg.Sent), stamp(until))
		if n > 0 {
			t.contactChanged(l.contact)
		}
		return err
	})
	if err != nil && ctx.Err() == nil {
		m.log.Info("messenger: a word about presence was not taken", "account", acc, "error", err)
	}
}

// describePresence adds what a contact last said of itself.
func (t *tx) describePresence(c *Contact, l line) error {
	var kind content.PresenceKind
	var sent, until int64
	err := t.row("SELECT kind, sent, until FROM presence WHERE line = ?", l.id)(&kind, &sent, &until)
	if isNone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	c.Seen = instant(sent)
	words := map[content.PresenceKind]string{content.Online: "online", content.Away: "away", content.Offline: "offline", content.Typing: "online"}
	if c.Presence = words[kind]; kind != content.Offline && t.now().After(instant(until)) {
		c.Presence = "unknown"
	}
	return nil
}
