package server

import (
	"crypto/rsa"
	"errors"
	"fmt"
	"time"

	"github.com/ncruces/go-sqlite3"

	"parley/internal/rsakey"
	"parley/keydir"
)

// How long things last.
const (
	activationTime = 24 * time.Hour
	deletionTime   = 400 * 24 * time.Hour
	mailTime       = 24 * time.Hour // that a mail server may be away
)

// maxLinks is how many links of one kind to an account are good at the same time.
const maxLinks = 10

var (
	errNotFound = errors.New("404 page not found")
	errGone     = errors.New("activate token expired")
	errVersion  = errors.New("key_version is not the next one of this account")
	errSame     = fmt.Errorf("%w: these are the keys that the account has", keydir.ErrProof)
	errMailbox  = errors.New("too many mails to this e-mail address")
)

// An account is a row.
type account struct {
	id                 int64
	name               string
	message, sign      []byte // SPKI
	mailbox            []byte
	proven             bool
	created, activated int64 // Unix milliseconds
	version, logSeq    int64
	logHash            string
	oldSign, rotation  string
}

const accountColumns = `a.id, a.name, a.message_key, a.sign_key, a.mailbox, a.proven, a.created, a.activated,
	a.version, a.log_seq, a.log_hash, a.old_sign, a.rotation`

func scanAccount(s *sqlite3.Stmt) *account {
	return &account{
		id: s.ColumnInt64(0), name: s.ColumnText(1), message: s.ColumnBlob(2, nil), sign: s.ColumnBlob(3, nil), mailbox: s.ColumnBlob(4, nil),
		proven: s.ColumnBool(5), created: s.ColumnInt64(6), activated: s.ColumnInt64(7), version: s.ColumnInt64(8),
		logSeq: s.ColumnInt64(9), logHash: s.ColumnText(10), oldSign: s.ColumnText(11), rotation: s.ColumnText(12),
	}
}

// keys takes the stored keys apart.
func (a *account) keys() (k keydir.Keys, err error) {
	if k.Message, err = rsakey.ParsePublicDER(a.message); err == nil {
		k.Sign, err = rsakey.ParsePublicDER(a.sign)
	}
	return k, err
}

// find returns an account by a condition on it; the error is errNotFound if there
// is none.
func (c *conn) find(where string, arg any) (a *account, err error) {
	err = c.Each("SELECT "+accountColumns+" FROM account a WHERE "+where, func(s *sqlite3.Stmt) error {
		a = scanAccount(s)
		return nil
	}, arg)
	if err == nil && a == nil {
		err = errNotFound
	}
	return a, err
}

func (c *conn) byName(name string) (*account, error) { return c.find("a.name = ?", name) }

// active returns the account of a name if it is active.
func (c *conn) active(name string) (*account, error) {
	a, err := c.byName(name)
	if err == nil && a.activated == 0 {
		return nil, errNotFound
	}
	return a, err
}

// register makes an account that is not active and puts its mail into the outbox.
func (c *conn) register(r *keydir.Registration, k keydir.Keys, mailbox []byte, mailsPerDay int, now time.Time) error {
	if _, err := c.byName(r.Username); err == nil {
		return keydir.ErrTaken
	} else if !errors.Is(err, errNotFound) {
		return err
	}
	if err := c.countMail(mailbox, mailsPerDay, now); err != nil {
		return err
	}
	err := c.Exec("INSERT INTO account (name, message_key, sign_key, mailbox, proven, created) VALUES (?, ?, ?, ?, ?, ?)",
		r.Username, rsakey.DER(k.Message), rsakey.DER(k.Sign), mailbox, r.Proof != nil, now.UnixMilli())
	if errors.Is(err, sqlite3.CONSTRAINT_UNIQUE) {
		return keydir.ErrTaken
	}
	if err != nil {
		return err
	}
	return c.Exec("INSERT INTO outbox (account, name, address, created, due) VALUES (?, ?, ?, ?, ?)",
		c.LastInsertRowID(), r.Username, r.Email, now.UnixMilli(), now.UnixMilli())
}

// countMail notes that a mailbox gets a mail, unless it has had enough today.
func (c *conn) countMail(mailbox []byte, perDay int, now time.Time) error {
	n, err := c.Int64("SELECT count(*) FROM mailed WHERE mailbox = ? AND time > ?", mailbox, now.Add(-24*time.Hour).UnixMilli())
	if err != nil {
		return err
	}
	if n >= int64(perDay) {
		return errMailbox
	}
	return c.Exec("INSERT INTO mailed (mailbox, time) VALUES (?, ?)", mailbox, now.UnixMilli())
}

// rotate replaces the keys of an account by those that its old signing key asked
// for.
func (c *conn) rotate(name string, r *keydir.Rotation, k keydir.Keys, old *rsa.PublicKey, now time.Time) error {
	a, err := c.active(name)
	if err != nil {
		return err
	}
	// The signature was verified with the key that was read before.
	if r.Version != a.version+1 || string(a.sign) != string(rsakey.DER(old)) {
		return errVersion
	}
	h, err := c.appendLog(keydir.Rotated, name, r.Version, k, now)
	if err != nil {
		return err
	}
	return c.Exec(`UPDATE account SET message_key = ?, sign_key = ?, version = ?, proven = 1, log_seq = ?, log_hash = ?, old_sign = ?, rotation = ?
		WHERE id = ?`, rsakey.DER(k.Message), rsakey.DER(k.Sign), r.Version, h.Size, h.Hash, rsakey.Of(old).Hex(), r.Old, a.id)
}
