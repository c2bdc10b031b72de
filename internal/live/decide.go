package live

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"time"

	"parley/secure/stringphone"
)

// asked keeps an introduction until it is decided about, or somebody else has
// answered it.
func (s *Session) asked(m *member, packet []byte, in *stringphone.IntroError) error {
	id := stringphone.IDOf(in.Key)
	s.mu.Lock()
	denied := s.noted["denied "+id.String()]
	s.mu.Unlock()
	if denied && !in.Member || s.justAnswered(packet) {
		return nil
	}
	if in.Answered && s.once("answered "+id.String()) { // its first repetition crosses the answer
		return nil
	}
	m.wait(askPart, id, packet)
	m.then(func() { poke(s.decided) })
	return nil
}

// answerRest is how long an introduction that we have answered is not answered
// again: the answer may cross the next try. In a forward-secret topic each answer
// is a new key for all.
const answerRest = 5 * time.Second

func (s *Session) justAnswered(intro []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.answers[string(intro)]
	return ok && s.o.Now().Sub(at) < answerRest
}

// answer remembers that an introduction was answered, for a while.
func (s *Session) answer(intro []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.o.Now()
	for k, at := range s.answers {
		if now.Sub(at) >= answerRest {
			delete(s.answers, k)
		}
	}
	s.answers[string(intro)] = now
}

// overheard sees that another member has answered somebody. Two answers would be
// two new keys where each answer makes one. In a plain topic nobody vouches for
// anybody, and each member decides.
func (s *Session) overheard(m *member, packet []byte) {
	to, err := stringphone.Message(packet).RecipientID()
	if err != nil || len(to) != stringphone.IDSize || m.Mode() == stringphone.Plain {
		return
	}
	key := askPart + stringphone.ID(to).String()
	intro := m.waiting(key)
	if intro == nil {
		return
	}
	by, err := stringphone.VerifyReply(intro, packet)
	if err != nil {
		return
	}
	if m.isMember(stringphone.IDOf(by)) {
		m.b.Delete(key)
		s.answer(intro)
		m.then(func() { s.again(key) })
	}
}

// admit gives the topic key away.
func (s *Session) admit(m *member, intro []byte, r Request) error {
	reply, err := m.Admit(s.o.Now(), intro)
	if errors.Is(err, stringphone.ErrReplay) {
		m.then(func() { s.count(&s.counts.Repeated, Note{Kind: NoteRepeated, ID: r.ID, Key: r.Key, Err: err}) })
		return nil
	}
	if err != nil { // asked too often, or not a fit introduction after all
		m.then(func() { s.count(&s.counts.Forged, Note{Kind: NoteForged, ID: r.ID, Key: r.Key, Err: err}) })
		return nil
	}
	m.out(reply, false, true)
	s.answer(intro)
	m.then(func() { s.o.Note(Note{Kind: NoteAdmitted, ID: r.ID, Key: r.Key}) })
	return s.unpark(m)
}

// answered keeps an answer to our introduction until somebody decides.
func (s *Session) answered(m *member, packet []byte, in *stringphone.ReplyError) error {
	if m.ready() {
		return nil
	}
	signed := byte(0)
	if in.Signed {
		signed = 1
	}
	m.wait(offerPart, stringphone.IDOf(in.Key), append([]byte{signed}, packet...))
	m.then(func() { poke(s.decided) })
	return nil
}

// decide asks about requests and answers. Each has its own time: a question that
// nobody answers holds nothing up.
func (s *Session) decide(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	failed := make(chan error, 1)
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return err
		case <-s.decided:
		}
		for {
			packet, where, err := s.undecided()
			if err != nil {
				return err
			}
			if packet == nil {
				break
			}
			wg.Go(func() {
				err := s.decideAnswer
				if where == askPart {
					err = s.decideRequest
				}
				if err := err(ctx, packet); err != nil && ctx.Err() == nil {
					select {
					case failed <- err:
					default:
					}
				}
			})
		}
	}
}

// undecided returns a packet that waits for a decision and that nobody here was
// asked about yet.
func (s *Session) undecided() (packet []byte, where string, err error) {
	err = s.tx(func(m *member) error {
		packet, where = nil, ""
		for _, part := range []string{offerPart, askPart} {
			for k, v := range m.b.Scan(part) {
				if packet == nil && len(v) > waitHead && s.once(k) {
					packet, where = v[waitHead:], part
				}
			}
			if packet != nil {
				return nil
			}
		}
		return nil
	})
	return packet, where, err
}

func (s *Session) decideRequest(ctx context.Context, packet []byte) error {
	key, err := stringphone.VerifyIntro(packet)
	if err != nil {
		return s.forget(askPart, packet)
	}
	r := Request{stringphone.IDOf(key), key}
	where := askPart + r.ID.String()
	verdict, err := s.verdict(ctx, r)
	if err != nil {
		return err
	}
	switch verdict {
	case Yes:
		// A moment, in which what shows that it has its answer may come; and by lot, so
		// that not all members answer at once.
		timer := time.NewTimer(answerLeast + time.Duration(s.o.Jitter()*float64(answerSpread)))
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil
		}
		s.again(where) // who is removed later may ask once more
		return s.tx(func(m *member) error {
			newest := m.waiting(where)
			switch {
			case newest == nil && s.justAnswered(packet):
				return nil // by somebody else
			case newest == nil: // a flood has pushed it out
				newest = packet
			}
			m.b.Delete(where)
			return s.admit(m, newest, r)
		})
	case No:
		s.once("denied " + r.ID.String())
		s.o.Note(Note{Kind: NoteDenied, ID: r.ID, Key: r.Key})
		s.again(where)
		return s.tx(func(m *member) error {
			m.b.Delete(where)
			return nil
		})
	}
	s.o.Note(Note{Kind: NoteRequest, ID: r.ID, Key: r.Key})
	return nil
}

