package messenger

import "context"

// boundKept drops the oldest of what waits for keys on a line until the rest is
// within bounds.
func (t *tx) boundKept(line int64) error {
	l, err := t.line(line)
	if err != nil {
		return err
	}
	most, mostBytes := int64(maxKept), int64(maxKeptBytes)
	if l.isPad() {
		most, mostBytes = maxKeptPad, maxKeptPadBytes
	}
	for {
		var n, size, oldest int64
		if err := t.row("SELECT count(*), coalesce(sum(length(packet)), 0), coalesce(min(id), 0) FROM inbox WHERE line = ? AND state = 'kept'", line)(&n, &size, &oldest); err != nil {
			return err
		}
		if n <= most && size <= mostBytes {
			return nil
		}
		if err := t.exec("DELETE FROM inbox WHERE id = ?", oldest); err != nil {
			return err
		}
		t.then(t.m.countDropped)
	}
}

func (m *Messenger) countDropped() {
	m.mu.Lock()
	m.dropped++
	m.mu.Unlock()
}

// unblock lets a line try to seal again.
func (m *Messenger) unblock(line int64) {
	m.mu.Lock()
	delete(m.blocked, line)
	m.mu.Unlock()
}

// load counts packets that wait to be processed, or that do no more; unload
// counts one of the latter.
func (m *Messenger) load(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.backlog += n
	if m.room != nil && m.backlog < maxBacklog {
		close(m.room)
		m.room = nil
	}
}

func (m *Messenger) unload() { m.load(-1) }

// makeRoom waits while too much waits to be processed.
func (m *Messenger) makeRoom(ctx context.Context) error {
	m.mu.Lock()
	if m.backlog < maxBacklog {
		m.mu.Unlock()
		return nil
	}
	if m.room == nil {
		m.room = make(chan struct{})
	}
	room := m.room
	m.mu.Unlock()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-room:
		return nil
	}
}
