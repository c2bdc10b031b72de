// Package profile keeps one person's messenger on one device: a directory with a
// lock, a small file with the wrapped key, and one SQLite file that is encrypted
// at rest. docs/profile.md tells the formats and what they promise.
//
//	lock          held by the one process that owns the profile
//	profile.json  the master key, wrapped with a passphrase or a key in the OS keyring
//	profile.db    everything else; profile.db-wal and -shm beside it while open
package profile

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"parley/internal/keyfile"
)

// Files of a profile directory.
const (
	keyName  = "profile.json"
	dbName   = "profile.db"
	newName  = "profile.db.new" // while Create works
	lockName = "lock"
)

var (
	// ErrNone means that the directory holds no profile.
	ErrNone = errors.New("there is no profile")
	// ErrExists means that the directory holds a profile, or parts of one.
	ErrExists = errors.New("there is a profile already")
	// ErrOwned means that another process has the profile open.
	ErrOwned = errors.New("another process has the profile open")
	// ErrPassphrase means that the secret does not open profile.json.
	ErrPassphrase = errors.New("wrong passphrase")
	// ErrKeyring means that the OS keyring cannot be used or has no such key.
	ErrKeyring = errors.New("the keyring of the operating system does not give the profile's key")
	// ErrDamaged means that a file is not what this package writes.
	ErrDamaged = errors.New("the profile is damaged")
	// ErrNewer means that a later version of the program wrote the profile.
	ErrNewer = errors.New("the profile was written by a newer version of this program")
	// ErrTampered is what every [*TamperedError] is.
	ErrTampered = errors.New("the profile's protocol state was changed from outside")
)

// A TamperedError says which line's state is not what was written last.
type TamperedError struct {
	Line int64 // 0: which lines there are, or no single one
}

func (e *TamperedError) Error() string {
	if e.Line == 0 {
		return ErrTampered.Error() + ": restore the profile, or set up its contacts anew"
	}
	return fmt.Sprintf("%v: line %d; set up this contact anew", ErrTampered, e.Line)
}

func (e *TamperedError) Unwrap() error { return ErrTampered }

// Options say how to create or open a profile.
type Options struct {
	Secret Secret
	// Migrations make and change the caller's tables: the first n have been run
	// on a profile of schema version n. Only append to them, never change one.
	Migrations []string
	// Lock is a lock that the caller holds on the directory; nil: Create and Open
	// take it. Close releases it in both cases; if they fail, the caller keeps
	// what it gave.
	Lock *Lock
	// Cost is for tests, which cannot wait; nil: DefaultCost.
	Cost *Cost
}

// A Profile is open, and owned by this process. It is safe for concurrent use.
type Profile struct {
	dir     string
	id      string
	cost    Cost
	lock    *Lock
	master  []byte
	keys    keys
	writer  *sql.DB // one connection
	readers *sql.DB
}

// Exists reports whether dir holds a profile.
func Exists(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, keyName))
	return err == nil
}

// Create makes a profile in dir, which is made if it is missing and must be
// empty otherwise, and opens it. After a crash there is a whole profile or none.
func Create(dir string, o Options) (*Profile, error) {
	if err := o.Secret.check(); err != nil {
		return nil, err
	}
	if Exists(dir) {
		return nil, fmt.Errorf("%s: %w", dir, ErrExists)
	}
	if err := prepareDir(dir); err != nil {
		return nil, err
	}
	return locked(dir, o.Lock, func(l *Lock) (*Profile, error) { return create(dir, o, l) })
}

// Open opens the profile in dir.
func Open(dir string, o Options) (*Profile, error) {
	if err := o.Secret.check(); err != nil {
		return nil, err
	}
	if !Exists(dir) {
		return nil, fmt.Errorf("%s: %w", dir, ErrNone)
	}
	if err := checkDir(dir); err != nil {
		return nil, err
	}
	return locked(dir, o.Lock, func(l *Lock) (*Profile, error) { return open(dir, o, l) })
}

func locked(dir string, have *Lock, do func(*Lock) (*Profile, error)) (*Profile, error) {
	l := have
	if l == nil {
		var err error
		if l, err = TryLock(dir); err != nil {
			return nil, err
		}
	}
	p, err := do(l)
	if err != nil && have == nil {
		l.Release()
	}
	return p, err
}

// create writes the database first and profile.json, which counts, then.
func create(dir string, o Options, l *Lock) (*Profile, error) {
	if Exists(dir) { // since we looked, before we had the lock
		return nil, fmt.Errorf("%s: %w", dir, ErrExists)
	}
	if _, err := os.Lstat(filepath.Join(dir, dbName)); err == nil {
		return nil, fmt.Errorf("%s: %w: %s is here and %s is not: restore it from a backup, or choose another directory",
			dir, ErrExists, dbName, keyName)
	}
	tmp := filepath.Join(dir, newName)
	if err := removeDatabase(tmp); err != nil { // of a Create that crashed
		return nil, err
	}
	h, master, err := newHeader(o)
	if err != nil {
		return nil, err
	}
	p := &Profile{dir: dir, id: h.ID, cost: o.cost(), lock: l, master: master}
	p.keys = deriveKeys(master)
	fail := func(err error) (*Profile, error) {
		p.closeDatabase()
		os.Remove(filepath.Join(dir, keyName))
		removeDatabase(tmp)
		h.forget()
		return nil, err
	}
	if err := p.openDatabase(tmp, true); err != nil {
		return fail(err)
	}
	if err := p.migrate(o.Migrations); err != nil {
		return fail(err)
	}
	if err := p.closeDatabase(); err != nil {
		return fail(err)
	}
	if err := h.save(dir, keyfile.Create); err != nil {
		return fail(err)
	}
	if err := p.finishCreate(); err != nil {
		return nil, err
	}
	if err := p.openDatabase(filepath.Join(dir, dbName), false); err != nil {
		return nil, err
	}
	return p, nil
}

// finishCreate gives the database its name; Open repeats it after a crash.
func (p *Profile) finishCreate() error {
	if err := os.Rename(filepath.Join(p.dir, newName), filepath.Join(p.dir, dbName)); err != nil {
		return err
	}
	return syncDir(p.dir)
}

func open(dir string, o Options, l *Lock) (*Profile, error) {
	h, err := readHeader(dir)
	if err != nil {
		return nil, err
	}
	master, err := h.unwrap(o.Secret)
	if err != nil {
		return nil, err
	}
	p := &Profile{dir: dir, id: h.ID, cost: o.cost(), lock: l, master: master}
	p.keys = deriveKeys(master)
	path := filepath.Join(dir, dbName)
	if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
		if err := p.finishCreate(); err != nil {
			return nil, fmt.Errorf("%s: %w: %s is missing", dir, ErrDamaged, dbName)
		}
	}
	if err := p.openDatabase(path, false); err != nil {
		return nil, err
	}
	if err := p.migrate(o.Migrations); err != nil {
		p.closeDatabase()
		return nil, err
	}
	if err := p.verifyRoot(context.Background()); err != nil {
		p.closeDatabase()
		return nil, err
	}
	return p, nil
}

// ID is the profile's random name, 32 hex digits. It is no secret.
func (p *Profile) ID() string { return p.id }

// Dir is the profile's directory.
func (p *Profile) Dir() string { return p.dir }

// Close ends all work, moves what is in the write-ahead log into the database
// and releases the lock.
func (p *Profile) Close() error {
	err := p.closeDatabase()
	clear(p.master)
	return errors.Join(err, p.lock.Release())
}

func (o Options) cost() Cost {
	if o.Cost != nil {
		return *o.Cost
	}
	return DefaultCost
}
