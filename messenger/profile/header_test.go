package profile

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zalando/go-keyring"
)

// TestDamagedHeader: nothing that is not a whole profile.json is taken for one,
// and none makes Open work for long.
func TestDamagedHeader(t *testing.T) {
	p, dir := newProfile(t)
	p.Close()
	path := filepath.Join(dir, keyName)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	with := func(field string, value any) []byte {
		var m map[string]any
		json.Unmarshal(good, &m)
		if m[field] = value; value == nil {
			delete(m, field)
		}
		b, _ := json.Marshal(m)
		return b
	}
	cost := func(memory, passes, lanes int) []byte {
		return with("argon2id", map[string]int{"memory_kib": memory, "passes": passes, "lanes": lanes})
	}
	for _, c := range []struct {
		name string
		b    []byte
		want error
	}{
		{"empty", nil, ErrDamaged},
		{"garbage", []byte("\x00\xff garbage"), ErrDamaged},
		{"null", []byte("null"), ErrDamaged},
		{"list", []byte("[]"), ErrDamaged},
		{"cut", good[:len(good)-10], ErrDamaged},
		{"twice", append(good[:len(good):len(good)], good...), ErrDamaged},
		{"format", with("format", "x"), ErrDamaged},
		{"no version", with("version", nil), ErrDamaged},
		{"version 0", with("version", 0), ErrDamaged},
		{"newer", with("version", 2), ErrNewer},
		{"unknown field", with("extra", 1), ErrDamaged},
		{"ID", with("id", "x"), ErrDamaged},
		{"another ID", with("id", strings.Repeat("0", 32)), ErrPassphrase},
		{"secret", with("secret", "none"), ErrDamaged},
		{"no cost", with("argon2id", nil), ErrDamaged},
		{"kept by the keyring and stretched", with("secret", "keyring"), ErrDamaged},
		{"salt", with("salt", "AAAA"), ErrDamaged},
		{"nonce", with("nonce", ""), ErrDamaged},
		{"key", with("key", nil), ErrDamaged},
		{"another key", with("key", strings.Repeat("A", 64)), ErrPassphrase},
		{"cheaper", cost(32, 1, 1), ErrPassphrase},
		{"4 TiB", cost(1<<32-1, 1, 1), ErrDamaged},
		{"over 1 GiB", cost(1<<20+1, 1, 1), ErrDamaged},
		{"no memory", cost(0, 1, 1), ErrDamaged},
		{"no passes", cost(64, 0, 1), ErrDamaged},
		{"passes", cost(64, 17, 1), ErrDamaged},
		{"no lanes", cost(64, 1, 0), ErrDamaged},
		{"lanes", cost(1<<20, 1, 17), ErrDamaged},
		{"too large a number", cost(1<<40, 1, 1), ErrDamaged},
	} {
		if err := os.WriteFile(path, c.b, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir, options()); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	for n := range len(good) - 2 {
		os.WriteFile(path, good[:n], 0o600)
		if _, err := NeedsPassphrase(dir); !errors.Is(err, ErrDamaged) {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
	os.WriteFile(path, good, 0o600)
	if p, err := Open(dir, options()); err != nil {
		t.Error(err)
	} else {
		p.Close()
	}
}

func TestCostBounds(t *testing.T) {
	o := options()
	o.Cost = &Cost{MemoryKiB: 1 << 30, Passes: 1, Lanes: 1}
	dir := filepath.Join(t.TempDir(), "p")
	if _, err := Create(dir, o); err == nil || Exists(dir) {
		t.Errorf("created with a cost that cannot be opened: %v", err)
	}
	if err := DefaultCost.check(); err != nil {
		t.Error(err)
	}
}

// FuzzHeader: reading profile.json never fails in another way than by its errors.
func FuzzHeader(f *testing.F) {
	keyring.MockInit()
	h, _, err := newHeader(options())
	if err != nil {
		f.Fatal(err)
	}
	b, _ := json.Marshal(h)
	f.Add(b)
	f.Add([]byte(`{"format":"parley profile","version":1}`))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(filepath.Join(dir, keyName), b, 0o600); err != nil {
			t.Fatal(err)
		}
		h, err := readHeader(dir)
		if err != nil {
			if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNewer) && len(b) < 1<<20 {
				t.Fatal(err)
			}
			return
		}
		if h.Cost != nil && h.Cost.MemoryKiB > 1<<16 { // allowed, but not here
			return
		}
		if _, err := h.unwrap(Keyring()); err == nil {
			t.Fatal("opened without its secret")
		}
	})
}
