// Package broker is the queues behind SMP: create, subscribe, secure, send,
// deliver, acknowledge, suspend, delete. It knows nothing of wires, so that
// several generations of SMP share it: a front parses, authenticates and calls.
//
// Delivery is pulled. A [Conn] keeps the IDs of queues that have something; the
// body is read from the store only when the front is about to write it, so a
// connection that never reads holds no bodies. Nothing here runs per queue: a
// subscribed queue costs a small struct and a map entry.
//
// What it promises and what it costs is in docs/broker.md.
package broker

import (
	"context"
	"errors"
	"sync"
	"time"

	"parley/broker/store"
)

// Defaults of [Options].
const (
	DefaultQuota         = 128
	DefaultMessageTTL    = 21 * 24 * time.Hour
	DefaultSuspendedTTL  = 7 * 24 * time.Hour
	DefaultSweepEvery    = time.Minute
	DefaultSubscriptions = 1_000_000
)

// Errors of the broker. Those of the store that it passes on are [store.ErrNotFound],
// [store.ErrFull], [store.ErrChanged] and [store.ErrClosed]; all others are
// trouble with the disk.
var (
	ErrSuspended = errors.New("the queue is suspended")
	ErrSecured   = errors.New("the queue is secured with another key")
	ErrNothing   = errors.New("no message is waiting for an acknowledgement")
	ErrTooMany   = errors.New("too many subscriptions")
	ErrSize      = errors.New("the message is longer than its recipient can receive")
	ErrKey       = errors.New("a key must have 1 to 2048 bytes")
)

// Options of a broker; a zero field means its default.
type Options struct {
	Quota         int           // messages that a queue holds before Send answers store.ErrFull
	MessageTTL    time.Duration // messages older than this are deleted, delivered or not
	SuspendedTTL  time.Duration // suspended queues are deleted after this
	SweepEvery    time.Duration // how often that is looked at
	Subscriptions int           // subscriptions of all connections together
	Now           func() time.Time
	// Trouble is told of errors that no caller hears of: a failed sweep, a
	// message that could not be read. The text names no queue. It may be called
	// by several goroutines at once, also with the broker locked.
	Trouble func(what string, err error)
}

// A Broker serves the queues of one store. It is safe for concurrent use.
type Broker struct {
	st   store.Store
	o    Options
	stop context.CancelFunc
	done sync.WaitGroup

	// mu guards all that follows and all fields of every Conn and subscription.
	// Callbacks of the front run under it: they are quick and don't call back.
	mu     sync.Mutex
	subs   map[store.ID]*subscription
	holds  map[store.ID][]hold
	stale  []*subscription // reading them failed: tried again soon
	closed bool
}

// New starts a broker on st, which belongs to it from now on.
func New(st store.Store, o Options) *Broker {
	o.fill()
	ctx, stop := context.WithCancel(context.Background())
	b := &Broker{
		st: st, o: o, stop: stop,
		subs:  make(map[store.ID]*subscription),
		holds: make(map[store.ID][]hold),
	}
	b.done.Go(b.wake)
	b.done.Go(func() { b.sweepLoop(ctx) })
	return b
}

func (o *Options) fill() {
	if o.Quota <= 0 {
		o.Quota = DefaultQuota
	}
	if o.MessageTTL <= 0 {
		o.MessageTTL = DefaultMessageTTL
	}
	if o.SuspendedTTL <= 0 {
		o.SuspendedTTL = DefaultSuspendedTTL
	}
	if o.SweepEvery <= 0 {
		o.SweepEvery = DefaultSweepEvery
	}
	if o.Subscriptions <= 0 {
		o.Subscriptions = DefaultSubscriptions
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Trouble == nil {
		o.Trouble = func(string, error) {}
	}
}

// Close stops the broker and closes its store. Calls under way end with
// [store.ErrClosed]. It may be repeated.
func (b *Broker) Close() error {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil
	}
	b.closed = true
	b.mu.Unlock()
	b.stop()
	err := b.st.Close() // ends Wake
	b.done.Wait()
	return err
}

// wake marks the queues that the store says may have something.
func (b *Broker) wake() {
	for l := range b.st.Wake() {
		b.mu.Lock()
		if s := b.subs[l.Queue]; s != nil && s.lease.Epoch == l.Epoch {
			s.ready()
		}
		b.mu.Unlock()
	}
}
