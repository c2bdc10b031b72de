package padstore

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

// A journal is a line with its format's name and then frames: length of the body 4,
// number 8, sum 8 (all big endian), body. The sum is the first 8 bytes of SHA-256 over the
// journal's name, the number and the body. The body of frame 0 is the journal's name, 16
// random bytes that it keeps for ever, and a snapshot of the ledger; the others' bodies
// are the records of one batch. Frame 0's sum covers no name.
const (
	journalMagic = "parley pad journal 1\n"
	frameHead    = 4 + 8 + 8
	maxJournal   = 1 << 30
)

// errDamaged means that a journal is not what was written.
var errDamaged = errors.New("the journal of the pad is damaged")

type journal struct {
	f    file
	name [16]byte
	next uint64 // number of the next frame
	at   int64  // where it begins
	base int64  // length of line and snapshot

	readOnly bool // a torn end stays where it is
}

func newJournalName() (name [16]byte) {
	rand.Read(name[:])
	return name
}

func appendFrame(b, name []byte, number uint64, body []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	b = binary.BigEndian.AppendUint64(b, number)
	b = append(b, frameSum(name, number, body)...)
	return append(b, body...)
}

func frameSum(name []byte, number uint64, body []byte) []byte {
	h := sha256.New()
	h.Write(name)
	h.Write(binary.BigEndian.AppendUint64(nil, number))
	h.Write(body)
	return h.Sum(nil)[:8]
}

// cutFrame takes the frame of that number off the front.
func cutFrame(b, name []byte, number uint64) (body, rest []byte, ok bool) {
	if len(b) < frameHead {
		return nil, nil, false
	}
	n := binary.BigEndian.Uint32(b)
	if uint64(n) > uint64(len(b)-frameHead) || binary.BigEndian.Uint64(b[4:]) != number {
		return nil, nil, false
	}
	body, rest = b[frameHead:frameHead+n], b[frameHead+n:]
	return body, rest, bytes.Equal(b[12:frameHead], frameSum(name, number, body))
}

// journalFile returns a whole file that holds a snapshot.
func journalFile(name [16]byte, snapshot []byte) []byte {
	return appendFrame([]byte(journalMagic), nil, 0, append(name[:], snapshot...))
}

// parseJournal reads the beginning of a journal.
func parseJournal(b []byte) (name [16]byte, snapshot, rest []byte, err error) {
	rest, ok := bytes.CutPrefix(b, []byte(journalMagic))
	if !ok {
		return name, nil, nil, fmt.Errorf("%w: it does not begin like one", errDamaged)
	}
	body, rest, ok := cutFrame(rest, nil, 0)
	if !ok || len(body) < len(name) {
		return name, nil, nil, fmt.Errorf("%w: its beginning", errDamaged)
	}
	return name, body[copy(name[:], body):], rest, nil
}

// followed reports whether the next frame stands somewhere behind one that is not whole:
// then it was no crash that cut that one.
func followed(rest, name []byte, number uint64) bool {
	mark := binary.BigEndian.AppendUint64(nil, number+1)
	for i := 4; ; i++ {
		j := bytes.Index(rest[min(i, len(rest)):], mark)
		if j < 0 {
			return false
		}
		i += j
		if _, _, ok := cutFrame(rest[i-4:], name, number+1); ok {
			return true
		}
	}
}

// read applies the frames from j.at on to a ledger, and cuts off one that a crash has
// left unfinished at the end. It reports whether there was one.
func (j *journal) read(l *ledger) (torn bool, err error) {
	size, err := j.f.size()
	if err != nil || size == j.at {
		return false, err
	}
	if size < j.at || size-j.at > maxJournal {
		return false, fmt.Errorf("%w: it has %d bytes", errDamaged, size)
	}
	rest := make([]byte, size-j.at)
	if _, err := j.f.ReadAt(rest, j.at); err != nil {
		return false, err
	}
	return j.take(rest, l)
}

func (j *journal) take(rest []byte, l *ledger) (torn bool, err error) {
	for len(rest) > 0 {
		body, after, ok := cutFrame(rest, j.name[:], j.next)
		if !ok {
			if followed(rest, j.name[:], j.next) {
				return false, fmt.Errorf("%w: frame %d", errDamaged, j.next)
			}
			if j.readOnly {
				return true, nil
			}
			return true, j.f.truncate(j.at)
		}
		for d := (&decoder{b: body}); len(d.b) > 0; {
			r := &record{}
			if r.read(d); d.bad {
				return false, fmt.Errorf("%w: frame %d: %w", errDamaged, j.next, errEncoding)
			}
			if err := l.apply(r); err != nil {
				return false, fmt.Errorf("%w: frame %d: %w", errDamaged, j.next, err)
			}
		}
		j.next++
		j.at += int64(len(rest) - len(after))
		rest = after
	}
	return false, nil
}

// append writes one frame and has it on disk.
func (j *journal) append(body []byte) error {
	frame := appendFrame(nil, j.name[:], j.next, body)
	if _, err := j.f.WriteAt(frame, j.at); err != nil {
		return err
	}
	if err := j.f.sync(); err != nil {
		return err
	}
	j.next++
	j.at += int64(len(frame))
	return nil
}
