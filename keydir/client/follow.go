package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"parley/internal/rsakey"
	"parley/keydir"
)

// MaxWalk is how many entries of the log [Client.FollowAnswer] goes back for an
// answer's entry: of at most 640 bytes each, 64 MB. One that is older is [ErrFar].
const MaxWalk = 100_000

// A change may come between an answer and a head, and a head is up to a second old: a
// contradiction is a lie if it is still there in the last round.
const (
	rounds     = 3
	againPause = 1100 * time.Millisecond
)

// LookupFollowed is [Client.Lookup] and then [Client.FollowAnswer]. When the two
// contradict each other, it begins again after a moment, up to twice: only then it is
// [keydir.ErrLog]. With [ErrFar] all results are valid; with the [ErrUnreachable] of a
// log that cannot be reached after the answer came, the answer and the keys are (else
// there are none). For an answer without a name, the head is the zero one, and there
// is no error, unless a head is known of that directory: that is [ErrUnbound].
func (c *Client) LookupFollowed(ctx context.Context, known keydir.Head, user string) (keydir.Answer, keydir.Keys, keydir.Head, error) {
	return c.lookupFollowed(ctx, known, func() (keydir.Answer, keydir.Keys, error) { return c.Lookup(ctx, user) })
}

// LookupFollowed is [Client.LookupFollowed] with a memory. What is remembered may have
// been overtaken: if it contradicts the log, the directory is asked.
func (m *Cache) LookupFollowed(ctx context.Context, known keydir.Head, user string) (keydir.Answer, keydir.Keys, keydir.Head, error) {
	a, k, err := m.Lookup(ctx, user)
	if err != nil {
		return keydir.Answer{}, keydir.Keys{}, keydir.Head{}, err
	}
	head, err := m.c.followBound(ctx, known, a, k)
	if !errors.Is(err, keydir.ErrLog) {
		return found(a, k, head, err)
	}
	return m.c.lookupFollowed(ctx, known, func() (keydir.Answer, keydir.Keys, error) {
		m.Forget(user)
		return m.Lookup(ctx, user)
	})
}

func (c *Client) lookupFollowed(ctx context.Context, known keydir.Head, lookup func() (keydir.Answer, keydir.Keys, error)) (keydir.Answer, keydir.Keys, keydir.Head, error) {
	for round := 1; ; round++ {
		a, k, err := lookup()
		if err != nil {
			return keydir.Answer{}, keydir.Keys{}, keydir.Head{}, err
		}
		head, err := c.followBound(ctx, known, a, k)
		if !errors.Is(err, keydir.ErrLog) || round == rounds {
			return found(a, k, head, err)
		}
		if err := pause(ctx, c.o.again); err != nil {
			return keydir.Answer{}, keydir.Keys{}, keydir.Head{}, err
		}
	}
}

// followBound follows the log for an answer that has an entry.
func (c *Client) followBound(ctx context.Context, known keydir.Head, a keydir.Answer, k keydir.Keys) (keydir.Head, error) {
	if !a.Bound() && known.Size == 0 {
		return keydir.Head{}, nil
	}
	return c.FollowAnswer(ctx, known, a, k)
}

// found returns of an answer what its error leaves of it.
func found(a keydir.Answer, k keydir.Keys, head keydir.Head, err error) (keydir.Answer, keydir.Keys, keydir.Head, error) {
	switch {
	case err == nil || errors.Is(err, ErrFar):
		return a, k, head, err
	case errors.Is(err, ErrUnreachable):
		return a, k, keydir.Head{}, err
	}
	return keydir.Answer{}, keydir.Keys{}, keydir.Head{}, err
}

// FollowAnswer is [Client.Follow], and sees that an answer's entry stands in the log
// and is the last one of that name: that the directory shows everybody the keys that
// it shows us. An answer without a name has no entry, and is [ErrUnbound]; an answer
// with one, of a directory without a log, is [keydir.ErrLog]. Of a log that is not
// known yet, only what follows the answer's entry is looked at: [Client.Audit]
// verifies all of it.
//
// When more than [MaxWalk] entries follow, the directory only has to show an entry
// with that number that says what the answer says, and no other one of that name among
// those that are new since the known head. Beside the valid head comes [ErrFar] then.
func (c *Client) FollowAnswer(ctx context.Context, known keydir.Head, a keydir.Answer, k keydir.Keys) (keydir.Head, error) {
	if !a.Bound() {
		return keydir.Head{}, ErrUnbound
	}
	head, err := c.headAfter(ctx, known)
	switch {
	case errors.Is(err, ErrNoLog):
		return head, fmt.Errorf("%w: the answer names entry %d, and there is no log", keydir.ErrLog, a.LogSeq)
	case err != nil:
		return head, err
	case a.LogSeq > head.Size:
		return head, fmt.Errorf("%w: the answer names entry %d, and it has %d", keydir.ErrLog, a.LogSeq, head.Size)
	}
	start, far := known, false
	switch back := a.LogSeq <= known.Size || known.Size == 0; {
	case back && head.Size-a.LogSeq > MaxWalk:
		far = true
		if err := c.entryOf(ctx, a, k); err != nil {
			return head, err
		}
		if known.Size == 0 {
			return head, ErrFar
		}
	case back:
		start = keydir.Head{Size: a.LogSeq - 1}
	}
	name := keydir.NameHash(a.Username)
	err = c.walk(ctx, head, known, start, func(e keydir.Entry, hash string) error {
		switch {
		case e.Seq == a.LogSeq:
			return agrees(e, hash, a, k)
		case e.Name == name && e.Seq > a.LogSeq:
			return fmt.Errorf("%w: entry %d has changed this user's keys since", keydir.ErrLog, e.Seq)
		}
		return nil
	})
	if err == nil && far {
		err = ErrFar
	}
	return head, err
}

// entryOf sees that the entry which an answer names says the same. It stands alone:
// nothing shows that it is part of the chain.
func (c *Client) entryOf(ctx context.Context, a keydir.Answer, k keydir.Keys) error {
	err := c.Entries(ctx, a.LogSeq, a.LogSeq, func(line []byte) error {
		e, err := keydir.ParseEntry(line)
		if err == nil && e.Seq != a.LogSeq {
			err = fmt.Errorf("%w: asked for entry %d, it shows entry %d", keydir.ErrLog, a.LogSeq, e.Seq)
		}
		if err != nil {
			return err
		}
		return agrees(e, keydir.Hash(line), a, k)
	})
	return noEntries(err)
}

// agrees sees that an entry says what an answer says.
func agrees(e keydir.Entry, hash string, a keydir.Answer, k keydir.Keys) error {
	if e.Name != keydir.NameHash(a.Username) || e.Version != a.Version || hash != a.LogHash || e.Action == keydir.Removed ||
		e.MessageKey != rsakey.Of(k.Message).Hex() || e.SignKey != rsakey.Of(k.Sign).Hex() {
		return fmt.Errorf("%w: entry %d does not say what the answer says", keydir.ErrLog, e.Seq)
	}
	return nil
}
