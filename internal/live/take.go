package live

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"

	"parley/secure/stringphone"
)

// take takes in one payload. When it returns nil, what came of it is on disk and
// the channel may forget the payload.
func (s *Session) take(payload []byte, retained bool) error {
	packet, ok := s.packet(payload)
	if !ok {
		s.count(&s.counts.Foreign, Note{Kind: NoteForeign, Err: stringphone.ErrMalformed})
		return nil
	}
	if s.o.Show == nil {
		return s.catchUp(packet, retained)
	}
	return s.tx(func(m *member) error { return s.open(m, packet, retained) })
}

// payload and packet are the two ways between a packet and what the channel
// carries.
func (s *Session) payload(packet []byte) []byte {
	if s.o.Hex {
		return []byte(hex.EncodeToString(packet))
	}
	return packet
}

func (s *Session) packet(payload []byte) ([]byte, bool) {
	if !s.o.Hex {
		return payload, true
	}
	b, err := hex.DecodeString(string(bytes.TrimSpace(payload)))
	return b, err == nil
}

// open deals with one packet. An error is trouble with showing or the disk; what
// is wrong with the packet is counted.
func (s *Session) open(m *member, packet []byte, retained bool) error {
	got, err := m.Open(s.o.Now(), packet, stringphone.OpenOptions{})
	switch {
	case err == nil && got == nil:
		s.overheard(m, packet)
		return s.unpark(m)
	case err == nil:
		msg := Message{From: got.From, Key: got.Key, Sent: got.Sent, Body: got.Body, Retained: retained}
		if err := s.o.Show(msg); err != nil {
			return err
		}
		m.remember(packet, msg)
		s.onTime(got.From)
		return nil
	}
	return s.refused(m, packet, retained, err)
}

// latest is how many messages under erased keys come from one member, and none that
// opens, before we take it that it is we who have lost the others' way.
const latest = 3

// maxErased is how many such messages are looked at. Each counts once: whoever plays
// a recording again and again does not make us ask as often.
const maxErased = 1 << 15

// late counts such a message, and reports whether there are too many.
func (s *Session) late(packet []byte) bool {
	id, err := stringphone.Message(packet).SenderID()
	if err != nil || len(id) != stringphone.IDSize {
		return false
	}
	sum := sha256.Sum256(packet)
	digest := [16]byte(sum[:])
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.erased[digest] || len(s.erased) >= maxErased {
		return false
	}
	s.erased[digest] = true
	s.lates[stringphone.ID(id)]++
	return s.lates[stringphone.ID(id)] >= latest
}

func (s *Session) onTime(id stringphone.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.lates, id)
}

// refused sorts a packet that did not open.
func (s *Session) refused(m *member, packet []byte, retained bool, err error) error {
	var intro *stringphone.IntroError
	var reply *stringphone.ReplyError
	note := Note{Err: err}
	switch {
	case errors.As(err, &intro):
		return s.asked(m, packet, intro)
	case errors.As(err, &reply):
		return s.answered(m, packet, reply)
	case errors.Is(err, stringphone.ErrReplay):
		if again := m.last(packet); again != nil && retained && s.o.Retained {
			return s.o.Show(*again)
		}
		note.Kind = NoteRepeated
		m.then(func() { s.count(&s.counts.Repeated, note) })
	case errors.Is(err, stringphone.ErrUntrustedKey):
		m.park(packet, retained)
		note.Kind = NoteUntrusted
		if id, err := stringphone.Message(packet).SenderID(); err == nil && len(id) == stringphone.IDSize {
			note.ID = stringphone.ID(id)
		}
		m.then(func() { s.count(&s.counts.Untrusted, note) })
	case errors.Is(err, stringphone.ErrMissingTopicKey), errors.Is(err, stringphone.ErrWrongTopicKey), errors.Is(err, stringphone.ErrEpoch):
		if m.Removed() {
			return nil // it is not for us any more
		}
		if errors.Is(err, stringphone.ErrErased) {
			// Most are from before we came in. They are counted, and told at the end.
			m.lacks = m.lacks || s.late(packet)
			m.then(func() {
				s.mu.Lock()
				s.counts.Unreadable++
				s.mu.Unlock()
			})
			return nil
		}
		m.lacks = m.lacks || errors.Is(err, stringphone.ErrEpoch)
		m.park(packet, retained)
		note.Kind = NoteUnreadable
		m.then(func() { s.count(&s.counts.Unreadable, note) })
	case errors.Is(err, stringphone.ErrRemoved):
		return nil // it was told
	case errors.Is(err, stringphone.ErrMalformed):
		note.Kind = NoteForeign
		m.then(func() { s.count(&s.counts.Foreign, note) })
	default:
		note.Kind = NoteForged
		m.then(func() { s.count(&s.counts.Forged, note) })
	}
	return nil
}

