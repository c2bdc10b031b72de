package keydir

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"parley/internal/jsonobject"
)

// What an entry of the key log says has happened.
const (
	Published = "published" // an account became active with these keys
	Rotated   = "rotated"   // its keys were replaced
	Removed   = "removed"   // it was deleted
)

// PageEntries is how many entries GET /log returns at most, MaxEntry how long the
// line of one is in bytes.
const (
	PageEntries = 1000
	MaxEntry    = 640
)

// An Entry is one line of the key log. Its hash is the SHA-256 of the line without
// its LF, and stands in the next entry as Prev: nothing before can be changed
// without changing all that follows.
type Entry struct {
	Seq        int64  `json:"seq"` // 1 for the first
	Time       int64  `json:"time"`
	Action     string `json:"action"`
	Name       string `json:"name"` // [NameHash]: the log lists no names
	Version    int64  `json:"key_version"`
	MessageKey string `json:"message_key"` // fingerprints, 64 hex digits; "" when removed
	SignKey    string `json:"sign_key"`
	Prev       string `json:"prev"` // 64 zeros for the first
}

// A Head is how far a log has got: the number of entries and the hash of the last.
type Head struct {
	Size int64  `json:"log_size"`
	Hash string `json:"log_hash"`
	Time int64  `json:"time"` // Unix milliseconds
}

// NoHash is the hash of an empty log.
const NoHash = "0000000000000000000000000000000000000000000000000000000000000000"

// NameHash stands for a user's name in the log. It hides no name from somebody who
// guesses it, but the log is no list of users either.
func NameHash(user string) string {
	h := sha256.Sum256([]byte("parley keydir name\n" + user))
	return hex.EncodeToString(h[:])
}

// Line returns the entry as it stands in the log, without LF.
func (e *Entry) Line() []byte {
	b, err := json.Marshal(e)
	if err != nil {
		panic(err) // numbers and strings
	}
	return b
}

// Hash returns the hash of a line, 64 hex digits.
func Hash(line []byte) string {
	h := sha256.Sum256(line)
	return hex.EncodeToString(h[:])
}

// ParseEntry reads a line. The error is [ErrLog].
func ParseEntry(line []byte) (e Entry, err error) {
	if len(line) > MaxEntry {
		return Entry{}, fmt.Errorf("%w: an entry is too long", ErrLog)
	}
	o, err := jsonobject.Parse(line)
	if err != nil {
		return Entry{}, fmt.Errorf("%w: an entry is %w", ErrLog, err)
	}
	for name, to := range map[string]*int64{"seq": &e.Seq, "time": &e.Time, "key_version": &e.Version} {
		if *to, err = o.Int(name); err != nil {
			return Entry{}, fmt.Errorf("%w: %w", ErrLog, err)
		}
	}
	for name, to := range map[string]*string{
		"action": &e.Action, "name": &e.Name, "message_key": &e.MessageKey, "sign_key": &e.SignKey, "prev": &e.Prev,
	} {
		if *to, err = o.String(name); err != nil {
			return Entry{}, fmt.Errorf("%w: %w", ErrLog, err)
		}
	}
	keys := isHash(e.MessageKey) && isHash(e.SignKey)
	if e.Action == Removed {
		keys = e.MessageKey == "" && e.SignKey == ""
	} else if e.Action != Published && e.Action != Rotated {
		return Entry{}, fmt.Errorf("%w: an entry has the unknown action %.20q", ErrLog, e.Action)
	}
	if !keys || e.Seq < 1 || e.Version < 1 || !isHash(e.Name) || !isHash(e.Prev) {
		return Entry{}, fmt.Errorf("%w: entry %d is malformed", ErrLog, e.Seq)
	}
	return e, nil
}

// Extend checks that a line follows the log that ends with this head, and returns
// the head after it (whose Time is the entry's).
func (h Head) Extend(line []byte) (Head, Entry, error) {
	e, err := ParseEntry(line)
	if err != nil {
		return h, Entry{}, err
	}
	if h.Hash == "" && h.Size == 0 {
		h.Hash = NoHash
	}
	if e.Seq != h.Size+1 || e.Prev != h.Hash {
		return h, Entry{}, fmt.Errorf("%w: entry %d does not follow entry %d", ErrLog, e.Seq, h.Size)
	}
	return Head{Size: e.Seq, Hash: Hash(line), Time: e.Time}, e, nil
}

// Sign returns the head as the directory sends it.
func (h Head) Sign(provider crypto.Signer) ([]byte, error) {
	b, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	return sign(provider, b)
}

// ParseHead verifies a signed head. The errors are [ErrForged], [ErrMalformed] and
// [ErrExpired], when it was not made within the last day.
func ParseHead(body []byte, provider *rsa.PublicKey, now time.Time) (h Head, err error) {
	r, err := verified(body, provider)
	if err != nil {
		return Head{}, err
	}
	if h.Size, err = r.Int("log_size"); err == nil {
		if h.Hash, err = r.String("log_hash"); err == nil {
			h.Time, err = r.Int("time")
		}
	}
	if err != nil || h.Size < 0 || !isHash(h.Hash) || (h.Size == 0) != (h.Hash == NoHash) {
		return Head{}, fmt.Errorf("%w: the head of the log", ErrMalformed)
	}
	if d := now.Sub(time.UnixMilli(h.Time)); d > 24*time.Hour || d < -Skew {
		return Head{}, fmt.Errorf("the head of the log: %w", ErrExpired)
	}
	return h, nil
}
