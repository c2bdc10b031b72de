package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"parley"
)

const rulesName = "rules.json"

// ErrNoRule means that there is no rule to take back.
var ErrNoRule = errors.New("there is no such rule")

// A Rule allows without asking. Only the owner of the device sets one, on the device.
type Rule struct {
	Self  parley.Name `json:"self"`           // whose pad
	Peer  parley.Name `json:"peer"`           // and with whom
	Op    string      `json:"op"`             // OpPackage, OpUnpackage
	UpTo  int64       `json:"up_to"`          // bytes of the message
	Until time.Time   `json:"until,omitzero"` // zero: for ever
}

func (r Rule) String() string {
	s := fmt.Sprintf("%s by %s with %s, messages up to %d bytes", r.Op, r.Self, r.Peer, r.UpTo)
	if !r.Until.IsZero() {
		s += ", until " + r.Until.Format(time.RFC3339)
	}
	return s
}

// Rules returns the rules of a folder that are in force.
func Rules(dir string) ([]Rule, error) {
	var all []Rule
	err := readJSON(dir, rulesName, &all)
	return slices.DeleteFunc(all, Rule.over), err
}

func (r Rule) over() bool { return !r.Until.IsZero() && time.Now().After(r.Until) }

// Allow adds a rule, in place of one for the same two people and operation.
func Allow(ctx context.Context, l *Log, r Rule) error {
	if r.Op != OpPackage && r.Op != OpUnpackage || r.Self == "" || r.Peer == "" || r.UpTo < 0 {
		return fmt.Errorf("%w: a rule is for package or unpackage, for a pad's two people, and for messages of at least 0 bytes", parley.ErrRefused)
	}
	return changeJSON(ctx, l.dir, rulesName, func(all *[]Rule) (*Log, *Entry, error) {
		*all = append(slices.DeleteFunc(*all, func(old Rule) bool {
			return old.over() || old.Self == r.Self && old.Peer == r.Peer && old.Op == r.Op
		}), r)
		return l, &Entry{Kind: KindRule, Peer: string(r.Peer), Text: "allowed without asking: " + r.String()}, nil
	})
}

// Forbid takes rules back: with self "" those of everybody with the peer, and with op ""
// those of both operations.
func Forbid(ctx context.Context, l *Log, self, peer parley.Name, op string) error {
	return changeJSON(ctx, l.dir, rulesName, func(all *[]Rule) (*Log, *Entry, error) {
		n := len(*all)
		*all = slices.DeleteFunc(*all, func(r Rule) bool {
			return r.Peer == peer && (self == "" || r.Self == self) && (op == "" || r.Op == op)
		})
		if len(*all) == n {
			return nil, nil, ErrNoRule
		}
		return l, &Entry{Kind: KindRule, Peer: string(peer), Text: fmt.Sprintf("asked again: %s by %s", or(op, "everything"), or(string(self), "everybody"))}, nil
	})
}

func or(s, empty string) string {
	if s == "" {
		return empty
	}
	return s
}

// allowed reports whether a rule makes a question needless. Rules are read each time, so
// that a new one is in force at once, and one that was taken back is not. Rules that
// cannot be read allow nothing.
func allowed(dir string, q Question) (bool, error) {
	all, err := Rules(dir)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(all, func(r Rule) bool {
		return r.Self == q.Self && r.Peer == q.Peer && r.Op == q.Op && q.Message <= r.UpTo
	}), nil
}