// Members answer after answerLeast, within answerSpread.
const (
	answerLeast  = 300 * time.Millisecond
	answerSpread = 1500 * time.Millisecond
)

// verdict decides about a request: who is a member is answered.
func (s *Session) verdict(ctx context.Context, r Request) (v Verdict, err error) {
	err = s.tx(func(m *member) error {
		if m.isMember(r.ID) {
			v = Yes
		}
		return nil
	})
	if err != nil || v == Yes || s.o.Admit == nil {
		return v, err
	}
	return s.o.Admit(ctx, r), nil
}

func (s *Session) decideAnswer(ctx context.Context, entry []byte) error {
	packet := entry[1:]
	key, err := stringphone.Message(packet).SenderKey()
	if err != nil || len(key) != stringphone.PublicKeySize {
		key = make([]byte, stringphone.PublicKeySize) // the original may leave it out
	}
	a := Answer{ID: stringphone.IDOf(key), Key: key, Signed: entry[0] == 1}
	verdict, newest := Later, false
	err = s.tx(func(m *member) error {
		// We are in, and lack a newer key: a member may give it.
		newest = a.Signed && m.HasKey() && !m.Removed() && m.isMember(a.ID)
		if a.Signed && m.Pinned() { // others' answers do not come this far
			verdict = Yes
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case newest:
		return s.takeNewest(ctx)
	case verdict != Yes && s.o.Trust != nil:
		verdict = s.o.Trust(ctx, a)
	}
	switch verdict {
	case Yes:
		s.again(offerPart + a.ID.String()) // the next answer of this key may do, or be needed
		return s.tx(func(m *member) error {
			m.b.Delete(offerPart + a.ID.String())
			if err := m.AcceptFrom(s.o.Now(), packet, a.Key); err != nil {
				m.then(func() { s.count(&s.counts.Forged, Note{Kind: NoteForged, ID: a.ID, Key: a.Key, Err: err}) })
				return nil
			}
			m.b.Delete(lacksKey)
			if !a.Signed {
				// Whoever decided has seen this key, or said that the first one will do. If it
				// is somebody else's, we hear nobody: its owner has another topic key.
				if err := m.Trust(a.Key); err != nil && !errors.Is(err, stringphone.ErrMalformed) {
					return err
				}
			}
			for k := range m.b.Scan(offerPart) { // the others come too late
				m.b.Delete(k)
			}
			m.then(func() { s.o.Note(Note{Kind: NoteJoined, ID: a.ID, Key: a.Key}) })
			return s.unpark(m)
		})
	case No:
		return s.forget(offerPart, entry)
	}
	s.o.Note(Note{Kind: NoteAnswer, ID: a.ID, Key: a.Key})
	return nil
}

// gather is how long members' answers are waited for after the first, when we ask
// for the present key: one who missed the last change answers too.
const gather = answerLeast + answerSpread + time.Second

// takeNewest takes the topic key of the latest epoch that members offer.
func (s *Session) takeNewest(ctx context.Context) error {
	timer := time.NewTimer(gather)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return nil
	}
	return s.tx(func(m *member) error {
		type offer struct {
			key    string
			packet []byte
		}
		var all []offer
		for k, v := range m.b.Scan(offerPart) {
			s.again(k)
			m.b.Delete(k)
			if len(v) > waitHead+1 && v[waitHead] == 1 {
				all = append(all, offer{key: k, packet: v[waitHead+1:]})
			}
		}
		slices.SortStableFunc(all, func(a, b offer) int {
			return cmp.Compare(stringphone.ReplyEpoch(b.packet), stringphone.ReplyEpoch(a.packet))
		})
		for _, o := range all {
			key, err := stringphone.Message(o.packet).SenderKey()
			if err != nil || m.ready() || !m.isMember(stringphone.IDOf(key)) {
				continue
			}
			if err := m.Accept(s.o.Now(), o.packet); err == nil {
				m.b.Delete(lacksKey)
				m.lacks = false
				m.then(func() { s.o.Note(Note{Kind: NoteJoined, ID: stringphone.IDOf(key), Key: key}) })
			}
		}
		return s.unpark(m)
	})
}

// forget removes what was decided about, unless a newer one has come meanwhile.
func (s *Session) forget(where string, packet []byte) error {
	return s.tx(func(m *member) error {
		for k, v := range m.b.Scan(where) {
			if len(v) > waitHead && string(v[waitHead:]) == string(packet) {
				m.b.Delete(k)
			}
		}
		return nil
	})
}

func appendTime(b []byte, t time.Time) []byte {
	ms := int64(0)
	if !t.IsZero() {
		ms = t.UnixMilli()
	}
	return binary.BigEndian.AppendUint64(b, uint64(ms))
}

func cutTime(b []byte) time.Time {
	if ms := int64(binary.BigEndian.Uint64(b)); ms != 0 {
		return time.UnixMilli(ms).UTC()
	}
	return time.Time{}
}
