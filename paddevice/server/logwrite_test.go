package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"parley"
)

func (l *Log) now(e Entry) { l.Add(e); l.Sync() }

// rechain changes the lines of a log and makes the chain fit again.
func rechain(t *testing.T, path, from, to string) {
	b, err := os.ReadFile(path)
	check(t, err)
	var out []byte
	last := tail{}
	for line := range bytes.Lines(b) {
		e := Entry{}
		check(t, json.Unmarshal(bytes.ReplaceAll(line, []byte(from), []byte(to)), &e))
		e.Prev = fmt.Sprintf("%x", last.hash)
		text, err := json.Marshal(e)
		check(t, err)
		var more []byte
		last, more = extend(last, []string{string(text)})
		out = append(out, more...)
	}
	check(t, os.WriteFile(path, out, 0o600))
}

// TestLogChangedWhileOpen: what is done to the log between two lines of a running device
// is told, on the terminal and by a line, and is never healed.
func TestLogChangedWhileOpen(t *testing.T) {
	for name, do := range map[string]func(t *testing.T, path, mark string){
		"cut":      func(t *testing.T, path, _ string) { check(t, os.Truncate(path, size1(t, path))) },
		"empty":    func(t *testing.T, path, _ string) { check(t, os.Truncate(path, 0)) },
		"removed":  func(t *testing.T, path, _ string) { check(t, os.Remove(path)) },
		"written":  func(t *testing.T, path, _ string) { rechain(t, path, "peer1", "peer9") },
		"the last": func(t *testing.T, path, _ string) { rechain(t, path, "peer3", "peer9") },
		"the last, with its time": func(t *testing.T, path, _ string) {
			st, err := os.Stat(path)
			check(t, err)
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			check(t, err)
			_, err = f.WriteAt([]byte("X"), st.Size()-5)
			check(t, errors.Join(err, f.Close()))
			check(t, os.Chtimes(path, st.ModTime(), st.ModTime()))
		},
		"replaced": func(t *testing.T, path, _ string) {
			check(t, os.Rename(path, path+".old"))
			b, err := os.ReadFile(path + ".old")
			check(t, err)
			check(t, os.WriteFile(path, bytes.Replace(b, []byte("peer1"), []byte("peer9"), 1), 0o600))
		},
		"one letter": func(t *testing.T, path, _ string) {
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			check(t, err)
			defer f.Close()
			_, err = f.WriteAt([]byte("X"), 20)
			check(t, err)
		},
		"added": func(t *testing.T, path, _ string) {
			b, err := os.ReadFile(path)
			check(t, err)
			lines := bytes.Split(bytes.TrimSuffix(b, []byte("\n")), []byte("\n"))
			end, _ := extend(tail{}, []string{string(lines[len(lines)-1])})
			check(t, os.WriteFile(path, fmt.Appendf(b, `{"n":%d,"time":"2026-01-01T00:00:00Z","kind":"pair","prev":"%x"}`+"\n", len(lines)+1, end.hash), 0o600))
		},
		"half a line": func(t *testing.T, path, _ string) {
			b, err := os.ReadFile(path)
			check(t, err)
			check(t, os.WriteFile(path, append(b, `{"n":`...), 0o600))
		},
		"mark removed": func(t *testing.T, _, mark string) { check(t, os.Remove(mark)) },
		"mark damaged": func(t *testing.T, _, mark string) { check(t, os.WriteFile(mark, []byte("{"), 0o600)) },
	} {
		t.Run(name, func(t *testing.T) {
			dir, marks := t.TempDir(), t.TempDir()
			var told []string
			l, err := OpenLog(dir, marks, func(e Entry) { told = append(told, e.Kind) }, func(err error) { t.Error(err) })
			check(t, err)
			for i := range 4 {
				l.now(Entry{Kind: KindRule, Peer: fmt.Sprint("peer", i)})
			}
			do(t, filepath.Join(dir, logName), headPath(dir, marks))
			l.now(Entry{Kind: KindPair, Client: "after it"})
			if !slices.Equal(told[4:], []string{KindLog, KindPair}) {
				t.Errorf("told %v", told)
			}
			l.now(Entry{Kind: KindUnpair})
			check(t, l.Close())
			for range 2 { // for ever, and told once
				all, err := logged(t, dir, marks)
				if !errors.Is(err, ErrLog) {
					t.Errorf("healed: %v", err)
				}
				if n := len(all); n < 3 || all[n-3].Kind != KindLog || all[n-2].Client != "after it" || all[n-1].Kind != KindUnpair {
					t.Errorf("%+v", all)
				}
				l, err := OpenLog(dir, marks, nil, nil)
				check(t, err)
				if l.Broken() == "" {
					t.Error("forgotten")
				}
				check(t, l.Close())
			}
		})
	}
}

