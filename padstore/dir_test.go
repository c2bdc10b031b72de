package padstore

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"parley"
	"parley/internal/keyfile"
	"parley/secure/otp"
)

func TestDir(t *testing.T) {
	w := newWorld(t, otp.V2, 4000)
	v1 := newWorld(t, otp.V1, 4000)
	dir := w.dirs[0]
	d, err := OpenDir(dir, w.options(0))
	check(t, err)
	defer d.Close()
	if all := d.All(); len(all) != 1 || all[0].Peer() != "bob" || all[0].Version() != otp.V2 {
		t.Fatalf("%v", all)
	}
	for _, names := range [][2]parley.Name{{"alice", "carol"}, {"bob", "alice"}, {"..", "x"}, {"../alice", "bob"}, {"", "bob"}, {"alice", "bob/"}, {"a\x00", "b"}} {
		_, err := d.Find(names[0], names[1])
		is(t, err, parley.ErrNoKey)
	}
	// A pad that comes later is found; the same pair's of version 1 is not looked at.
	for _, name := range []string{otp.MetadataNameV1("alice", "bob"), otp.StoreNameV1("alice", "bob")} {
		b, err := os.ReadFile(filepath.Join(v1.dirs[0], name))
		check(t, err)
		check(t, os.WriteFile(filepath.Join(dir, name), b, 0o644)) // as the original makes it
	}
	m := otp.NewMetadataV1("dave", "alice", 1000, "urandom", false)
	check(t, os.WriteFile(filepath.Join(dir, m.MetadataFilename), m.Marshal(), 0o644))
	check(t, os.WriteFile(filepath.Join(dir, m.StoreFilename), randomBytes(3, 1000), 0o644))
	p, err := d.Find("dave", "alice")
	check(t, err)
	if st, _ := os.Stat(p.Path()); st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", st.Mode())
	}
	if p, err := d.Find("alice", "bob"); err != nil || p.Version() != otp.V2 {
		t.Error(p, err)
	}
	as := d.As("dave")
	packet, err := as.Package(ctx, id(1), "alice", []byte("hi"))
	check(t, err)
	check(t, as.Done(ctx, "alice", otp.Digest(packet)))
	_, err = as.Unpackage(ctx, "alice", packet)
	is(t, err, parley.ErrMalformed)
	s, err := as.Status(ctx, "alice")
	if err != nil || s.Version != otp.V1 || s.Self != "dave" || s.Source != "urandom" || s.Unconditional {
		t.Errorf("%+v, %v", s, err)
	}
	for _, err := range []error{
		func() error { _, err := as.Package(ctx, id(1), "x", nil); return err }(), as.Done(ctx, "x", [32]byte{}),
		func() error { _, err := as.Unpackage(ctx, "x", nil); return err }(), func() error { _, err := as.Status(ctx, "x"); return err }(),
	} {
		is(t, err, parley.ErrNoKey)
	}
	// One that is damaged is told once, and the others are there.
	check(t, os.WriteFile(filepath.Join(dir, "alice.eve.pad"), []byte("no pad"), 0o600))
	w.told()
	for range 2 {
		if all := d.All(); len(all) != 3 {
			t.Fatalf("%d pads", len(all))
		}
	}
	if told := w.told(); !slices.Equal(told, []string{Damaged}) {
		t.Errorf("told %v", told)
	}
	_, err = d.Find("alice", "eve")
	is(t, err, parley.ErrMalformed)
	// One under another name is not taken for what it is called.
	b, _ := os.ReadFile(w.paths[1])
	check(t, os.WriteFile(filepath.Join(dir, "alice.carol.pad"), b, 0o600))
	_, err = d.Find("alice", "carol")
	is(t, err, parley.ErrMalformed)
	// One that was replaced is opened anew.
	check(t, os.Remove(w.paths[0]))
	_, err = d.Find("alice", "bob") // version 1's, now
	check(t, err)
	if _, err := p.Package(ctx, id(5), "alice", nil); err != nil {
		t.Error(err)
	}
	check(t, d.Close())
	_, err = d.Find("dave", "alice")
	is(t, err, ErrClosed)
	_, err = OpenDir(filepath.Join(dir, "none"), w.options(0))
	is(t, err, fs.ErrNotExist)
	_, err = OpenDir(filepath.Join(dir, "alice.eve.pad"), w.options(0))
	is(t, err, parley.ErrRefused)
}

