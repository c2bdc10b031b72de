package nes

import (
	"context"
	"errors"
	"fmt"
	"time"

	"parley"
	"parley/internal/term"
	"parley/keydir/client"
	"parley/secure/nes"
)

// Bounds of the waiting room, where envelopes are whose sender's keys are not known
// yet: envelopes, and bytes of them.
const (
	maxWaiting      = 256
	maxWaitingBytes = 16 << 20
)

// Pauses between look-ups of one sender's keys: of those that fail, and between any
// two, since everybody can send what makes us ask. After checkEvery, keys that are
// pinned are compared with the provider's again.
const (
	askAgainMin = 2 * time.Second
	askAgainMax = time.Minute
	askPause    = 5 * time.Second
	checkEvery  = time.Hour
)

// Time that a look-up gets: at first, and at most for who got no answer before.
const (
	askLimit    = 5 * time.Second
	askLimitMax = 3 * client.Timeout
)

// wait commits an envelope to the waiting room and sees that its sender's keys are
// asked for. When the room is full, the sender who has the most in it loses the
// oldest: a flood pushes out the flood. l.mu is held.
func (l *Listener) wait(w waiting) error {
	var lost []string
	err := l.update(func(b parley.Bucket) error {
		all := waitingRoom(b)
		for _, old := range all {
			if old.claimed == w.claimed && string(old.envelope) == string(w.envelope) {
				return nil // came again
			}
		}
		w.key = add(b, "wait/", w.value())
		all = append(all, w)
		for crowded(all) {
			i := loudest(all)
			b.Delete(all[i].key)
			lost = append(lost, all[i].claimed)
			all = append(all[:i], all[i+1:]...)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, name := range lost {
		l.sink.Report("Too many messages wait for keys: one that claims to be from " + name + " was dropped.")
	}
	l.ask(w.claimed)
	return nil
}

func crowded(all []waiting) bool {
	size := 0
	for _, w := range all {
		size += len(w.envelope)
	}
	return len(all) > maxWaiting || size > maxWaitingBytes
}

// loudest returns the oldest envelope of the sender with the most bytes, of what nobody
// has verified: everybody can write that in anybody's name. What was verified makes
// room only where it takes half of it.
func loudest(all []waiting) (index int) {
	size, verified, rest := map[string]int{}, 0, false
	for _, w := range all {
		if w.verified {
			verified += w.weight()
		} else {
			rest = true
		}
	}
	from := verified > maxWaitingBytes/2 || !rest
	index = -1
	for _, w := range all {
		if w.verified == from {
			size[w.claimed] += w.weight()
		}
	}
	for i, w := range all {
		if w.verified == from && (index < 0 || size[w.claimed] > size[all[index].claimed]) {
			index = i
		}
	}
	return index
}

// weight counts an envelope's bytes and its place: maxWaiting small ones weigh as much
// as maxWaitingBytes.
func (w *waiting) weight() int { return len(w.envelope) + maxWaitingBytes/maxWaiting }

// resumeWaiting asks for the keys of all senders in the waiting room.
func (l *Listener) resumeWaiting() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.e.state.View(func(b parley.Bucket) error {
		for _, w := range waitingRoom(b) {
			l.ask(w.claimed)
		}
		return nil
	})
}

// check asks the provider now and then whether the keys of a sender whose keys are
// pinned are still the same. l.mu is held.
func (l *Listener) check(peer string) {
	if l.e.dir != nil && time.Since(l.peer(peer).checked) > checkEvery {
		l.ask(peer)
	}
}

// ask starts to look for a sender's keys, unless that is under way. Each sender has a
// goroutine of its own, so that nobody waits for another; l.mu is held.
func (l *Listener) ask(peer string) {
	p := l.peer(peer)
	if p.asking || l.ctx.Err() != nil {
		return
	}
	p.asking = true
	l.wg.Go(func() { l.keepAsking(peer, p) })
}

// keepAsking ends when the sender's keys are known and its envelopes opened, or when
// there is nothing left to wait for.
func (l *Listener) keepAsking(peer string, p *peerState) {
	said := ""
	l.mu.Lock()
	first := askPause - time.Since(p.checked)
	l.mu.Unlock()
	if first > 0 && !l.pause(first) {
		return
	}
	for pause := askAgainMin; ; pause = min(2*pause, askAgainMax) {
		end := l.roomEnd()
		err := l.askOnce(peer, p)
		if l.ctx.Err() != nil {
			return
		}
		over, text := l.settle(peer, p, end, err)
		if over {
			return
		}
		if text != said && text != "" {
			l.report(text)
			said = text
		}
		if !l.pause(pause) {
			return
		}
	}
}

// pause waits, and reports whether to go on.
func (l *Listener) pause(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-l.ctx.Done():
		return false
	}
}

// roomEnd returns a key that all entries of the waiting room come before.
func (l *Listener) roomEnd() (end string) {
	l.e.state.View(func(b parley.Bucket) error { end = nextKey(b, "wait/"); return nil })
	return end
}

// askOnce asks the provider when it is this sender's turn. Who got no answer in time
// gets more of it the next time, and one of few turns.
func (l *Listener) askOnce(peer string, p *peerState) error {
	if _, given, err := l.e.peerFile(peer); given || err != nil || l.e.Self(peer) {
		return err
	}
	l.mu.Lock()
	slow := p.slow
	l.mu.Unlock()
	leave, err := l.lookups.take(l.ctx, slow > 0)
	if err != nil {
		return err
	}
	defer leave()
	ctx, stop := context.WithTimeout(l.ctx, min(askLimit<<min(slow, 3), askLimitMax))
	defer stop()
	l.e.forget(peer) // an answer from before the message will not do
	if _, err = l.e.lookup(ctx, peer); ctx.Err() != nil {
		slow++
	} else {
		slow = 0
	}
	l.locked(func() { p.slow = slow })
	return err
}

// settle does what the outcome of a look-up asks for, and reports whether that was
// the last of it; else text says why it goes on. Messages from end on came after the
// provider was asked.
func (l *Listener) settle(peer string, p *peerState, end string, err error) (over bool, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	// Under the same lock: what comes next finds that nobody asks any more.
	defer func() { p.asking = !over }()
	if err := l.e.state.View(func(parley.Bucket) error { return nil }); err != nil {
		l.fault(stateFault{err})
		return false, ""
	}
	var changed *client.ChangedError
	switch {
	case errors.As(err, &changed):
		p.checked = time.Now()
		if p.held == nil || !p.held.New.Equal(changed.New) {
			p.held = changed
			l.sink.Changed(peer, Changed(changed))
		}
		if err := l.sift(peer, changed, end); err != nil && !l.fault(err) {
			l.fail(err)
			return true, ""
		}
		return false, "" // until the user or the provider has changed their mind
	case errors.Is(err, client.ErrNoUser):
		p.checked = time.Now()
		return l.unknown(peer, end, err), ""
	case err != nil:
		if len(l.of(peer)) == 0 {
			return true, ""
		}
		return false, fmt.Sprintf("Cannot get public key of sender %s, whose messages wait: %s", peer, term.Line(err.Error()))
	}
	p.checked, p.held = time.Now(), nil
	over = true
	for _, w := range l.of(peer) {
		left, err := l.openWaiting(w, w.key < end)
		if err != nil && !l.fault(err) {
			l.fail(err)
			return true, ""
		}
		over = over && !left && err == nil
	}
	return over, ""
}

// sift keeps of what waits of a sender whose keys have changed only what fits the known
// or the offered ones, or came after the provider was asked.
func (l *Listener) sift(peer string, held *client.ChangedError, end string) error {
	for _, w := range l.of(peer) {
		if w.key >= end || w.verified {
			continue
		}
		s, err := nes.Decrypt(w.envelope, l.own.Open...)
		if errors.Is(err, parley.ErrNoKey) {
			continue
		}
		if err != nil {
			l.sink.Report(reason(peer, err))
		}
		if err != nil || !l.fits(s, held) {
			if err := l.done(w.key); err != nil {
				return err
			}
			continue
		}
		w.verified = true
		if err := l.update(func(b parley.Bucket) error { b.Put(w.key, w.value()); return nil }); err != nil {
			return err
		}
	}
	return nil
}

// unknown drops what waits of a name that the provider does not know, unless its keys
// are pinned: then it was deleted, and what it wrote before still holds.
func (l *Listener) unknown(peer, end string, err error) (over bool) {
	_, pinned, _ := l.e.pinned(peer)
	over = true
	for _, w := range l.of(peer) {
		var left bool
		var failed error
		switch {
		case pinned:
			left, failed = l.openWaiting(w, w.key < end)
		case w.key >= end:
			left = true
		default:
			l.sink.Report(reason(peer, err))
			failed = l.done(w.key)
		}
		if failed != nil && !l.fault(failed) {
			l.fail(failed)
			return true
		}
		over = over && !left && failed == nil
	}
	return over
}

// openWaiting opens an envelope of the waiting room, and reports whether it is left
// there.
func (l *Listener) openWaiting(w waiting, final bool) (left bool, err error) {
	there := true
	if err := l.e.state.View(func(b parley.Bucket) error { there = b.Get(w.key) != nil; return nil }); err != nil {
		return true, stateFault{err}
	}
	if !there { // opened with another one of the sender
		return false, nil
	}
	s, err := nes.Decrypt(w.envelope, l.own.Open...)
	if err != nil {
		l.sink.Report(reason(w.claimed, err))
		return false, l.done(w.key)
	}
	if err = l.open(s, w.key, final); errors.Is(err, parley.ErrNoKey) || errors.Is(err, errHeldBack) {
		return true, nil
	}
	return false, err
}

// of returns what waits of one sender.
func (l *Listener) of(peer string) (all []waiting) {
	l.e.state.View(func(b parley.Bucket) error {
		for _, w := range waitingRoom(b) {
			if w.claimed == peer {
				all = append(all, w)
			}
		}
		return nil
	})
	return all
}
