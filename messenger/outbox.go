package messenger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"parley"
	"parley/envelope"
)

// A job is the oldest outbox row of a path.
type job struct {
	row, packet, line int64
	message           int64
	kind              string
	bytes             []byte
	part, tries       int
	next              time.Time
	why               string
	bare, shared      bool
	path              path
}

// carry sends a path's rows, oldest first, until none is due.
func (m *Messenger) carry(ctx context.Context, e *errand, id int64) {
	for ctx.Err() == nil {
		j, ok, err := m.head(ctx, e, id)
		if err != nil && ctx.Err() == nil {
			m.log.Error("messenger: the outbox cannot be read", "error", err)
			m.tire(pathKey(id), err)
		}
		if err != nil || !ok {
			return
		}
		reach, pieces, err := m.hand(ctx, &j)
		o := sort(ctx, err)
		if o == stopped {
			return
		}
		m.heard(j.path.relay, err)
		if err := m.handed(ctx, j, o, reach, pieces, err); err != nil {
			m.log.Error("messenger: the outbox cannot be written", "error", err)
			m.tire(pathKey(id), err)
			return
		}
		if o == offline {
			m.tire(pathKey(id), err)
			return
		}
		m.rested(pathKey(id))
	}
}

// head loads the oldest row of a path if it is due.
func (m *Messenger) head(ctx context.Context, e *errand, id int64) (j job, ok bool, err error) {
	err = m.tx(ctx, "outbox: head", func(t *tx) error {
		var ms int64
		err := t.row(`SELECT o.id, o.packet, o.part, o.tries, o.next, o.why, p.line, coalesce(p.message, 0), p.kind, p.packet, l.bare, l.shared
			FROM outbox o JOIN packets p ON p.id = o.packet JOIN lines l ON l.id = p.line WHERE o.path = ? ORDER BY o.id LIMIT 1`, id)(
			&j.row, &j.packet, &j.part, &j.tries, &ms, &j.why, &j.line, &j.message, &j.kind, &j.bytes, &j.bare, &j.shared)
		if isNone(err) {
			return nil
		}
		if err != nil {
			return err
		}
		if j.next = instant(ms); j.next.After(t.now()) {
			return nil
		}
		ok = true
		j.path, err = t.path(id)
		m.mu.Lock()
		defer m.mu.Unlock()
		ok = err == nil && !m.frozen[j.message]
		e.packet = j.packet
		return err
	})
	return j, ok && err == nil, err
}

// hand gives the row's next piece to the carrier.
func (m *Messenger) hand(ctx context.Context, j *job) (reach parley.Reach, pieces int, err error) {
	c, err := m.carrier(j.path.scheme)
	if err != nil {
		return 0, 1, err
	}
	if j.path.state == joining {
		if err := m.join(ctx, c, &j.path); err != nil {
			return 0, 1, err
		}
	}
	all := [][]byte{j.bytes}
	if !j.bare {
		if all, err = envelope.Split(j.bytes, j.path.end.Max); err != nil {
			return 0, 1, fmt.Errorf("%w: %w", parley.ErrRefused, err)
		}
	}
	piece := all[min(j.part, len(all)-1)]
	b, binder := c.(parley.Binder)
	if j.path.state != confirming || !binder {
		reach, err = c.Send(ctx, j.path.end, piece)
		return reach, len(all), err
	}
	if len(all) > 1 {
		return 0, 1, fmt.Errorf("%w: the relay takes packets of at most %d bytes, and a pairing needs %d", parley.ErrRefused, j.path.end.Max, len(j.bytes))
	}
	err = b.Confirm(ctx, j.path.end, piece)
	if errors.Is(err, parley.ErrDenied) && !j.bare {
		// An earlier Confirm of ours may have arrived and the mailbox be ours
		// alone by now: then it takes signed packets only.
		if reach, again := c.Send(ctx, j.path.end, piece); again == nil {
			return reach, 1, nil
		}
	}
	return parley.AtRelay, 1, err
}

// handed records what came of it.
func (m *Messenger) handed(ctx context.Context, j job, o outcome, reach parley.Reach, pieces int, cause error) error {
	words := why
	if j.shared {
		words = topicWhy
	}
	if o == offline && j.why == words(cause) {
		return nil // already known
	}
	return m.tx(settled(ctx), "outbox: "+[]string{"done", "offline", "later", "never"}[o], func(t *tx) error {
		if j.message != 0 && o != offline && (o != done || j.part+1 >= pieces) {
			if err := t.exec("UPDATE timeline SET tries = tries + 1 WHERE seq = ?", j.message); err != nil {
				return err
			}
			t.changed(j.message)
		}
		switch o {
		case done:
			return t.relayed(j, reach, pieces)
		case offline:
			return t.exec("UPDATE outbox SET why = ? WHERE id = ?", words(cause), j.row)
		case never:
			return t.refused(j, cause)
		}
		if m.o.MaxTries > 0 && j.tries+1 >= m.o.MaxTries && j.message != 0 {
			return t.refused(j, fmt.Errorf("given up after %d tries: %s", j.tries+1, words(cause)))
		}
		next := t.now().Add(pause(j.tries+1, m.o.Jitter()))
		return t.exec("UPDATE outbox SET tries = tries + 1, next = ?, why = ? WHERE id = ?", stamp(next), words(cause), j.row)
	})
}