func size1(t *testing.T, path string) int64 {
	b, err := os.ReadFile(path)
	check(t, err)
	return int64(bytes.IndexByte(b, '\n') + 1)
}

// TestLogCrash: a crash at any step of writing is no change, and loses no line that the
// mark has.
func TestLogCrash(t *testing.T) {
	dir, marks := t.TempDir(), t.TempDir()
	path := filepath.Join(dir, logName)
	l, err := OpenLog(dir, marks, nil, nil)
	check(t, err)
	l.now(Entry{Kind: KindRule, Peer: "one"})
	before, err := os.ReadFile(path)
	check(t, err)
	h := *l.head
	l.now(Entry{Kind: KindRule, Peer: "two"})
	l.now(Entry{Kind: KindRule, Peer: "three"})
	check(t, l.Close())
	after, err := os.ReadFile(path)
	check(t, err)
	more := after[len(before):]
	h.Lines = strings.Split(strings.TrimSuffix(string(more), "\n"), "\n")
	for n := range len(more) + 1 {
		check(t, writeHead(dir, marks, h))
		check(t, os.WriteFile(path, append(bytes.Clone(before), more[:n]...), 0o600))
		if all, err := logged(t, dir, marks); err != nil || len(all) != 3 || all[2].Peer != "three" {
			t.Fatalf("cut after %d bytes: %v, %+v", n, err, all)
		}
		if n%50 > 1 && n < len(more)-1 {
			continue
		}
		l, err := OpenLog(dir, marks, nil, nil)
		check(t, err)
		l.now(Entry{Kind: KindRule, Peer: "four"})
		check(t, l.Close())
		if all, err := logged(t, dir, marks); err != nil || len(all) != 4 || all[3].Peer != "four" {
			t.Fatalf("after %d bytes: %v, %+v", n, err, all)
		}
	}
	// What stands there and is not what was being written is a change.
	check(t, writeHead(dir, marks, h))
	check(t, os.WriteFile(path, append(bytes.Clone(before), bytes.Replace(more, []byte("two"), []byte("six"), 1)...), 0o600))
	if _, err := logged(t, dir, marks); !errors.Is(err, ErrLog) {
		t.Error(err)
	}
}

// Without its mark a log is gone on with, and says so. With a damaged one it is not.
func TestLogMark(t *testing.T) {
	dir, marks := t.TempDir(), t.TempDir()
	l, err := OpenLog(dir, marks, nil, nil)
	check(t, err)
	l.now(Entry{Kind: KindRule})
	check(t, l.Close())
	for _, damage := range []string{"{", "", "null", `{"n":-1}`, `{"n":1,"size":5,"hash":"00"}`} {
		check(t, os.WriteFile(headPath(dir, marks), []byte(damage), 0o600))
		if _, err := logged(t, dir, marks); !errors.Is(err, ErrLog) || !strings.Contains(err.Error(), "remove that file") {
			t.Errorf("%q: %v", damage, err)
		}
		if _, err := OpenLog(dir, marks, nil, nil); !errors.Is(err, ErrLog) {
			t.Errorf("%q: %v", damage, err)
		}
	}
	check(t, os.Remove(headPath(dir, marks)))
	l, err = OpenLog(dir, marks, nil, nil)
	check(t, err)
	l.now(Entry{Kind: KindUnpair})
	check(t, l.Close())
	if all, err := logged(t, dir, marks); err != nil || len(all) != 3 || all[1].Kind != KindMark {
		t.Errorf("%v, %+v", err, all)
	}
}

