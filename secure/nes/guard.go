package nes

import (
	"fmt"

	"parley"
)

// A Guard keeps replays out where there is no database that knows every message: it
// remembers the IDs of messages in a Bucket, one small entry each.
//
// It forgets the oldest by their timestamp when it is full, in portions, and from then on
// refuses what is as old as anything it forgot of that sender: such a message cannot be
// told from a replay. Everything is counted by sender. A sender that dates its messages
// to the year 2100 makes only its own be refused, and it is always the sender with the
// most entries whose are forgotten, so that a flood pushes out the flood. When there are
// MaxSenders, messages of others are refused until one is taken out with [Guard.Forget].
//
// The zero value has the usual bounds.
type Guard struct {
	Max        int // messages; 0: [GuardSize]
	MaxSenders int // senders; 0: [GuardSenders]
}

// Bounds of a Guard. A full one takes about 20 MB in a state file.
const (
	GuardSize    = 100_000
	GuardSenders = 10_000
)

// ErrSenders means that a Guard remembers as many senders as it may. It wraps [parley.ErrDenied].
var ErrSenders = fmt.Errorf("messages of too many senders are remembered: %w", parley.ErrDenied)

// Take notes a message that [Sealed.Open] has returned, in the transaction that stores or
// shows it. The errors are [parley.ErrSeen] when it was taken before, [parley.ErrLate] when
// that can no longer be told, [ErrSenders] and [ErrDamaged]; then nothing is written.
func (g Guard) Take(b parley.Bucket, m Message) error {
	if CheckName(m.From) != nil {
		return fmt.Errorf("nes: the sender: %w", ErrName)
	}
	total, err := readTotal(b)
	if err != nil {
		return err
	}
	s, known, err := readSender(b, m.From)
	switch {
	case err != nil:
		return err
	case b.Get(seenRow(m.From, m.Time, m.ID)) != nil:
		return fmt.Errorf("nes: %w", parley.ErrSeen)
	case s.forgot && m.Time <= s.floor:
		return fmt.Errorf("nes: older than what is remembered: %w", parley.ErrLate)
	case !known && total.senders >= uint32(bound(g.MaxSenders, GuardSenders)):
		return fmt.Errorf("nes: %w", ErrSenders)
	}
	if !known {
		total.senders++
	}
	most := uint32(bound(g.Max, GuardSize))
	var gone []forgotten
	if total.entries >= most {
		if gone, err = g.choose(b, total.entries-most+1+most/100); err != nil {
			return err
		}
	}
	for _, f := range gone {
		for _, row := range f.rows {
			b.Delete(row)
		}
		total.entries -= uint32(len(f.rows))
		f.sender.put(b, f.name)
		if f.name == m.From {
			s = f.sender
		}
	}
	// A message that would have been forgotten with these is taken, and never again.
	if !s.forgot || m.Time > s.floor {
		s.entries++
		total.entries++
		b.Put(seenRow(m.From, m.Time, m.ID), []byte{1})
	}
	s.put(b, m.From)
	total.put(b)
	return nil
}

// Forget removes a sender and all that is known of its messages: for one whose messages
// are no longer taken at all, since all of them could be replayed.
func (g Guard) Forget(b parley.Bucket, sender string) error {
	if CheckName(sender) != nil {
		return fmt.Errorf("nes: the sender: %w", ErrName)
	}
	s, known, err := readSender(b, sender)
	if err != nil || !known {
		return err
	}
	total, err := readTotal(b)
	if err != nil {
		return err
	}
	if total.senders == 0 || total.entries < s.entries {
		return errGuard
	}
	for _, row := range oldest(b, sender, -1) {
		b.Delete(row)
	}
	b.Delete(senderRow(sender))
	total.senders--
	total.entries -= s.entries
	total.put(b)
	return nil
}

func bound(n, usual int) int {
	if n <= 0 {
		return usual
	}
	return n
}
