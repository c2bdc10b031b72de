// Package store is the seam between the broker and what keeps its queues: an
// embedded engine now, several relay nodes over one database later. It knows
// queues and sealed bodies, and nothing of wires, keys or people.
//
// Any node may append (a per-queue tail counter gives order, and the queue's
// version closes the race between securing a queue and sending to it); only
// delivery is leased. What a call has answered nil to is on disk.
package store

import (
	"context"
	"errors"
	"iter"
	"time"
)

// IDSize is the size of an ID in bytes. SMP of 2020 uses the first 16 (the rest
// is zero), SMP of today all 24.
const IDSize = 24

// An ID names a queue in one of its roles.
type ID [IDSize]byte

// A Role says as whom an ID names its queue.
type Role uint8

// Roles. A queue's own ID is its recipient's.
const (
	Recipient Role = iota
	Sender
	Link
	Notifier
)

// A Queue is the record of one queue.
type Queue struct {
	ID      ID
	Version uint64 // grows with each Update; the store sets it: 1 after Create
	Alias   map[Role]ID
	Props   []byte    // opaque to the store: state and keys; never empty
	Expires time.Time // to the millisecond, UTC; Sweep deletes the queue after this; zero means never
}

// MaxProps and MaxBody bound Props and Body in bytes. A store refuses more with
// an error of its own; fronts have lower limits.
const (
	MaxProps = 64 << 10
	MaxBody  = 1 << 20
)

// An Item is one message in a queue. Seq starts at 1, grows by at least one, is
// never used twice while the queue exists, and is set by Append.
type Item struct {
	Seq  uint64
	At   time.Time // when the server received it, to the millisecond, UTC
	Body []byte
}

// A Lease is the right to deliver from a queue. A later Own of the same queue
// fences it. The zero Lease is the right to nothing.
type Lease struct {
	Queue ID
	Epoch uint64 // grows with each Own of the same queue
}

// Errors. All others are a caller's mistake, the end of its context, or trouble
// with the engine. Compare with [errors.Is].
var (
	ErrNotFound = errors.New("no such queue")
	ErrExists   = errors.New("the ID is taken")
	ErrChanged  = errors.New("the queue has changed meanwhile") // compare-and-set lost
	ErrFull     = errors.New("the queue is full")
	ErrEmpty    = errors.New("the queue is empty")
	ErrFenced   = errors.New("the lease is over: released, or taken over by another")
	ErrClosed   = errors.New("the store is closed")
	// ErrNoSpace says that the disk is (nearly) full: nothing has changed, and
	// the same call is worth another try once there is room.
	ErrNoSpace = errors.New("no space left for the store")
	// ErrFailed says that the engine broke down, as a crashed machine does: the
	// call may or may not have taken effect. A store tries to recover by itself.
	ErrFailed = errors.New("the store has failed and is not back yet")
)

// A Store keeps queues. It is safe for concurrent use. Each call that returns
// nil is durable: it survives the loss of power at the next instruction. A call
// that returns an error has changed nothing, but for [ErrFailed] and the end of
// its context while it waited for the disk: then it may have taken effect, as
// on a machine that crashed. In particular a full disk ([ErrNoSpace]) leaves the
// store intact and usable.
//
// Byte slices that go in may be used again after the call; those that come out
// are the caller's.
type Store interface {
	// Create adds a queue with all its aliases; ErrExists if its ID or one of
	// them is taken in its role. Version is ignored.
	Create(ctx context.Context, q Queue) error
	// Find returns the record of the queue that id names in role r.
	Find(ctx context.Context, r Role, id ID) (Queue, error)
	// Update replaces Props and Expires if q.Version is still current, else
	// ErrChanged; the version is then q.Version + 1. Aliases stay. Empty Props
	// delete the queue, its aliases and its items, and end its lease.
	Update(ctx context.Context, q Queue) error
	// Append adds a message if the queue's version is still the given one (else
	// ErrChanged) and it holds fewer than limit messages (else ErrFull). It
	// returns when the message is on disk, and wakes the owner. Messages that
	// one caller appends one after the other keep their order.
	Append(ctx context.Context, q ID, version uint64, limit int, at time.Time, body []byte) (Item, error)
	// Own leases queues for delivery and fences every earlier lease on them; the
	// holder of a fenced lease sees it in Wake and as ErrFenced. Queues that do
	// not exist get a zero Lease. The result has the order of q. On an error no
	// queue is leased that was not before.
	Own(ctx context.Context, q []ID) ([]Lease, error)
	// Release gives a lease back. Releasing a fenced lease does nothing.
	Release(l Lease)
	// Head returns the oldest message, or ErrEmpty; ErrNotFound if the queue was
	// deleted, ErrFenced if the lease is not in force. It returns only messages
	// that are on disk.
	Head(ctx context.Context, l Lease) (Item, error)
	// Ack removes the message seq, if it is still there, durably. Errors as Head,
	// without ErrEmpty.
	Ack(ctx context.Context, l Lease, seq uint64) error
	// Len counts the messages of a queue.
	Len(ctx context.Context, q ID) (int, error)
	// Sweep deletes up to max messages received before the given time and
	// queues whose Expires is before now, and reports how many it deleted: fewer
	// than max means that nothing more was due. A deleted queue counts as one.
	// Its work is bounded by max and what is due, not by what the store holds.
	Sweep(ctx context.Context, now, before time.Time, max int) (int, error)
	// Wake yields a lease when its queue may have got something to deliver, has
	// been deleted, or when it has been fenced (Head then says which). It
	// coalesces, and may be early or superfluous, never missing; of several
	// fenced leases of one queue it may yield only the latest. It ends when the
	// store closes. Only one goroutine ranges over it.
	Wake() iter.Seq[Lease]
	// Close waits for calls under way. Every later call gets ErrClosed.
	Close() error
}
