package padstore

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"parley"
	"parley/secure/otp"
)

const never = -1

// TestModelRestore loses power at every call of a conversation and then has the pad's
// folder put back as it was at some earlier time, marks excepted: no byte leaves twice.
func TestModelRestore(t *testing.T) {
	eachVersion(t, func(t *testing.T, v otp.Version) {
		plain := newModel(t, v)
		plain.open()
		plain.script()
		steps, stride := plain.disk.step, 1
		if testing.Short() {
			stride = 9
		}
		for at := 1; at <= steps; at += stride {
			for _, back := range []int{3, 60, never} {
				m := newModel(t, v)
				m.mode, m.rnd = lost, rand.New(rand.NewPCG(uint64(at), 0))
				unused := m.disk.clone("/alice")
				m.open()
				packet := m.send(0, 0, 5) // from here on there is a mark
				m.sent(0, packet)
				base := m.disk.step
				backup := m.disk.clone("/alice")
				if back == never { // put back as it was when it was made
					backup = unused
				}
				m.disk.onStep = func() {
					if back != never && m.disk.step == base+at-back {
						backup = m.disk.clone("/alice")
					}
				}
				m.disk.failAt, m.disk.fault = base+at, errPower
				func() {
					defer func() {
						if r := recover(); r != nil && r != any(errPower) {
							panic(r)
						}
					}()
					m.stop = true
					m.script()
				}()
				m.disk.onStep, m.disk.failAt = nil, 0
				m.disk.reboot(lost, m.rnd)
				for path, data := range backup {
					m.disk.put(path, data)
				}
				for path := range m.disk.names {
					if _, ok := backup[path]; !ok && strings.HasPrefix(path, "/alice/") {
						delete(m.disk.names, path)
						delete(m.disk.durable, path)
					}
				}
				m.stop, m.p = false, nil
				m.answered, m.texts, m.finished = map[[16]byte][]byte{}, map[[32]byte]string{}, map[[32]byte][]byte{}
				m.open()
				for n := range 4 {
					packet, err := m.p.Package(ctx, id(200+n), "bob", []byte("after"))
					if err != nil {
						m.fatalf("after a restore: %v", err)
					}
					m.leaves(packet)
				}
			}
		}
	})
}

// TestDefect2Restored: metadata, or the whole folder, from an old copy uses no pad again.
func TestDefect2Restored(t *testing.T) {
	eachVersion(t, func(t *testing.T, v otp.Version) {
		for _, what := range []string{"metadata", "folder", "folder, unused", "pad without journal", "folder, mark missing"} {
			if what == "metadata" && v == otp.V2 || what == "pad without journal" && v == otp.V1 {
				continue
			}
			t.Run(what, func(t *testing.T) {
				w := newWorld(t, v, 20000)
				unused := contents(t, w.dirs[0])
				a := w.open(0)
				first := pack(t, a, 0, "before the backup")
				check(t, a.Close())
				backup := contents(t, w.dirs[0])
				a = w.open(0)
				spent := used(t, v, 20000, first, 0)
				for i := 1; i < 6; i++ {
					spent.end = used(t, v, 20000, pack(t, a, i, "after the backup"), 0).end
				}
				check(t, a.Close())
				if what == "folder, unused" {
					check(t, os.RemoveAll(w.dirs[0]))
					check(t, os.Mkdir(w.dirs[0], 0o700))
					backup = unused
				}
				for name, b := range backup {
					path := filepath.Join(w.dirs[0], name)
					switch {
					case what == "metadata" && strings.HasSuffix(name, metaSuffix), strings.HasPrefix(what, "folder"), strings.HasSuffix(name, padSuffix):
						check(t, os.WriteFile(path, b, 0o600))
					case what == "pad without journal":
						check(t, os.Remove(path))
					}
				}
				if what == "folder, mark missing" {
					check(t, os.RemoveAll(w.marks[0]))
				}
				w.told()
				a = w.open(0)
				if what == "folder, mark missing" {
					_, err := a.Package(ctx, id(9), "bob", nil)
					is(t, err, otp.ErrHeld, parley.ErrDenied)
					s, err := a.Status(ctx, "bob")
					check(t, err)
					if s.Held == "" {
						t.Error("status doesn't say that the pad is held")
					}
					return
				}
				packet := pack(t, a, 9, "after the restore")
				if at := used(t, v, 20000, packet, 0); at.start < spent.end {
					t.Fatalf("the message after the restore uses %v, and %v was used", at, spent)
				}
				if told := w.told(); what != "metadata" && !slices.Contains(told, Rollback) {
					t.Errorf("told %v, and not of a rollback", told)
				}
			})
		}
	})
}

