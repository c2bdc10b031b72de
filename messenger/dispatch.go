package messenger

import (
	"context"
	"fmt"
	"time"
)

// dispatch sends a worker to each path whose oldest row is due, and returns when
// the next will be.
func (m *Messenger) dispatch() (next time.Time, err error) {
	type head struct {
		path int64
		next time.Time
	}
	var heads []head
	err = m.tx(m.ctx, "outbox: look", func(t *tx) error {
		heads = nil
		return t.each("SELECT path, next FROM outbox WHERE id IN (SELECT min(id) FROM outbox GROUP BY path)", nil, func(scan func(...any) error) error {
			var h head
			var ms int64
			err := scan(&h.path, &ms)
			h.next = instant(ms)
			heads = append(heads, h)
			return err
		})
	})
	if err != nil {
		return next, err
	}
	now := m.now()
	for _, h := range heads {
		if due := m.due(pathKey(h.path), h.next); due.After(now) {
			next = earliest(next, due)
			continue
		}
		m.send(pathKey(h.path), func(ctx context.Context, e *errand) { m.carry(ctx, e, h.path) })
	}
	return next, nil
}

func pathKey(id int64) string { return fmt.Sprintf("path %d", id) }

// due is the later of a row's own time and the end of a rest.
func (m *Messenger) due(key string, at time.Time) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.resting[key]; r != nil && r.until.After(at) {
		return r.until
	}
	return at
}

// send runs do in a goroutine of its own and returns nil, unless one with that key
// is under way: that one is returned.
func (m *Messenger) send(key string, do func(ctx context.Context, e *errand)) *errand {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.busy[key] != nil || m.ctx.Err() != nil {
		return m.busy[key]
	}
	ctx, cancel := context.WithCancel(m.ctx)
	e := &errand{cancel: cancel, ended: make(chan struct{})}
	m.busy[key] = e
	m.wg.Go(func() {
		defer cancel()
		do(ctx, e)
		m.mu.Lock()
		delete(m.busy, key)
		m.mu.Unlock()
		close(e.ended)
		m.poke(workSend | workJobs)
	})
	return nil
}

// rested ends the rest of a path or line; tire starts or prolongs it.
func (m *Messenger) rested(key string) {
	m.mu.Lock()
	delete(m.resting, key)
	m.mu.Unlock()
}

func (m *Messenger) tire(key string, err error) {
	jitter := m.o.Jitter()
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.resting[key]
	if r == nil {
		r = &rest{}
		m.resting[key] = r
	}
	r.n++
	r.until = m.now().Add(offlinePause(r.n, jitter))
	r.why = why(err)
}
