package groupdb

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ncruces/go-sqlite3"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var notes = Schema{Create: "CREATE TABLE note (text TEXT NOT NULL) STRICT"}

func open(t testing.TB, path string, s Schema) *DB {
	t.Helper()
	db, err := Open(path, s, 64)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func newDB(t testing.TB) *DB {
	t.Helper()
	return open(t, filepath.Join(t.TempDir(), "notes.db"), notes)
}

func add(text string) func(*Conn) error {
	return func(c *Conn) error { return c.Exec("INSERT INTO note (text) VALUES (?)", text) }
}

func (db *DB) must(t testing.TB, do func(*Conn) error) {
	t.Helper()
	if err := db.Write(do); err != nil {
		t.Fatal(err)
	}
}

// notes returns all notes, in one line.
func (db *DB) notes(t testing.TB) string {
	t.Helper()
	var all []string
	err := db.Read(func(c *Conn) error {
		return c.Each("SELECT text FROM note ORDER BY rowid", func(s *sqlite3.Stmt) error { all = append(all, s.ColumnText(0)); return nil })
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, " ")
}

// The files are nobody else's, and what was written is there after the next opening,
// whatever the folder is called.
func TestOpenAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a folder?mode=ro&x#%41é")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "notes.db")
	db := open(t, path, notes)
	db.must(t, add("one"))
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		if st, err := os.Stat(name); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, st, err)
		}
	}
	for range 2 {
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if got := open(t, path, notes).notes(t); got != "one" {
		t.Errorf("%q", got)
	}
}

// A database of any version before is brought to this one; of a later one, or what is
// no database, is left alone.
func TestVersions(t *testing.T) {
	all := Schema{Create: "CREATE TABLE note (text TEXT, a INTEGER, b INTEGER) STRICT", Upgrades: []string{
		"ALTER TABLE note ADD COLUMN a INTEGER; UPDATE note SET a = 7", "ALTER TABLE note ADD COLUMN b INTEGER; UPDATE note SET b = a + 1",
	}}
	second := Schema{Create: "CREATE TABLE note (text TEXT, a INTEGER) STRICT", Upgrades: all.Upgrades[:1]}
	numbers := func(db *DB) (version, a, b int64) {
		t.Helper()
		err := db.Read(func(c *Conn) (err error) {
			if version, err = c.Int64("PRAGMA user_version"); err != nil {
				return err
			}
			return c.Each("SELECT coalesce(a, 0), coalesce(b, 0) FROM note", func(s *sqlite3.Stmt) error { a, b = s.ColumnInt64(0), s.ColumnInt64(1); return nil })
		})
		if err != nil {
			t.Fatal(err)
		}
		return version, a, b
	}
	for what, x := range map[string]struct {
		from Schema
		a, b int64
	}{"this one": {all, 0, 0}, "the first": {notes, 7, 8}, "the second": {second, 0, 1}} {
		path := filepath.Join(t.TempDir(), "notes.db")
		db := open(t, path, x.from)
		db.must(t, add("x"))
		if x.a == 0 && x.b == 1 { // what the second has said stays
			db.must(t, func(c *Conn) error { return c.Exec("UPDATE note SET a = 0") })
		}
		db.Close()
		for range 2 {
			db = open(t, path, all)
			if version, a, b := numbers(db); version != 3 || a != x.a || b != x.b {
				t.Errorf("from %s: version %d, %d, %d", what, version, a, b)
			}
			db.Close()
		}
	}
}

func TestOpenFails(t *testing.T) {
	bad := notes
	bad.Upgrades = []string{"ALTER TABLE absent ADD COLUMN a INTEGER"}
	for what, x := range map[string]struct {
		prepare func(path string) error
		schema  Schema
		said    string
	}{
		"no folder": {func(path string) error { return os.Remove(filepath.Dir(path)) }, notes, "no such file"},
		"no database": {func(path string) error { return os.WriteFile(path, bytes.Repeat([]byte("x"), 8192), 0o600) }, notes,
			"notes.db: sqlite3: file is not a database"},
		"a folder of that name": {func(path string) error { return os.Mkdir(path, 0o700) }, notes, "directory"},
		"no SQL":                {func(string) error { return nil }, Schema{Create: "CREATE absent"}, "notes.db: sqlite3: "},
		"a later version": {func(path string) error {
			db, err := Open(path, Schema{Create: notes.Create, Upgrades: []string{""}}, 1)
			return errors.Join(err, db.Close())
		}, notes, "notes.db: the database was written by a later version of this program"},
		"a negative version": {func(path string) error {
			db, err := Open(path, notes, 1)
			return errors.Join(err, db.Write(func(c *Conn) error { return c.Exec("PRAGMA user_version = -1") }), db.Close())
		}, notes, "later version"},
		"an upgrade that cannot be": {func(path string) error {
			db, err := Open(path, notes, 1)
			return errors.Join(err, db.Close())
		}, bad, "no such table"},
	} {
		dir := filepath.Join(t.TempDir(), "x")
		path := filepath.Join(dir, "notes.db")
		if err := errors.Join(os.Mkdir(dir, 0o700), x.prepare(path)); err != nil {
			t.Fatal(err)
		}
		for range 2 { // what failed changes nothing
			db, err := Open(path, x.schema, 64)
			if err == nil {
				db.Close()
			}
			if err == nil || !strings.Contains(fmt.Sprint(err), x.said) {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
}
