package server

import (
	"sync"
	"time"

	"parley/internal/lru"
	"parley/internal/rsakey"
	"parley/keydir"
)

// A signed answer is good for answerTime and is signed anew when renewTime has
// gone by, so that who gets one can keep it for hours.
const (
	answerTime = 24 * time.Hour
	renewTime  = 12 * time.Hour
)

// answers keeps signed answers, so that a look-up does not cost a signature. What
// is asked for by several clients at the same time is signed once.
type answers struct {
	mu      sync.Mutex
	ready   *lru.Map[string, readyAnswer]
	pending map[string]*pendingAnswer
}

type readyAnswer struct {
	body   []byte
	issued int64 // Unix milliseconds, by the wall clock
}

// good reports whether an answer can be sent again. One of the future is of a time
// before the clock was set back; clients would refuse it.
func (r *readyAnswer) good(now time.Time) bool {
	age := now.UnixMilli() - r.issued
	return age >= 0 && age < renewTime.Milliseconds()
}

type pendingAnswer struct {
	done  chan struct{}
	stale bool // the account has changed meanwhile: do not keep it
	body  []byte
	err   error
}

func newAnswers(most int) *answers {
	return &answers{ready: lru.New[string, readyAnswer](most), pending: map[string]*pendingAnswer{}}
}

// get returns the answer about a name, or what build returns.
func (a *answers) get(name string, now time.Time, build func() ([]byte, error)) ([]byte, error) {
	a.mu.Lock()
	if r, ok := a.ready.Get(name); ok && r.good(now) {
		a.mu.Unlock()
		return r.body, nil
	}
	if p := a.pending[name]; p != nil {
		a.mu.Unlock()
		<-p.done
		return p.body, p.err
	}
	p := &pendingAnswer{done: make(chan struct{})}
	a.pending[name] = p
	a.mu.Unlock()

	p.body, p.err = build()
	a.mu.Lock()
	if a.pending[name] == p {
		delete(a.pending, name)
	}
	if p.err == nil && !p.stale {
		a.ready.Put(name, readyAnswer{p.body, now.UnixMilli()})
	}
	a.mu.Unlock()
	close(p.done)
	return p.body, p.err
}

// drop forgets the answer about a name: what was committed before is seen by all
// who ask from now on.
func (a *answers) drop(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ready.Remove(name)
	if p := a.pending[name]; p != nil {
		p.stale = true
		delete(a.pending, name)
	}
}

// answer returns the signed answer about an active account; the error is
// errNotFound if there is none.
func (d *Directory) answer(name string) ([]byte, error) {
	now := d.o.Now()
	return d.answers.get(name, now, func() ([]byte, error) {
		var a *account
		if err := d.store.read(func(c *conn) (err error) { a, err = c.active(name); return err }); err != nil {
			return nil, err
		}
		return d.sign(a, now)
	})
}

// sign makes the answer about an account. Keys have the one form that we write.
func (d *Directory) sign(a *account, now time.Time) ([]byte, error) {
	k, err := a.keys()
	if err != nil {
		return nil, err
	}
	out := keydir.Answer{
		MessageKey: string(rsakey.EncodePublic(k.Message)), SignKey: string(rsakey.EncodePublic(k.Sign)),
		Username: a.name, Version: a.version, Issued: now.UnixMilli(), Expires: now.Add(answerTime).UnixMilli(),
		Proven: a.proven, LogSeq: a.logSeq, LogHash: a.logHash,
	}
	if a.rotation != "" {
		out.Rotation = &keydir.RotationProof{OldSign: a.oldSign, Signature: a.rotation}
	}
	b, err := out.Sign(d.key)
	if err != nil {
		return nil, err
	}
	return append(b, '\n'), nil
}
