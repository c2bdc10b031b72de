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
	Peer  parley.Name `json:"peer"`
	Op    string      `json:"op"`             // OpPackage, OpUnpackage
	UpTo  int64       `json:"up_to"`          // bytes of the message
	Until time.Time   `json:"until,omitzero"` // zero: for ever
}

func (r Rule) String() string {
	s := fmt.Sprintf("%s with %s, messages up to %d bytes", r.Op, r.Peer, r.UpTo)
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

// Allow adds a rule, in place of one for the same peer and operation.
func Allow(ctx context.Context, dir string, r Rule) error {
	if r.Op != OpPackage && r.Op != OpUnpackage || r.Peer == "" || r.UpTo < 0 {
		return fmt.Errorf("%w: a rule is for package or unpackage, and for messages of at least 0 bytes", parley.ErrRefused)
	}
	return changeJSON(ctx, dir, rulesName, func(all *[]Rule) error {
		*all = append(slices.DeleteFunc(*all, func(old Rule) bool {
			return old.over() || old.Peer == r.Peer && old.Op == r.Op
		}), r)
		return nil
	})
}

// Forbid takes rules back: that of an operation, or with op "" all of the peer's.
func Forbid(ctx context.Context, dir string, peer parley.Name, op string) error {
	return changeJSON(ctx, dir, rulesName, func(all *[]Rule) error {
		n := len(*all)
		*all = slices.DeleteFunc(*all, func(r Rule) bool { return r.Peer == peer && (op == "" || r.Op == op) })
		if len(*all) == n {
			return ErrNoRule
		}
		return nil
	})
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
		return r.Peer == q.Peer && r.Op == q.Op && q.Message <= r.UpTo
	}), nil
}
