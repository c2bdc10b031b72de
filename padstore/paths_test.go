package padstore

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"parley"
	"parley/internal/filelock"
	"parley/secure/otp"
)

// TestLinks: two paths to one pad are one pad.
func TestLinks(t *testing.T) {
	eachVersion(t, func(t *testing.T, v otp.Version) {
		w := newWorld(t, v, 60000)
		root := t.TempDir()
		folder, files := filepath.Join(root, "folder"), filepath.Join(root, "files")
		check(t, os.Symlink(w.dirs[0], folder))
		check(t, os.Mkdir(files, 0o700))
		for name := range contents(t, w.dirs[0]) {
			check(t, os.Symlink(filepath.Join(w.dirs[0], name), filepath.Join(files, name)))
		}
		var pads []*Pad
		for _, dir := range []string{w.dirs[0], folder, files} {
			p, err := Open(filepath.Join(dir, filepath.Base(w.paths[0])), w.options(0))
			check(t, err)
			defer p.Close()
			pads = append(pads, p)
		}
		var all spans
		for i := range 12 {
			at := used(t, v, 60000, pack(t, pads[i%3], i, fmt.Sprint(i)), 0)
			if all.overlaps(at) {
				t.Fatalf("message %d uses %v again", i, at)
			}
			all.add(at)
		}
		b := w.open(1)
		packet := pack(t, b, 1, "once")
		for i, p := range pads {
			_, err := p.UnpackageOnce(ctx, packet)
			if i == 0 {
				check(t, err)
			} else {
				is(t, err, parley.ErrSeen)
			}
		}
		if told := w.told(); slices.Contains(told, Rollback) {
			t.Errorf("told %v", told)
		}
		for name := range contents(t, files) { // beside the links is nothing
			if strings.Contains(name, "journal") {
				t.Errorf("a journal %s", name)
			}
		}
	})
}

func TestHardLink(t *testing.T) {
	eachVersion(t, func(t *testing.T, v otp.Version) {
		w := newWorld(t, v, 4000)
		pad := w.paths[0]
		if v == otp.V1 {
			pad = filepath.Join(w.dirs[0], otp.StoreNameV1("alice", "bob"))
		}
		second := filepath.Join(t.TempDir(), "second")
		if err := os.Link(pad, second); err != nil {
			t.Skip(err)
		}
		_, err := Open(w.paths[0], w.options(0))
		is(t, err, parley.ErrRefused)
		check(t, os.Remove(second))
		w.open(0)
		if v == otp.V1 { // a store elsewhere has another journal there
			check(t, os.Rename(pad, second))
			check(t, os.Symlink(second, pad))
			_, err := Open(w.paths[0], w.options(0))
			is(t, err, parley.ErrRefused)
		}
	})
}

// TestLocks: the lock is on the journal's lock, whatever became of it, and on the pad.
func TestLocks(t *testing.T) {
	w := newWorld(t, otp.V2, 4000)
	p := w.open(0)
	for range 2 {
		check(t, p.lock())
		for _, path := range []string{p.journalPath + ".lock", p.path} {
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			check(t, err)
			is(t, filelock.Try(f), filelock.ErrLocked)
			check(t, f.Close())
		}
		check(t, p.unlock())
		check(t, os.Remove(p.journalPath+".lock"))
	}
}

// TestLockRemoved: who removes the lock's file, or the whole set of names, lets nobody in.
func TestLockRemoved(t *testing.T) {
	eachVersion(t, func(t *testing.T, v otp.Version) {
		w := newWorld(t, v, 1<<20)
		n := 30
		var mu sync.Mutex
		var all spans
		var wg sync.WaitGroup
		for i := range 4 {
			p := w.open(0)
			os.Remove(p.journalPath + ".lock")
			wg.Go(func() {
				for k := range n {
					packet, err := p.Package(ctx, id(1000*i+k), "bob", []byte("text"))
					if err != nil {
						t.Error(err)
						return
					}
					at := used(t, v, 1<<20, packet, 0)
					mu.Lock()
					if all.overlaps(at) {
						t.Errorf("%v is used again", at)
					}
					all.add(at)
					mu.Unlock()
					os.Remove(p.journalPath + ".lock")
				}
			})
		}
		wg.Wait()
		told := w.told()
		p := w.open(0)
		if use := all.count(); use != p.Need(4)*int64(4*n) || len(all) != 1 {
			t.Errorf("%d bytes are used, in %d pieces, told %v", use, len(all), told)
		}
	})
}

