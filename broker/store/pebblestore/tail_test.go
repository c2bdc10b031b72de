package pebblestore_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"parley/broker/store"
	"parley/broker/store/pebblestore"
)

// torn makes a folder as a crash leaves it, with n messages in one queue, and
// returns the path of its last log in use.
func torn(t *testing.T, n int) (dir, log string, q store.ID) {
	t.Helper()
	live := t.TempDir()
	s, err := pebblestore.Open(live, pebblestore.Options{ScrubEvery: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	q = makeQueues(t, s, 1)[0].Queue
	for i := range n {
		body := append(binary.BigEndian.AppendUint64(nil, uint64(i)), bytes.Repeat([]byte{byte(i)}, 300)...)
		if _, err := s.Append(t.Context(), q, 1, 1e6, time.Now(), body); err != nil {
			t.Fatal(err)
		}
	}
	dir = filepath.Join(t.TempDir(), "db")
	if err := os.CopyFS(dir, os.DirFS(live)); err != nil {
		t.Fatal(err)
	}
	logs, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil || len(logs) == 0 {
		t.Fatal("no log", err)
	}
	return dir, slices.Max(logs), q
}

// recovered opens a copy of dir whose log is replaced and returns its messages.
func recovered(t *testing.T, dir, log string, data []byte, q store.ID) ([]uint64, error) {
	t.Helper()
	again := filepath.Join(t.TempDir(), "db")
	if err := os.CopyFS(again, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(again, filepath.Base(log)), data, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := pebblestore.Open(again, pebblestore.Options{ScrubEvery: -1})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if _, err := s.Find(t.Context(), store.Recipient, q); errors.Is(err, store.ErrNotFound) {
		return nil, nil // torn before the queue was made
	}
	return drain(s, q)
}

// A log that ends anywhere opens, and gives all that is whole in it.
func TestTornTail(t *testing.T) {
	const n = 60
	dir, log, q := torn(t, n)
	whole, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	whole = bytes.TrimRight(whole, "\x00") // what was allocated ahead
	last := -1
	cuts := 60
	if testing.Short() {
		cuts = 15
	}
	step := len(whole)/cuts + 1
	for cut := 0; cut <= len(whole)+step; cut += step {
		cut = min(cut, len(whole))
		got, err := recovered(t, dir, log, whole[:cut], q)
		if err != nil {
			t.Fatalf("cut at %d of %d: %v", cut, len(whole), err)
		}
		for i, k := range got {
			if k != uint64(i) {
				t.Fatalf("cut at %d: message %d at place %d", cut, k, i)
			}
		}
		// Each message is about 400 bytes of the log.
		if len(got) < last || len(got) > cut/300 {
			t.Fatalf("cut at %d: %d messages, %d before", cut, len(got), last)
		}
		last = len(got)
		if cut == len(whole) {
			break
		}
	}
	if last != n {
		t.Errorf("%d messages of %d in the whole log", last, n)
	}
}

// A sector that was only half written, or holds what was there before, ends the
// log as well.
func TestTornGarbage(t *testing.T) {
	const n = 20
	dir, log, q := torn(t, n)
	whole, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	whole = bytes.TrimRight(whole, "\x00")
	noise := secret("noise", 3000)
	for name, data := range map[string][]byte{
		"zeros behind":     append(bytes.Clone(whole), make([]byte, 5000)...),
		"garbage behind":   append(bytes.Clone(whole), noise...),
		"last bytes lost":  append(bytes.Clone(whole[:len(whole)-40]), make([]byte, 40)...),
		"last bytes other": append(bytes.Clone(whole[:len(whole)-40]), noise[:40]...),
	} {
		got, err := recovered(t, dir, log, data, q)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want := n
		if strings.HasPrefix(name, "last") {
			want = n - 1
		}
		if len(got) < want {
			t.Errorf("%s: %d messages of %d", name, len(got), want)
		}
	}
}

// Damage before the last block of 32 KiB is not taken for an end: that would lose
// messages which were answered, and nobody would be told.
func TestDamagedLog(t *testing.T) {
	const n = 400
	dir, log, q := torn(t, n)
	whole, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int{2000, 40_000, 80_000} {
		data := bytes.Clone(whole)
		data[at] ^= 1
		got, err := recovered(t, dir, log, data, q)
		if err == nil {
			t.Errorf("damaged at %d, the log opens with %d messages of %d", at, len(got), n)
		} else if !strings.Contains(err.Error(), "cannot open") {
			t.Error(err)
		}
	}
}

// A second process is told who is in the way.
func TestSecondProcess(t *testing.T) {
	if dir := os.Getenv("PARLEY_TEST_OPEN"); dir != "" {
		s, err := pebblestore.Open(dir, pebblestore.Options{})
		if err == nil {
			s.Close()
			os.Exit(0)
		}
		os.Stderr.WriteString(err.Error())
		os.Exit(3)
	}
	dir := filepath.Join(t.TempDir(), "a", "db")
	s, err := pebblestore.Open(dir, pebblestore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if fi, err := os.Stat(dir); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}
	other := func() (string, error) {
		c := exec.Command(os.Args[0], "-test.run=^TestSecondProcess$")
		c.Env = append(os.Environ(), "PARLEY_TEST_OPEN="+dir)
		out, err := c.CombinedOutput()
		return string(out), err
	}
	if out, err := other(); err == nil || !strings.Contains(out, "is another relay using it?") {
		t.Errorf("%q, %v", out, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if out, err := other(); err != nil {
		t.Errorf("%q, %v", out, err)
	}
}

// A folder of another program, or of a later format, is refused and untouched.
func TestForeignFolder(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "CURRENT"), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := pebblestore.Open(dir, pebblestore.Options{}); err == nil {
		s.Close()
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := pebblestore.Open(file, pebblestore.Options{}); err == nil {
		s.Close()
		t.Error("a file opens as a store")
	}
}