// unpark opens what could not be opened before.
func (s *Session) unpark(m *member) error {
	if s.o.Show == nil {
		return nil
	}
	for k, v := range m.b.Scan(parkPart) {
		got, err := m.Open(s.o.Now(), v[1:], stringphone.OpenOptions{})
		switch {
		case err == nil && got != nil:
			msg := Message{From: got.From, Key: got.Key, Sent: got.Sent, Body: got.Body, Retained: v[0] == 1}
			if err := s.o.Show(msg); err != nil {
				return err
			}
			m.remember(v[1:], msg)
		case errors.Is(err, stringphone.ErrErased): // it never will
		case errors.Is(err, stringphone.ErrUntrustedKey), errors.Is(err, stringphone.ErrMissingTopicKey),
			errors.Is(err, stringphone.ErrWrongTopicKey), errors.Is(err, stringphone.ErrEpoch):
			continue // not yet
		}
		m.b.Delete(k)
	}
	return nil
}

// errLeft undoes a commit: the packet is for the process that shows.
var errLeft = errors.New("left for another process")

// catchUp takes in what changes the topic (rotations, announcements) and leaves
// messages for a process that shows them: nothing of them is noted, so that they
// are new there. Requests and answers are for whoever can decide.
func (s *Session) catchUp(packet []byte, retained bool) error {
	err := s.tx(func(m *member) error {
		got, err := m.Open(s.o.Now(), packet, stringphone.OpenOptions{})
		var intro *stringphone.IntroError
		var reply *stringphone.ReplyError
		switch {
		case err == nil && got == nil:
			s.overheard(m, packet)
			return nil
		case s.o.Admit != nil && errors.As(err, &intro):
			return s.asked(m, packet, intro)
		case (s.o.Trust != nil || m.HasKey()) && errors.As(err, &reply):
			return s.answered(m, packet, reply)
		case errors.Is(err, stringphone.ErrMalformed):
			if !retained { // that comes each time
				m.then(func() { s.count(&s.counts.Foreign, Note{Kind: NoteForeign, Err: err}) })
			}
			return nil
		case s.o.Trust != nil && isAny(err, stringphone.ErrUnsignedReply, stringphone.ErrNotPinned):
			if s.once("refused " + err.Error()) {
				m.then(func() { s.count(&s.counts.Forged, Note{Kind: NoteForged, Err: err}) })
			}
			return nil
		}
		return errLeft
	})
	if errors.Is(err, errLeft) {
		return nil
	}
	return err
}

// remember keeps the newest message, so that it can be shown again when the
// channel says that it still counts. It is in clear in the state file, which
// holds the keys too.
func (m *member) remember(packet []byte, msg Message) {
	if len(msg.Body) > maxLast {
		m.b.Delete(lastKey)
		return
	}
	sum := sha256.Sum256(packet)
	v := append(sum[:16:16], msg.From[:]...)
	v = append(v, msg.Key...)
	v = appendTime(v, msg.Sent)
	m.b.Put(lastKey, append(v, msg.Body...))
}

// last returns the newest message if the packet is it.
func (m *member) last(packet []byte) *Message {
	const head = 16 + stringphone.IDSize + stringphone.PublicKeySize + 8
	v := m.b.Get(lastKey)
	sum := sha256.Sum256(packet)
	if len(v) < head || !bytes.Equal(v[:16], sum[:16]) {
		return nil
	}
	return &Message{
		From: stringphone.ID(v[16:32]), Key: v[32:64], Sent: cutTime(v[64:72]), Body: v[head:],
		Retained: true, Again: true,
	}
}

func newID() (id [16]byte) {
	rand.Read(id[:])
	return id
}