// TestOtherPadOfTheSameNames: a journal of version 1 says nothing of a pad that was put in
// the place of its own.
func TestOtherPadOfTheSameNames(t *testing.T) {
	for _, depleted := range []bool{false, true} {
		t.Run(fmt.Sprint("depleted ", depleted), func(t *testing.T) {
			w := newWorld(t, otp.V1, 4000)
			unused := contents(t, w.dirs[0])
			a := w.open(0)
			for i := range 60 {
				packet, err := a.Package(ctx, id(i), "bob", []byte("text"))
				if err != nil {
					break
				}
				finished(t, a, packet)
				if i == 3 && !depleted {
					break
				}
			}
			check(t, a.Close())
			put := func(pad []byte, metadata bool) {
				check(t, os.WriteFile(filepath.Join(w.dirs[0], otp.StoreNameV1("alice", "bob")), pad, 0o600))
				if metadata {
					check(t, os.WriteFile(w.paths[0], unused[filepath.Base(w.paths[0])], 0o600))
				}
			}
			// The same pad from a backup is no other pad.
			put(w.bytes, true)
			a = w.open(0)
			packet, err := a.Package(ctx, id(500), "bob", nil)
			if depleted {
				is(t, err, otp.ErrDepleted)
			} else if check(t, err); used(t, otp.V1, 4000, packet, 0).start < 4*a.Need(4) {
				t.Error("used again")
			}
			check(t, a.Close())
			// One without its metadata may also be the same one, damaged.
			other := randomBytes(77, 4000)
			put(other, false)
			_, err = Open(w.paths[0], w.options(0))
			is(t, err, parley.ErrMalformed)
			put(other, true)
			w.told()
			a = w.open(0)
			if at := used(t, otp.V1, 4000, pack(t, a, 501, "new"), 0); at.start != 0 {
				t.Errorf("the first message is at %v", at)
			}
			if told := w.told(); !slices.Contains(told, Replaced) {
				t.Errorf("told %v", told)
			}
			check(t, a.Close())
			found := 0
			for name := range contents(t, w.dirs[0]) {
				if strings.Contains(name, ".journal.old-") {
					found++
				}
			}
			if found != 1 {
				t.Error("the old journal is not there")
			}
			// And back again: its mark is known.
			put(w.bytes, true)
			a = w.open(0)
			packet, err = a.Package(ctx, id(502), "bob", nil)
			if depleted {
				is(t, err, otp.ErrDepleted)
			} else if check(t, err); used(t, otp.V1, 4000, packet, 0).start < 4*a.Need(4) {
				t.Error("used again")
			}
		})
	}
}

// TestOtherPadReceiving: also who has only received.
func TestOtherPadReceiving(t *testing.T) {
	w := newWorld(t, otp.V1, 4000)
	unused := contents(t, w.dirs[1])
	a, b := w.both()
	for i := range 3 {
		unpack(t, b, pack(t, a, i, "text"), "text")
	}
	check(t, b.Close())
	other := randomBytes(77, 4000)
	for name, data := range unused {
		if strings.HasSuffix(name, storeSuffix) {
			data = other
		}
		check(t, os.WriteFile(filepath.Join(w.dirs[1], name), data, 0o600))
	}
	msg := []byte("with the new pad")
	packet, err := otp.SealV1(0, msg, other[:otp.UseV1(len(msg))])
	check(t, err)
	b = w.open(1)
	unpack(t, b, packet, string(msg))
}

// TestMovedV1: a pad of version 1 that was moved to another machine, and said to be the
// only copy there, gets a mark that also a copy without journal finds.
func TestMovedV1(t *testing.T) {
	w := newWorld(t, otp.V1, 20000)
	unused := contents(t, w.dirs[0])
	a := w.open(0)
	pack(t, a, 1, "here")
	check(t, a.Close())
	w.marks[0] = t.TempDir()
	a = w.open(0)
	_, err := a.Package(ctx, id(2), "bob", nil)
	is(t, err, otp.ErrHeld)
	check(t, a.Skip(0))
	last := used(t, otp.V1, 20000, pack(t, a, 3, "there"), 0)
	check(t, a.Close())
	check(t, os.RemoveAll(w.dirs[0]))
	check(t, os.Mkdir(w.dirs[0], 0o700))
	for name, b := range unused {
		check(t, os.WriteFile(filepath.Join(w.dirs[0], name), b, 0o600))
	}
	a = w.open(0)
	s, err := a.Status(ctx, "bob") // which only looks
	check(t, err)
	if free := a.l.half[0] - last.end; s.Left != free {
		t.Errorf("%d bytes are left, not %d", s.Left, free)
	}
	if at := used(t, otp.V1, 20000, pack(t, a, 4, "after"), 0); at.start != last.end {
		t.Errorf("%v after %v", at, last)
	}
}

// TestOlderJournal: a journal that has no name for its mark names it by its own.
func TestOlderJournal(t *testing.T) {
	w := newWorld(t, otp.V1, 20000)
	a := w.open(0)
	last := used(t, otp.V1, 20000, pack(t, a, 1, "text"), 0)
	l := *a.l
	l.mark = nil
	snapshot := l.snapshot(a.label)
	name := a.j.name
	mark := a.markPath()
	check(t, a.Close())
	journal := journalFile(name, snapshot[:len(snapshot)-1]) // without the empty name
	check(t, os.WriteFile(a.journalPath, journal, 0o600))
	check(t, os.Rename(mark, filepath.Join(w.marks[0], fmt.Sprintf("%x", name))))
	a = w.open(0)
	if at := used(t, otp.V1, 20000, pack(t, a, 2, "text"), 0); at.start != last.end {
		t.Errorf("%v after %v", at, last)
	}
	if _, err := os.Stat(mark); err != nil {
		t.Error(err)
	}
}

func TestSecret(t *testing.T) {
	dir := t.TempDir()
	if s, err := readSecret(osDisk{}, dir, false); s != nil || err != nil {
		t.Error(s, err)
	}
	s, err := readSecret(osDisk{}, dir, true)
	check(t, err)
	again, err := readSecret(osDisk{}, dir, true)
	check(t, err)
	path := filepath.Join(dir, secretFile)
	if st, err := os.Stat(path); *again != *s || err != nil || st.Mode().Perm() != 0o600 {
		t.Error("another secret", err)
	}
	b, err := os.ReadFile(path)
	check(t, err)
	b[0] ^= 1
	check(t, os.WriteFile(path, b, 0o600))
	_, err = readSecret(osDisk{}, dir, true)
	is(t, err, parley.ErrMalformed)
	for _, blank := range [][]byte{nil, make([]byte, 40), b[:20]} { // it was not written to its end
		check(t, os.WriteFile(path, blank, 0o600))
		s, err := readSecret(osDisk{}, dir, true)
		check(t, err)
		if allZero(s[:]) {
			t.Error("no secret")
		}
	}
}
