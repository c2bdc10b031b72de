package profile

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// with runs do on the bucket of a line, flushes, and commits.
func with(t testing.TB, p *Profile, line int64, do func(b *Bucket)) {
	t.Helper()
	err := p.Tx(t.Context(), func(tx *Tx) error {
		b, err := tx.Bucket(line)
		if err != nil {
			return err
		}
		do(b)
		return b.Flush()
	})
	if err != nil {
		t.Fatal(err)
	}
}

func show(b *Bucket, prefix string) string {
	var s []string
	for k, v := range b.Scan(prefix) {
		s = append(s, fmt.Sprintf("%s=%s", k, v))
	}
	return strings.Join(s, " ")
}

func contents(t testing.TB, p *Profile, line int64) (s string) {
	t.Helper()
	with(t, p, line, func(b *Bucket) { s = show(b, "") })
	return s
}

func TestBucket(t *testing.T) {
	p, _ := newProfile(t)
	with(t, p, 1, func(b *Bucket) {
		if b.Get("a") != nil || show(b, "") != "" {
			t.Error("a new bucket is not empty")
		}
		b.Put("b", []byte("2"))
		b.Put("a", []byte("1"))
		b.Put("ab", []byte("x"))
		b.Put("empty", nil)
		b.Put("\x00\xff", []byte("bin"))
		if v := b.Get("empty"); v == nil || len(v) != 0 {
			t.Errorf("an empty value is %v", v)
		}
		if got := show(b, "a"); got != "a=1 ab=x" {
			t.Error(got)
		}
	})
	with(t, p, 2, func(b *Bucket) { b.Put("a", []byte("other line")) })
	p = reopen(t, p)
	if got := contents(t, p, 1); got != "\x00\xff=bin a=1 ab=x b=2 empty=" {
		t.Errorf("%q", got)
	}
	with(t, p, 1, func(b *Bucket) {
		for k := range b.Scan("") { // written while it is scanned
			b.Delete(k)
			b.Put("z", []byte("9"))
		}
		b.Put("b", []byte("3"))
		b.Delete("no such key")
	})
	if got := contents(t, p, 1) + "; " + contents(t, p, 2); got != "b=3 z=9; a=other line" {
		t.Error(got)
	}
}

func TestChanged(t *testing.T) {
	p, _ := newProfile(t)
	with(t, p, 1, func(b *Bucket) {
		if b.Changed() {
			t.Error("nothing was written")
		}
		b.Savepoint()
		b.Put("a", []byte("1"))
		if !b.Changed() {
			t.Error("something was")
		}
		b.Rollback()
		if b.Changed() {
			t.Error("it was taken back")
		}
		b.Put("a", []byte("1"))
		if err := b.Flush(); err != nil || b.Changed() {
			t.Error("it was flushed", err)
		}
		b.Put("a", []byte("1"))
		if b.Changed() {
			t.Error("the same value is no change")
		}
	})
}

func TestBucketCopies(t *testing.T) {
	p, _ := newProfile(t)
	with(t, p, 1, func(b *Bucket) {
		v := []byte("value")
		b.Put("k", v)
		clear(v)
		clear(b.Get("k"))
		for _, v := range b.Scan("") {
			clear(v)
		}
		if string(b.Get("k")) != "value" {
			t.Error("the bucket shares memory with its user")
		}
	})
}

func TestSavepoints(t *testing.T) {
	p, _ := newProfile(t)
	with(t, p, 1, func(b *Bucket) { b.Put("k", []byte("0")) })
	with(t, p, 1, func(b *Bucket) {
		b.Put("k", []byte("1"))
		b.Savepoint()
		b.Put("k", []byte("2"))
		b.Savepoint()
		b.Delete("k")
		b.Put("junk", nil)
		b.Rollback()
		if got := show(b, ""); got != "k=2" {
			t.Error(got)
		}
		b.Rollback()
		if got := show(b, ""); got != "k=1" {
			t.Error(got)
		}
		b.Rollback()
		if got := show(b, ""); got != "k=0" {
			t.Error(got)
		}
		b.Savepoint()
		b.Put("k", []byte("4"))
		if err := b.Flush(); err != nil {
			t.Error(err)
		}
		b.Put("k", []byte("5"))
		b.Rollback() // the savepoint went with the flush
		if got := show(b, ""); got != "k=4" {
			t.Error(got)
		}
	})
	if got := contents(t, p, 1); got != "k=4" {
		t.Error(got)
	}
}

