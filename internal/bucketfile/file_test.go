package bucketfile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"parley"
)

func create(t testing.TB) *File {
	t.Helper()
	f, err := Create(filepath.Join(t.TempDir(), "topics", "state"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func reopen(t testing.TB, path string) *File {
	t.Helper()
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func put(t testing.TB, f *File, kv ...string) {
	t.Helper()
	err := f.Update(func(b parley.Bucket) error {
		for i := 0; i < len(kv); i += 2 {
			b.Put(kv[i], []byte(kv[i+1]))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func contents(t testing.TB, f *File) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := f.View(func(b parley.Bucket) error {
		for k, v := range b.Scan("") {
			all[k] = string(v)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestCommits(t *testing.T) {
	f := create(t)
	put(t, f, "b", "2", "a", "1", "empty", "")
	refused := errors.New("refused")
	err := f.Update(func(b parley.Bucket) error {
		b.Put("a", []byte("other"))
		b.Delete("b")
		b.Put("c", []byte("3"))
		b.Put("c", []byte("4"))
		if string(b.Get("a")) != "other" || b.Get("b") != nil {
			t.Error("a transaction doesn't see what it wrote")
		}
		return refused
	})
	if !errors.Is(err, refused) {
		t.Fatal(err)
	}
	want := map[string]string{"a": "1", "b": "2", "empty": ""}
	if got := contents(t, f); !maps.Equal(got, want) {
		t.Errorf("after a refused commit: %v", got)
	}
	if got := contents(t, reopen(t, f.path)); !maps.Equal(got, want) {
		t.Errorf("reopened: %v", got)
	}
	if err := f.View(func(b parley.Bucket) error { b.Put("a", []byte("x")); b.Delete("b"); return nil }); err != nil {
		t.Fatal(err)
	}
	if got := contents(t, f); !maps.Equal(got, want) {
		t.Errorf("after a View that writes: %v", got)
	}
	if st, _ := os.Stat(f.path); st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", st.Mode())
	}
	if _, err := Create(f.path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Create over a file: %v", err)
	}
	if _, err := Open(f.path + "x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open of nothing: %v", err)
	}
	os.Chmod(f.path, 0o640)
	if _, err := Open(f.path); !errors.Is(err, ErrExposed) {
		t.Errorf("an exposed file: %v", err)
	}
}

func TestScanIsOrderedAndByPrefix(t *testing.T) {
	f := create(t)
	put(t, f, "x/2", "b", "x/1", "a", "y", "-", "x", "-", "x/3", "c")
	var got []string
	f.Update(func(b parley.Bucket) error {
		for k, v := range b.Scan("x/") {
			got = append(got, k+"="+string(v))
			b.Delete("x/3") // as it was when it began, less what is gone
		}
		return nil
	})
	if fmt.Sprint(got) != "[x/1=a x/2=b]" {
		t.Errorf("%v", got)
	}
}

// A crash may cut the last record anywhere: then that commit never happened, and
// the file goes on from there.
func TestTornTail(t *testing.T) {
	f := create(t)
	put(t, f, "a", "1")
	before, _ := os.ReadFile(f.path)
	put(t, f, "a", "2", "b", "much longer than before")
	whole, _ := os.ReadFile(f.path)
	f.Close()
	for cut := len(before); cut < len(whole); cut++ {
		torn := append(bytes.Clone(whole[:cut]), bytes.Repeat([]byte{0}, (cut%3)*5)...)
		if cut%3 != 0 && cut < len(whole)-20 {
			torn[len(torn)-1] ^= 0x80
		}
		path := filepath.Join(t.TempDir(), "state")
		os.WriteFile(path, torn, 0o600)
		g := reopen(t, path)
		if got := contents(t, g); !maps.Equal(got, map[string]string{"a": "1"}) {
			t.Fatalf("cut at %d: %v", cut, got)
		}
		put(t, g, "c", "3")
		if got := contents(t, reopen(t, path)); got["c"] != "3" || got["a"] != "1" {
			t.Fatalf("cut at %d, then written: %v", cut, got)
		}
	}
}

func TestDamageIsTold(t *testing.T) {
	f := create(t)
	put(t, f, "a", "1")
	put(t, f, "b", "2")
	put(t, f, "c", "3")
	whole, _ := os.ReadFile(f.path)
	last := len(appendRecord(nil, f.name, 3, appendPut(nil, "c", []byte("3"))))
	for at := range len(whole) - last {
		bad := bytes.Clone(whole)
		bad[at] ^= 1
		path := filepath.Join(t.TempDir(), "state")
		os.WriteFile(path, bad, 0o600)
		if _, err := Open(path); !errors.Is(err, ErrDamaged) {
			t.Errorf("a changed byte at %d: %v", at, err)
		}
		if now, _ := os.ReadFile(path); !bytes.Equal(now, bad) {
			t.Fatalf("a changed byte at %d: the file was changed too", at)
		}
	}
	for _, text := range []string{"", "parley state 2\n", magic, magic + "\x00\x00\x00\x10"} {
		path := filepath.Join(t.TempDir(), "state")
		os.WriteFile(path, []byte(text), 0o600)
		if _, err := Open(path); !errors.Is(err, ErrDamaged) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// Two handles, as two processes have them, see each other's commits, also across
// a rewrite.
func TestTwoAtOnce(t *testing.T) {
	one := create(t)
	two := reopen(t, one.path)
	want := map[string]string{}
	r := rand.New(rand.NewPCG(1, 2))
	big := string(bytes.Repeat([]byte("x"), 3000))
	for i := range 300 {
		f := []*File{one, two}[r.IntN(2)]
		k, v := fmt.Sprint(r.IntN(20)), fmt.Sprint(i)+big[:r.IntN(len(big))]
		put(t, f, k, v)
		want[k] = v
	}
	for _, f := range []*File{one, two, reopen(t, one.path)} {
		if !maps.Equal(contents(t, f), want) {
			t.Fatal("the handles differ")
		}
	}
	if st, _ := os.Stat(one.path); st.Size() > int64(3*20*3100+slack) {
		t.Errorf("the file has %d bytes and was never rewritten", st.Size())
	}
}

func TestCountersAreNeverGivenTwice(t *testing.T) {
	f := create(t)
	done := make(chan map[string]bool)
	for range 4 {
		g := reopen(t, f.path)
		go func() {
			mine := map[string]bool{}
			for range 50 {
				err := g.Update(func(b parley.Bucket) error {
					n := len(b.Get("n"))
					b.Put("n", make([]byte, n+1))
					mine[fmt.Sprint(n)] = true
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
			done <- mine
		}()
	}
	all := map[string]bool{}
	for range 4 {
		maps.Copy(all, <-done)
	}
	if len(all) != 200 {
		t.Errorf("200 commits got %d numbers", len(all))
	}
}

func FuzzOpen(f *testing.F) {
	g := create(f)
	put(f, g, "a", "1", "b", "")
	put(f, g, "a", "2")
	whole, _ := os.ReadFile(g.path)
	f.Add(whole)
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "state")
		os.WriteFile(path, b, 0o600)
		g, err := Open(path)
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		defer g.Close()
		put(t, g, "z", "1")
		if contents(t, reopen(t, path))["z"] != "1" {
			t.Error("a commit is lost")
		}
	})
}
