package padstore

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"parley"
	"parley/secure/otp"
)

// TestRecover damages a journal at every place, and goes on without using pad twice.
func TestRecover(t *testing.T) {
	eachVersion(t, func(t *testing.T, v otp.Version) {
		const size = 20000
		w := newWorld(t, v, size)
		a, b := w.both()
		var all spans
		var taken [][]byte
		for i := range 6 {
			packet := pack(t, a, i, "text")
			all.add(used(t, v, size, packet, 0))
			if i%2 == 0 {
				finished(t, a, packet)
			}
			packet = pack(t, b, i, "from bob")
			unpack(t, a, packet, "from bob")
			if i != 3 {
				finished(t, a, packet)
			}
			taken = append(taken, packet)
			if i == 2 && v == otp.V2 {
				grant, err := a.Grant(ctx, id(100), 500)
				check(t, err)
				all.add(used(t, v, size, grant, 0))
				all.add(span{size/2 - 500, size / 2})
			}
		}
		check(t, a.Close())
		whole := contents(t, w.dirs[0])
		mark := a.markPath()
		marks := contents(t, w.marks[0])
		journal := whole[filepath.Base(a.journalPath)]
		_, err := Recover(w.paths[0], w.options(0))
		is(t, err, parley.ErrRefused) // it is not damaged
		stride := 7
		if testing.Short() {
			stride = 41
		}
		damaged := 0
		for _, marked := range []bool{true, false} {
			for n := 0; n < 2*len(journal); n += stride {
				for name, data := range whole {
					check(t, os.WriteFile(filepath.Join(w.dirs[0], name), data, 0o600))
				}
				for name, data := range marks {
					check(t, os.WriteFile(filepath.Join(w.marks[0], name), data, 0o600))
				}
				if !marked {
					check(t, os.Remove(mark))
				}
				bad := bytes.Clone(journal)
				if n < len(journal) {
					bad[n] ^= 0x20
				} else {
					bad = bad[:n-len(journal)]
				}
				check(t, os.WriteFile(a.journalPath, bad, 0o600))
				p, err := Open(w.paths[0], w.options(0))
				if err == nil { // as after a crash
					check(t, p.Close())
					continue
				}
				is(t, err, parley.ErrMalformed)
				damaged++
				kept, err := Recover(w.paths[0], w.options(0))
				if v == otp.V1 && !marked {
					is(t, err, parley.ErrRefused)
					if now, _ := os.ReadFile(a.journalPath); !bytes.Equal(now, bad) {
						t.Fatal("the damaged journal has gone")
					}
					continue
				}
				check(t, err)
				if was, err := os.ReadFile(kept); err != nil || !bytes.Equal(was, bad) {
					t.Fatalf("the damaged journal was not kept (%v)", err)
				}
				check(t, os.Remove(kept))
				p, err = Open(w.paths[0], w.options(0))
				check(t, err)
				packet, err := p.Package(ctx, id(200), "bob", []byte("after"))
				if !marked {
					is(t, err, otp.ErrHeld)
					check(t, p.Skip(5000)) // the owner's word
					if packet, err = p.Package(ctx, id(200), "bob", []byte("after")); err != nil {
						t.Fatal(err)
					}
				} else {
					check(t, err)
				}
				at := used(t, v, size, packet, 0)
				if all.overlaps(at) {
					t.Fatalf("byte %d, mark %v: %v is used again", n, marked, at)
				}
				for i, packet := range taken {
					o, err := p.Unpackage(ctx, "bob", packet)
					if err == nil && i != 3 {
						t.Fatalf("byte %d: message %d comes again: %q", n, i, o.Message)
					}
				}
				check(t, p.Close())
			}
		}
		t.Logf("damaged in %d ways", damaged)
		for name := range contents(t, w.dirs[0]) {
			check(t, os.Remove(filepath.Join(w.dirs[0], name)))
		}
		for name, data := range whole {
			if name != filepath.Base(a.journalPath) {
				check(t, os.WriteFile(filepath.Join(w.dirs[0], name), data, 0o600))
			}
		}
		_, err = Recover(w.paths[0], w.options(0)) // there is none
		is(t, err, parley.ErrRefused)
	})
}