func TestBucketCommitsWithItsTx(t *testing.T) {
	p, _ := newProfile(t)
	boom := errors.New("boom")
	err := p.Tx(t.Context(), func(tx *Tx) error {
		b, _ := tx.Bucket(1)
		b.Put("k", []byte("lost"))
		if err := b.Flush(); err != nil {
			t.Error(err)
		}
		return boom
	})
	if !errors.Is(err, boom) || contents(t, p, 1) != "" {
		t.Error(err)
	}
	if err := p.Tx(t.Context(), func(tx *Tx) error {
		b, _ := tx.Bucket(1)
		b.Put("k", nil)
		return nil
	}); err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("forgotten flush: %v", err)
	}
	if err := p.Tx(t.Context(), func(tx *Tx) error {
		b, _ := tx.Bucket(1)
		b.Put("k", []byte("1"))
		c, err := p.Bucket(tx, 1)
		if err != nil || c != b || string(c.Get("k")) != "1" {
			t.Error("another bucket for the same line")
		}
		b.Rollback()
		return nil
	}); err != nil {
		t.Error(err)
	}
}

func TestForget(t *testing.T) {
	p, _ := newProfile(t)
	for line := range int64(3) {
		with(t, p, line, func(b *Bucket) { b.Put("k", []byte{'0' + byte(line)}) })
	}
	for _, line := range []int64{1, 99} {
		if err := p.Tx(t.Context(), func(tx *Tx) error { return tx.Forget(line) }); err != nil {
			t.Fatal(err)
		}
	}
	p = reopen(t, p)
	if got := contents(t, p, 0) + contents(t, p, 1) + contents(t, p, 2); got != "k=0k=2" {
		t.Error(got)
	}
	var n int
	p.DB().QueryRow("SELECT (SELECT count(*) FROM line_state WHERE line = 1) + (SELECT count(*) FROM line_head WHERE line = 1)").Scan(&n)
	if n != 0 {
		t.Error("rows stayed")
	}
	with(t, p, 1, func(b *Bucket) { b.Put("k", []byte("new")) })
	if got := contents(t, reopen(t, p), 1); got != "k=new" {
		t.Error(got)
	}
}

// TestBucketIsAMap compares it with a map over random steps.
func TestBucketIsAMap(t *testing.T) {
	p, _ := newProfile(t)
	r := rand.New(rand.NewPCG(1, 2))
	want := map[string]string{}
	for range 60 {
		kept := maps.Clone(want)
		commit := r.IntN(4) > 0
		err := p.Tx(t.Context(), func(tx *Tx) error {
			b, err := tx.Bucket(7)
			if err != nil {
				return err
			}
			var saved []map[string]string
			for range r.IntN(12) {
				k := fmt.Sprint("k", r.IntN(9))
				switch r.IntN(6) {
				case 0:
					b.Delete(k)
					delete(want, k)
				case 1:
					b.Savepoint()
					saved = append(saved, maps.Clone(want))
				case 2:
					if n := len(saved); n > 0 {
						b.Rollback()
						want, saved = saved[n-1], saved[:n-1]
					}
				default:
					v := fmt.Sprint(r.IntN(1000))
					b.Put(k, []byte(v))
					want[k] = v
				}
			}
			var all []string
			for _, k := range slices.Sorted(maps.Keys(want)) {
				all = append(all, k+"="+want[k])
			}
			if got := show(b, ""); got != strings.Join(all, " ") {
				t.Fatalf("%s, want %v", got, all)
			}
			if err := b.Flush(); err != nil {
				return err
			}
			if !commit {
				return errors.New("not this time")
			}
			return nil
		})
		if (err == nil) != commit {
			t.Fatal(err)
		}
		if !commit {
			want = kept
		}
	}
}

func TestMAC(t *testing.T) {
	p, _ := newProfile(t)
	q, _ := newProfile(t)
	b := func(s string) []byte { return []byte(s) }
	seen := map[[32]byte]string{}
	for name, m := range map[string][32]byte{
		"a|b,c": p.MAC("a", b("b"), b("c")), "a|bc": p.MAC("a", b("bc")), "ab|c": p.MAC("ab", b("c")),
		"a|b,,c": p.MAC("a", b("b"), nil, b("c")), "a|": p.MAC("a", nil), "a": p.MAC("a"), "other": q.MAC("a", b("b"), b("c")),
		"state": mac(p.keys.state, "a", b("b"), b("c")),
	} {
		if was, ok := seen[m]; ok {
			t.Errorf("%s and %s are the same", name, was)
		}
		seen[m] = name
	}
	if m := p.MAC("a", b("bc")); seen[m] != "a|bc" {
		t.Error("not repeatable")
	}
	if bytes.Equal(p.keys.state, p.keys.pins) || bytes.Equal(p.keys.database, p.keys.state) {
		t.Error("keys are the same")
	}
}
