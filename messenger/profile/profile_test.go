package profile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ncruces/go-sqlite3"
	"github.com/zalando/go-keyring"
)

var (
	fast   = &Cost{MemoryKiB: 64, Passes: 1, Lanes: 1}
	secret = Passphrase("correct horse")
	tables = []string{"CREATE TABLE notes (n INTEGER PRIMARY KEY, text TEXT NOT NULL)"}
)

func options() Options { return Options{Secret: secret, Cost: fast, Migrations: tables} }

func newProfile(t testing.TB) (*Profile, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "profile")
	p, err := Create(dir, options())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p, dir
}

func reopen(t testing.TB, p *Profile) *Profile {
	t.Helper()
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	q, err := Open(p.Dir(), options())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.Close() })
	return q
}

func note(t testing.TB, p *Profile, texts ...string) {
	t.Helper()
	err := p.Tx(t.Context(), func(tx *Tx) error {
		for _, s := range texts {
			if _, err := tx.ExecContext(t.Context(), "INSERT INTO notes (text) VALUES (?)", s); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func notes(t testing.TB, p *Profile) string {
	t.Helper()
	var s string
	if err := p.DB().QueryRowContext(t.Context(), "SELECT coalesce(group_concat(text ORDER BY n), '') FROM notes").Scan(&s); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestCreateOpen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a%20b?c#d", "profile") // no part of a URL
	if Exists(dir) {
		t.Fatal("exists before")
	}
	if _, err := Open(dir, options()); !errors.Is(err, ErrNone) {
		t.Fatalf("open: %v", err)
	}
	if _, err := NeedsPassphrase(dir); !errors.Is(err, ErrNone) {
		t.Fatalf("needs passphrase: %v", err)
	}
	if _, err := TryLock(dir); !errors.Is(err, ErrNone) {
		t.Fatalf("lock: %v", err)
	}
	p, err := Create(dir, options())
	if err != nil {
		t.Fatal(err)
	}
	note(t, p, "one", "two")
	if got := notes(t, p); got != "one,two" || len(p.ID()) != 32 || p.Dir() != dir {
		t.Fatal(got, p.ID(), p.Dir())
	}
	if _, err := Create(dir, options()); !errors.Is(err, ErrExists) {
		t.Fatalf("second create: %v", err)
	}
	if _, err := Open(dir, options()); !errors.Is(err, ErrOwned) || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
		t.Fatalf("second open: %v", err)
	}
	id, mac := p.ID(), p.MAC("pin", []byte("a"))
	p = reopen(t, p)
	if got := notes(t, p); got != "one,two" || p.ID() != id || p.MAC("pin", []byte("a")) != mac {
		t.Fatal("something else came back:", got)
	}
	if need, err := NeedsPassphrase(dir); !need || err != nil {
		t.Fatal(need, err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	for _, s := range []Secret{Passphrase("Correct horse"), Passphrase("correct horse "), Passphrase("x")} {
		o := options()
		o.Secret = s
		if _, err := Open(dir, o); !errors.Is(err, ErrPassphrase) || strings.Contains(err.Error(), "horse") {
			t.Fatalf("%v", err)
		}
	}
	if _, err := Create(dir, options()); !errors.Is(err, ErrExists) {
		t.Fatalf("create over a closed one: %v", err)
	}
}

// Spaces and pluses in a folder's name are part of it, as on macOS by default.
func TestOddFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "Application Support + 100% #1?")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	p, err := Create(filepath.Join(dir, "p"), options())
	if err != nil {
		t.Fatal(err)
	}
	note(t, p, "kept")
	if got := notes(t, reopen(t, p)); got != "kept" {
		t.Errorf("%q", got)
	}
}

func TestNoSecretNoProfile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "p")
	for _, s := range []Secret{{}, Passphrase("")} {
		if _, err := Create(dir, Options{Secret: s}); err == nil {
			t.Fatal("created without a secret")
		}
		if _, err := Open(dir, Options{Secret: s}); err == nil || errors.Is(err, ErrNone) {
			t.Fatal("opened without a secret")
		}
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal("something was made")
	}
	if s := fmt.Sprintf("%v %+v %#v %s", secret, secret, secret, secret); strings.Contains(s, "horse") {
		t.Fatal(s)
	}
}

func TestCreateRefuses(t *testing.T) {
	full := t.TempDir()
	os.WriteFile(filepath.Join(full, "thesis.txt"), nil, 0o644)
	os.Chmod(full, 0o755)
	if _, err := Create(full, options()); err == nil || !strings.Contains(err.Error(), "thesis.txt") {
		t.Errorf("a full directory: %v", err)
	}
	if st, _ := os.Stat(full); st.Mode().Perm() != 0o755 {
		t.Error("its mode was changed")
	}
	file := filepath.Join(t.TempDir(), "file")
	os.WriteFile(file, nil, 0o600)
	if _, err := Create(file, options()); err == nil {
		t.Error("created in a file")
	}
	p, dir := newProfile(t)
	p.Close()
	os.Remove(filepath.Join(dir, keyName))
	if _, err := Create(dir, options()); !errors.Is(err, ErrExists) || !strings.Contains(err.Error(), "backup") {
		t.Errorf("a database without its key: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, dbName)); err != nil {
		t.Error("and it is gone")
	}
	o := options()
	o.Migrations = []string{"not SQL"}
	bad := filepath.Join(t.TempDir(), "bad")
	if _, err := Create(bad, o); err == nil {
		t.Error("created with a broken migration")
	}
	if list, _ := os.ReadDir(bad); len(list) != 1 { // the lock
		t.Errorf("left behind: %v", list)
	}
	if p, err := Create(bad, options()); err != nil {
		t.Error("and cannot be created then:", err)
	} else {
		p.Close()
	}
}

// TestCreateInterrupted: a Create that died at any of its steps can be repeated,
// or is finished by Open.
func TestCreateInterrupted(t *testing.T) {
	p, dir := newProfile(t)
	note(t, p, "kept")
	p.Close()
	db, key := filepath.Join(dir, dbName), filepath.Join(dir, keyName)

	// After profile.json, before the database got its name.
	os.Rename(db, filepath.Join(dir, newName))
	p, err := Open(dir, options())
	if err != nil {
		t.Fatal(err)
	}
	if notes(t, p) != "kept" {
		t.Fatal("another database")
	}
	p.Close()

	// Before profile.json.
	os.Rename(db, filepath.Join(dir, newName))
	os.Remove(key)
	os.WriteFile(filepath.Join(dir, newName+"-wal"), []byte("rest"), 0o600)
	os.WriteFile(filepath.Join(dir, ".new-123"), []byte("rest"), 0o600)
	if Exists(dir) {
		t.Fatal("exists")
	}
	p, err = Create(dir, options())
	if err != nil {
		t.Fatal(err)
	}
	if notes(t, p) != "" {
		t.Fatal("an old database")
	}
	p.Close()

	os.Remove(db)
	if _, err := Open(dir, options()); !errors.Is(err, ErrDamaged) {
		t.Fatalf("without a database: %v", err)
	}
}

func TestWrongDatabase(t *testing.T) {
	p, dir := newProfile(t)
	p.Close()
	q, other := newProfile(t)
	q.Close()
	mine, _ := os.ReadFile(filepath.Join(dir, dbName))
	theirs, _ := os.ReadFile(filepath.Join(other, dbName))
	for name, b := range map[string][]byte{
		"another profile's": theirs, "garbage": bytes.Repeat([]byte("x"), 8192), "plain SQLite": append([]byte("SQLite format 3\x00"), make([]byte, 8176)...),
		"cut to one page": mine[:4096],
	} {
		os.WriteFile(filepath.Join(dir, dbName), b, 0o600)
		if _, err := Open(dir, options()); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	os.WriteFile(filepath.Join(dir, dbName), mine, 0o600)
	if p, err := Open(dir, options()); err != nil {
		t.Error(err)
	} else {
		p.Close()
	}
}

func TestKeyring(t *testing.T) {
	keyring.MockInit()
	dir := filepath.Join(t.TempDir(), "p")
	o := options()
	o.Secret = Keyring()
	p, err := Create(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	note(t, p, "x")
	id := p.ID()
	p.Close()
	if need, err := NeedsPassphrase(dir); need || err != nil {
		t.Fatal(need, err)
	}
	if p, err = Open(dir, o); err != nil {
		t.Fatal(err)
	}
	if notes(t, p) != "x" {
		t.Fatal("lost")
	}
	p.Close()
	if _, err := Open(dir, options()); !errors.Is(err, ErrPassphrase) || !strings.Contains(err.Error(), "keyring") {
		t.Fatalf("by passphrase: %v", err)
	}
	good, err := keyring.Get("parley", id)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "%", "AAAA", strings.Repeat("A", 43) + "="} {
		keyring.Set("parley", id, bad)
		if _, err := Open(dir, o); !errors.Is(err, ErrKeyring) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	keyring.Delete("parley", id)
	if _, err := Open(dir, o); !errors.Is(err, ErrKeyring) {
		t.Errorf("deleted: %v", err)
	}
	keyring.Set("parley", id, good)
	if p, err = Open(dir, o); err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.ChangePassphrase(Keyring()); err == nil {
		t.Error("from keyring to keyring")
	}
	if err := p.ChangePassphrase(secret); err != nil {
		t.Fatal(err)
	}
	if _, err := keyring.Get("parley", id); !errors.Is(err, keyring.ErrNotFound) {
		t.Errorf("the key is still there: %v", err)
	}
	p = reopen(t, p)
	if err := p.ChangePassphrase(Keyring()); err != nil {
		t.Fatal(err)
	}
	p.Close()
	if p, err = Open(dir, o); err != nil {
		t.Fatal(err)
	}
	p.Close()

	keyring.MockInitWithError(errors.New("no bus"))
	if _, err := Open(dir, o); !errors.Is(err, ErrKeyring) {
		t.Errorf("no keyring: %v", err)
	}
	other := filepath.Join(t.TempDir(), "q")
	if _, err := Create(other, o); !errors.Is(err, ErrKeyring) || Exists(other) {
		t.Errorf("created without a keyring: %v", err)
	}
}

func TestChangePassphrase(t *testing.T) {
	p, dir := newProfile(t)
	note(t, p, "x")
	before, _ := os.ReadFile(filepath.Join(dir, keyName))
	if err := p.ChangePassphrase(Secret{}); err == nil {
		t.Error("changed to nothing")
	}
	if err := p.ChangePassphrase(Passphrase("battery staple")); err != nil {
		t.Fatal(err)
	}
	note(t, p, "y") // the open profile goes on
	p.Close()
	after, _ := os.ReadFile(filepath.Join(dir, keyName))
	for _, field := range []string{"salt", "nonce", "key"} {
		if line(before, field) == line(after, field) {
			t.Errorf("%s is the same", field)
		}
	}
	if _, err := Open(dir, options()); !errors.Is(err, ErrPassphrase) {
		t.Errorf("the old one: %v", err)
	}
	o := options()
	o.Secret = Passphrase("battery staple")
	p, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if notes(t, p) != "x,y" {
		t.Error(notes(t, p))
	}
}

func line(b []byte, field string) string {
	for l := range strings.Lines(string(b)) {
		if strings.Contains(l, `"`+field+`"`) {
			return l
		}
	}
	return ""
}

func TestDefaultCost(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "p")
	p, err := Create(dir, Options{Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
	b, _ := os.ReadFile(filepath.Join(dir, keyName))
	for _, s := range []string{`"memory_kib": 65536`, `"passes": 3`, `"lanes": 4`} {
		if !strings.Contains(string(b), s) {
			t.Errorf("%s is not in %s", s, b)
		}
	}
}

func TestReadersCannotWrite(t *testing.T) {
	p, _ := newProfile(t)
	for _, q := range []string{"INSERT INTO notes (text) VALUES ('x')", "CREATE TABLE x (y)", "DELETE FROM line_root"} {
		if _, err := p.DB().ExecContext(t.Context(), q); err == nil {
			t.Errorf("%s was executed", q)
		}
	}
	if notes(t, p) != "" {
		t.Error("written")
	}
}

func TestTx(t *testing.T) {
	p, _ := newProfile(t)
	insert := func(tx *Tx, s string) error {
		_, err := tx.ExecContext(t.Context(), "INSERT INTO notes (text) VALUES (?)", s)
		return err
	}
	boom := errors.New("boom")
	if err := p.Tx(t.Context(), func(tx *Tx) error { insert(tx, "a"); return boom }); !errors.Is(err, boom) {
		t.Error(err)
	}
	func() {
		defer func() { recover() }()
		p.Tx(t.Context(), func(tx *Tx) error { insert(tx, "b"); panic("boom") })
	}()
	ctx, cancel := context.WithCancel(t.Context())
	if err := p.Tx(ctx, func(tx *Tx) error {
		err := insert(tx, "c")
		cancel()
		return err
	}); err == nil {
		t.Error("committed after it was cancelled")
	}
	if err := p.Tx(t.Context(), func(tx *Tx) error {
		if err := insert(tx, "d"); err != nil {
			return err
		}
		var n int
		if err := p.DB().QueryRow("SELECT count(*) FROM notes").Scan(&n); err != nil || n != 0 {
			t.Errorf("a reader sees %d rows before the commit (%v)", n, err)
		}
		rows, err := tx.QueryContext(t.Context(), "SELECT text FROM notes")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			n++
		}
		if n != 1 {
			t.Errorf("the transaction sees %d rows of its own", n)
		}
		return rows.Err()
	}); err != nil {
		t.Error(err)
	}
	if got := notes(t, p); got != "d" {
		t.Error(got)
	}
}

// TestFull: a commit for which there is no room fails wholly, and the profile
// goes on.
func TestFull(t *testing.T) {
	p, _ := newProfile(t)
	note(t, p, "before")
	with(t, p, 1, func(b *Bucket) { b.Put("n", []byte("before")) })
	limit := func(pages int) {
		t.Helper()
		if _, err := p.writer.ExecContext(t.Context(), fmt.Sprint("PRAGMA max_page_count = ", pages)); err != nil {
			t.Fatal(err)
		}
	}
	limit(1) // as many as there are
	err := p.Tx(t.Context(), func(tx *Tx) error {
		b, err := tx.Bucket(1)
		if err != nil {
			return err
		}
		b.Put("n", []byte("after"))
		if err := b.Flush(); err != nil {
			return err
		}
		_, err = tx.ExecContext(t.Context(), "INSERT INTO notes (text) VALUES (?)", strings.Repeat("x", 100_000))
		return err
	})
	if !errors.Is(err, sqlite3.FULL) {
		t.Fatal(err)
	}
	if got := notes(t, p) + contents(t, p, 1); got != "beforen=before" {
		t.Error(got)
	}
	limit(1 << 30)
	note(t, p, "after")
	with(t, p, 1, func(b *Bucket) { b.Put("n", []byte("after")) })
	p = reopen(t, p)
	if got := notes(t, p) + contents(t, p, 1); got != "before,aftern=after" {
		t.Error(got)
	}
}
