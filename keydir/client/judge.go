package client

import (
	"context"
	"errors"
	"fmt"

	"parley/internal/rsakey"
	"parley/keydir"
)

// add takes the next entry of a user.
func (f *Finding) add(t Touch) {
	if f.broken == nil {
		f.broken = follows(f.last(), t)
	}
	f.due = true
	if len(f.Touches) == maxTouches {
		f.Touches, f.Earlier = f.Touches[1:], f.Earlier+1
	}
	f.Touches = append(f.Touches, t)
}

// last returns the last entry, or the zero one.
func (f *Finding) last() Touch {
	if n := len(f.Touches); n > 0 {
		return f.Touches[n-1]
	}
	return Touch{}
}

// follows sees that an entry of a name makes sense after the one before: keys are
// published for who has none, each under the next version, and replaced or removed
// for who has some.
func follows(before, t Touch) error {
	version, makes := before.Version+1, before.has()
	switch t.Action {
	case keydir.Published:
		makes = !makes
	case keydir.Removed:
		version = before.Version
	}
	if !makes {
		return fmt.Errorf("%w: entry %d (%s) makes no sense after what came before", keydir.ErrLog, t.Seq, t.Action)
	}
	if t.Version != version {
		return fmt.Errorf("%w: entry %d has key version %d and should have %d", keydir.ErrLog, t.Seq, t.Version, version)
	}
	return nil
}

// has reports whether there are keys after an entry.
func (t Touch) has() bool { return t.Seq > 0 && t.Action != keydir.Removed }

// judge compares the last entry of each subject with what was expected, and with what
// the directory answers, where that is due. lies are the contradictions.
func (u *audit) judge(ctx context.Context) (lies, failed error) {
	for i, s := range u.subjects {
		f := &u.r.Findings[i]
		if f.due {
			err := u.c.judgeOne(ctx, f, s)
			if err != nil && !errors.Is(err, keydir.ErrLog) {
				return nil, fmt.Errorf("%s: %w", s.User, err)
			}
			f.Agrees, f.Problem, f.due = err == nil, "", err != nil
			if err != nil {
				f.Problem = err.Error()
				lies = errors.Join(lies, fmt.Errorf("%s: %w", s.User, err))
			}
		}
	}
	return lies, nil
}

func (c *Client) judgeOne(ctx context.Context, f *Finding, s Subject) error {
	last := f.last()
	switch {
	case f.broken != nil:
		return f.broken
	case s.Want != nil && (!last.has() || fingerprint(last.MessageKey, last.SignKey) != *s.Want):
		return fmt.Errorf("%w: its last entry has not the keys that it should have", keydir.ErrLog)
	}
	a, k, err := c.Lookup(ctx, s.User)
	switch {
	case errors.Is(err, ErrNoUser) && last.has():
		return fmt.Errorf("%w: entry %d has keys for a user whom it says it does not know", keydir.ErrLog, last.Seq)
	case errors.Is(err, ErrNoUser):
		return nil
	case errors.Is(err, ErrUnbound):
		return fmt.Errorf("%w: %w", keydir.ErrLog, err)
	case err != nil:
		return err
	case !last.has():
		return fmt.Errorf("%w: it answers with keys of entry %d, and its log has none now", keydir.ErrLog, a.LogSeq)
	case a.LogSeq != last.Seq:
		return fmt.Errorf("%w: it answers with keys of entry %d, and the last one of its log is %d", keydir.ErrLog, a.LogSeq, last.Seq)
	case a.LogHash != last.Hash || a.Version != last.Version || !last.of(k):
		return fmt.Errorf("%w: entry %d does not say what it answers", keydir.ErrLog, last.Seq)
	}
	return nil
}

func (t Touch) of(k keydir.Keys) bool {
	return t.MessageKey == rsakey.Of(k.Message).Hex() && t.SignKey == rsakey.Of(k.Sign).Hex()
}
