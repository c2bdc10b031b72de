package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"parley/internal/groupdb"
	"parley/keydir"
)

// Who does not activate is swept within an hour after the day, while the directory
// runs; nobody else is.
func TestSweepHourly(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, keyName), []byte(known().Users["bob"].Sign.Private), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		d, err := New(Options{Dir: dir, Trouble: func(what string, err error) { t.Errorf("%s: %v", what, err) }})
		if err != nil {
			t.Fatal(err)
		}
		d.forget()
		<-time.After(30 * time.Minute)
		k := pairOf("alice").keys()
		for _, name := range []string{"waits", "stays"} {
			err := d.store.write(func(c *conn) error {
				r := keydir.Registration{Username: name, Email: name + "@mail.example"}
				if err := c.register(&r, k, d.mailbox(r.Email), 3, time.Now()); err != nil || name == "waits" {
					return err
				}
				token, hash := newToken()
				a, err := c.byName(name)
				if err != nil {
					return err
				}
				if err := c.addLink(a.id, hash, activationLink, time.Now().Add(time.Hour)); err != nil {
					return err
				}
				_, err = c.follow(name, token, time.Now())
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		there := func(name string) bool {
			t.Helper()
			err := d.store.read(func(c *conn) error { _, err := c.byName(name); return err })
			if err != nil && !errors.Is(err, errNotFound) {
				t.Fatal(err)
			}
			return err == nil
		}
		<-time.After(24 * time.Hour)
		if !there("waits") {
			t.Error("swept too early")
		}
		<-time.After(time.Hour)
		if there("waits") || !there("stays") {
			t.Errorf("after a day and an hour: waits %v, stays %v", there("waits"), there("stays"))
		}
		if err := d.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// A delivered mail's address leaves the files soon, while the directory goes on, and
// the write-ahead log is not emptied again and again.
func TestAddressesAreForgottenSoon(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, keyName), []byte(known().Users["bob"].Sign.Private), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		d, err := New(Options{Dir: dir, URL: testURL, Trouble: func(what string, err error) { t.Errorf("%s: %v", what, err) }})
		if err != nil {
			t.Fatal(err)
		}
		d.forget()
		d.tasks.Go(func() { d.deliver(d.ctx) })
		<-time.After(time.Minute)
		k := pairOf("alice").keys()
		kept := func() (files []string) {
			t.Helper()
			for _, name := range []string{databaseName, databaseName + "-wal"} {
				b, err := os.ReadFile(filepath.Join(dir, name))
				if err != nil {
					t.Fatal(err)
				}
				if bytes.Contains(b, []byte("unforgettable")) {
					files = append(files, name)
				}
			}
			return files
		}
		n := 0
		// register makes many at once, so that the table has several pages.
		register := func(many int) {
			t.Helper()
			err := d.store.write(func(c *conn) error {
				for range many {
					n++
					r := keydir.Registration{Username: fmt.Sprint("user", n), Email: fmt.Sprintf("unforgettable-%d@mail.example", n)}
					if err := c.register(&r, k, d.mailbox(r.Email), 3, d.o.Now()); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			d.poke()
			synctest.Wait()
		}
		register(1)
		<-time.After(groupdb.CheckpointAgain) // the sending itself may have been reading
		synctest.Wait()
		if files := kept(); len(files) > 0 {
			t.Errorf("at once: the address is in %q", files)
		}
		register(300)
		if files := kept(); len(files) == 0 {
			t.Error("emptied again at once") // of no use to the test below either
		}
		<-time.After(groupdb.CheckpointEvery + groupdb.CheckpointAgain)
		synctest.Wait()
		if files := kept(); len(files) > 0 {
			t.Errorf("after %v: an address is in %q", groupdb.CheckpointEvery, files)
		}
		if err := d.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
}
