package client

import (
	"context"
	"errors"
	"sync"
	"time"

	"parley/keydir"
)

// How long a [Cache] keeps what it was told, and how many users it knows.
const (
	CacheTTL     = 10 * time.Minute
	CacheTTLNone = 30 * time.Second // that there is no such user
	CacheSize    = 4096
)

// A Cache asks a directory once where many want to know the same. Each waits for
// itself: whoever gives up stops nobody else, and a directory that hangs holds up only
// those who ask for what is not known yet. It is safe for concurrent use.
type Cache struct {
	c     *Client
	mu    sync.Mutex
	known map[string]cached
	asked map[string]*question
}

type cached struct {
	a     keydir.Answer
	k     keydir.Keys
	err   error
	until time.Time
}

// A question is a look-up under way. The last one who waits for it ends it.
type question struct {
	done    chan struct{}
	cancel  context.CancelFunc
	waiting int
	cached
}

// NewCache makes an empty cache over a client.
func NewCache(c *Client) *Cache {
	return &Cache{c: c, known: map[string]cached{}, asked: map[string]*question{}}
}

// Lookup is [Client.Lookup] with a memory.
func (m *Cache) Lookup(ctx context.Context, user string) (keydir.Answer, keydir.Keys, error) {
	if err := keydir.CheckUsername(user); err != nil {
		return keydir.Answer{}, keydir.Keys{}, err
	}
	m.mu.Lock()
	if v, ok := m.known[user]; ok && m.c.o.Now().Before(v.until) {
		m.mu.Unlock()
		return v.a, v.k, v.err
	}
	q := m.asked[user]
	if q == nil {
		q = m.ask(ctx, user)
	}
	q.waiting++
	m.mu.Unlock()
	select {
	case <-q.done:
		return q.a, q.k, q.err
	case <-ctx.Done():
		m.leave(user, q)
		return keydir.Answer{}, keydir.Keys{}, unreachable(ctx, ctx.Err())
	}
}

// ask starts a look-up; m.mu is held.
func (m *Cache) ask(ctx context.Context, user string) *question {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*m.c.o.Timeout)
	q := &question{done: make(chan struct{}), cancel: cancel}
	m.asked[user] = q
	go func() {
		defer cancel()
		a, k, err := m.c.Lookup(ctx, user)
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.asked[user] == q {
			delete(m.asked, user)
			m.keep(user, a, k, err)
		}
		q.cached = cached{a: a, k: k, err: err}
		close(q.done)
	}()
	return q
}

func (m *Cache) leave(user string, q *question) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if q.waiting--; q.waiting == 0 {
		q.cancel()
		if m.asked[user] == q {
			delete(m.asked, user) // who comes now starts anew
		}
	}
}

// keep remembers an answer, or that there is none; m.mu is held. Other errors may be
// over the next moment.
func (m *Cache) keep(user string, a keydir.Answer, k keydir.Keys, err error) {
	now, ttl := m.c.o.Now(), CacheTTL
	if err != nil {
		if !errors.Is(err, ErrNoUser) {
			return
		}
		ttl = CacheTTLNone
	}
	if len(m.known) >= CacheSize {
		m.makeRoom(now)
	}
	m.known[user] = cached{a, k, err, now.Add(ttl)}
}

// makeRoom drops what is out of date or, if nothing is, any one.
func (m *Cache) makeRoom(now time.Time) {
	for user, v := range m.known {
		if !now.Before(v.until) {
			delete(m.known, user)
		}
	}
	for user := range m.known {
		if len(m.known) < CacheSize {
			return
		}
		delete(m.known, user)
	}
}

// Forget drops what is known of a user.
func (m *Cache) Forget(user string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.known, user)
}