// TestNumberOnce: a number that may have left is not given to another packet, also when the
// copy is only one message older than the mark.
func TestNumberOnce(t *testing.T) {
	w := newWorld(t, otp.V2, 20000)
	a, b := w.both()
	unpack(t, b, pack(t, a, 1, "one"), "one")
	check(t, a.Close())
	backup := contents(t, w.dirs[0])
	a = w.open(0)
	lost := pack(t, a, 2, "two")
	check(t, a.Close())
	for name, data := range backup {
		check(t, os.WriteFile(filepath.Join(w.dirs[0], name), data, 0o600))
	}
	a = w.open(0)
	if o := unpack(t, b, pack(t, a, 3, "three"), "three"); o.Seq != 3 || o.Missing != 1 || o.RolledBack {
		t.Errorf("%+v", o)
	}
	if o := unpack(t, b, lost, "two"); o.Seq != 2 || o.RolledBack {
		t.Errorf("%+v", o)
	}
}

// TestUnusedCopy: one that was never used is told of after a single message, too.
func TestUnusedCopy(t *testing.T) {
	eachVersion(t, func(t *testing.T, v otp.Version) {
		w := newWorld(t, v, 20000)
		unused := contents(t, w.dirs[0])
		a := w.open(0)
		first := used(t, v, 20000, pack(t, a, 1, "one"), 0)
		check(t, a.Close())
		check(t, os.RemoveAll(w.dirs[0]))
		check(t, os.Mkdir(w.dirs[0], 0o700))
		for name, data := range unused {
			check(t, os.WriteFile(filepath.Join(w.dirs[0], name), data, 0o600))
		}
		w.told()
		a = w.open(0)
		if at := used(t, v, 20000, pack(t, a, 2, "two"), 0); at.start != first.end || !slices.Contains(w.told(), Rollback) {
			t.Errorf("%v after %v", at, first)
		}
	})
}

// contents are the files of a folder by their names.
func contents(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	entries, err := os.ReadDir(dir)
	check(t, err)
	for _, e := range entries {
		all[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name()))
		check(t, err)
	}
	return all
}

// TestHold: a pad whose mark is missing sends again when the owner says so, or when the
// peer has shown how far it was used.
func TestHold(t *testing.T) {
	eachVersion(t, func(t *testing.T, v otp.Version) {
		for _, how := range []string{"owner", "owner skips", "peer"} {
			if how == "peer" && v == otp.V1 {
				continue
			}
			t.Run(how, func(t *testing.T) {
				w := newWorld(t, v, 1<<20)
				a, b := w.both()
				for i := range 3 {
					unpack(t, b, pack(t, a, i, "x"), "x")
				}
				check(t, a.Close())
				backup := map[string][]byte{}
				entries, _ := os.ReadDir(w.dirs[0])
				for _, e := range entries {
					backup[e.Name()], _ = os.ReadFile(filepath.Join(w.dirs[0], e.Name()))
				}
				a = w.open(0)
				var end int64
				for i := range 4 { // which the copy will not know of
					packet := pack(t, a, 10+i, "x")
					unpack(t, b, packet, "x")
					end = used(t, v, 1<<20, packet, 0).end
				}
				check(t, a.Close())
				for name, data := range backup {
					if how != "owner" { // whose pad was only moved
						check(t, os.WriteFile(filepath.Join(w.dirs[0], name), data, 0o600))
					}
				}
				check(t, os.RemoveAll(w.marks[0]))
				a = w.open(0)
				_, err := a.Package(ctx, id(20), "bob", nil)
				is(t, err, otp.ErrHeld)
				check(t, a.Close())
				a = w.open(0) // it lasts
				_, err = a.Package(ctx, id(20), "bob", nil)
				is(t, err, otp.ErrHeld)
				w.told()
				switch how {
				case "owner":
					check(t, a.Skip(0))
				case "owner skips":
					check(t, a.Skip(1<<12))
				case "peer":
					o := unpack(t, a, pack(t, b, 1, "hello"), "hello")
					if o.RolledBack {
						t.Error("the peer was not rolled back")
					}
					if told := w.told(); !slices.Contains(told, Rollback) {
						t.Errorf("told %v", told)
					}
					// Who carries packets may have held this one back: it says how far we were
					// at least, and the owner decides.
					_, err = a.Package(ctx, id(20), "bob", nil)
					is(t, err, otp.ErrHeld)
					check(t, a.Skip(0))
				}
				s, err := a.Status(ctx, "bob")
				check(t, err)
				if s.Held != "" {
					t.Fatalf("held: %s", s.Held)
				}
				packet := pack(t, a, 20, "again")
				at := used(t, v, 1<<20, packet, 0)
				if at.start < end || how == "owner" && at.start > end {
					t.Errorf("sent at %d; up to %d was used", at.start, end)
				}
				if how == "peer" && at.start > end {
					t.Errorf("sent at %d, behind %d", at.start, end)
				}
				o := unpack(t, b, packet, "again")
				if v == otp.V2 && how != "owner" && !o.RolledBack {
					t.Error("the peer does not notice")
				}
			})
		}
	})
}