func TestOpenRefuses(t *testing.T) {
	w := newWorld(t, otp.V2, 4000)
	good, err := os.ReadFile(w.paths[0])
	check(t, err)
	try := func(name string, b []byte, mode fs.FileMode) error {
		path := filepath.Join(t.TempDir(), name)
		check(t, os.WriteFile(path, b, mode))
		p, err := Open(path, w.options(0))
		if err == nil {
			p.Close()
		}
		return err
	}
	check(t, try("alice.bob.pad", good, 0o600))
	is(t, try("alice.bob.pad", good, 0o640), keyfile.ErrExposed)
	is(t, try("alice.bob.pad", good[:len(good)-1], 0o600), parley.ErrMalformed)
	is(t, try("alice.bob.pad", append(good[:len(good):len(good)], 0), 0o600), parley.ErrMalformed)
	is(t, try("alice.bob.pad", good[:100], 0o600), parley.ErrMalformed)
	_, err = Open(filepath.Join(t.TempDir(), "alice.bob.pad"), w.options(0))
	is(t, err, fs.ErrNotExist)
	_, err = Open(filepath.Join(t.TempDir(), "alice.bob.random.store"), w.options(0))
	is(t, err, fs.ErrNotExist)
	for name, change := range map[string]func(*otp.MetadataV1){
		"elsewhere":        func(m *otp.MetadataV1) { m.StoreFilename = "../alice.bob.random.store" },
		"parent":           func(m *otp.MetadataV1) { m.StoreFilename = ".." },
		"longer":           func(m *otp.MetadataV1) { m.NBytes = 5000 },
		"a log":            func(m *otp.MetadataV1) { m.DecryptLog = "x" },
		"decrypt_max":      func(m *otp.MetadataV1) { m.DecryptMax = 1 << 40 },
		"decrypt_max, low": func(m *otp.MetadataV1) { m.DecryptMax = -2 },
	} {
		dir := t.TempDir()
		m := otp.NewMetadataV1("alice", "bob", 4000, "random", true)
		check(t, os.WriteFile(filepath.Join(dir, m.StoreFilename), randomBytes(1, 4000), 0o600))
		change(m)
		path := filepath.Join(dir, m.MetadataFilename)
		check(t, os.WriteFile(path, m.Marshal(), 0o600))
		if _, err := Open(path, w.options(0)); !errors.Is(err, parley.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A journal of another pad, and a damaged one.
	a := w.open(0)
	pack(t, a, 1, "x")
	pack(t, a, 2, "y")
	check(t, a.Close())
	j, err := os.ReadFile(w.paths[0] + ".journal")
	check(t, err)
	check(t, os.WriteFile(w.paths[1]+".journal", j, 0o600))
	_, err = Open(w.paths[1], w.options(1))
	is(t, err, parley.ErrMalformed)
	last := len(j) - 130
	for i := 0; i < last; i += 5 {
		bad := slices.Clone(j)
		bad[i] ^= 0x10
		check(t, os.WriteFile(w.paths[0]+".journal", bad, 0o600))
		if p, err := Open(w.paths[0], w.options(0)); !errors.Is(err, parley.ErrMalformed) {
			p.Close()
			t.Fatalf("byte %d of %d changed: %v", i, len(j), err)
		}
	}
}

// TestWhole: a pad that is not split yet can be looked at, and nothing else.
func TestWhole(t *testing.T) {
	dir := t.TempDir()
	head, err := header(10000, 5000, otp.Whole).Marshal()
	check(t, err)
	path := filepath.Join(dir, "alice.bob.pad")
	check(t, os.WriteFile(path, append(head, randomBytes(8, 10000)...), 0o600))
	whole, err := Open(path, Options{Marks: filepath.Join(dir, "marks")})
	check(t, err)
	_, err = whole.Package(ctx, id(1), "bob", nil)
	is(t, err, parley.ErrRefused)
	s, err := whole.Status(ctx, "bob")
	if err != nil || s.Held == "" || s.Left != 0 {
		t.Errorf("%+v, %v", s, err)
	}
	check(t, whole.Check(ctx, nil))
	check(t, whole.Close())
	_, err = Recover(path, Options{Marks: filepath.Join(dir, "marks")})
	is(t, err, parley.ErrRefused)
}
