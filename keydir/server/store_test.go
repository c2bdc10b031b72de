package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"parley/keydir"
)

// Nothing in the program or in SQL changes or shortens the log.
func TestTheLogOnlyGrows(t *testing.T) {
	w := newWorld(t, Options{})
	w.enrol("alice", pairOf("alice"))
	w.enrol("bob", pairOf("bob"))
	before := w.ask("GET", "/log", "").Body.String()
	for _, sql := range []string{
		"DELETE FROM log", "DELETE FROM log WHERE seq = 2", "UPDATE log SET line = '{}' WHERE seq = 1",
		"INSERT INTO log (seq, name, version, line) VALUES (2, 'x', 1, '{}')", "INSERT INTO log (seq, name, version, line) VALUES (9, 'x', 1, '{}')",
		"INSERT OR REPLACE INTO log (seq, name, version, line) VALUES (1, 'x', 1, '{}')", "UPDATE log SET seq = 7 WHERE seq = 1",
	} {
		if err := w.d.store.write(func(c *conn) error { return c.Exec(sql) }); err == nil {
			t.Errorf("%s is carried out", sql)
		}
	}
	if after := w.ask("GET", "/log", "").Body.String(); after != before || strings.Count(after, "\n") != 2 {
		t.Errorf("%q became %q", before, after)
	}
	// A write that fails leaves neither its entry nor what it says.
	failed := errors.New("failed")
	if err := w.d.store.write(func(c *conn) error {
		if _, err := c.appendLog(keydir.Removed, "alice", 1, keydir.Keys{}, w.clock.now()); err != nil {
			return err
		}
		if err := c.Exec("DELETE FROM account WHERE name = 'alice'"); err != nil {
			return err
		}
		return failed
	}); !errors.Is(err, failed) {
		t.Error(err)
	}
	if all, _ := w.logged(); len(all) != 2 {
		t.Errorf("%d entries", len(all))
	}
	w.answer("alice")
}

