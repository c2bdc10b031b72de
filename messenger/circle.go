package messenger

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A Circle is several contacts under one name of ours, to send one message to each of
// them: fan-out, as One Time Chat's groups are. Members do not learn who else got it,
// and answer us alone.
type Circle struct {
	Name    string   `json:"circle"`
	Members []string `json:"members"`
}

// MaxCircle is how many members a circle may have.
const MaxCircle = 256

const (
	circlesKey = "circles"
	maxCircles = 256
)

// circles returns the members' IDs by name.
func (t *tx) circles() (map[string][]int64, error) {
	all := map[string][]int64{}
	b, err := t.setting(circlesKey)
	if err != nil || b == nil {
		return all, err
	}
	return all, json.Unmarshal(b, &all)
}

// circle returns one with its members' names, without contacts that were removed.
func (t *tx) circle(name string, ids []int64) (Circle, error) {
	c := Circle{Name: name, Members: []string{}}
	names, err := t.names()
	if err != nil {
		return c, err
	}
	for _, id := range ids {
		if n, ok := names[id]; ok {
			c.Members = append(c.Members, n)
		}
	}
	return c, nil
}

// SetCircle gives several contacts one name; without members the name is forgotten.
func (m *Messenger) SetCircle(ctx context.Context, name string, members []string) (c Circle, err error) {
	if name, err = ownName(name); err != nil {
		return c, err
	}
	if len(members) > MaxCircle {
		return c, fmt.Errorf("%w: %d members, at most %d", ErrState, len(members), MaxCircle)
	}
	err = m.tx(ctx, "circle", func(t *tx) error {
		all, err := t.circles()
		if err != nil {
			return err
		}
		for known := range all {
			if strings.EqualFold(known, name) {
				name = known
			}
		}
		if _, known := all[name]; !known {
			switch {
			case len(members) == 0:
				return fmt.Errorf("%w: no circle is called %q", ErrNoContact, name)
			case len(all) >= maxCircles:
				return fmt.Errorf("%w: at most %d circles", ErrState, maxCircles)
			}
			if taken, err := t.taken(name, 0); err != nil || taken {
				if err == nil {
					err = fmt.Errorf("%w: a contact is called %q", ErrTaken, name)
				}
				return err
			}
		}
		var ids []int64
		for _, member := range members {
			id, err := t.find(member)
			if err != nil {
				return err
			}
			if !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
		if all[name] = ids; len(ids) == 0 {
			delete(all, name)
		}
		b, err := json.Marshal(all)
		if err != nil {
			return err
		}
		if c, err = t.circle(name, ids); err != nil {
			return err
		}
		return t.set(circlesKey, b)
	})
	return c, err
}

// Circles lists them by name.
func (m *Messenger) Circles(ctx context.Context) (list []Circle, err error) {
	err = m.tx(ctx, "circles", func(t *tx) error {
		list = []Circle{}
		all, err := t.circles()
		if err != nil {
			return err
		}
		for name, ids := range all {
			c, err := t.circle(name, ids)
			if err != nil {
				return err
			}
			list = append(list, c)
		}
		slices.SortFunc(list, func(a, b Circle) int { return strings.Compare(a.Name, b.Name) })
		return nil
	})
	return list, err
}

// SendAll commits one message for each member of a circle, or for none.
func (m *Messenger) SendAll(ctx context.Context, circle, text string) (sent []Message, err error) {
	amp, body, err := encodeText(text)
	if err != nil {
		return nil, err
	}
	err = m.tx(ctx, "send to all", func(t *tx) error {
		sent = []Message{}
		all, err := t.circles()
		if err != nil {
			return err
		}
		var c Circle
		for name, ids := range all {
			if strings.EqualFold(name, strings.TrimSpace(circle)) {
				if c, err = t.circle(name, ids); err != nil {
					return err
				}
			}
		}
		if len(c.Members) == 0 {
			return fmt.Errorf("%w: no circle with members is called %q", ErrNoContact, circle)
		}
		var failed error
		for _, member := range c.Members {
			who, err := t.find(member)
			if err != nil {
				return err
			}
			var id [16]byte
			rand.Read(id[:])
			msg, err := t.sendText(who, id, amp, body, text)
			if err != nil {
				failed = errors.Join(failed, fmt.Errorf("%s: %w", member, err))
				continue
			}
			sent = append(sent, msg)
		}
		return failed // and nothing is sent to anybody
	})
	if err != nil {
		return nil, err
	}
	return sent, nil
}