// TestLogKilled: what repeats is on disk when its count has doubled, also of a device
// that is killed.
func TestLogKilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, marks := t.TempDir(), t.TempDir()
		l, err := OpenLog(dir, marks, nil, nil)
		check(t, err)
		for n := 1; n <= 1000; n++ {
			l.now(Entry{Kind: "skip", Peer: "bob"})
			all, err := logged(t, dir, marks)
			check(t, err)
			sum := 0
			for _, e := range all {
				sum += max(e.Count, 1)
			}
			if n < 3 && sum != n || sum <= n/2 || sum > n {
				t.Fatalf("%d of %d are on disk", sum, n)
			}
		}
		check(t, l.Close())
	})
}

// TestLogDiskFull: what cannot be written waits, is told of, and comes later.
func TestLogDiskFull(t *testing.T) {
	dir, root := t.TempDir(), t.TempDir()
	marks := filepath.Join(root, "marks")
	var warned []string
	told := 0
	l, err := OpenLog(dir, marks, func(Entry) { told++ }, func(err error) { warned = append(warned, err.Error()) })
	check(t, err)
	l.now(Entry{Kind: KindRule, Peer: "one"})
	check(t, os.Rename(marks, marks+".away"))
	check(t, os.WriteFile(marks, nil, 0o600)) // no folder can be there
	l.now(Entry{Kind: KindRule, Peer: "two"})
	l.now(Entry{Kind: KindRule, Peer: "three"})
	if len(warned) != 2 || !strings.Contains(warned[1], "2 lines wait") || told != 3 {
		t.Errorf("%q, told %d", warned, told)
	}
	for range 2 * maxPending {
		l.now(Entry{Kind: KindRule, Peer: "more"})
	}
	check(t, os.Remove(marks))
	check(t, os.Rename(marks+".away", marks))
	l.now(Entry{Kind: KindRule, Peer: "last"})
	check(t, l.Close())
	all, err := logged(t, dir, marks)
	if err != nil || len(all) < maxPending || all[1].Peer != "two" || all[2].Peer != "three" {
		t.Errorf("%v, %d lines", err, len(all))
	}
}

// TestLoggedFirst: no rule, pairing or unpairing without its line, and no line without
// one that says so when it then failed.
func TestLoggedFirst(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	marks := filepath.Join(w.marks, "x")
	l, err := OpenLog(w.dir, marks, nil, nil)
	check(t, err)
	rule := Rule{Self: "alice", Peer: "bob", Op: OpPackage, UpTo: 5}
	check(t, Allow(ctx, l, rule))
	check(t, announce(ctx, w.dir, "127.0.0.1:1", marks))
	code, err := NewCode(ctx, w.dir, "")
	check(t, err)
	check(t, pair(ctx, l, "laptop", [32]byte{1}, code.Secret))
	code, err = NewCode(ctx, w.dir, "")
	check(t, err)
	state := func() string { return w.read(rulesName) + w.read(clientsName) + w.read(pairingName) }
	before := state()
	check(t, os.Rename(marks, marks+".away"))
	check(t, os.WriteFile(marks, nil, 0o600))
	for name, do := range map[string]func() error{
		"allow":  func() error { return Allow(ctx, l, Rule{Self: "alice", Peer: "carol", Op: OpPackage}) },
		"forbid": func() error { return Forbid(ctx, l, "", "bob", "") },
		"unpair": func() error { return Unpair(ctx, l, "laptop") },
		"pair":   func() error { return pair(ctx, l, "desk", [32]byte{2}, code.Secret) },
	} {
		if err := do(); err == nil || !strings.Contains(err.Error(), "nothing was done") || errors.Is(err, parley.ErrDenied) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if state() != before {
		t.Error("something was done without a line in the log")
	}
	check(t, os.Remove(marks))
	check(t, os.Rename(marks+".away", marks))
	failed := errors.New("disk full")
	if err := recorded(l, &Entry{Kind: KindRule, Text: "a rule"}, func() error { return failed }); !errors.Is(err, failed) {
		t.Error(err)
	}
	check(t, Unpair(ctx, l, "laptop"))
	check(t, l.Close())
	all, err := logged(t, w.dir, marks)
	check(t, err)
	var text []string
	for _, e := range all {
		text = append(text, e.Kind+" "+e.Text)
	}
	if len(all) != 5 || all[2].Text != "a rule" || all[3].Text != "was NOT done: a rule" || all[4].Kind != KindUnpair {
		t.Errorf("%q", text)
	}
}
