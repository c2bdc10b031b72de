package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"parley/internal/filelock"
)

// A pin that is given when the state exists already holds as one that was given
// first.
func TestTopicLivePinLater(t *testing.T) {
	eachBroker(t, func(t *testing.T, kind string) {
		t.Parallel()
		b := free(t, kind)
		alice, bob, mallory := newDevice(t, b), newDevice(t, b), newDevice(t, b)
		if code, _ := bob.run("join", "--timeout", "1s").end(); code != exitQueued {
			t.Fatalf("nobody is there, and join ends with %d", code)
		}
		wrong := mallory.letIn("--new")
		code, out := bob.run("join", "--pin", alice.key, "--pair", "30s", "--timeout", "5s").end()
		if code != exitQueued || strings.Contains(out, mallory.id) {
			t.Fatalf("bob, who takes alice's key only, ends with %d: %s", code, out)
		}
		wrong.stop()
		right := alice.letIn("--new")
		if out := bob.run("join", "--timeout", "1m").must(); !strings.Contains(out, alice.id) {
			t.Errorf("bob is told %q", out)
		}
		right.stop()
		bob.run("pub", "hello alice").must()
		alice.hears("hello alice")
	})
}

// The first pub after a removal, by a device that has never listened: its session
// was prepared when it joined, so that the news wait for it.
func TestTopicLiveFirstPubAfterARemoval(t *testing.T) {
	eachBroker(t, func(t *testing.T, kind string) {
		t.Parallel()
		b := free(t, kind)
		all := joined(t, b, 3)
		alice, bob, mallory := all[0], all[1], all[2]
		alice.run("remove", mallory.id[:8]).must()
		bob.run("pub", "not for mallory").must()
		alice.hears("not for mallory")
		if out := mallory.run("sub", "--json", "--timeout", "2s").must(); strings.Contains(out, "not for mallory") {
			t.Errorf("mallory heard %q", out)
		}

		// She asks again, and is let in again.
		letting := alice.letIn()
		if out := mallory.run("join", "--pair", "30s", "--timeout", "1m").must(); !strings.Contains(out, alice.id) && !strings.Contains(out, bob.id) {
			t.Errorf("mallory is told %q", out)
		}
		letting.stop()
		bob.run("pub", "for all of us").must()
		mallory.hears("for all of us")
	})
}

// Commands of one state wait for each other; the broker would end the one's
// connection for the other's.
func TestTopicLiveTwoAtOnce(t *testing.T) {
	eachBroker(t, func(t *testing.T, kind string) {
		t.Parallel()
		b := free(t, kind)
		devices := joined(t, b, 2)
		alice, bob := devices[0], devices[1]
		var all []*proc
		for i := range 5 {
			all = append(all, alice.run("pub", fmt.Sprint(i)))
		}
		for _, p := range all {
			p.must()
			if strings.Contains(p.text(), "away") {
				t.Errorf("they disturb each other: %s", p.text())
			}
		}
		got := texts(t, bob.run("sub", "--json", "--count", "5", "--timeout", "30s").must())
		slices.Sort(got)
		if fmt.Sprint(got) != "[0 1 2 3 4]" {
			t.Errorf("bob heard %q", got)
		}

		// One pub goes on for long: another leaves its text to it.
		r, w := io.Pipe()
		long := exec.Command(program(t, "parley"), "topic", "pub", "-b", b.url(), "-t", "home", "--state", filepath.Join(alice.dir, "state"), "--lines")
		long.Stdin = r
		if err := long.Start(); err != nil {
			t.Fatal(err)
		}
		w.Write([]byte("first\n"))
		sub := bob.run("sub", "--raw", "--count", "2", "--timeout", "40s")
		sub.await("first")
		if code, out := alice.run("pub", "meanwhile", "--timeout", "3s").end(); code != exitQueued {
			t.Errorf("exit code %d: %s", code, out)
		}
		sub.must()
		if !strings.Contains(sub.text(), "meanwhile") {
			t.Errorf("bob heard %q", sub.text())
		}
		w.Close()
		if err := long.Wait(); err != nil {
			t.Error(err)
		}

		// And one sub listens at a time.
		one := bob.run("sub")
		waitLocked(t, filepath.Join(bob.dir, "state.listen.lock"))
		if code, out := bob.run("sub", "--timeout", "5s").end(); code != exitState {
			t.Errorf("a second sub ends with %d: %s", code, out)
		}
		one.stop()
	})
}

// waitLocked waits until somebody has a lock.
func waitLocked(t *testing.T, path string) {
	t.Helper()
	for late := time.After(time.Minute); ; {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err == nil {
			err = filelock.Try(f)
			f.Close() // and the lock with it
			if errors.Is(err, filelock.ErrLocked) {
				return
			}
		}
		select {
		case <-late:
			t.Fatal("nobody has the lock")
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func TestPinsOrUnsigned(t *testing.T) {
	for _, args := range [][]string{
		{"topic", "accept-reply", "--identity", "i", "--topic", "t"},
		{"topic", "join", "-b", "mqtt://127.0.0.1:1", "-t", "home", "--state", "s"},
	} {
		args = append(args, "--accept-unsigned", "--pin", strings.Repeat("A", 43)+"=")
		if r := runParley(t, t.TempDir(), nil, args...); r.code != exitUsage || !strings.Contains(r.errors, "choose") {
			t.Errorf("%v: %+v", args, r)
		}
	}
}
