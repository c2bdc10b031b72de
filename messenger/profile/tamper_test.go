package profile

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ncruces/go-sqlite3/driver"
	"github.com/ncruces/go-sqlite3/ext/serdes"
)

// TestStateTampered changes rows of the database in all the ways that whoever
// can write pages of it, or has an older copy of some, may try.
func TestStateTampered(t *testing.T) {
	for _, c := range []struct {
		name, sql string
		line      int64 // expected; 0: found when the profile is opened
	}{
		{"value", "UPDATE line_state SET value = 'x' WHERE line = 1 AND key = CAST('a' AS BLOB)", 1},
		{"row put back", "UPDATE line_state SET (value, version, mac) = (SELECT value, version, mac FROM old_state o WHERE o.line = 1 AND o.key = CAST('a' AS BLOB)) WHERE line = 1 AND key = CAST('a' AS BLOB)", 1},
		{"row removed", "DELETE FROM line_state WHERE line = 1 AND key = CAST('b' AS BLOB)", 1},
		{"removed row put back", "INSERT INTO line_state SELECT * FROM old_state WHERE line = 1 AND key = CAST('gone' AS BLOB)", 1},
		{"row under another key", "UPDATE line_state SET key = CAST('c' AS BLOB) WHERE line = 1 AND key = CAST('b' AS BLOB)", 1},
		{"values exchanged", "UPDATE line_state SET (value, version, mac) = (SELECT value, version, mac FROM line_state o WHERE o.line = 1 AND o.key <> line_state.key) WHERE line = 1", 1},
		{"row of another line", "INSERT INTO line_state SELECT 1, CAST('k2' AS BLOB), version, value, mac FROM line_state WHERE line = 2", 1},
		{"row version", "UPDATE line_state SET version = version + 1 WHERE line = 1", 1},
		{"row MAC", "UPDATE line_state SET mac = zeroblob(32) WHERE line = 1", 1},
		{"short row MAC", "UPDATE line_state SET mac = x'' WHERE line = 1", 1},
		{"all rows removed", "DELETE FROM line_state WHERE line = 1", 1},
		{"rows without a head", "INSERT INTO line_state SELECT 5, key, version, value, mac FROM line_state WHERE line = 2", 5},
		{"rows and head put back", "DELETE FROM line_state WHERE line = 1; INSERT INTO line_state SELECT * FROM old_state WHERE line = 1; DELETE FROM line_head WHERE line = 1; INSERT INTO line_head SELECT * FROM old_head WHERE line = 1", 0},
		{"line removed", "DELETE FROM line_state WHERE line = 1; DELETE FROM line_head WHERE line = 1", 0},
		{"lines exchanged", "UPDATE line_state SET line = 3 - line; UPDATE line_head SET line = -line; UPDATE line_head SET line = 3 + line", 0},
		{"head version", "UPDATE line_head SET version = version + 1 WHERE line = 1", 0},
		{"head MAC", "UPDATE line_head SET mac = zeroblob(32) WHERE line = 1", 0},
		{"long head MAC", "UPDATE line_head SET mac = mac || x'00' WHERE line = 1", 0},
		{"head of version zero", "UPDATE line_head SET version = 0 WHERE line = 1", 0},
		{"head added", "INSERT INTO line_head SELECT 9, version, mac FROM line_head WHERE line = 1", 0},
		{"root removed", "DELETE FROM line_root", 0},
		{"root changed", "UPDATE line_root SET heads = zeroblob(32)", 0},
		{"root's version", "UPDATE line_root SET version = version + 1", 0},
		{"root put back", "DELETE FROM line_root; INSERT INTO line_root SELECT * FROM old_root", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, dir := newProfile(t)
			with(t, p, 1, func(b *Bucket) { b.Put("a", []byte("old")); b.Put("b", []byte("2")); b.Put("gone", []byte("3")) })
			with(t, p, 2, func(b *Bucket) { b.Put("k", []byte("v")) })
			run := func(q string) {
				t.Helper()
				if err := p.Tx(t.Context(), func(tx *Tx) error { _, err := tx.ExecContext(t.Context(), q); return err }); err != nil {
					t.Fatal(err)
				}
			}
			run("CREATE TABLE old_state AS SELECT * FROM line_state; CREATE TABLE old_head AS SELECT * FROM line_head; CREATE TABLE old_root AS SELECT * FROM line_root")
			with(t, p, 1, func(b *Bucket) { b.Put("a", []byte("new")); b.Delete("gone") })
			p = reopen(t, p)
			run(c.sql)
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
			p, err := Open(dir, options())
			var where *TamperedError
			if c.line == 0 {
				if !errors.As(err, &where) || !errors.Is(err, ErrTampered) {
					t.Fatalf("opened: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			err = p.Tx(t.Context(), func(tx *Tx) error { _, err := tx.Bucket(c.line); return err })
			if !errors.As(err, &where) || !errors.Is(err, ErrTampered) || where.Line != c.line || !strings.Contains(err.Error(), fmt.Sprint("line ", c.line)) {
				t.Fatalf("got %v", err)
			}
			// Other lines are not harmed.
			if got := contents(t, p, 2); got != "k=v" {
				t.Error(got)
			}
		})
	}
}

// TestPagesTampered flips a bit in each block of the file: no wrong row is read.
func TestPagesTampered(t *testing.T) {
	p, dir := newProfile(t)
	for i := range 20 {
		note(t, p, strings.Repeat(fmt.Sprintf("%03d ", i), 400))
	}
	want := notes(t, p)
	p.Close()
	path := filepath.Join(dir, dbName)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	read := func(b []byte) (string, error) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		p, err := Open(dir, options())
		if err != nil {
			return "", err
		}
		defer p.Close()
		var s string
		err = p.DB().QueryRow("SELECT coalesce(group_concat(text ORDER BY n), '') FROM notes").Scan(&s)
		return s, err
	}
	refused := 0
	for at := 0; at < len(good); at += blockSize {
		for _, in := range []int{0, 30, 2000, 4095} {
			bad := bytes.Clone(good)
			bad[at+in] ^= 1
			got, err := read(bad)
			if err != nil {
				refused++
			} else if got != want {
				t.Fatalf("a bit of block %d changed, and so did the rows, without an error", at/blockSize)
			}
		}
	}
	if refused < len(good)/blockSize {
		t.Errorf("only %d changes were found", refused)
	}
	for _, cut := range []int{512, blockSize, 5 * blockSize} {
		if got, err := read(good[:len(good)-cut]); err == nil && got != want {
			t.Errorf("%d bytes cut off, and rows are missing without an error", cut)
		}
	}
	if got, err := read(good); err != nil || got != want {
		t.Error(err)
	}
}

// TestNothingInClear searches all files for what was written, while the profile
// is open and when it is closed.
func TestNothingInClear(t *testing.T) {
	p, dir := newProfile(t)
	const marker = "MARKER-IN-CLEAR"
	note(t, p, strings.Repeat(marker, 1000))
	with(t, p, 1, func(b *Bucket) { b.Put(marker, bytes.Repeat([]byte(marker), 1000)) })
	search := func(when string) {
		list, err := os.ReadDir(dir)
		if err != nil || len(list) < 3 {
			t.Fatal(list, err)
		}
		for _, e := range list {
			b, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range []string{marker, "SQLite", "CREATE TABLE", "line_state", string(p.keys.database), "correct horse"} {
				if bytes.Contains(b, []byte(s)) {
					t.Errorf("%s, %s: has %q", e.Name(), when, s)
				}
			}
		}
	}
	search("open")
	if err := p.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	search("after a checkpoint")
	p.Close()
	search("closed")
}

// TestDeletedIsGone: what was deleted is in no page of the database, free ones
// included, and in no log after a checkpoint, even for one who has the key.
func TestDeletedIsGone(t *testing.T) {
	p, dir := newProfile(t)
	with(t, p, 1, func(b *Bucket) { b.Put("chain", bytes.Repeat([]byte("OLD-KEY"), 900)) })
	note(t, p, "before")
	with(t, p, 1, func(b *Bucket) { b.Put("chain", []byte("new")) })
	if err := p.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(filepath.Join(dir, dbName+"-wal")); err != nil || st.Size() != 0 {
		t.Errorf("the log has %d bytes (%v)", st.Size(), err)
	}
	if n := pagesWith(t, p, "OLD-KEYOLD-KEY"); n != 0 {
		t.Errorf("%d pages still have it", n)
	}
	if n := pagesWith(t, p, "before"); n == 0 {
		t.Error("the search finds nothing at all")
	}
}

// pagesWith counts the pages, free ones too, that hold s once decrypted.
func pagesWith(t *testing.T, p *Profile, s string) (n int) {
	t.Helper()
	conn, err := p.writer.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	err = conn.Raw(func(c any) error {
		all, err := serdes.Serialize(c.(driver.Conn).Raw(), "main")
		for i := 0; i+blockSize <= len(all); i += blockSize {
			if bytes.Contains(all[i:i+blockSize], []byte(s)) {
				n++
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