// TestRecoverFirst: when the only thing sent is in the entry that is damaged, or all is, the
// pad counts as used all the same, and so does what had not come of the peer's.
func TestRecoverFirst(t *testing.T) {
	for _, all := range []bool{false, true} {
		w := newWorld(t, otp.V2, 20000)
		a, b := w.both()
		late := pack(t, b, 1, "late")
		pack(t, a, 1, "text")
		at := a.j.at - 10
		if all {
			at = 40
		}
		unpack(t, a, pack(t, b, 2, "from bob"), "from bob")
		check(t, a.Close())
		journal, err := os.ReadFile(a.journalPath)
		check(t, err)
		journal[at] ^= 1
		check(t, os.WriteFile(a.journalPath, journal, 0o600))
		check(t, os.RemoveAll(w.marks[0]))
		_, err = Recover(w.paths[0], w.options(0))
		check(t, err)
		a = w.open(0)
		_, err = a.Package(ctx, id(2), "bob", nil)
		is(t, err, otp.ErrHeld)
		if !all { // else nobody knows what had come
			_, err = a.Unpackage(ctx, "bob", late)
			is(t, err, parley.ErrSeen)
		}
		check(t, a.Close())
	}
}

// TestBurnedAlone: the file of a pad alone, without journal and mark, tells by what is
// burned of it that it was used, also when the first message was not Done.
func TestBurnedAlone(t *testing.T) {
	eachVersion(t, func(t *testing.T, v otp.Version) {
		for lane := range 2 {
			for _, waiting := range []int{0, 1, 2000, 6000} { // messages before those that are burned
				t.Run(fmt.Sprint(lane, " ", waiting), func(t *testing.T) {
					const size = 4 << 20
					w := newWorld(t, v, size)
					unused := contents(t, w.dirs[lane])
					p := w.open(lane)
					var end int64
					for i := range waiting + 3 {
						packet, err := p.Package(ctx, id(i), p.peer, []byte("a message of some length, so that it goes faster"))
						check(t, err)
						at := p.l.positions(uint8(lane), used(t, v, size, packet, lane))
						end = max(end, at.end)
						if i >= waiting {
							finished(t, p, packet)
						}
					}
					check(t, p.Close())
					entries := contents(t, w.dirs[lane])
					for name := range entries {
						switch filepath.Ext(name) {
						case ".pad", ".store":
						default:
							check(t, os.Remove(filepath.Join(w.dirs[lane], name)))
						}
					}
					if v == otp.V1 {
						check(t, os.WriteFile(w.paths[lane], unused[filepath.Base(w.paths[lane])], 0o600))
					}
					check(t, os.RemoveAll(w.marks[lane]))
					w.told()
					p = w.open(lane)
					_, err := p.Package(ctx, id(9999), p.peer, nil)
					is(t, err, otp.ErrHeld)
					if told := w.told(); !slices.Contains(told, Rollback) {
						t.Errorf("told %v", told)
					}
					check(t, p.Skip(0))
					packet, err := p.Package(ctx, id(9999), p.peer, nil)
					check(t, err)
					if at := p.l.positions(uint8(lane), used(t, v, size, packet, lane)); at.start != end {
						t.Errorf("sent at %d, %d were used", at.start, end)
					}
				})
			}
		}
	})
}

// TestZeroPrefix: how long a pad of zeros is makes no difference.
func TestZeroPrefix(t *testing.T) {
	const size = int64(1) << 40
	for _, lane := range []int{0, 1} {
		head, err := header(size, size/2, lane).Marshal()
		check(t, err)
		path := filepath.Join(t.TempDir(), "x.pad")
		makeSparse(t, path, head, otp.PadHeaderSize, size, size/2-100, []byte("x"))
		p, err := Open(path, Options{Marks: t.TempDir(), NoSync: true})
		check(t, err)
		_, err = p.Package(ctx, id(1), p.peer, nil)
		if !errors.Is(err, otp.ErrHeld) {
			t.Error(err)
		}
		check(t, p.Close())
	}
}

// TestWholeBlocks: of messages that are shorter than a block, the last one gives it back.
func TestWholeBlocks(t *testing.T) {
	eachVersion(t, func(t *testing.T, v otp.Version) {
		const size = 64 << 10
		w := newWorld(t, v, size)
		a, b := w.both()
		type end struct {
			p      *Pad
			packet []byte
		}
		var all []end
		for i := 0; ; i++ {
			packet, err := a.Package(ctx, id(i), "bob", make([]byte, 32))
			if err != nil {
				break
			}
			unpack(t, b, packet, string(make([]byte, 32)))
			all = append(all, end{a, packet}, end{b, packet})
		}
		before := blocks(t, b.path)
		if before < 0 || before*512 < size {
			t.Skip("the file system does not tell")
		}
		for i := range all { // first the later one of two neighbours
			e := all[min(i^2, len(all)-1)]
			check(t, e.p.Done(ctx, e.p.peer, otp.Digest(e.packet)))
		}
		for _, e := range all {
			check(t, e.p.Done(ctx, e.p.peer, otp.Digest(e.packet)))
		}
		for _, p := range []*Pad{a, b} {
			if freed := (before - blocks(t, p.path)) * 512; freed < size/2-2*blockSize {
				t.Errorf("of %d bytes that are burned, %d were given back", size/2, freed)
			}
		}
	})
}
