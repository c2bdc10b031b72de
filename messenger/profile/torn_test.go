package profile

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// sector is what a disk writes in one piece, in bytes, when the power fails.
const sector = 512

// image is the content of the files of a database at one instant.
type image map[string][]byte

func snapshot(t testing.TB, dir string) image {
	t.Helper()
	im := image{}
	for _, name := range []string{dbName, dbName + "-wal"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		im[name] = b
	}
	return im
}

// torn mixes two images of a file: sector i is the new one where pick says so.
// The length is the new one's where its last sector is.
func torn(before, after []byte, pick func(i, n int) bool) []byte {
	n := (max(len(before), len(after)) + sector - 1) / sector
	out := make([]byte, 0, n*sector)
	end := 0
	for i := range n {
		from := before
		if pick(i, n) {
			from = after
		}
		out = append(out, make([]byte, sector)...)
		if i*sector < len(from) {
			copy(out[i*sector:], from[i*sector:min(len(from), (i+1)*sector)])
			end = (i + 1) * sector
		}
	}
	return out[:end]
}

// tears are the ways in which some sectors of a write got to disk and others
// did not.
func tears(before, after []byte) (all [][]byte) {
	var differ []int
	for i := range (max(len(before), len(after)) + sector - 1) / sector {
		at := func(b []byte) []byte { return b[min(len(b), i*sector):min(len(b), (i+1)*sector)] }
		if !bytes.Equal(at(before), at(after)) {
			differ = append(differ, i)
		}
	}
	r := rand.New(rand.NewPCG(uint64(len(before)), uint64(len(after))))
	cuts := 25
	if testing.Short() {
		cuts = 5
	}
	r.Shuffle(len(differ), func(i, j int) { differ[i], differ[j] = differ[j], differ[i] })
	for _, cut := range differ[:min(cuts, len(differ))] {
		all = append(all,
			torn(before, after, func(i, _ int) bool { return i <= cut }),
			torn(before, after, func(i, _ int) bool { return i > cut }))
	}
	for range cuts / 3 {
		all = append(all, torn(before, after, func(int, int) bool { return r.IntN(2) == 0 }))
	}
	return all
}

// survives opens a copy and reports which notes it has.
func survives(t testing.TB, home, dir string, files image) (string, error) {
	t.Helper()
	removeDatabase(filepath.Join(dir, dbName))
	b, err := os.ReadFile(filepath.Join(home, keyName))
	if err != nil {
		t.Fatal(err)
	}
	files[keyName] = b
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p, err := Open(dir, options())
	if err != nil {
		return "", err
	}
	defer p.Close()
	var check, s string
	if err := p.DB().QueryRow("PRAGMA integrity_check").Scan(&check); err != nil || check != "ok" {
		return "", fmt.Errorf("integrity: %s %v", check, err)
	}
	err = p.DB().QueryRow("SELECT coalesce(group_concat(text ORDER BY n), '') FROM notes").Scan(&s)
	return s, err
}

func tornDir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestTornCommit: the power fails while a commit writes the log. Whatever part of
// it got to disk, all commits before are there, and this one wholly or not at all.
func TestTornCommit(t *testing.T) {
	commits := 9
	if testing.Short() {
		commits = 4
	}
	p, dir := newProfile(t)
	copyDir := tornDir(t)
	tried := 0
	for i := range commits {
		before, have := snapshot(t, dir), notes(t, p)
		text := fmt.Sprint("n", i)
		if i%3 == 2 {
			text = strings.Repeat("long", 1500) // several pages
		}
		note(t, p, text)
		after, then := snapshot(t, dir), notes(t, p)
		if !bytes.Equal(before[dbName], after[dbName]) {
			t.Fatal("the commit wrote the database itself")
		}
		for _, wal := range tears(before[dbName+"-wal"], after[dbName+"-wal"]) {
			tried++
			got, err := survives(t, dir, copyDir, image{dbName: after[dbName], dbName + "-wal": wal})
			if err != nil {
				t.Fatalf("commit %d: %v", i, err)
			}
			if got != have && got != then {
				t.Fatalf("commit %d: have %d bytes of notes, neither the %d before nor the %d after", i, len(got), len(have), len(then))
			}
		}
	}
	t.Logf("%d torn logs", tried)
}

// TestTornCheckpoint: the power fails while the log is moved into the database.
func TestTornCheckpoint(t *testing.T) {
	p, dir := newProfile(t)
	copyDir := tornDir(t)
	tried := 0
	for round := range 2 {
		for i := range 6 {
			note(t, p, fmt.Sprint(round, i), strings.Repeat("x", 3000*i))
		}
		want := notes(t, p)
		before := snapshot(t, dir)
		if _, err := p.writer.ExecContext(t.Context(), "PRAGMA wal_checkpoint(FULL)"); err != nil {
			t.Fatal(err)
		}
		after := snapshot(t, dir)
		if !bytes.Equal(before[dbName+"-wal"], after[dbName+"-wal"]) || bytes.Equal(before[dbName], after[dbName]) {
			t.Fatal("not a checkpoint that leaves the log")
		}
		for _, db := range tears(before[dbName], after[dbName]) {
			tried++
			got, err := survives(t, dir, copyDir, image{dbName: db, dbName + "-wal": after[dbName+"-wal"]})
			if err != nil || got != want {
				t.Fatalf("round %d: %d bytes of notes, not %d: %v", round, len(got), len(want), err)
			}
		}
		// The next commit starts the log anew, over the old one. SQLite syncs the
		// new header before it writes more, so the first block is never wholly old
		// when a later one is new; a torn one cannot be decrypted, and voids the log.
		note(t, p, "restart")
		then, last := snapshot(t, dir), notes(t, p)
		old := after[dbName+"-wal"]
		for _, wal := range tears(old, then[dbName+"-wal"]) {
			if bytes.HasPrefix(wal, old[:blockSize]) && !bytes.Equal(wal, old) {
				continue
			}
			tried++
			got, err := survives(t, dir, copyDir, image{dbName: then[dbName], dbName + "-wal": wal})
			if err != nil || got != want && got != last {
				t.Fatalf("round %d: restart: %d bytes of notes: %v", round, len(got), err)
			}
		}
	}
	t.Logf("%d torn files", tried)
}

// TestCutLog: a log of any length opens, with a prefix of the commits.
func TestCutLog(t *testing.T) {
	p, dir := newProfile(t)
	copyDir := tornDir(t)
	sizes := []int{len(snapshot(t, dir)[dbName+"-wal"])}
	states := []string{""}
	for i := range 8 {
		note(t, p, fmt.Sprint("n", i))
		sizes = append(sizes, len(snapshot(t, dir)[dbName+"-wal"]))
		states = append(states, notes(t, p))
	}
	im := snapshot(t, dir)
	wal := im[dbName+"-wal"]
	step := sector
	if testing.Short() {
		step = 5 * sector
	}
	for size := 0; size <= len(wal); size += step {
		got, err := survives(t, dir, copyDir, image{dbName: im[dbName], dbName + "-wal": wal[:size]})
		if err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		least := 0
		for i, s := range sizes {
			if size >= s {
				least = i
			}
		}
		at := -1
		for i, s := range states {
			if got == s {
				at = i
			}
		}
		if at < least && !(size < sizes[0]) {
			t.Fatalf("%d of %d bytes: commit %d, not at least %d (%q)", size, len(wal), at, least, got)
		}
	}
}
