package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"parley/internal/rsakey"
	"parley/keydir"
)

// maxTouches is how many entries of one name an audit lists: the last ones.
const maxTouches = 1000

// A Subject is a user whom an audit looks for.
type Subject struct {
	User string
	Want *rsakey.Fingerprint // [Fingerprint] of the keys they should have now; nil: only list what happened
}

// A Touch is one entry of the log that concerns a user.
type Touch struct {
	Seq        int64  `json:"seq"`
	Time       int64  `json:"time"` // Unix milliseconds
	Action     string `json:"action"`
	Version    int64  `json:"key_version"`
	MessageKey string `json:"message_key,omitempty"` // fingerprints in hex
	SignKey    string `json:"sign_key,omitempty"`
}

// A Finding is what an audit says of one user.
type Finding struct {
	User    string  `json:"user"`
	Touches []Touch `json:"entries"`
	Earlier int64   `json:"earlier,omitempty"` // entries beyond the last thousand, not listed
	Agrees  bool    `json:"agrees"`            // nothing is wrong
	Problem string  `json:"problem,omitempty"`
}

// A Report is the result of an audit.
type Report struct {
	Directory string    `json:"directory"`
	Key       string    `json:"directory_key"` // fingerprint in hex
	Size      int64     `json:"log_size"`
	Hash      string    `json:"log_hash"`
	Made      time.Time `json:"made"`
	Active    int64     `json:"changes"` // entries that are no removal
	Findings  []Finding `json:"users"`
	Problem   string    `json:"problem,omitempty"` // of the log as a whole
}

// Audit verifies the whole log from its first entry to its signed head, and through
// the head that was known before, and lists what concerns the subjects. A user whose
// last entry does not say what was expected, or not what the directory answers now, is
// [keydir.ErrLog], as is a log that does not add up; the report says which. It keeps
// one entry at a time, and what it lists.
func (c *Client) Audit(ctx context.Context, known keydir.Head, subjects []Subject) (Report, error) {
	key, err := c.Key(ctx)
	if err != nil {
		return Report{}, err
	}
	r := Report{Directory: c.base, Key: rsakey.Of(key).Hex(), Made: c.o.Now(), Findings: make([]Finding, len(subjects))}
	names := map[string]int{}
	for i, s := range subjects {
		if err := keydir.CheckUsername(s.User); err != nil {
			return Report{}, err
		}
		r.Findings[i] = Finding{User: s.User, Touches: []Touch{}}
		names[keydir.NameHash(s.User)] = i
	}
	head, err := c.follow(ctx, known, keydir.Head{}, func(e keydir.Entry, _ string) error {
		if e.Action != keydir.Removed {
			r.Active++
		}
		if i, ok := names[e.Name]; ok {
			r.Findings[i].add(e)
		}
		return nil
	})
	r.Size, r.Hash = head.Size, head.Hash
	if err != nil {
		if errors.Is(err, keydir.ErrLog) {
			r.Problem = err.Error()
		}
		return r, err
	}
	return r, c.judge(ctx, &r, subjects)
}

func (f *Finding) add(e keydir.Entry) {
	if len(f.Touches) == maxTouches {
		f.Touches, f.Earlier = f.Touches[1:], f.Earlier+1
	}
	f.Touches = append(f.Touches, Touch{e.Seq, e.Time, e.Action, e.Version, e.MessageKey, e.SignKey})
}

// judge compares the last entry of each subject with what was expected, and with what
// the directory answers.
func (c *Client) judge(ctx context.Context, r *Report, subjects []Subject) error {
	var bad error
	for i, s := range subjects {
		f := &r.Findings[i]
		err := c.judgeOne(ctx, f, s, r.Size)
		if err != nil && !errors.Is(err, keydir.ErrLog) {
			return err
		}
		if f.Agrees = err == nil; err != nil {
			f.Problem = err.Error()
			bad = errors.Join(bad, fmt.Errorf("%s: %w", s.User, err))
		}
	}
	return bad
}

func (c *Client) judgeOne(ctx context.Context, f *Finding, s Subject, size int64) error {
	var last Touch
	if n := len(f.Touches); n > 0 {
		last = f.Touches[n-1]
	}
	gone := last.Seq == 0 || last.Action == keydir.Removed
	if s.Want != nil && (gone || fingerprint(last.MessageKey, last.SignKey) != *s.Want) {
		return fmt.Errorf("%w: its last entry has not the keys that it should have", keydir.ErrLog)
	}
	a, k, err := c.Lookup(ctx, s.User)
	switch {
	case errors.Is(err, ErrNoUser):
		if !gone {
			return fmt.Errorf("%w: entry %d has keys for a user whom it says it does not know", keydir.ErrLog, last.Seq)
		}
		return nil
	case err != nil:
		return err
	case a.LogSeq > size: // it has happened since
		return nil
	case gone || a.LogSeq != last.Seq || a.Version != last.Version || !last.of(k):
		return fmt.Errorf("%w: it answers with other keys than its log has", keydir.ErrLog)
	}
	return nil
}

func (t Touch) of(k keydir.Keys) bool {
	return t.MessageKey == rsakey.Of(k.Message).Hex() && t.SignKey == rsakey.Of(k.Sign).Hex()
}