func TestPagesOfTheLog(t *testing.T) {
	w := newWorld(t, Options{})
	const entries = keydir.PageEntries + 7
	k := pairOf("alice").keys()
	if err := w.d.store.write(func(c *conn) error {
		for i := range entries {
			if _, err := c.appendLog(keydir.Published, fmt.Sprint("user", i), 1, k, w.clock.now()); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(w.ask("GET", "/log", "").Body.String(), "\n"); n != keydir.PageEntries {
		t.Errorf("a page has %d entries", n)
	}
	all, head := w.logged()
	if len(all) != entries {
		t.Errorf("%d entries", len(all))
	}
	h, err := keydir.ParseHead(w.ask("GET", "/log/head", "").Body.Bytes(), w.d.PublicKey(), w.clock.now())
	if err != nil || h.Size != head.Size || h.Hash != head.Hash {
		t.Errorf("%+v, %v", h, err)
	}
	for _, from := range []string{"0", "-1", "x", "1.5", "99999999999999999999"} {
		if rec := w.ask("GET", "/log?from="+from, ""); rec.Code != 400 {
			t.Errorf("from %s: %d", from, rec.Code)
		}
	}
	w.want("GET", fmt.Sprint("/log?from=", entries+1), "", 200, "")
}

// An empty log has a head, too; one is signed once for all who ask in a moment.
func TestHead(t *testing.T) {
	w := newWorld(t, Options{})
	first := w.ask("GET", "/log/head", "").Body.String()
	if h, err := keydir.ParseHead([]byte(first), w.d.PublicKey(), w.clock.now()); err != nil || h.Size != 0 || h.Hash != keydir.NoHash {
		t.Errorf("%+v, %v", h, err)
	}
	if w.ask("GET", "/log/head", "").Body.String() != first {
		t.Error("signed twice in a moment")
	}
	w.clock.add(headAge)
	if w.ask("GET", "/log/head", "").Body.String() == first {
		t.Error("an old head")
	}
}

// After a restart all is there: accounts, links, mails that wait, the key.
func TestRestart(t *testing.T) {
	w := newWorld(t, Options{})
	remove := w.enrol("alice", pairOf("alice"))
	activate, _ := w.register("bob", pairOf("bob"))
	if rec := w.ask("POST", "/users", registration("carol", "carol@mail.example", pairOf("bob").keys(), nil)); rec.Code != 201 {
		t.Fatal(rec.Code)
	}
	key := w.ask("GET", "/key", "").Body.String()
	log := w.ask("GET", "/log", "").Body.String()
	w.restart()
	if w.ask("GET", "/key", "").Body.String() != key || w.ask("GET", "/log", "").Body.String() != log {
		t.Error("another key or log")
	}
	w.answer("alice")
	w.want("POST", activate, "", 200, "user activated\n")
	w.want("POST", remove, "", 200, "user deleted\n")
	w.want("POST", linksIn(w.lastMail())[0], "", 200, "user activated\n")
	for _, name := range []string{databaseName, databaseName + "-wal", databaseName + "-shm", secretName, keyName} {
		if st, err := os.Stat(filepath.Join(w.o.Dir, name)); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, st, err)
		}
	}
}

// What is asked after the end is answered, not waited for.
func TestAfterShutdown(t *testing.T) {
	w := newWorld(t, Options{})
	w.close()
	for _, x := range [][2]string{{"GET", "/users/alice"}, {"GET", "/log"}, {"GET", "/log/head"}, {"GET", "/lookup?user=alice"}} {
		if rec := w.ask(x[0], x[1], ""); rec.Code != 503 {
			t.Errorf("%s: %d %s", x[1], rec.Code, rec.Body)
		}
	}
	if rec := w.ask("POST", "/users", registration("alice", "a@b", pairOf("alice").keys(), nil)); rec.Code != 503 {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	if err := w.d.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestNew(t *testing.T) {
	key := []byte(known().Users["bob"].Sign.Private)
	for what, prepare := range map[string]func(o *Options) error{
		"a database without the secret": func(o *Options) error {
			return errors.Join(os.WriteFile(filepath.Join(o.Dir, keyName), key, 0o600), os.WriteFile(filepath.Join(o.Dir, databaseName), nil, 0o600))
		},
		"a key that others may read": func(o *Options) error { return os.WriteFile(filepath.Join(o.Dir, keyName), key, 0o644) },
		"a damaged key": func(o *Options) error {
			return os.WriteFile(filepath.Join(o.Dir, keyName), bytes.Replace(key, []byte("M"), []byte("!"), 1), 0o600)
		},
		"a public key": func(o *Options) error {
			return os.WriteFile(filepath.Join(o.Dir, keyName), []byte(known().Users["bob"].Sign.Public), 0o600)
		},
		"no such key file": func(o *Options) error { o.KeyFile = filepath.Join(o.Dir, "none.pem"); return nil },
		"a lost key":       func(o *Options) error { return os.WriteFile(filepath.Join(o.Dir, databaseName), nil, 0o600) },
		"a damaged secret": func(o *Options) error {
			return errors.Join(os.WriteFile(filepath.Join(o.Dir, keyName), key, 0o600), os.WriteFile(filepath.Join(o.Dir, secretName), key, 0o600))
		},
		"a damaged database": func(o *Options) error {
			return errors.Join(os.WriteFile(filepath.Join(o.Dir, keyName), key, 0o600),
				os.WriteFile(filepath.Join(o.Dir, databaseName), bytes.Repeat([]byte("x"), 8192), 0o600))
		},
	} {
		o := Options{Dir: t.TempDir()}
		if err := prepare(&o); err != nil {
			t.Fatal(err)
		}
		if d, err := New(o); err == nil {
			t.Errorf("%s is taken", what)
			d.Shutdown(context.Background())
		}
	}
}
