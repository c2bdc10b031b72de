package server

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func logged(t testing.TB, dir, marks string) (all []Entry, err error) {
	t.Helper()
	err = ReadLog(dir, marks, func(e *Entry) { all = append(all, *e) })
	return all, err
}

func TestLog(t *testing.T) {
	dir, marks := t.TempDir(), t.TempDir()
	l, err := OpenLog(dir, marks, nil, func(err error) { t.Error(err) })
	check(t, err)
	l.Add(Entry{Kind: KindPair, Client: "a\x1b[31mb", Text: "two\nlines" + strings.Repeat("x", 2000)})
	l.Add(Entry{Kind: KindRule, Peer: "bob"})
	l.Sync()
	other, err := OpenLog(dir, marks, nil, nil) // another process
	check(t, err)
	other.Add(Entry{Kind: KindUnpair})
	check(t, other.Close())
	l.Add(Entry{Kind: KindRule, Peer: "carol"})
	check(t, l.Close())
	all, err := logged(t, dir, marks)
	check(t, err)
	if len(all) != 4 || all[0].Client != "ab" || len(all[0].Text) > maxText+10 || all[2].Kind != KindUnpair || all[3].N != 4 || all[3].Peer != "carol" {
		t.Errorf("%+v", all)
	}
	if st, err := os.Stat(filepath.Join(dir, logName)); err != nil || st.Mode().Perm() != 0o600 {
		t.Error(st, err)
	}
}

// Whatever is done to the log shows, and with which line it began.
func TestLogChanged(t *testing.T) {
	dir, marks := t.TempDir(), t.TempDir()
	path := filepath.Join(dir, logName)
	l, err := OpenLog(dir, marks, nil, nil)
	check(t, err)
	for i := range 5 {
		l.Add(Entry{Kind: KindRule, Peer: fmt.Sprint("peer", i)})
		l.Sync()
	}
	check(t, l.Close())
	whole, err := os.ReadFile(path)
	check(t, err)
	lines := strings.SplitAfter(string(whole), "\n")
	for name, c := range map[string]struct{ text, want string }{
		"as it was":        {string(whole), ""},
		"torn end":         {string(whole) + `{"n":6,`, "no line stands at its end"},
		"a letter":         {strings.Replace(string(whole), "peer1", "peer9", 1), "line 3"},
		"last line":        {strings.Replace(string(whole), "peer4", "peer9", 1), "line 5 is not what it was"},
		"line gone":        {lines[0] + lines[2] + lines[3] + lines[4], "line 2"},
		"lines swapped":    {lines[0] + lines[2] + lines[1] + lines[3] + lines[4], "line 2"},
		"line twice":       {lines[0] + lines[0] + strings.Join(lines[1:], ""), "line 2"},
		"cut":              {strings.Join(lines[:3], ""), "had 5 lines and has 3"},
		"empty":            {"", "had 5 lines and has 0"},
		"no entry":         {lines[0] + "hello\n" + lines[1], "line 2 is none"},
		"very long line":   {lines[0] + strings.Repeat("y", 3<<20) + "\n" + lines[1], "line 2 is none"},
		"one more, forged": {string(whole) + strings.Replace(lines[4], `"n":5`, `"n":6`, 1), "line 6"},
	} {
		check(t, os.WriteFile(path, []byte(c.text), 0o600))
		_, err := logged(t, dir, marks)
		if c.want == "" && err != nil || c.want != "" && (!errors.Is(err, ErrLog) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	check(t, os.Remove(path))
	if _, err := logged(t, dir, marks); !errors.Is(err, ErrLog) {
		t.Errorf("removed: %v", err)
	}
	// A device that starts writes down what it has found, and goes on.
	check(t, os.WriteFile(path, []byte(strings.Join(lines[:3], "")+"{torn"), 0o600))
	for range 2 { // once
		l, err = OpenLog(dir, marks, nil, nil)
		check(t, err)
		check(t, l.Close())
	}
	all, err := logged(t, dir, marks)
	if !errors.Is(err, ErrLog) || len(all) != 4 || all[3].Kind != KindLog || !strings.Contains(all[3].Text, "had 5 lines") {
		t.Errorf("%v, %+v", err, all)
	}
}

// A forger's events are counted, not written: 10⁵ of them are a few lines.
func TestLogFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, marks := t.TempDir(), t.TempDir()
		l, err := OpenLog(dir, marks, nil, nil)
		check(t, err)
		for i := range 100_000 {
			l.Add(Entry{Kind: "forged", Peer: "bob", Text: fmt.Sprint("packet ", i)})
			if i%1000 == 0 {
				<-time.After(time.Minute) // 100 minutes of it
			}
		}
		l.Add(Entry{Kind: "forged", Peer: "carol"}) // another peer's is no repetition
		check(t, l.Close())
		all, err := logged(t, dir, marks)
		check(t, err)
		n := 0
		for _, e := range all {
			if e.Peer == "bob" {
				n += max(e.Count, 1)
			}
		}
		if n != 100_000 || len(all) > 32 {
			t.Errorf("%d events in %d lines", n, len(all))
		}
	})
}

// A quiet time ends the counting.
func TestLogWindowEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, marks := t.TempDir(), t.TempDir()
		l, err := OpenLog(dir, marks, nil, nil)
		check(t, err)
		for range 3 {
			l.Add(Entry{Kind: "forged", Peer: "bob"})
			<-time.After(2 * firstWindow)
		}
		check(t, l.Close())
		if all, err := logged(t, dir, marks); err != nil || len(all) != 3 {
			t.Error(all, err)
		}
	})
}

func TestLogParallel(t *testing.T) {
	dir, marks := t.TempDir(), t.TempDir()
	var running sync.WaitGroup
	for i := range 4 {
		running.Go(func() {
			l, err := OpenLog(dir, marks, nil, func(err error) { t.Error(err) })
			if err != nil {
				t.Error(err)
				return
			}
			for range 10 {
				l.Add(Entry{Kind: KindRule, Peer: fmt.Sprint(i)})
				l.Sync()
			}
			l.Close()
		})
	}
	running.Wait()
	if all, err := logged(t, dir, marks); err != nil || len(all) != 40 {
		t.Error(len(all), err)
	}
}

func FuzzLog(f *testing.F) {
	f.Add([]byte("{}\n"))
	f.Add([]byte(`{"n":1,"time":"2025-01-01T00:00:00Z","kind":"stop","prev":"00"}` + "\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		dir, marks := t.TempDir(), t.TempDir()
		check(t, os.WriteFile(filepath.Join(dir, logName), b, 0o600))
		_, err := logged(t, dir, marks)
		if err != nil && !errors.Is(err, ErrLog) {
			t.Fatal(err)
		}
		l, err := OpenLog(dir, marks, nil, nil)
		check(t, err)
		l.Add(Entry{Kind: KindRule})
		check(t, l.Close())
	})
}
