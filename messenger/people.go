package messenger

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"parley"
)

// author returns the number that stands in the timeline for who wrote a message.
func (t *tx) author(l line, from parley.Name) (int64, error) {
	if !l.shared || from == "" {
		return l.contact, nil
	}
	conv, err := t.conversation(l.contact)
	if err != nil {
		return 0, err
	}
	id, err := t.memberRow(conv, from)
	return -1 - id, err
}

func (t *tx) memberRow(conversation int64, id parley.Name) (row int64, err error) {
	err = t.row("SELECT id FROM members WHERE conversation = ? AND member = ?", conversation, string(id))(&row)
	if isNone(err) {
		row, err = t.insert("INSERT INTO members (conversation, member) VALUES (?, ?)", conversation, string(id))
	}
	return row, err
}

// short is how a member without a name of ours is called.
func short(id parley.Name) string { return string(id[:min(len(id), 8)]) }

// fingerprint is a number as the words that people compare.
func (t *tx) fingerprint(number []byte) string { return strings.Join(t.compare(number).Words, " ") }

func (t *tx) compare(number []byte) (n SafetyNumber) {
	if t.m.o.Words != nil {
		n = t.m.o.Words(number)
	}
	return n
}

// shellName is a contact's name as it is typed in a command.
func shellName(s string) string {
	plain := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-_.", r) || r >= 0xc0
	}
	if strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// A sharedLine is a conversation of many that somebody asks about by its name.
type sharedLine struct {
	line
	i     parley.Introducer
	c     *parley.Conversation
	g     Group
	conv  int64
	name  string
	names map[string]string // ours, by member
}

// shared finds a conversation of many.
func (t *tx) shared(name string) (s sharedLine, err error) {
	contact, err := t.find(name)
	if err != nil {
		return s, err
	}
	if err := t.row("SELECT name FROM contacts WHERE id = ?", contact)(&s.name); err != nil {
		return s, err
	}
	lines, err := t.targets(contact)
	if err != nil {
		return s, err
	}
	if len(lines) == 0 || !lines[0].shared {
		return s, fmt.Errorf("%w: %q is one person and not a topic", ErrState, s.name)
	}
	s.line = lines[0]
	if s.i, s.c, s.g, err = t.group(s.line); err != nil {
		return s, err
	}
	if s.conv, err = t.conversation(contact); err != nil {
		return s, err
	}
	s.names = map[string]string{}
	err = t.each("SELECT member, name FROM members WHERE conversation = ?", []any{s.conv}, func(scan func(...any) error) error {
		var id, name string
		err := scan(&id, &name)
		s.names[id] = name
		return err
	})
	return s, err
}

// people lists ourselves, the members and those who ask.
func (t *tx) people(s sharedLine) ([]Person, error) {
	person := func(m Member, state string) Person {
		n := t.compare(m.Number)
		return Person{
			Contact: s.name, ID: string(m.ID), Name: s.names[string(m.ID)], Key: base64.StdEncoding.EncodeToString(m.Key),
			Words: n.Words, Digits: n.Digits, State: state, By: string(m.By), Since: m.Since,
		}
	}
	all := []Person{person(s.g.Self, "self")}
	if s.g.Removed {
		all[0].State = "removed"
	}
	for _, m := range s.g.Members {
		if m.Trusted {
			all = append(all, person(m, "member"))
		} else {
			all = append(all, person(m, "distrusted"))
		}
	}
	err := t.each("SELECT packet, denied, came FROM requests WHERE line = ? ORDER BY id", []any{s.id}, func(scan func(...any) error) error {
		var packet []byte
		var denied bool
		var came int64
		if err := scan(&packet, &denied, &came); err != nil {
			return err
		}
		m, err := t.m.o.Groups.Asker(packet)
		if err != nil || s.g.has(m.ID) {
			return err
		}
		m.Since = instant(came)
		all = slices.DeleteFunc(all, func(p Person) bool { return p.ID == string(m.ID) }) // one we do not trust
		state := "asks"
		if denied {
			state = "denied"
		}
		all = append(all, person(m, state))
		return nil
	})
	return all, err
}

