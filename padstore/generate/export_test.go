package generate

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"parley"
	"parley/secure/otp"
)

// made returns the path of a fresh pad.
func made(t *testing.T, v otp.Version, size int64) string {
	t.Helper()
	s := spec(t.TempDir(), size, Urandom)
	s.Version = v
	r, err := Run(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return r.Files[0]
}

// options keep what is remembered of a test among its own files.
func options(t *testing.T, again bool) ExportOptions {
	return ExportOptions{Again: again, Marks: filepath.Join(t.TempDir(), "marks")}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestExport(t *testing.T) {
	for _, size := range []int64{otp.MinPad, 3*chunk + 77} {
		path := made(t, otp.V2, size)
		before := read(t, path)
		a, b := t.TempDir(), filepath.Join(t.TempDir(), "mine.pad")
		last := int64(0)
		got, err := Export(t.Context(), path, []End{{"bob", b}, {"alice", a}}, options(t, false), func(done, total int64) { last = done })
		if err != nil {
			t.Fatal(err)
		}
		if last != size || len(got) != 2 || got[0].Files[0] != b || got[1].Files[0] != filepath.Join(a, "alice.bob.pad") {
			t.Errorf("%+v, progress %d", got, last)
		}
		whole, err := otp.ParsePadHeader(before)
		if err != nil {
			t.Fatal(err)
		}
		for i, owner := range []int{1, 0} {
			end := read(t, got[i].Files[0])
			h, err := otp.ParsePadHeader(end)
			if err != nil || h.Owner != owner {
				t.Fatalf("%+v, %v", h, err)
			}
			if h.Owner = otp.Whole; fmt.Sprint(h) != fmt.Sprint(whole) || !bytes.Equal(end[otp.PadHeaderSize:], before[otp.PadHeaderSize:]) {
				t.Error("the end is another pad")
			}
			if got[i].SHA256 != fmt.Sprintf("%x", sha256.Sum256(end)) {
				t.Error("not the digest of the file")
			}
			if st, _ := os.Stat(got[i].Files[0]); st.Mode().Perm() != 0o600 {
				t.Error(st.Mode())
			}
		}
		if record := string(read(t, path+".exported")); strings.Count(record, "\n") != 2 || strings.Contains(record, got[0].SHA256) || !strings.Contains(record, "alice") {
			t.Error(record)
		}
		if !bytes.Equal(read(t, path), before) {
			t.Error("the whole pad has changed")
		}
		if left := names(t, filepath.Dir(path)); !slices.Equal(left, []string{"alice.bob.pad", "alice.bob.pad.exported"}) {
			t.Errorf("%v", left)
		}
	}
}

func TestExportV1(t *testing.T) {
	path := made(t, otp.V1, 5001)
	dir := filepath.Dir(path)
	a, b := t.TempDir(), t.TempDir()
	if _, err := Export(t.Context(), filepath.Join(dir, "bob.alice.random.metadata"), []End{{"alice", a}}, options(t, false), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := Export(t.Context(), path, []End{{"alice", b}}, options(t, false), nil); !errors.Is(err, ErrExported) {
		t.Error(err)
	}
	got, err := Export(t.Context(), path, []End{{"bob", b}}, options(t, false), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got[0].SHA256 != fmt.Sprintf("%x", sha256.Sum256(read(t, path))) {
		t.Error("not the digest of the store")
	}
	for to, stem := range map[string]string{a: "alice.bob.random.", b: "bob.alice.random."} {
		if left := names(t, to); !slices.Equal(left, []string{stem + "metadata", stem + "store"}) {
			t.Error(left)
		}
		for _, kind := range []string{"metadata", "store"} {
			if !bytes.Equal(read(t, filepath.Join(to, stem+kind)), read(t, filepath.Join(dir, stem+kind))) {
				t.Errorf("%s%s differs", stem, kind)
			}
		}
	}
}

func TestExportRefuses(t *testing.T) {
	v2, v1 := made(t, otp.V2, 100_000), made(t, otp.V1, 5000)
	owned := t.TempDir()
	if _, err := Export(t.Context(), v2, []End{{"alice", owned}}, options(t, false), nil); err != nil {
		t.Fatal(err)
	}
	damage := func(change func(b []byte) []byte) string {
		b := change(bytes.Clone(read(t, v2)))
		path := filepath.Join(t.TempDir(), "alice.bob.pad")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	used := func(change func(m *otp.MetadataV1)) string {
		path := made(t, otp.V1, 5000)
		name := filepath.Join(filepath.Dir(path), "alice.bob.random.metadata")
		m, err := otp.ParseMetadataV1(read(t, name))
		if err != nil {
			t.Fatal(err)
		}
		change(m)
		if err := os.WriteFile(name, m.Marshal(), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	journal := made(t, otp.V1, 5000)
	os.WriteFile(filepath.Join(filepath.Dir(journal), "bob.alice.random.journal"), nil, 0o600)
	incomplete := made(t, otp.V1, 5000)
	os.Remove(filepath.Join(filepath.Dir(incomplete), "bob.alice.random.metadata"))
	garbled := damage(func(b []byte) []byte { return b })
	os.WriteFile(garbled+".exported", []byte("{\n"), 0o600)
	for name, c := range map[string]struct {
		path string
		ends []End
		want error
	}{
		"handed out":       {v2, []End{{"alice", ""}}, ErrExported},
		"twice":            {v2, []End{{"bob", ""}, {"bob", ""}}, ErrExported},
		"a stranger":       {v2, []End{{"carol", ""}}, parley.ErrNoKey},
		"an end":           {filepath.Join(owned, "alice.bob.pad"), []End{{"bob", ""}}, ErrNotWhole},
		"its own place":    {v2, []End{{"bob", v2}}, fs.ErrExist},
		"missing":          {v2 + "x", []End{{"bob", ""}}, fs.ErrNotExist},
		"no folder":        {v2, []End{{"bob", owned + "/no/where.pad"}}, fs.ErrNotExist},
		"cut":              {damage(func(b []byte) []byte { return b[:len(b)-1] }), []End{{"bob", ""}}, parley.ErrMalformed},
		"longer":           {damage(func(b []byte) []byte { return append(b, 0) }), []End{{"bob", ""}}, parley.ErrMalformed},
		"short":            {damage(func(b []byte) []byte { return b[:100] }), []End{{"bob", ""}}, parley.ErrMalformed},
		"no header":        {damage(func(b []byte) []byte { b[9] ^= 1; return b }), []End{{"bob", ""}}, parley.ErrMalformed},
		"a hole":           {damage(func(b []byte) []byte { clear(b[60_000:61_000]); return b }), []End{{"bob", ""}}, ErrUnhealthy},
		"a record":         {garbled, []End{{"bob", ""}}, parley.ErrMalformed},
		"v1 used":          {used(func(m *otp.MetadataV1) { m.EncryptIndex = 50 }), []End{{"bob", ""}}, ErrNotWhole},
		"v1 received":      {used(func(m *otp.MetadataV1) { m.DecryptLog = "4999-4990," }), []End{{"bob", ""}}, ErrNotWhole},
		"v1 other size":    {used(func(m *otp.MetadataV1) { m.NBytes, m.DecryptMax = 6000, 5999 }), []End{{"bob", ""}}, ErrNotWhole},
		"v1 with journal":  {journal, []End{{"bob", ""}}, ErrNotWhole},
		"v1 incomplete":    {incomplete, []End{{"alice", ""}}, ErrNotWhole},
		"v1 name":          {filepath.Join(filepath.Dir(v1), "x.random.store"), []End{{"bob", ""}}, ErrNotWhole},
		"v1 there already": {v1, []End{{"bob", filepath.Dir(v1)}}, fs.ErrExist},
	} {
		to := t.TempDir()
		for i := range c.ends {
			if c.ends[i].To == "" {
				c.ends[i].To = to
			}
		}
		if _, err := Export(t.Context(), c.path, c.ends, options(t, false), nil); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if left := names(t, to); len(left) > 0 {
			t.Errorf("%s: left behind: %v", name, left)
		}
	}
	if _, err := Export(t.Context(), v1, []End{{"bob", filepath.Join(t.TempDir(), "x.pad")}}, options(t, false), nil); err == nil || !strings.Contains(err.Error(), "folder") {
		t.Error(err)
	}
	// Nothing that failed counts as handed out, and who insists gets another copy.
	if _, err := Export(t.Context(), v2, []End{{"bob", t.TempDir()}}, options(t, false), nil); err != nil {
		t.Error(err)
	}
	if _, err := Export(t.Context(), v2, []End{{"bob", t.TempDir()}}, options(t, true), nil); err != nil {
		t.Error(err)
	}
}

// TestConcurrentExports: of many, one hands the end out.
func TestConcurrentExports(t *testing.T) {
	path := made(t, otp.V2, 2*chunk)
	results := make(chan error)
	for range 6 {
		to := t.TempDir()
		go func() {
			_, err := Export(t.Context(), path, []End{{"bob", to}}, options(t, false), nil)
			results <- err
		}()
	}
	n := 0
	for range 6 {
		if err := <-results; err == nil {
			n++
		} else if !errors.Is(err, ErrExported) {
			t.Error(err)
		}
	}
	if n != 1 {
		t.Errorf("handed out %d times", n)
	}
}

// TestExportOfACopy: a copy of the whole pad under another name, without the record beside
// it, makes no second end; of version 1 neither.
func TestExportOfACopy(t *testing.T) {
	for _, v := range []otp.Version{otp.V1, otp.V2} {
		path := made(t, v, otp.MinPad)
		o := options(t, false)
		if _, err := Export(t.Context(), path, []End{{"alice", t.TempDir()}}, o, nil); err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		for _, name := range names(t, filepath.Dir(path)) {
			to := name
			if v == otp.V2 {
				to = "renamed.pad"
			}
			if !strings.HasSuffix(name, ".exported") {
				os.WriteFile(filepath.Join(dir, to), read(t, filepath.Join(filepath.Dir(path), name)), 0o600)
			}
		}
		second := filepath.Join(dir, filepath.Base(path))
		if v == otp.V2 {
			second = filepath.Join(dir, "renamed.pad")
		}
		if _, err := Export(t.Context(), second, []End{{"alice", t.TempDir()}}, o, nil); !errors.Is(err, ErrExported) {
			t.Errorf("v%d: %v", v, err)
		}
		if _, err := Export(t.Context(), second, []End{{"bob", t.TempDir()}}, o, nil); err != nil {
			t.Error(err)
		}
		if _, err := Export(t.Context(), path, []End{{"bob", t.TempDir()}}, o, nil); !errors.Is(err, ErrExported) {
			t.Errorf("v%d: %v", v, err)
		}
		// Where the pad's folder takes no record, the other one does.
		third := filepath.Join(t.TempDir(), filepath.Base(path))
		for _, name := range names(t, filepath.Dir(path)) {
			os.WriteFile(filepath.Join(filepath.Dir(third), name), read(t, filepath.Join(filepath.Dir(path), name)), 0o600)
		}
		os.Remove(third + ".exported")
		if os.Getuid() == 0 {
			continue // whom no mode keeps out
		}
		os.Chmod(filepath.Dir(third), 0o500)
		defer os.Chmod(filepath.Dir(third), 0o700)
		if _, err := Export(t.Context(), third, []End{{"alice", t.TempDir()}}, options(t, false), nil); err != nil {
			t.Error(err)
		}
	}
}
