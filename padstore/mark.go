package padstore

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// A mark is how far a pad was used, kept outside of the pad's folder, so that it stays
// when that folder is put back from a backup. It is on disk before the journal's record
// of the use, so it is never behind, and after a crash ahead by one batch.
type mark struct {
	commit uint64
	seq    uint64
	top    int64
	l0     int64 // how much of our half is not granted
}

// A mark file has two slots, written in turn: the line "parley pad mark 1" and zeros to 24 bytes, the
// four numbers (8 bytes each, big endian), and the first 8 bytes of SHA-256 over all that.
const (
	markMagic = "parley pad mark 1\n"
	markHead  = 24
	slotSize  = markHead + 4*8 + 8
	slotAt    = 512 // where the second one is: in another sector
)

func (m mark) slot() []byte {
	b := make([]byte, markHead, slotSize)
	copy(b, markMagic)
	for _, n := range []uint64{m.commit, m.seq, uint64(m.top), uint64(m.l0)} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	sum := sha256.Sum256(b)
	return append(b, sum[:8]...)
}

func parseSlot(b []byte) (m mark, ok bool) {
	sum := sha256.Sum256(b[:slotSize-8])
	if !bytes.HasPrefix(b, []byte(markMagic)) || !bytes.Equal(sum[:8], b[slotSize-8:slotSize]) {
		return m, false
	}
	n := b[markHead:]
	m.commit, m.seq = binary.BigEndian.Uint64(n), binary.BigEndian.Uint64(n[8:])
	m.top, m.l0 = int64(binary.BigEndian.Uint64(n[16:])), int64(binary.BigEndian.Uint64(n[24:]))
	return m, m.top >= 0 && m.l0 >= 0 && m.top <= maxInt && m.l0 <= maxInt && m.commit <= maxInt && m.seq <= maxInt
}

// readMark returns the later of the two slots, or false when there is none.
func readMark(f file) (m mark, ok bool, err error) {
	b := make([]byte, slotAt+slotSize)
	if n, err := f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) || n == 0 {
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return m, false, err
	}
	a, okA := parseSlot(b)
	z, okZ := parseSlot(b[slotAt:])
	if okZ && (!okA || z.commit > a.commit) {
		return z, true, nil
	}
	return a, okA, nil
}

// write has the mark on disk.
func (m mark) write(f file) error {
	if _, err := f.WriteAt(m.slot(), int64(m.commit%2)*slotAt); err != nil {
		return err
	}
	return f.sync()
}

// openMark opens a mark file. It is nil when there is none and create is not set.
func openMark(d disk, path string, create bool) (file, error) {
	f, err := d.open(path, false)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	if !create {
		return nil, nil
	}
	if err := d.mkdir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	if f, err = d.open(path, true); err != nil {
		return nil, err
	}
	return f, d.syncDir(filepath.Dir(path))
}

// MarksDir is where marks are kept if nobody says otherwise.
func MarksDir() (string, error) {
	state := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(state) {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		state = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(state, "parley", "marks"), nil
}
