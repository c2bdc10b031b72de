package remote

import (
	"context"
	"errors"
	"slices"

	"parley/messenger"
)

// Codes of JSON-RPC 2.0 (section 5.1), and ours for what the API says.
const (
	codeParse    = -32700
	codeRequest  = -32600
	codeMethod   = -32601
	codeParams   = -32602
	codeInternal = -32603
	codeAPI      = 1
)

// An Error is one that crossed the wire: the text for people, and the names of
// the sentinels it wraps, so that errors.Is works on this side as on the other.
type Error struct {
	Code    int      `json:"code"`
	Message string   `json:"message"`
	Data    []string `json:"data,omitempty"`

	more Sentinels
}

// Sentinels are errors that keep their identity across the wire beside those of
// this package and of messenger, by name. Both sides need the same.
type Sentinels map[string]error

// sentinels that keep their identity across the wire. A name is never reused.
var sentinels = []struct {
	name string
	err  error
}{
	{"no-contact", messenger.ErrNoContact},
	{"no-message", messenger.ErrNoMessage},
	{"taken", messenger.ErrTaken},
	{"invitation", messenger.ErrInvitation},
	{"no-relay", messenger.ErrNoRelay},
	{"state", messenger.ErrState},
	{"too-long", messenger.ErrTooLong},
	{"compare-again", messenger.ErrCompareAgain},
	{"no-account", messenger.ErrNoAccount},
	{"no-user", messenger.ErrNoUser},
	{"directory", messenger.ErrDirectory},
	{"closed", messenger.ErrClosed},
	{"cancelled", context.Canceled},
	{"deadline", context.DeadlineExceeded},
	{"closing", ErrClosing},
	{"slow", ErrSlow},
	{"version", ErrVersion},
}

func (e *Error) Error() string { return e.Message }

// Is reports whether the error on the other side wrapped target.
func (e *Error) Is(target error) bool {
	for _, s := range sentinels {
		if s.err == target {
			return slices.Contains(e.Data, s.name)
		}
	}
	for name, err := range e.more {
		if err == target {
			return slices.Contains(e.Data, name)
		}
	}
	return false
}

// toWire turns an error into one that can cross.
func toWire(err error, more Sentinels) *Error {
	var e *Error
	if errors.As(err, &e) && err == error(e) {
		return e
	}
	e = &Error{Code: codeInternal, Message: err.Error()}
	for _, s := range sentinels {
		if errors.Is(err, s.err) {
			e.Code, e.Data = codeAPI, append(e.Data, s.name)
		}
	}
	for name, s := range more {
		if errors.Is(err, s) {
			e.Code, e.Data = codeAPI, append(e.Data, name)
		}
	}
	return e
}
