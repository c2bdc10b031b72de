package padstore

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"parley"
	"parley/secure/otp"
)

// TestView: what can only be read is shown and checked as it stands, and nothing else.
func TestView(t *testing.T) {
	eachVersion(t, func(t *testing.T, v otp.Version) {
		w := newWorld(t, v, 20000)
		unused := contents(t, w.dirs[0])
		view := func() *Pad { // as on a medium that can only be read
			p, err := open(w.paths[0], w.options(0), true)
			check(t, err)
			check(t, p.begin())
			t.Cleanup(func() { p.Close() })
			return p
		}
		untouched := func(do func(p *Pad)) {
			t.Helper()
			root := filepath.Dir(w.dirs[0])
			before := files(t, root)
			p := view()
			do(p)
			check(t, p.Close())
			for path, now := range files(t, root) {
				if was, ok := before[path]; !ok || was != now {
					t.Errorf("%s was changed or made", path)
				}
			}
		}
		untouched(func(p *Pad) { // never used, and no marks
			s, err := p.Status(ctx, "bob")
			if check(t, err); s.Held != "" || s.Left == 0 {
				t.Errorf("%+v", s)
			}
		})
		a, b := w.both()
		pending := pack(t, a, 1, "text")
		for i := range 3 {
			finished(t, a, pack(t, a, 10+i, "text"))
		}
		incoming, taken := pack(t, b, 1, "from bob"), pack(t, b, 2, "from bob, too")
		unpack(t, a, taken, "from bob, too")
		want, err := a.Status(ctx, "bob")
		check(t, err)
		check(t, a.Close())
		for name, data := range contents(t, w.dirs[0]) { // and a torn end
			if strings.HasSuffix(name, "journal") {
				check(t, os.WriteFile(filepath.Join(w.dirs[0], name), append(data, 0, 0, 0, 9), 0o600))
			}
		}
		untouched(func(p *Pad) {
			s, err := p.Status(ctx, "bob")
			check(t, err)
			if s.Left != want.Left || s.Held != "" {
				t.Errorf("%+v, want %+v", s, want)
			}
			pic, err := p.Layout()
			check(t, err)
			if pic.Pending != 2 {
				t.Errorf("%+v", pic)
			}
			check(t, p.Check(ctx, nil))
			for what, err := range map[string]error{
				"send":    func() error { _, err := p.Package(ctx, id(50), "bob", nil); return err }(),
				"once":    func() error { _, err := p.PackageOnce(ctx, nil); return err }(),
				"receive": func() error { _, err := p.Unpackage(ctx, "bob", incoming); return err }(),
				"done":    p.Done(ctx, "bob", otp.Digest(pending)),
				"skip":    p.Skip(10),
			} {
				if !errors.Is(err, parley.ErrRefused) {
					t.Errorf("%s: %v", what, err)
				}
			}
			s, err = p.Status(ctx, "bob")
			if check(t, err); s.Left != want.Left {
				t.Errorf("%+v, want %+v", s, want)
			}
		})
		// An old copy shows what the mark knows of.
		for name := range contents(t, w.dirs[0]) {
			check(t, os.Remove(filepath.Join(w.dirs[0], name)))
		}
		for name, data := range unused {
			check(t, os.WriteFile(filepath.Join(w.dirs[0], name), data, 0o600))
		}
		untouched(func(p *Pad) {
			s, err := p.Status(ctx, "bob")
			if check(t, err); s.Left != want.Left {
				t.Errorf("%+v, want %+v", s, want)
			}
		})
	})
}

// TestConsequences: a full disk is told in the words of what was asked for.
func TestConsequences(t *testing.T) {
	disk := newMemDisk()
	names, data := padFiles(t, otp.V2, randomBytes(7, modelSize), modelSize/2, 0)
	disk.put(filepath.Join("/alice", names[0]), data[0])
	other := newMemDisk()
	names2, data2 := padFiles(t, otp.V2, randomBytes(7, modelSize), modelSize/2, 1)
	other.put(filepath.Join("/bob", names2[0]), data2[0])
	b, err := Open(filepath.Join("/bob", names2[0]), Options{Marks: "/marks", disk: other})
	check(t, err)
	p, err := Open(filepath.Join("/alice", names[0]), Options{Marks: "/marks", disk: disk})
	check(t, err)
	packet := pack(t, p, 1, "text")
	incoming := pack(t, b, 1, "text")
	for _, c := range []struct {
		text string
		call int // which call from now on fails
		do   func() error
	}{
		{"nothing has left", 3, func() error { _, err := p.Package(ctx, id(2), "bob", nil); return err }},
		{"the message was not taken", 5, func() error { _, err := p.Unpackage(ctx, "bob", incoming); return err }},
		{"that the packet is safe is not on disk", 4, func() error { return p.Done(ctx, "bob", otp.Digest(packet)) }},
	} {
		disk.onFail = func(call string) { disk.failed = false }
		done := false
		for at := 1; at < 12 && !done; at++ {
			disk.failAt, disk.fault = disk.step+at, syscall.ENOSPC
			err := c.do()
			disk.failAt = 0
			if done = errors.Is(err, errDisk) && strings.Contains(err.Error(), c.text); err != nil && errors.Is(err, errDisk) && !done {
				t.Errorf("want %q: %v", c.text, err)
			}
			if err != nil && !strings.Contains(c.text, "nothing") && strings.Contains(err.Error(), "nothing has left") {
				t.Errorf("%v", err)
			}
		}
		if !done {
			t.Errorf("never: %s", c.text)
		}
	}
}

// TestLongestNames: the names of all files of a pad fit into a file system.
func TestLongestNames(t *testing.T) {
	eachVersion(t, func(t *testing.T, v otp.Version) {
		self, peer := strings.Repeat("a", otp.MaxName), strings.Repeat("b", otp.MaxNames-otp.MaxName)
		dir := t.TempDir()
		var path string
		if v == otp.V2 {
			h := header(4000, 2000, 0)
			h.Names = [2]string{self, peer}
			head, err := h.Marshal()
			check(t, err)
			path = filepath.Join(dir, self+"."+peer+padSuffix)
			check(t, os.WriteFile(path, append(head, randomBytes(1, 4000)...), 0o600))
		} else {
			m := otp.NewMetadataV1(self, peer, 4000, "random", true)
			path = filepath.Join(dir, m.MetadataFilename)
			check(t, os.WriteFile(path, m.Marshal(), 0o600))
			check(t, os.WriteFile(filepath.Join(dir, m.StoreFilename), randomBytes(1, 4000), 0o600))
		}
		o := Options{Marks: t.TempDir(), NoSync: true}
		p, err := Open(path, o)
		check(t, err)
		_, err = p.Package(context.Background(), id(1), parley.Name(peer), []byte("text"))
		check(t, err)
		check(t, p.Close())
		b, err := os.ReadFile(p.journalPath)
		check(t, err)
		check(t, os.WriteFile(p.journalPath, b[:40], 0o600))
		_, err = Recover(path, o)
		check(t, err)
	})
}
