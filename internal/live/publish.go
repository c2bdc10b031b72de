package live

import (
	"context"
	"errors"

	"parley/secure/stringphone"
)

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
	s.flushing.Lock() // or each entry would go out as often as this is called
	defer s.flushing.Unlock()
	for done := ""; ; {
		var e entry
		err := s.tx(func(m *member) (err error) {
			if done != "" {
				m.b.Delete(done)
			}
			done, e, err = s.oldest(m)
			return err
		})
		if err != nil {
			return stateError{err}
		}
		if done == "" {
			return nil
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
		packet, err := m.Seal(s.o.Now(), newID(), e.body)
		if err != nil {
			return "", e, err
		}
		m.b.Delete(key)
		m.out(packet, e.retain, true)
	}
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