// plainWords makes words comparable however they were typed.
func plainWords(s string) string {
	return strings.ToLower(strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == '-' || r == ',' || r == '\t' || r == '\n' }), " "))
}

// who finds one person by name, the beginning of the ID, fingerprint or key.
func who(all []Person, contact, s string) (Person, error) {
	words := plainWords(s)
	digits := strings.ReplaceAll(words, " ", "")
	var found []Person
	for _, p := range all {
		switch {
		case p.Name != "" && strings.EqualFold(p.Name, strings.TrimSpace(s)), p.Key == strings.TrimSpace(s):
			return p, nil
		case len(words) >= 4 && strings.HasPrefix(p.ID, words),
			len(p.Words) > 0 && words == plainWords(strings.Join(p.Words, " ")),
			p.Digits != "" && digits == strings.ReplaceAll(p.Digits, " ", ""):
			found = append(found, p)
		}
	}
	switch len(found) {
	case 0:
		return Person{}, fmt.Errorf("%w: nobody in %q goes by %q: give the ID (at least 4 digits), our name or the fingerprint; parley topic people %s lists them", ErrNoContact, contact, s, shellName(contact))
	case 1:
		return found[0], nil
	}
	return Person{}, fmt.Errorf("%w: %q fits several people in %q: give more digits", ErrNoContact, s, contact)
}

// People lists ourselves, the members and those who ask to be let in.
func (m *Messenger) People(ctx context.Context, name string) (all []Person, err error) {
	err = m.tx(ctx, "people", func(t *tx) error {
		s, err := t.shared(name)
		if err == nil {
			all, err = t.people(s)
		}
		return err
	})
	return all, err
}

// someone finds a person, after a change too.
func (t *tx) someone(contact, person string) (sharedLine, Person, error) {
	s, err := t.shared(contact)
	if err != nil {
		return s, Person{}, err
	}
	all, err := t.people(s)
	if err != nil {
		return s, Person{}, err
	}
	p, err := who(all, s.name, person)
	return s, p, err
}

// Admit lets somebody in who asks, or trusts a public key (32 bytes, base64).
func (m *Messenger) Admit(ctx context.Context, contact, person string) (p Person, err error) {
	err = m.tx(ctx, "admit person", func(t *tx) error {
		s, found, err := t.someone(contact, person)
		key, isKey := publicKey(person)
		switch {
		case errors.Is(err, ErrNoContact) && isKey && s.id != 0:
			return t.trustKey(s, key, &p)
		case err != nil:
			return err
		case found.State == "asks", found.State == "denied":
			err = t.letIn(s, found)
		case found.State == "distrusted":
			key, _ := base64.StdEncoding.DecodeString(found.Key)
			return t.trustKey(s, key, &p)
		case found.State == "member":
			return fmt.Errorf("%w: %s is a member already", ErrState, calling(found))
		default:
			return fmt.Errorf("%w: that is you", ErrState)
		}
		if err == nil {
			_, p, err = t.someone(contact, found.ID)
		}
		return err
	})
	return p, err
}

func calling(p Person) string {
	if p.Name != "" {
		return p.Name
	}
	return short(parley.Name(p.ID))
}

func publicKey(s string) (key []byte, ok bool) {
	key, err := base64.StdEncoding.Strict().DecodeString(strings.TrimSpace(s))
	return key, err == nil && len(key) == ed25519.PublicKeySize
}

// letIn answers the introduction that somebody sent.
func (t *tx) letIn(s sharedLine, p Person) error {
	var packet []byte
	if err := t.row("SELECT packet FROM requests WHERE line = ? AND member = ?", s.id, p.ID)(&packet); err != nil {
		return err
	}
	posts := collect(s.c)
	_, err := s.i.Open(t.ctx, s.c, packet)
	var in *parley.Introduction
	if !errors.As(err, &in) || in.Kind != parley.Request {
		return fmt.Errorf("%w: the introduction cannot be opened any more: %v", ErrState, err)
	}
	answer, err := s.i.Admit(t.ctx, s.c, in)
	if err != nil {
		return fmt.Errorf("%w: %s cannot be let in: %v", ErrState, calling(p), err)
	}
	if err := t.exec("DELETE FROM requests WHERE line = ? AND member = ?", s.id, p.ID); err != nil {
		return err
	}
	if err := t.noteAnswer(s.line, packet); err != nil {
		return err
	}
	if err := t.post(s.line, 0, "reply", answer); err != nil {
		return err
	}
	return t.groupChanged(s, *posts)
}

