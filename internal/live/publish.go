package live

import (
	"context"
	"errors"

	"parley/secure/stringphone"
)

// ErrNotJoined means that there is no topic key yet.
var ErrNotJoined = errors.New("the topic key is not known yet: join the topic first")

// Say seals a text and puts it into the outbox, on disk: from then on it goes out,
// by this process or the next. With retain the channel keeps it for those who come
// later, and it is said again whenever the topic gets a new key.
func (s *Session) Say(body []byte, retain bool) error {
	return s.tx(func(m *member) error {
		if !m.HasKey() {
			return ErrNotJoined
		}
		packet, err := m.Seal(s.o.Now(), newID(), body)
		if err != nil {
			return err
		}
		if retain {
			m.b.Put(mineKey, body)
		}
		m.post(packet, retain)
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
		if s.o.Show == nil {
			return nil
		}
		return s.unpark(m)
	})
}

// Rotate gives the topic a new key.
func (s *Session) Rotate() error {
	return s.tx(func(m *member) error { return m.Rotate(s.o.Now()) })
}

// Status is what a member knows of itself and the others.
type Status struct {
	ID      stringphone.ID
	Key     []byte
	Mode    stringphone.Mode
	Joined  bool
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
			ID: m.ID(), Key: m.PublicKey(), Mode: m.Mode(), Joined: m.ready(), Removed: m.Removed(),
			Epoch: m.Epoch(), Members: m.Members(),
		}
		for range m.b.Scan(outPart) {
			st.Outbox++
		}
		for _, v := range m.b.Scan(askPart) {
			if key, err := stringphone.VerifyIntro(v); err == nil {
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
	for {
		var key string
		var entry []byte
		err := s.tx(func(m *member) error {
			key, entry = "", nil
			for k, v := range m.b.Scan(outPart) {
				key, entry = k, v
				break
			}
			return nil
		})
		if err != nil {
			return stateError{err}
		}
		if entry == nil {
			return nil
		}
		if err := s.o.Channel.Publish(ctx, s.payload(entry[1:]), entry[0] == 1); err != nil {
			return err
		}
		err = s.tx(func(m *member) error {
			m.b.Delete(key)
			return nil
		})
		if err != nil {
			return stateError{err}
		}
	}
}
