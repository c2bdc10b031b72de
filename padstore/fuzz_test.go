package padstore

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"parley"
	"parley/secure/otp"
)

// FuzzJournal: whatever stands in the journal's place is refused, or is a journal whose
// pad sends and can be opened again.
func FuzzJournal(f *testing.F) {
	pad := randomBytes(9, 4000)
	names, contents := padFiles(f, otp.V2, pad, 2000, 0)
	dir := f.TempDir()
	for i := range names {
		check(f, os.WriteFile(filepath.Join(dir, names[i]), contents[i], 0o600))
	}
	path := filepath.Join(dir, names[0])
	p, err := Open(path, Options{Marks: filepath.Join(dir, "marks"), NoSync: true})
	check(f, err)
	pack(f, p, 1, "one")
	_, err = p.Grant(ctx, id(2), 50)
	check(f, err)
	_, err = p.PackageOnce(ctx, []byte("two"))
	check(f, err)
	check(f, p.Close())
	whole, err := os.ReadFile(path + ".journal")
	check(f, err)
	f.Add(whole)
	f.Add(whole[:len(whole)-3])
	f.Add([]byte(journalMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		d := newMemDisk()
		d.put(filepath.Join("/", names[0]), contents[0])
		d.put(filepath.Join("/", names[0]+".journal"), b)
		p, err := Open(filepath.Join("/", names[0]), Options{Marks: "/marks", disk: d})
		if err != nil {
			if !errors.Is(err, parley.ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		check(t, p.Skip(0))
		packet, err := p.Package(ctx, id(7), "bob", []byte("seven"))
		if err != nil {
			if !errors.Is(err, parley.ErrRefused) {
				t.Fatal(err)
			}
			return
		}
		check(t, p.Close())
		p, err = Open(filepath.Join("/", names[0]), Options{Marks: "/marks", disk: d})
		check(t, err)
		if again := pack(t, p, 7, "seven"); !bytes.Equal(again, packet) {
			t.Fatal("another packet")
		}
	})
}

// FuzzRecords: what is read as records and a snapshot is written the same way again, and
// no ledger panics on it.
func FuzzRecords(f *testing.F) {
	l := newLedger(otp.V2, 4000, 2000, 0)
	r := &record{kind: recSend, t: 0, use: 96, seq: 1, commit: 1, digest: [32]byte{1}}
	check(f, l.apply(r))
	f.Add(l.snapshot([]byte("x")), r.append(nil))
	f.Add(newLedger(otp.V1, 100, 50, 1).snapshot(nil), (&record{kind: recJump, t: 5, use: 7, l0: 9}).append(nil))
	f.Fuzz(func(t *testing.T, snapshot, recs []byte) {
		l, label, err := parseSnapshot(snapshot)
		if err != nil {
			return
		}
		for d := (&decoder{b: recs}); len(d.b) > 0; {
			r := &record{}
			if r.read(d); d.bad {
				break
			}
			var again record
			d2 := &decoder{b: r.append(nil)}
			if again.read(d2); d2.bad || again != *r {
				t.Fatalf("%+v became %+v", r, again)
			}
			if err := l.apply(r); err != nil {
				break
			}
		}
		l.left()
		l.theirLeft()
		if _, _, err := parseSnapshot(l.snapshot(label)); err != nil {
			t.Fatalf("its own snapshot: %v", err)
		}
	})
}

func FuzzMark(f *testing.F) {
	m := mark{3, 4, 5, 6}
	f.Add(append(append(m.slot(), make([]byte, slotAt-slotSize)...), mark{4, 5, 6, 6}.slot()...))
	f.Add(m.slot())
	f.Fuzz(func(t *testing.T, b []byte) {
		d := newMemDisk()
		d.put("/m", b)
		h, _ := d.open("/m", false)
		m, ok, err := readMark(h)
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			check(t, m.write(h))
			if again, ok, err := readMark(h); again != m || !ok || err != nil {
				t.Fatal(again, ok, err)
			}
		}
	})
}

// FuzzUnpackage: no packet changes a file, unless it is genuine.
func FuzzUnpackage(f *testing.F) {
	var pads [2]*Pad
	for i, v := range bothVersions {
		w := newWorld(f, v, 4000)
		a := w.open(0)
		pads[i] = w.open(1)
		f.Add(pack(f, a, 1, "text"), i == 1)
		f.Add(pack(f, a, 2, ""), i == 1)
	}
	f.Fuzz(func(t *testing.T, packet []byte, second bool) {
		p := pads[0]
		if second {
			p = pads[1]
		}
		o, err := p.Unpackage(ctx, "alice", packet)
		switch {
		case err == nil && string(o.Message) != "text" && len(o.Message) > 0:
			t.Fatalf("opened %q", o.Message)
		case err != nil && o != nil:
			t.Fatal("a message and an error")
		case err != nil && !errors.Is(err, parley.ErrForged) && !errors.Is(err, parley.ErrMalformed) && !errors.Is(err, parley.ErrSeen):
			t.Fatal(err)
		}
	})
}

// FuzzMetadata: whatever stands in the metadata file is refused or used.
func FuzzMetadata(f *testing.F) {
	pad := randomBytes(9, 1000)
	names, contents := padFiles(f, otp.V1, pad, 0, 0)
	m := otp.NewMetadataV1("alice", "bob", 1000, "random", true)
	f.Add(m.EncryptIndex, "1-2,", m.DecryptMax, m.SplitIndex, 1)
	f.Add(int64(999), "999-990,990-950,950-934,", int64(0), int64(500), -1)
	f.Fuzz(func(t *testing.T, index int64, log string, decryptMax, split int64, direction int) {
		m := *m
		m.EncryptIndex, m.DecryptLog, m.DecryptMax, m.SplitIndex, m.Direction = index, log, decryptMax, split, direction
		d := newMemDisk()
		d.put(filepath.Join("/", names[0]), m.Marshal())
		d.put(filepath.Join("/", names[1]), contents[1])
		p, err := Open(filepath.Join("/", names[0]), Options{Marks: "/marks", disk: d})
		if err != nil {
			if !errors.Is(err, parley.ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		if _, err := p.Package(ctx, id(1), "bob", []byte("x")); err != nil && !errors.Is(err, otp.ErrDepleted) {
			t.Fatal(err)
		}
		if _, err := p.Layout(); err != nil {
			t.Fatal(err)
		}
		check(t, p.Close())
		p, err = Open(filepath.Join("/", names[0]), Options{Marks: "/marks", disk: d})
		check(t, err)
		check(t, p.Close())
	})
}