// trustKey takes somebody in who has not asked, by the public key.
func (t *tx) trustKey(s sharedLine, key []byte, p *Person) error {
	err := t.change(s, []parley.Name{t.m.o.Groups.Change(key)}, nil)
	if err != nil {
		return fmt.Errorf("%w: %v", ErrState, err)
	}
	_, *p, err = t.someone(s.name, base64.StdEncoding.EncodeToString(key))
	return err
}

// change lets the transport change the members.
func (t *tx) change(s sharedLine, add, remove []parley.Name) error {
	g, ok := s.i.(parley.Grouper)
	if !ok {
		return fmt.Errorf("%w: secure transport %d cannot change members", ErrState, s.stp.Type)
	}
	posts := collect(s.c)
	if err := g.Change(t.ctx, s.c, add, remove); err != nil {
		return err
	}
	return t.groupChanged(s, *posts)
}

// groupChanged commits a change of members: what waited for trust may open now.
func (t *tx) groupChanged(s sharedLine, posts [][]byte) error {
	if err := t.bucket(s.c).Flush(); err != nil {
		return err
	}
	if err := t.postAll(s.line, posts); err != nil {
		return err
	}
	t.contactChanged(s.contact)
	t.then(func() { t.m.unblock(s.id) })
	t.poke(workSeal)
	return t.retryKept(s.id)
}

// Expel turns somebody away who asks, or removes a member for everybody. Where the
// mode cannot do that, its messages are not taken any more ("distrusted").
func (m *Messenger) Expel(ctx context.Context, contact, person string) (p Person, err error) {
	err = m.tx(ctx, "expel person", func(t *tx) error {
		s, found, err := t.someone(contact, person)
		if err != nil {
			return err
		}
		p = found
		switch found.State {
		case "asks", "denied":
			p.State = "denied"
			return t.exec("UPDATE requests SET denied = 1 WHERE line = ? AND member = ?", s.id, found.ID)
		case "member", "distrusted":
			p.State = "expelled"
			err := t.change(s, nil, []parley.Name{parley.Name(found.ID)})
			if errors.Is(err, parley.ErrRefused) {
				p.State = "distrusted"
				err = t.distrust(s, parley.Name(found.ID))
			}
			if err != nil {
				err = fmt.Errorf("%w: %v", ErrState, err)
			}
			return err
		}
		return fmt.Errorf("%w: that is you; parley contact remove %s ends the conversation on this device", ErrState, shellName(s.name))
	})
	return p, err
}

// distrust is all that a mode without rotation can do: who was let in can still
// read.
func (t *tx) distrust(s sharedLine, id parley.Name) error {
	t.bucket(s.c).Rollback()
	if err := t.m.o.Groups.Distrust(s.c, id); err != nil {
		return err
	}
	return t.groupChanged(s, nil)
}

// NamePerson gives somebody in a conversation of many a name of ours; an empty
// one takes it away.
func (m *Messenger) NamePerson(ctx context.Context, contact, person, as string) (p Person, err error) {
	if as != "" {
		if as, err = ownName(as); err != nil {
			return p, err
		}
	}
	err = m.tx(ctx, "name person", func(t *tx) error {
		s, found, err := t.someone(contact, person)
		if err != nil {
			return err
		}
		all, err := t.people(s)
		if err != nil {
			return err
		}
		if as != "" && slices.ContainsFunc(all, func(o Person) bool { return o.ID != found.ID && strings.EqualFold(o.Name, as) }) {
			return fmt.Errorf("%w: %q", ErrTaken, as)
		}
		row, err := t.memberRow(s.conv, parley.Name(found.ID))
		if err != nil {
			return err
		}
		t.contactChanged(s.contact)
		p, p.Name = found, as
		return t.exec("UPDATE members SET name = ? WHERE id = ?", as, row)
	})
	return p, err
}
