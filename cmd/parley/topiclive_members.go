package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"parley/internal/live"
	"parley/secure/stringphone"
)

type topicMembersCmd struct {
	topicAt
}

// topicStatus is what members prints as JSON.
type topicStatus struct {
	ID      string         `json:"id"`
	Mode    string         `json:"mode"`
	Joined  bool           `json:"joined"`
	Removed bool           `json:"removed,omitempty"`
	Epoch   uint32         `json:"epoch"`
	Members []memberStatus `json:"members"`
	Asking  []keyOwner     `json:"asking,omitempty"`
	Outbox  int            `json:"outbox,omitempty"`
}

type memberStatus struct {
	keyOwner
	Self  bool      `json:"self,omitempty"`
	By    string    `json:"admitted_by,omitempty"`
	Since time.Time `json:"since,omitzero"`
}

func (c *topicMembersCmd) Run(a *app) error {
	h, err := c.topicAt.open(a, nil)
	if err != nil {
		return err
	}
	defer h.close()
	s, err := live.New(live.Options{State: h.file, Channel: notYet{}})
	if err != nil {
		return err
	}
	st, err := s.Status()
	if err != nil {
		return err
	}
	return a.result(statusOf(st), func() string { return statusText(st) })
}

func statusOf(st live.Status) topicStatus {
	out := topicStatus{
		ID: st.ID.String(), Mode: st.Mode.String(), Joined: st.Joined, Removed: st.Removed,
		Epoch: st.Epoch, Members: []memberStatus{}, Outbox: st.Outbox,
	}
	for _, m := range st.Members {
		p, _ := whoIs(m.Key)
		s := memberStatus{keyOwner: p, Self: m.Self, Since: m.Since}
		if m.By != (stringphone.ID{}) {
			s.By = m.By.String()
		}
		out.Members = append(out.Members, s)
	}
	for _, r := range st.Asking {
		p, _ := whoIs(r.Key)
		out.Asking = append(out.Asking, p)
	}
	return out
}

func statusText(st live.Status) string {
	var b strings.Builder
	switch {
	case st.Removed:
		b.WriteString("You have been removed from this topic.\n")
	case !st.HasKey:
		b.WriteString("The topic key is not known yet.\n")
	case !st.Joined:
		b.WriteString("A newer topic key may have been missed: sub asks the members for it.\n")
	}
	fmt.Fprintf(&b, "mode: %s, epoch %d\n", st.Mode, st.Epoch)
	for _, m := range st.Members {
		note := ""
		if m.Self {
			note = "  (you)"
		} else if m.By == st.ID {
			note = "  (let in by you)"
		} else if m.By != (stringphone.ID{}) {
			note = "  (let in by " + short(m.By) + ")"
		}
		fmt.Fprintf(&b, "%s  %s%s\n", m.ID, words13(m.Key), note)
	}
	for _, r := range st.Asking {
		fmt.Fprintf(&b, "%s  %s  (asks to be let in)\n", r.ID, words13(r.Key))
	}
	return b.String()
}

type topicRemoveCmd struct {
	topicAt
	ID      []string      `arg:"" help:"IDs of members, or unique beginnings of them with at least 4 digits."`
	Timeout time.Duration `default:"1m" help:"How long to wait for the broker."`
}

func (c *topicRemoveCmd) Run(ctx context.Context, a *app) error {
	h, err := c.topicAt.open(a, nil)
	if err != nil {
		return err
	}
	defer h.close()
	return h.talk(ctx, talking{hexed: c.Hex, patience: c.Timeout}, func(s *live.Session, flush func() error) error {
		st, err := s.Status()
		if err != nil {
			return err
		}
		var ids []stringphone.ID
		for _, prefix := range c.ID {
			id, err := findMember(st.Members, prefix)
			if err != nil {
				return err
			}
			ids = append(ids, id)
		}
		if st.Mode == stringphone.Plain {
			for _, id := range ids {
				if err := s.Distrust(id); err != nil {
					return err
				}
			}
			a.loud("In a plain topic nobody can take the topic key back: who was removed is not listened to here any more, and can still read everything. Make a new topic for the others")
			return nil
		}
		if err := s.Remove(ids...); err != nil {
			return err
		}
		if err := flush(); err != nil {
			return err
		}
		a.note("Removed. The others have a new key: what they write once they have it cannot be read by who was removed.")
		return nil
	})
}

type topicRotateCmd struct {
	topicAt
	Timeout time.Duration `default:"1m" help:"How long to wait for the broker."`
}

func (c *topicRotateCmd) Run(ctx context.Context, a *app) error {
	h, err := c.topicAt.open(a, nil)
	if err != nil {
		return err
	}
	defer h.close()
	return h.talk(ctx, talking{hexed: c.Hex, patience: c.Timeout}, func(s *live.Session, flush func() error) error {
		err := s.Rotate()
		if errors.Is(err, stringphone.ErrMode) {
			return &kindError{errNoTopic, errors.New("a plain topic has one key for ever: make a new topic, headed or forward-secret, to change keys")}
		}
		if err != nil {
			return err
		}
		return flush()
	})
}

// findMember finds a member by the beginning of its ID.
func findMember(all []stringphone.Participant, prefix string) (id stringphone.ID, err error) {
	prefix = strings.ToLower(strings.TrimSpace(prefix))
	n := 0
	for _, m := range all {
		if len(prefix) >= 4 && strings.HasPrefix(m.ID.String(), prefix) && !m.Self {
			id = m.ID
			n++
		}
	}
	switch {
	case n == 1:
		return id, nil
	case n > 1:
		return id, usage("%s is the beginning of several IDs: give more digits", prefix)
	}
	return id, &kindError{errNoTopic, fmt.Errorf("no member has an ID that begins with %q (at least 4 digits; parley topic members lists them)", prefix)}
}

func joinWords(w []string) string { return strings.Join(w, " ") }
