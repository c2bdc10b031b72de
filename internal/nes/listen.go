package nes

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"sync"
	"time"

	"parley"
	mqttclient "parley/carrier/mqtt/client"
	"parley/internal/filelock"
	"parley/internal/term"
	"parley/keydir/client"
	"parley/secure/nes"
)

// maxLater is how many messages may wait in the state for a face that shows them.
const maxLater = 4096

var (
	// ErrLater is what Show returns for a message that it leaves to another face.
	ErrLater = errors.New("to be shown later")
	// errHeldBack means that a peer's keys have changed.
	errHeldBack = errors.New("held back")
)

// A Sink is what a face does with what comes. Its functions are called one at a time
// and must not call the engine.
type Sink struct {
	Ready   func()                  // the broker has agreed to the subscription
	Show    func(Message) error     // [ErrLater] keeps it; any other error ends it all
	Report  func(string)            // one line about a packet that is not shown; clean already
	Changed func(peer, text string) // the keys of a peer have changed: [Changed] says what is to be shown
	// State tells of the broker; it alone may be called beside another.
	State func(connected bool, err error)
}

// A Listener receives messages until its context ends.
type Listener struct {
	e    *Engine
	own  *Own
	sink Sink
	ctx  context.Context
	fail context.CancelCauseFunc
	wg   sync.WaitGroup
	conn *mqttclient.Conn

	mu      sync.Mutex // one packet at a time, and the sink
	peers   map[string]*peerState
	lookups *turns
	ready   chan struct{} // closed once the sink was told

	owed   []string // entries of the state that could not be deleted
	faulty bool     // the state file failed, and that was told
}

// A peerState is what this run knows of a sender.
type peerState struct {
	checked time.Time            // when the provider was asked last, with success
	asking  bool                 // a goroutine is at it
	held    *client.ChangedError // their keys have changed
	slow    int                  // look-ups in a row that ended without an answer in time
}

// Listen subscribes to our topic with the session that the broker keeps for us, and
// hands messages to the sink until ctx ends, which is no error. Broker and provider
// may come and go meanwhile. What waited in the state is shown first. With also, it
// runs that beside it, with the connection.
func (e *Engine) Listen(ctx context.Context, sink Sink, also func(context.Context, *Listener)) error {
	own, err := e.keys()
	if err != nil {
		return err
	}
	quick, stop := context.WithTimeout(ctx, 2*time.Second)
	release, err := acquire(quick, e.S.StatePath()+".listening")
	stop()
	if errors.Is(err, filelock.ErrLocked) {
		return Errorf(Other, "Another nes listens for %s already.", e.user)
	}
	if err != nil {
		return Errorf(Files, "%w", err)
	}
	defer release()
	inner, fail := context.WithCancelCause(ctx)
	l := &Listener{e: e, own: own, sink: sink, ctx: inner, fail: fail, peers: map[string]*peerState{}, lookups: newTurns(), ready: make(chan struct{})}
	defer l.wg.Wait()
	defer fail(nil)
	if err := l.run(also); err != nil {
		return err
	}
	if cause := context.Cause(inner); ctx.Err() == nil && cause != nil {
		return cause
	}
	return nil
}

func (l *Listener) run(also func(context.Context, *Listener)) error {
	if err := l.showWaiting(); err != nil {
		return err
	}
	conn, err := l.connect()
	if err != nil {
		if l.ctx.Err() != nil {
			return nil
		}
		return l.e.brokerError(err)
	}
	l.conn = conn
	defer l.e.hangUp(conn)
	if err := conn.Subscribe(l.ctx, nes.Topic(l.e.user), 2, l.take); err != nil {
		if l.ctx.Err() != nil {
			return nil
		}
		return l.e.brokerError(err)
	}
	l.locked(l.sink.Ready)
	close(l.ready)
	l.resumeWaiting()
	l.wg.Go(func() { l.flushOutbox() })
	if also != nil {
		l.wg.Go(func() { also(l.ctx, l) })
	}
	<-l.ctx.Done()
	return nil
}

