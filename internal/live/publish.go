package live

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"

	"parley/secure/stringphone"
)

// ErrWaits means that what is in the outbox cannot go out before we have a newer
// topic key, or are let in again.
var ErrWaits = errors.New("it waits for the topic's present key")

// ErrNotJoined means that there is no topic key yet.
var ErrNotJoined = errors.New("the topic key is not known yet: join the topic first")

// Say puts a text into the outbox, on disk: from then on it goes out, by this
// process or the next. It is sealed when it goes, so that it never goes under a
// key that was replaced meanwhile. With retain the channel keeps it for those who
// come later, and it is said again whenever the topic gets a new key.
func (s *Session) Say(body []byte, retain bool) error {
	return s.tx(func(m *member) error {
		switch {
		case m.Removed():
			return stringphone.ErrRemoved
		case !m.HasKey():
			return ErrNotJoined
		}
		if retain {
			m.b.Put(mineKey, body)
		}
		m.out(body, retain, false)
		return nil
	})
}

// Remove removes members; the others get a new key. In a plain topic they are
// only not listened to any more, and the error is [stringphone.ErrMode].
func (s *Session) Remove(ids ...stringphone.ID) error {
	return s.tx(func(m *member) error { return m.Remove(s.o.Now(), ids...) })
}

// Distrust stops listening to a member, which can still read.
func (s *Session) Distrust(id stringphone.ID) error {
	return s.tx(func(m *member) error {
		m.Distrust(id)
		return nil
	})
}

// Trust listens to a key from now on.
func (s *Session) Trust(key []byte) error {
	return s.tx(func(m *member) error {
		if err := m.Trust(key); err != nil {
			return err
		}
		return s.unpark(m)
	})
}

// Subscribed notes that the channel keeps messages for that purpose from now on,
// and reports whether it did before.
func (s *Session) Subscribed(purpose string) (before bool, err error) {
	err = s.tx(func(m *member) error {
		before = m.b.Get(keptPart+purpose) != nil
		if !before {
			m.b.Put(keptPart+purpose, []byte{})
		}
		return nil
	})
	return before, err
}

// AnsweredBy says whose answers to our introduction are taken from now on (none:
// those of anybody who signs), and whether unsigned ones are.
func (s *Session) AnsweredBy(pins []ed25519.PublicKey, unsigned bool) error {
	return s.tx(func(m *member) error {
		if len(pins) > 0 {
			if err := m.SetPins(pins); err != nil {
				return err
			}
		}
		return m.SetAcceptUnsigned(unsigned)
	})
}

// Rotate gives the topic a new key.
func (s *Session) Rotate() error {
	return s.tx(func(m *member) error { return m.Rotate(s.o.Now()) })
}

// Settled waits until Options.Settle has done its work in Run.
func (s *Session) Settled(ctx context.Context) error {
	select {
	case <-s.settled:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Status is what a member knows of itself and the others.
type Status struct {
	ID      stringphone.ID
	Key     []byte
	Mode    stringphone.Mode
	Manual  bool // the manual's message type
	HasKey  bool
	Joined  bool // it has the present topic key, as far as it knows
	Removed bool
	Epoch   uint32
	Members []stringphone.Participant
	Outbox  int
	Asking  []Request
}

// Status returns the state of affairs.
func (s *Session) Status() (st Status, err error) {
	err = s.tx(func(m *member) error {
		st = Status{
			ID: m.ID(), Key: m.PublicKey(), Mode: m.Mode(), Manual: m.ManualType(), HasKey: m.HasKey(), Joined: m.ready(), Removed: m.Removed(),
			Epoch: m.Epoch(), Members: m.Members(),
		}
		for range m.b.Scan(outPart) {
			st.Outbox++
		}
		for k := range m.b.Scan(askPart) {
			if key, err := stringphone.VerifyIntro(m.waiting(k)); err == nil {
				st.Asking = append(st.Asking, Request{stringphone.IDOf(key), key})
			}
		}
		return nil
	})
	return st, err
}

// Flush publishes what is in the outbox, oldest first, and removes what the
// channel has taken.
func (s *Session) Flush(ctx context.Context) error {
	if err := s.Settled(ctx); err != nil {
		return err
	}
	s.flushing.Lock() // or each entry would go out as often as this is called
	defer s.flushing.Unlock()
	if s.o.Alone != nil {
		done, err := s.o.Alone(ctx)
		if err != nil {
			return err
		}
		defer done()
	}
	for done := ""; ; {
		var e entry
		var waits error
		err := s.tx(func(m *member) (err error) {
			if done != "" {
				m.b.Delete(done)
			}
			done, e, err = s.oldest(m)
			if errors.Is(err, ErrWaits) {
				waits, err = err, nil // what has gone out is done all the same
			}
			return err
		})
		if err != nil {
			return stateError{err}
		}
		if done == "" {
			return waits
		}
		if err := s.o.Channel.Publish(ctx, s.payload(e.body), e.retain); err != nil {
			return err
		}
	}
}

// oldest returns the oldest entry of the outbox. Texts are sealed first: each goes
// to the end, behind what sealing may have posted, such as a rotation, so that
// their order stays.
func (s *Session) oldest(m *member) (string, entry, error) {
	for {
		key, e := m.firstOut()
		if key == "" || e.sealed {
			return key, e, nil
		}
		if m.HasKey() && m.b.Get(lacksKey) != nil && !s.o.Unsure {
			return "", e, ErrWaits
		}
		packet, err := m.Seal(s.o.Now(), newID(), e.body)
		if isAny(err, stringphone.ErrEpoch, stringphone.ErrRemoved, stringphone.ErrMissingTopicKey) {
			return "", e, fmt.Errorf("%w: %w", ErrWaits, err)
		}
		if err != nil {
			return "", e, err
		}
		m.b.Delete(key)
		m.out(packet, e.retain, true)
	}
}

func isAny(err error, kinds ...error) bool {
	for _, k := range kinds {
		if errors.Is(err, k) {
			return true
		}
	}
	return false
}

// An entry of the outbox is a packet, or a text that is not sealed yet.
type entry struct {
	body           []byte
	retain, sealed bool
}

const (
	flagRetain = 1
	flagText   = 2
)

// out puts an entry into the outbox.
func (m *member) out(body []byte, retain, sealed bool) {
	flags := byte(0)
	if retain {
		flags |= flagRetain
	}
	if !sealed {
		flags |= flagText
	}
	m.b.Put(outPart+m.number(), append([]byte{flags}, body...))
	m.posted = true
}

func (m *member) firstOut() (key string, e entry) {
	for k, v := range m.b.Scan(outPart) {
		return k, entry{v[1:], v[0]&flagRetain != 0, v[0]&flagText == 0}
	}
	return "", e
}