// TestTwoCopies: two copies of a folder that share their marks never use the same bytes,
// in whatever order they are used.
func TestTwoCopies(t *testing.T) {
	eachVersion(t, func(t *testing.T, v otp.Version) {
		w := newWorld(t, v, 60000)
		a := w.open(0)
		pack(t, a, 0, "so that there is a journal")
		check(t, a.Close())
		second := filepath.Join(t.TempDir(), "copy")
		check(t, os.CopyFS(second, os.DirFS(w.dirs[0])))
		entries, _ := os.ReadDir(second)
		for _, e := range entries {
			os.Chmod(filepath.Join(second, e.Name()), 0o600)
		}
		a = w.open(0)
		c, err := Open(filepath.Join(second, filepath.Base(w.paths[0])), w.options(0))
		check(t, err)
		defer c.Close()
		var all spans
		for i := range 40 {
			p := []*Pad{a, c}[i*7%3%2]
			at := used(t, v, 60000, pack(t, p, 100+i, fmt.Sprint(i)), 0)
			if all.overlaps(at) {
				t.Fatalf("message %d uses %v again", i, at)
			}
			all.add(at)
		}
	})
}

// TestPeerRolledBack: who has forgotten what it had seen is found out.
func TestPeerRolledBack(t *testing.T) {
	w := newWorld(t, otp.V2, 60000)
	a, b := w.both()
	check(t, b.Close())
	backup, err := os.ReadFile(w.paths[1])
	check(t, err)
	b = w.open(1)
	for i := range 3 {
		unpack(t, b, pack(t, a, i, "x"), "x")
	}
	if o := unpack(t, a, pack(t, b, 1, "seen 3"), "seen 3"); o.RolledBack {
		t.Error("nobody was rolled back")
	}
	check(t, b.Close())
	check(t, os.WriteFile(w.paths[1], backup, 0o600))
	check(t, os.Remove(w.paths[1]+".journal"))
	b = w.open(1)
	w.told()
	o := unpack(t, a, pack(t, b, 2, "seen none"), "seen none")
	if !o.RolledBack || !slices.Contains(w.told(), Rollback) {
		t.Errorf("%+v", o)
	}
}

// TestTornMetadata: with a journal it is mended, without one it is refused.
func TestTornMetadata(t *testing.T) {
	w := newWorld(t, otp.V1, 20000)
	whole, err := os.ReadFile(w.paths[0])
	check(t, err)
	for cut := 0; cut < len(whole); cut += 20 {
		check(t, os.WriteFile(w.paths[0], whole[:cut], 0o600))
		if _, err := Open(w.paths[0], w.options(0)); !errors.Is(err, parley.ErrMalformed) {
			t.Fatalf("cut at %d: %v", cut, err)
		}
	}
	check(t, os.WriteFile(w.paths[0], whole, 0o600))
	a := w.open(0)
	packet := pack(t, a, 1, "text")
	b := w.open(1)
	unpack(t, a, pack(t, b, 1, "back"), "back")
	check(t, a.Close())
	current, err := os.ReadFile(w.paths[0])
	check(t, err)
	for _, left := range [][]byte{current[:50], {}, nil} {
		check(t, os.WriteFile(w.paths[0], left, 0o600))
		if left == nil {
			check(t, os.Remove(w.paths[0]))
		}
		w.told()
		a = w.open(0)
		if told := w.told(); !slices.Contains(told, Recovered) {
			t.Errorf("told %v", told)
		}
		if again := pack(t, a, 1, "text"); !bytes.Equal(again, packet) {
			t.Error("another packet")
		}
		check(t, a.Close())
		if now, _ := os.ReadFile(w.paths[0]); !bytes.Equal(now, current) {
			t.Errorf("mended to %s, was %s", now, current)
		}
	}
}

// TestForeign: what the original did on the files counts.
func TestForeign(t *testing.T) {
	w := newWorld(t, otp.V1, 20000)
	a, b := w.both()
	unpack(t, b, pack(t, a, 1, "one"), "one")
	check(t, a.Close())
	check(t, b.Close())
	alice, bob := original{t, w.paths[0]}, original{t, w.paths[1]}
	two, err := alice.pack([]byte("two"))
	check(t, err)
	msg, skip, reuse, err := bob.unpack(two)
	if string(msg) != "two" || skip || reuse || err != nil {
		t.Fatalf("%q, %v, %v, %v", msg, skip, reuse, err)
	}
	w.told()
	a, b = w.both()
	if told := w.told(); !slices.Equal(told, []string{Foreign, Foreign}) {
		t.Errorf("told %v", told)
	}
	_, err = b.Unpackage(ctx, "alice", two)
	is(t, err, parley.ErrSeen)
	three := pack(t, a, 3, "three")
	if at, was := used(t, otp.V1, 20000, three, 0), used(t, otp.V1, 20000, two, 0); at.start != was.end {
		t.Errorf("three at %v, two at %v", at, was)
	}
	if o := unpack(t, b, three, "three"); o.Skipped {
		t.Error("nothing was skipped")
	}
}
