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
	Hash       string `json:"hash"` // of its line
}

// A Finding is what an audit says of one user.
type Finding struct {
	User    string  `json:"user"`
	Touches []Touch `json:"entries"`
	Earlier int64   `json:"earlier,omitempty"` // entries beyond the last thousand, not listed
	Agrees  bool    `json:"agrees"`            // nothing is wrong
	Problem string  `json:"problem,omitempty"`

	broken error // the entries make no sense
	due    bool  // the directory is to be asked
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

// An audit is one under way.
type audit struct {
	c        *Client
	r        Report
	subjects []Subject
	byName   map[string]*Finding // by [keydir.NameHash]
}

// Audit verifies the whole log from its first entry to its signed head, and through
// the head that was known before, and lists what concerns the subjects, each once. A
// user whose entries make no sense, or whose last entry does not say what was expected
// or what the directory answers now, is [keydir.ErrLog], as is a log that does not add
// up; the report says which. What contradicts an answer may have happened since: after
// a moment the log is verified on to its present head, and the user looked up again.
// It keeps one entry at a time, and what it lists. Other errors are [ErrTwice],
// [keydir.ErrUsername] and those of [Client.Follow] and [Client.Lookup].
func (c *Client) Audit(ctx context.Context, known keydir.Head, subjects []Subject) (Report, error) {
	u := audit{c: c, byName: map[string]*Finding{}}
	var err error
	if u.subjects, err = MergeSubjects(subjects); err != nil {
		return Report{}, err
	}
	key, err := c.Key(ctx)
	if err != nil {
		return Report{}, err
	}
	u.r = Report{Directory: c.base, Key: rsakey.Of(key).Hex(), Made: c.o.Now(), Findings: make([]Finding, len(u.subjects))}
	for i, s := range u.subjects {
		u.r.Findings[i] = Finding{User: s.User, Touches: []Touch{}, due: true}
		u.byName[keydir.NameHash(s.User)] = &u.r.Findings[i]
	}
	err = u.run(ctx, known)
	return u.r, err
}

func (u *audit) run(ctx context.Context, known keydir.Head) error {
	at, err := u.walk(ctx, known, keydir.Head{})
	for round := 1; err == nil; round++ {
		lies, failed := u.judge(ctx)
		if failed != nil || lies == nil || round == rounds {
			return errors.Join(failed, lies)
		}
		if err = pause(ctx, u.c.o.again); err == nil {
			at, err = u.walk(ctx, at, at)
		}
	}
	return err
}

// walk verifies what there is after start, and returns the head that it leads to.
func (u *audit) walk(ctx context.Context, known, start keydir.Head) (keydir.Head, error) {
	head, err := u.c.headAfter(ctx, known)
	if err == nil {
		err = u.c.walk(ctx, head, known, start, func(e keydir.Entry, hash string) error {
			u.see(e, hash, head.Size)
			return nil
		})
	}
	u.r.Size, u.r.Hash = head.Size, head.Hash
	if errors.Is(err, keydir.ErrLog) {
		u.r.Problem = err.Error()
	}
	return head, err
}

func (u *audit) see(e keydir.Entry, hash string, size int64) {
	if e.Action != keydir.Removed {
		u.r.Active++
	}
	if f := u.byName[e.Name]; f != nil {
		f.add(Touch{e.Seq, e.Time, e.Action, e.Version, e.MessageKey, e.SignKey, hash})
	}
	if u.c.o.Progress != nil && (e.Seq%keydir.PageEntries == 0 || e.Seq == size) {
		u.c.o.Progress(e.Seq, size)
	}
}

// MergeSubjects returns each user once, in order. The errors are [keydir.ErrUsername]
// and [ErrTwice].
func MergeSubjects(subjects []Subject) (all []Subject, err error) {
	index := map[string]int{}
	for _, s := range subjects {
		if err := keydir.CheckUsername(s.User); err != nil {
			return nil, err
		}
		i, known := index[s.User]
		switch {
		case !known:
			index[s.User] = len(all)
			all = append(all, s)
		case all[i].Want == nil:
			all[i].Want = s.Want
		case s.Want != nil && *s.Want != *all[i].Want:
			return nil, fmt.Errorf("%s: %w", s.User, ErrTwice)
		}
	}
	return all, nil
}