func (l *Listener) locked(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

func (l *Listener) connect() (*mqttclient.Conn, error) {
	o := l.e.options()
	err := l.e.state.Update(func(b parley.Bucket) error { o.ClientID = clientID(b); return nil })
	if err != nil {
		return nil, err
	}
	o.SessionExpiry = 30 * 24 * time.Hour
	o.OnState = l.sink.State
	// A packet that the state file has no room for comes again.
	o.RetryMin, o.RetryMax = 2*time.Second, 5*time.Second
	// What the broker has of an earlier run waits for the subscription.
	return l.e.dial(l.ctx, o)
}

// flushOutbox publishes what earlier runs have left.
func (l *Listener) flushOutbox() {
	if here, _ := l.e.Waiting(); here == 0 {
		return
	}
	if err := l.Flush(l.ctx); err != nil && l.ctx.Err() == nil {
		l.report(fmt.Sprintf("Messages wait in the outbox: %v", err))
	}
}

// Flush is [Engine.Flush] over the listener's connection.
func (l *Listener) Flush(ctx context.Context) error {
	return l.e.brokerError(l.e.flush(ctx, l.conn))
}

// Claim makes the broker keep messages for us from now on, without receiving any.
func (e *Engine) Claim(ctx context.Context) error {
	quick, stop := context.WithTimeout(ctx, time.Second)
	defer stop()
	release, err := acquire(quick, e.S.StatePath()+".listening")
	if errors.Is(err, filelock.ErrLocked) {
		return nil // who listens has done so
	}
	if err != nil {
		return err
	}
	defer release()
	l := &Listener{e: e, ctx: ctx}
	conn, err := l.connect()
	if err != nil {
		return e.brokerError(err)
	}
	defer e.hangUp(conn)
	// Nothing is acknowledged: what comes meanwhile comes again.
	later := func(mqttclient.Message) error { return ErrLater }
	return e.brokerError(conn.Subscribe(ctx, nes.Topic(e.user), 2, later))
}

// take is called for each packet. When it returns nil, the packet is acknowledged:
// it was shown, kept, or will never be a message.
func (l *Listener) take(m mqttclient.Message) error {
	select {
	case <-l.ready:
	case <-l.ctx.Done():
		return context.Cause(l.ctx)
	}
	s, err := l.decrypt(m.Payload)
	if errors.Is(err, parley.ErrNoKey) {
		return err
	}
	if err != nil {
		l.drop("", err)
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	err = l.open(s, "", false)
	switch held := errors.Is(err, errHeldBack); {
	case held && !l.fits(s, l.peer(s.Claimed()).held):
		return nil
	case held || errors.Is(err, parley.ErrNoKey):
		err = l.wait(waiting{claimed: s.Claimed(), verified: held, envelope: m.Payload})
	}
	if err != nil && !l.fault(err) {
		l.fail(err)
	}
	return err
}

// fits reports whether a message is signed with the known or the offered keys of a
// sender whose keys have changed. What fits neither is told, and nobody need keep it:
// everybody can make such messages, and they would push out the others.
func (l *Listener) fits(s *nes.Sealed, held *client.ChangedError) bool {
	_, err := s.Open(l.e.user, held.Old.Sign)
	if errors.Is(err, parley.ErrForged) && !errors.Is(err, nes.ErrNotForUs) {
		_, err = s.Open(l.e.user, held.New.Sign)
	}
	if err != nil {
		l.sink.Report(reason(s.Claimed(), err))
	}
	return err == nil
}

// decrypt decrypts with all of our keys; those on disk may be others than when this
// run began.
func (l *Listener) decrypt(envelope []byte) (*nes.Sealed, error) {
	l.mu.Lock()
	own := l.own
	l.mu.Unlock()
	s, err := nes.Decrypt(envelope, own.Open...)
	if err == nil || own.stamp == l.e.S.keyStamp() {
		return s, err
	}
	own, loadErr := l.e.S.LoadKeys()
	if loadErr != nil {
		return nil, fmt.Errorf("%w: %w", parley.ErrNoKey, loadErr)
	}
	l.locked(func() { l.own = own })
	return nes.Decrypt(envelope, own.Open...)
}

// open verifies and shows a message with keys that are at hand. What is refused for
// good is reported, and no error; for want of a key it is ErrNoKey, and errHeldBack
// when the key has changed. waited is the entry of the state that it comes from. What
// pinned keys do not verify may be signed with new ones: that too is ErrNoKey, unless
// the provider was asked since the message came, and that is final.
func (l *Listener) open(s *nes.Sealed, waited string, final bool) error {
	peer := s.Claimed()
	if l.e.Self(peer) { // what the provider says of us is no matter
		return l.openWith(s, l.own.signer(s, l.e.user), waited, true)
	}
	k, given, err := l.e.peerFile(peer)
	if err != nil {
		l.sink.Report(term.Line(err.Error()))
		return parley.ErrNoKey
	}
	p := l.peer(peer)
	if !given {
		pin, known, err := l.e.pinned(peer)
		if err != nil {
			return stateFault{err}
		}
		if p.held != nil && known && pin.Keys.Equal(p.held.Old) {
			return errHeldBack
		}
		if p.held != nil { // somebody has decided meanwhile
			p.held = nil
			if err := l.openHeldBack(peer, waited); err != nil {
				return err
			}
		}
		if !known {
			return parley.ErrNoKey
		}
		k = pin.Keys
		defer l.check(peer)
	}
	return l.openWith(s, k.Sign, waited, final || given || l.e.dir == nil)
}

// openHeldBack opens what waits of a sender before a message of theirs, to keep the
// order.
func (l *Listener) openHeldBack(peer, but string) error {
	for _, w := range l.of(peer) {
		if w.key == but {
			continue
		}
		if _, err := l.openWaiting(w, false); err != nil {
			return err
		}
	}
	return nil
}

func (l *Listener) openWith(s *nes.Sealed, sign *rsa.PublicKey, waited string, final bool) error {
	m, err := s.Open(l.e.user, sign)
	if errors.Is(err, parley.ErrForged) && !errors.Is(err, nes.ErrNotForUs) && !final {
		return parley.ErrNoKey
	}
	if err != nil {
		l.sink.Report(reason(s.Claimed(), err))
		return l.done(waited)
	}
	return l.accept(m, waited)
}

// done takes an entry out of the state whose message was shown or dropped. If that
// cannot be saved, it is made up for with the next commit.
func (l *Listener) done(key string) error {
	if key == "" {
		return nil
	}
	l.owed = append(l.owed, key)
	err := l.update(func(parley.Bucket) error { return nil })
	if l.fault(err) {
		return nil
	}
	return err
}

// accept takes a verified message: into the guard and the state in one commit, then
// to the sink, then out of the state.
func (l *Listener) accept(m nes.Message, waited string) error {
	shown := Message{From: m.From, Time: m.Time, Text: m.Text}
	err := l.update(func(b parley.Bucket) error {
		if m.Presence == nil && count(b, "show/") >= maxLater {
			return Errorf(Other, "%d messages of others wait: run nes listen to see them", maxLater)
		}
		if err := (nes.Guard{}).Take(guarded(b), m); err != nil {
			return err
		}
		if waited != "" {
			b.Delete(waited)
		}
		if m.Presence == nil {
			shown.key = add(b, "show/", marshal(shown))
		}
		return nil
	})
	switch {
	case errors.Is(err, parley.ErrSeen), errors.Is(err, parley.ErrLate), errors.Is(err, nes.ErrSenders):
		l.sink.Report(reason(m.From, err))
		return l.done(waited)
	case err != nil || m.Presence != nil:
		return err
	}
	return l.show(shown)
}

func (l *Listener) show(m Message) error {
	if err := l.sink.Show(m); errors.Is(err, ErrLater) {
		return nil
	} else if err != nil {
		return err
	}
	return l.done(m.key)
}

// showWaiting shows what was taken and not shown, by a run that broke off or by a chat.
func (l *Listener) showWaiting() error {
	var all []Message
	err := l.e.state.View(func(b parley.Bucket) error { all = unshown(b); return nil })
	if err != nil {
		return Errorf(Files, "%w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range all {
		if err := l.show(m); err != nil {
			return err
		}
	}
	return nil
}

func (l *Listener) peer(name string) *peerState {
	p := l.peers[name]
	if p == nil {
		// Only names with a file, a pin or a place in the waiting room are kept for long.
		if len(l.peers) > 4*maxWaiting {
			for k, v := range l.peers {
				if !v.asking && v.held == nil {
					delete(l.peers, k)
				}
			}
		}
		p = &peerState{}
		l.peers[name] = p
	}
	return p
}

func (l *Listener) report(text string) { l.locked(func() { l.sink.Report(text) }) }

func (l *Listener) drop(from string, err error) { l.report(reason(from, err)) }

// reason is one line about a packet that is not shown. It repeats nothing of it but a
// name that passes [nes.CheckName].
func reason(from string, err error) string {
	who := "A packet"
	if from != "" {
		who = "A message that claims to be from " + from
	}
	for _, r := range []struct {
		err  error
		text string
	}{
		{parley.ErrSeen, "came before"},
		{parley.ErrLate, "is too old to tell from a replay"},
		{nes.ErrNotForUs, "was written to somebody else"},
		{parley.ErrForged, "is forged or damaged"},
		{parley.ErrMalformed, "is no NES message"},
		{client.ErrNoUser, "cannot be verified: user not found"},
	} {
		if errors.Is(err, r.err) {
			return who + " " + r.text + "; it was dropped."
		}
	}
	return who + " was dropped: " + term.Line(err.Error())
}
