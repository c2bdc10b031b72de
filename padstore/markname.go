package padstore

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"parley"
	"parley/secure/otp"
)

// A pad of version 1 has no ID. Its mark is named by an HMAC, under a secret of the marks'
// folder, over its metadata's fixed members and over the bytes of both halves that are
// used last: the same for every copy of the pad on this machine, also for one that was
// never used, and another for another pad of the same names. The bytes are burned in the
// very end, so the journal keeps the name.

const (
	secretFile = "secret"
	secretLen  = 32
	farLen     = 64 // bytes of each half that name a mark
	nameLen    = 8 + 16
)

// A secret keys the names of marks. Its file is itself and the first 8 bytes of its SHA-256.
type secret [secretLen]byte

// readSecret reads the secret of a marks' folder. It is nil when there is none and create
// is not set.
func readSecret(d disk, dir string, create bool) (*secret, error) {
	path := filepath.Join(dir, secretFile)
	f, err := d.open(path, false)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !create:
		return nil, nil
	case errors.Is(err, fs.ErrNotExist):
		if err := d.mkdir(dir); err != nil {
			return nil, err
		}
		f, err = d.open(path, true)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if !create {
		s, _, err := parseSecret(f, path)
		return s, err
	}
	if err := f.lock(); err != nil {
		return nil, err
	}
	s, blank, err := parseSecret(f, path)
	if err == nil && blank {
		s = new(secret)
		rand.Read(s[:])
		sum := sha256.Sum256(s[:])
		_, err = f.WriteAt(append(s[:], sum[:8]...), 0)
	}
	err = errors.Join(err, f.sync(), d.syncDir(dir), f.unlock())
	if err != nil {
		return nil, err
	}
	return s, nil
}

func parseSecret(f file, path string) (s *secret, blank bool, err error) {
	b := make([]byte, secretLen+8)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, false, err
	}
	if n < len(b) || allZero(b) { // its maker was killed, or had no room: nothing was named by it
		return nil, true, nil
	}
	sum := sha256.Sum256(b[:secretLen])
	if !bytes.Equal(sum[:8], b[secretLen:]) {
		return nil, false, fmt.Errorf("%w: %s is damaged: put it back as it was, or remove it if you know that no pad of version 1 was copied or put back since", parley.ErrMalformed, path)
	}
	return (*secret)(b), false, nil
}

// id says which secret has made a name.
func (s *secret) id() []byte {
	sum := sha256.Sum256(append([]byte("parley pad marks\n"), s[:]...))
	return sum[:8]
}

// nameOf returns the name of the mark of a pad of version 1, or nil when the bytes that
// name it are burned or damaged.
func (s *secret) nameOf(m *otp.MetadataV1, pad io.ReaderAt) ([]byte, error) {
	mac := hmac.New(sha256.New, s[:])
	mac.Write([]byte("parley pad mark of version 1\n"))
	for _, text := range []string{m.UID, m.RID} {
		mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(text))))
		mac.Write([]byte(text))
	}
	for _, n := range []int64{m.NBytes, m.SplitIndex, int64(m.Direction)} {
		mac.Write(binary.BigEndian.AppendUint64(nil, uint64(n)))
	}
	l := newLedger(otp.V1, m.NBytes, m.SplitIndex, 0)
	for lane := range uint8(2) {
		// A message that was burned there may reach only some bytes into them.
		far := span{max(l.half[lane]-farLen, 0), l.half[lane]}
		near := l.positions(lane, span{max(far.start-farLen, 0), far.end})
		far = l.positions(lane, far)
		b := make([]byte, near.len())
		if _, err := pad.ReadAt(b, near.start); err != nil {
			return nil, fmt.Errorf("the pad cannot be read: %w", err)
		}
		defer clear(b)
		if zeroRun(b) >= 0 {
			return nil, nil
		}
		mac.Write(b[far.start-near.start:][:far.len()])
	}
	return append(s.id(), mac.Sum(nil)[:nameLen-8]...), nil
}

// IdentityV1 names a pad of version 1 by what the marks' folder knows it by: the same for
// all copies of it, and nothing to anybody else. It is "" when its last bytes are burned.
func IdentityV1(m *otp.MetadataV1, pad io.ReaderAt, marks string) (string, error) {
	s, err := readSecret(osDisk{}, marks, true)
	if err != nil {
		return "", err
	}
	name, err := s.nameOf(m, pad)
	return hex.EncodeToString(name), err
}

// newMarkName is the name of a mark whose pad has no other.
func newMarkName(s *secret) []byte {
	name := make([]byte, nameLen)
	copy(name, s.id())
	rand.Read(name[8:])
	return name
}

// ownName returns what this marks' folder calls the pad of version 1, or nil.
func (p *Pad) ownName(create bool) ([]byte, error) {
	if p.secret == nil || create && !p.secretKept {
		s, err := readSecret(p.d, p.o.Marks, create)
		if err != nil {
			return nil, fmt.Errorf("the secret of the marks: %w", err)
		}
		if s != nil && len(p.o.Salt) > 0 {
			salted := sha256.Sum256(append(s[:len(s):len(s)], p.o.Salt...))
			s = (*secret)(&salted)
		}
		p.secret, p.secretKept = s, create
	}
	if p.secret == nil {
		return nil, nil
	}
	return p.secret.nameOf(p.meta, p.pad)
}

// foreignJournal reports whether a journal is of another pad that stood here before: then
// the folder of marks, which had named that one, calls this one something else.
func (p *Pad) foreignJournal(l *ledger) (bool, error) {
	if p.version != otp.V1 || len(l.mark) != nameLen {
		return false, nil
	}
	name, err := p.ownName(false)
	if err != nil || name == nil || !bytes.Equal(name[:8], l.mark[:8]) || bytes.Equal(name, l.mark) {
		return false, err
	}
	// Or the bytes are damaged: metadata of ours that shows use belongs to the journal.
	if m, text, err := p.readMetaText(); err == nil && sha256.Sum256(text) == l.wroteMeta && !unusedV1(m) {
		return false, fmt.Errorf("%w: the file of the pad is not the one that its journal and metadata are of, or it is damaged: put the right one there; with another pad, also its metadata file", parley.ErrMalformed)
	}
	return true, nil
}

// unusedV1 reports whether metadata shows no use.
func unusedV1(m *otp.MetadataV1) bool {
	fresh := otp.NewMetadataV1(m.UID, m.RID, m.NBytes, m.RService, m.Direction == 1)
	return m.EncryptIndex == fresh.EncryptIndex && m.DecryptLog == ""
}

// aside gives a file another name, which nothing has yet.
func aside(d disk, path, kind string) (string, error) {
	to, err := freeName(d, path, kind)
	if err == nil {
		err = errors.Join(d.rename(path, to), d.syncDir(filepath.Dir(path)))
	}
	return to, err
}

func freeName(d disk, path, kind string) (string, error) {
	for n := 1; ; n++ {
		to := fmt.Sprintf("%s.%s-%d", path, kind, n)
		f, err := d.open(to, false)
		if errors.Is(err, fs.ErrNotExist) {
			return to, nil
		}
		if err != nil {
			return "", err
		}
		f.Close()
	}
}