// relayed records that the relay has one piece; after the last one the row goes.
func (t *tx) relayed(j job, reach parley.Reach, pieces int) error {
	if j.path.state == confirming {
		if err := t.exec("UPDATE paths SET state = 'ready', why = '' WHERE id = ?", j.path.id); err != nil {
			return err
		}
	}
	if j.part+1 < pieces {
		return t.exec("UPDATE outbox SET part = ?, tries = 0, next = 0, why = '' WHERE id = ?", j.part+1, j.row)
	}
	n, err := t.count("DELETE FROM outbox WHERE id = ?", j.row)
	if err != nil || n == 0 {
		return err // the receipt was faster
	}
	if err := t.exec("UPDATE packets SET relayed = 1 WHERE id = ?", j.packet); err != nil {
		return err
	}
	if err := t.sweepPacket(j.packet); err != nil {
		return err
	}
	t.poke(workSeal) // the window has moved
	if j.message == 0 {
		return nil
	}
	state := AtRelay
	if reach == parley.AtDevice {
		state = AtDevice
	}
	return t.advance(j.message, state)
}

// sweepPacket deletes a packet that no path has to send any more.
func (t *tx) sweepPacket(id int64) error {
	return t.exec("DELETE FROM packets WHERE id = ? AND NOT EXISTS (SELECT 1 FROM outbox WHERE packet = ?)", id, id)
}

// refused takes a row off a path that will never take it.
func (t *tx) refused(j job, cause error) error {
	t.m.log.Warn("messenger: a packet was refused for good", "path", j.path.id, "kind", j.kind, "error", cause)
	rows := []int64{j.row}
	if j.path.state == confirming || j.path.state == joining {
		// Without its first packet the path is of no use.
		if err := t.exec("UPDATE paths SET state = 'dead', why = ? WHERE id = ?", cause.Error(), j.path.id); err != nil {
			return err
		}
		var err error
		if rows, err = t.ids("SELECT id FROM outbox WHERE path = ? ORDER BY id", j.path.id); err != nil {
			return err
		}
	}
	for _, row := range rows {
		if err := t.dropRow(row, cause.Error()); err != nil {
			return err
		}
	}
	return nil
}

// dropRow deletes an outbox row; when it was the packet's last and no relay has
// the packet, its message has failed.
func (t *tx) dropRow(row int64, reason string) error {
	var packet, message, line int64
	var relayed bool
	var kind string
	err := t.row(`SELECT p.id, coalesce(p.message, 0), p.line, p.relayed, p.kind FROM outbox o JOIN packets p ON p.id = o.packet WHERE o.id = ?`, row)(
		&packet, &message, &line, &relayed, &kind)
	if isNone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := t.exec("DELETE FROM outbox WHERE id = ?", row); err != nil {
		return err
	}
	var left int
	if err := t.row("SELECT count(*) FROM outbox WHERE packet = ?", packet)(&left); err != nil || left > 0 {
		return err
	}
	if err := t.exec("DELETE FROM packets WHERE id = ?", packet); err != nil {
		return err
	}
	t.poke(workSeal)
	switch {
	case relayed:
		return nil
	case message != 0:
		return t.fail(message, reason)
	case kind == "answer" || kind == "hello" || kind == "confirm":
		l, err := t.line(line)
		if err != nil {
			return err
		}
		return t.notice(l.contact, "The pairing cannot go on: "+reason)
	case kind == "intro" || kind == "reply" || kind == "protocol":
		l, err := t.line(line)
		if err != nil || !l.shared {
			return err
		}
		return t.noticeOnce(l, "refused "+kind, "The broker does not take what keeps the topic going: "+reason)
	}
	return nil
}

// join makes the sending end of a path that has only an address yet.
func (m *Messenger) join(ctx context.Context, c parley.Carrier, p *path) error {
	end, err := c.Join(ctx, p.end.Address)
	if err != nil {
		return err
	}
	p.end, p.state = end, confirming
	if _, binder := c.(parley.Binder); !binder {
		p.state = ready
	}
	return m.tx(settled(ctx), "outbox: join", func(t *tx) error {
		return t.exec("UPDATE paths SET address = ?, secret = ?, max = ?, state = ? WHERE id = ?", end.Address, end.Secret, end.Max, p.state, p.id)
	})
}
