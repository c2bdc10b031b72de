//go:build unix

package keyfile

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

func TestCreateAndRead(t *testing.T) {
	old := syscall.Umask(0) // even then
	defer syscall.Umask(old)
	dir := t.TempDir()
	path := filepath.Join(dir, "key")
	if err := Create(path, []byte("one")); err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", st.Mode(), err)
	}
	if err := Create(path, []byte("two")); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("second Create: %v", err)
	}
	if b, err := Read(path); err != nil || string(b) != "one" {
		t.Fatalf("%q, %v", b, err)
	}
	if err := Replace(path, []byte("three")); err != nil {
		t.Fatal(err)
	}
	if b, err := Read(path); err != nil || string(b) != "three" {
		t.Fatalf("%q, %v", b, err)
	}
	if st, _ := os.Stat(path); st.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v after Replace", st.Mode())
	}
	only(t, dir, "key")
}

func only(t *testing.T, dir string, want ...string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != len(want) {
		t.Fatalf("left behind: %v", list)
	}
	for i, e := range list {
		if e.Name() != want[i] {
			t.Fatalf("left behind: %v", list)
		}
	}
}

func TestCreateDoesNotFollow(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	if err := os.Symlink(filepath.Join(dir, "elsewhere"), link); err != nil {
		t.Fatal(err)
	}
	if err := Create(link, []byte("x")); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("got %v", err)
	}
	if err := createDirectly(link, []byte("x")); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("got %v", err)
	}
	only(t, dir, "link")
}

func TestCreateRace(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "key")
	var wg sync.WaitGroup
	var won atomic.Int32
	var winner atomic.Value
	for i := range 20 {
		wg.Go(func() {
			data := bytes.Repeat([]byte{byte('a' + i)}, 1000)
			switch err := Create(path, data); {
			case err == nil:
				won.Add(1)
				winner.Store(data)
			case !errors.Is(err, fs.ErrExist):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Fatalf("%d winners", won.Load())
	}
	if b, _ := Read(path); !bytes.Equal(b, winner.Load().([]byte)) {
		t.Fatal("the file is not the winner's")
	}
	only(t, dir, "key")
}

func TestReadRefuses(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "key")
	if _, err := Read(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	if err := Create(path, []byte("secret")); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []fs.FileMode{0o640, 0o604, 0o620, 0o601, 0o666} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		b, err := Read(path)
		if b != nil || !errors.Is(err, ErrExposed) || !strings.Contains(err.Error(), "chmod 600 "+path) {
			t.Errorf("mode %o: %q, %v", mode, b, err)
		}
	}
	for _, mode := range []fs.FileMode{0o600, 0o400} {
		os.Chmod(path, mode)
		if _, err := Read(path); err != nil {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
	if _, err := Read(dir); !errors.Is(err, ErrFormat) {
		t.Errorf("a directory: %v", err)
	}
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(pipe); !errors.Is(err, ErrFormat) {
		t.Errorf("a pipe: %v", err)
	}
	big := filepath.Join(dir, "big")
	if err := Create(big, make([]byte, MaxSize+1)); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(big); !errors.Is(err, ErrFormat) {
		t.Errorf("too long: %v", err)
	}
}

func TestFailuresLeaveNothing(t *testing.T) {
	if err := Create(filepath.Join(t.TempDir(), "no", "key"), nil); err == nil {
		t.Error("created in a missing folder")
	}
	if err := Replace(filepath.Join(t.TempDir(), "no", "key"), nil); err == nil {
		t.Error("replaced in a missing folder")
	}
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "key", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Replace(filepath.Join(dir, "key"), []byte("x")); err == nil {
		t.Error("replaced a folder")
	}
	only(t, dir, "key")
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no /dev/full")
	}
	if err := fill(full, []byte("x")); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("full disk: %v", err)
	}
}

func TestPEM(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	if err := CreatePEM(path, "PRIVATE KEY", []byte("der")); err != nil {
		t.Fatal(err)
	}
	if b, err := ReadPEM(path, "PRIVATE KEY"); err != nil || string(b) != "der" {
		t.Fatalf("%q, %v", b, err)
	}
	if _, err := ReadPEM(path, "CERTIFICATE"); !errors.Is(err, ErrFormat) || strings.Contains(err.Error(), "der") {
		t.Errorf("other kind: %v", err)
	}
	good, _ := Read(path)
	for name, b := range map[string][]byte{
		"empty": nil, "garbage": []byte("garbage"), "cut": good[:len(good)-10], "more": append(bytes.Clone(good), good...),
	} {
		if err := Replace(path, b); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadPEM(path, "PRIVATE KEY"); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ReadPEM(path+"x", "PRIVATE KEY"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
}

func TestLine(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "line")
	if err := CreateLine(path, " with spaces "); err != nil {
		t.Fatal(err)
	}
	for content, want := range map[string]string{
		" with spaces \n": " with spaces ", "a": "a", "a\n": "a", "a\r\n": "a",
		"": "", "\n": "", "a\nb": "", "a\n\n": "", "a\rb\n": "", "a\x00\n": "",
	} {
		if err := Replace(path, []byte(content)); err != nil {
			t.Fatal(err)
		}
		got, err := ReadLine(path)
		if got != want || (want == "") != errors.Is(err, ErrFormat) {
			t.Errorf("%q: %q, %v", content, got, err)
		}
	}
	for _, line := range []string{"", "a\nb", "a\n", "a\x00"} {
		if err := CreateLine(filepath.Join(dir, "new"), line); err == nil {
			t.Errorf("%q was taken as a line", line)
		}
	}
}

// What calls have left that were killed goes, and nothing else.
func TestRemoveUnfinished(t *testing.T) {
	dir := t.TempDir()
	tmp, err := writeTemp(filepath.Join(dir, "x"), []byte("half"))
	if err != nil {
		t.Fatal(err)
	}
	keep := []string{".new-", ".new-1a", ".new-key", "new-1", "x.new-1"}
	for _, name := range keep {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Mkdir(filepath.Join(dir, ".new-2"), 0o700), os.Symlink("x", filepath.Join(dir, ".new-3"))); err != nil {
		t.Fatal(err)
	}
	if err := RemoveUnfinished(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(tmp); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s: %v", tmp, err)
	}
	only(t, dir, ".new-", ".new-1a", ".new-2", ".new-3", ".new-key", "new-1", "x.new-1")
	if err := RemoveUnfinished(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
