package server

import (
	"crypto/rand"
	"encoding/base64"
	"os"
	"path/filepath"
	"testing"

	"parley/padstore"
	"parley/secure/otp"
)

// With --allow-all a test may put the same unused pad of version 1 into one folder after
// the other; without it the second one is a used pad that was put back. What was used
// with the one can be used with the other.
func TestAllowAllFreshPad(t *testing.T) {
	pad := make([]byte, 4096)
	rand.Read(pad)
	marks := t.TempDir()
	fresh := func() string {
		t.Helper()
		dir := t.TempDir()
		m := otp.NewMetadataV1("alice", "bob", int64(len(pad)), "urandom", true)
		for name, b := range map[string][]byte{m.StoreFilename: pad, m.MetadataFilename: m.Marshal()} {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	first := func(dir string, all bool) int64 {
		t.Helper()
		o := padstore.Options{Marks: marks}
		if all {
			o.Salt = testSalt(dir)
		}
		p, err := padstore.Open(filepath.Join(dir, "alice.bob.random.store"), o)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		packet, err := p.PackageOnce(t.Context(), []byte("hello"))
		if err != nil {
			t.Fatal(err)
		}
		at, _, err := otp.ParseV1(packet)
		if err != nil {
			t.Fatalf("%s: %v", base64.StdEncoding.EncodeToString(packet), err)
		}
		return at
	}
	use := otp.UseV1(5)
	one, two := fresh(), fresh()
	for i, got := range []int64{first(one, true), first(two, true), first(one, true), first(one, false), first(one, true)} {
		if want := []int64{0, 0, use, 2 * use, 3 * use}[i]; got != want {
			t.Errorf("%d: at %d, want %d", i, got, want)
		}
	}
	if a, b := first(fresh(), false), first(fresh(), false); a != 0 || b != use {
		t.Errorf("without: at %d and %d", a, b)
	}
	salt := testSalt(one)
	if err := os.Remove(filepath.Join(one, saltName)); err != nil || len(salt) != 16 {
		t.Fatal(err, len(salt))
	}
}
