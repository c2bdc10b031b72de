package broker

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"parley/broker/store"
)

// tries bounds how often a call repeats itself after others changed the queue
// under it; only the queue's own clients can do that.
const tries = 16

// Create makes a queue with two different random IDs of idSize bytes (16 to
// [store.IDSize]), the rest zero. It returns when the queue is on disk. maxBody
// is the longest message that the recipient's front can deliver: 1 to
// [store.MaxBody] bytes.
func (b *Broker) Create(ctx context.Context, recipientKey []byte, idSize, maxBody int) (Queue, error) {
	if idSize < 16 || idSize > store.IDSize {
		return Queue{}, fmt.Errorf("an ID must have 16 to %d bytes, not %d", store.IDSize, idSize)
	}
	if len(recipientKey) == 0 || len(recipientKey) > MaxKey {
		return Queue{}, ErrKey
	}
	if maxBody < 1 || maxBody > store.MaxBody {
		return Queue{}, fmt.Errorf("messages must be allowed 1 to %d bytes, not %d", store.MaxBody, maxBody)
	}
	for range tries {
		q := Queue{RecipientKey: bytes.Clone(recipientKey), MaxBody: maxBody}
		rand.Read(q.ID[:idSize])
		rand.Read(q.Sender[:idSize])
		if q.ID == q.Sender {
			continue
		}
		q.record = store.Queue{
			ID: q.ID, Version: 1, Props: q.props(),
			Alias: map[store.Role]store.ID{store.Sender: q.Sender},
		}
		err := b.st.Create(ctx, q.record)
		if err == nil {
			return q, nil
		}
		if !errors.Is(err, store.ErrExists) {
			return Queue{}, err
		}
	}
	return Queue{}, store.ErrExists
}

// Lookup returns the queue that id names in role r, or [store.ErrNotFound].
func (b *Broker) Lookup(ctx context.Context, r store.Role, id store.ID) (Queue, error) {
	rec, err := b.st.Find(ctx, r, id)
	if err != nil {
		return Queue{}, err
	}
	return parseQueue(rec)
}

// Send adds a message to q, as Lookup returned it, and returns when it is on
// disk. [ErrSuspended], [ErrSize] and [store.ErrFull] say what they say; [store.ErrChanged]
// that the queue was secured, suspended or deleted since that Lookup: the front
// looks it up and decides anew, so no message slips in under an old rule.
func (b *Broker) Send(ctx context.Context, q Queue, body []byte) error {
	if q.Suspended {
		return ErrSuspended
	}
	if len(body) > q.MaxBody {
		return ErrSize
	}
	at := b.o.Now().UTC().Truncate(time.Millisecond)
	_, err := b.st.Append(ctx, q.ID, q.record.Version, b.o.Quota, at, body)
	return err
}

// Secure closes the queue to all but the holder of senderKey. The same key again
// is no error; another one is [ErrSecured].
func (b *Broker) Secure(ctx context.Context, id store.ID, senderKey []byte) error {
	if len(senderKey) == 0 || len(senderKey) > MaxKey {
		return ErrKey
	}
	return b.change(ctx, id, func(q *Queue) error {
		if q.SenderKey == nil {
			q.SenderKey = senderKey
			return nil
		}
		if bytes.Equal(q.SenderKey, senderKey) {
			return errDone
		}
		return ErrSecured
	})
}

// suspend makes the queue refuse messages and expire. The time of the first
// call counts.
func (b *Broker) suspend(ctx context.Context, id store.ID) error {
	return b.change(ctx, id, func(q *Queue) error {
		if q.Suspended {
			return errDone
		}
		q.Suspended = true
		q.record.Expires = b.o.Now().UTC().Add(b.o.SuspendedTTL).Truncate(time.Millisecond)
		return nil
	})
}

// errDone ends change without an update: the queue is as it should be.
var errDone = errors.New("done")

// change loads, edits and stores a queue's record until no one else changed it
// in between. What authorised the call cannot change: the recipient's key.
func (b *Broker) change(ctx context.Context, id store.ID, edit func(*Queue) error) error {
	for range tries {
		q, err := b.Lookup(ctx, store.Recipient, id)
		if err != nil {
			return err
		}
		if err := edit(&q); errors.Is(err, errDone) {
			return nil
		} else if err != nil {
			return err
		}
		q.record.Props = q.props()
		if err = b.st.Update(ctx, q.record); !errors.Is(err, store.ErrChanged) {
			return err
		}
	}
	return store.ErrChanged
}

// remove deletes the queue, its IDs and its messages.
func (b *Broker) remove(ctx context.Context, id store.ID) error {
	for range tries {
		rec, err := b.st.Find(ctx, store.Recipient, id)
		if err != nil {
			return err
		}
		rec.Props = nil
		if err = b.st.Update(ctx, rec); !errors.Is(err, store.ErrChanged) {
			return err
		}
	}
	return store.ErrChanged
}
