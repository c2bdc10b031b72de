package nes

import (
	"errors"

	"parley"
	"parley/internal/term"
	"parley/keydir/client"
	"parley/secure/nes"
)

// A stateFault is a failure of the state file, such as a full disk. It may be over the
// next moment: nothing ends for it.
type stateFault struct{ err error }

func (f stateFault) Error() string { return f.err.Error() }

func (f stateFault) Unwrap() error { return f.err }

// update commits to the state, and with it the deletions that could not be saved
// before. An error that is not do's own is a stateFault. l.mu is held.
func (l *Listener) update(do func(parley.Bucket) error) error {
	var own error
	err := l.e.state.Update(func(b parley.Bucket) error {
		if own = do(b); own != nil {
			return own
		}
		for _, key := range l.owed {
			b.Delete(key)
		}
		return nil
	})
	switch {
	case err == nil:
		l.owed = nil
		if l.faulty {
			l.faulty = false
			l.sink.Report("The state file works again.")
		}
		return nil
	case own == nil, errors.Is(own, nes.ErrDamaged), errors.Is(own, client.ErrPins):
		return stateFault{err}
	}
	return err
}

// fault reports whether an error is a failure of the state file, and tells it once
// until it works again. l.mu is held.
func (l *Listener) fault(err error) bool {
	var f stateFault
	if !errors.As(err, &f) {
		return false
	}
	if !l.faulty {
		l.faulty = true
		l.sink.Report("The state file cannot be used: " + term.Line(err.Error()) + ". What comes is left at the broker, and nes tries again until it works.")
	}
	return true
}
