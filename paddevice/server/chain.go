package server

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

const logName = "events.log"

// ErrLog means that the event log is not as it was written.
var ErrLog = errors.New("the event log was changed")

// An Entry is one line of the event log. Nothing secret is in it: no text, no pad, no
// package.
type Entry struct {
	N      int64     `json:"n"` // 1, 2, 3 …
	Time   time.Time `json:"time"`
	Kind   string    `json:"kind"`
	Peer   string    `json:"peer,omitempty"`
	Client string    `json:"client,omitempty"`
	Text   string    `json:"text,omitempty"`
	Count  int       `json:"count,omitempty"` // as many of the kind since the last line about it
	Prev   string    `json:"prev"`            // SHA-256 of the line before, in hex; zeros in the first
}

const (
	maxLine = 4096
	maxText = 600
)

// tail is where a log ends.
type tail struct {
	size int64
	n    int64
	hash [sha256.Size]byte
}

// walk reads the whole lines of a log. each gets where a line ends, the line, and the
// entry, which is nil with an error if it is none, and has an error if it does not follow
// the line before.
func walk(f io.ReaderAt, each func(t tail, line []byte, e *Entry, err error)) (t tail, err error) {
	r := bufio.NewReaderSize(io.NewSectionReader(f, 0, 1<<62), maxLine)
	for {
		b, err := r.ReadSlice('\n')
		line := bytes.Clone(b)
		size := int64(len(b))
		for errors.Is(err, bufio.ErrBufferFull) {
			b, err = r.ReadSlice('\n')
			size += int64(len(b))
			if len(line) < 1<<20 { // longer is none of ours
				line = append(line, b...)
			}
		}
		if errors.Is(err, io.EOF) {
			return t, nil // what has no line end was not written whole
		}
		if err != nil {
			return t, err
		}
		line = bytes.TrimSuffix(line, []byte("\n"))
		prev := hex.EncodeToString(t.hash[:])
		t = tail{t.size + size, t.n + 1, sha256.Sum256(line)}
		e, wrong := &Entry{}, error(nil)
		switch err := json.Unmarshal(line, e); {
		case err != nil:
			e, wrong = nil, fmt.Errorf("%w: line %d is none of the log's", ErrLog, t.n)
		case e.N != t.n || e.Prev != prev:
			wrong = fmt.Errorf("%w: line %d does not follow the line before it: one of the two was changed, or lines are missing between them", ErrLog, t.n)
		}
		each(t, line, e, wrong)
	}
}

// A finding is what a log looks like beside its mark.
type finding struct {
	end     tail
	torn    bool // something that is no whole line follows
	missing []string
	fresh   error // what is wrong, and no line tells of it yet
	told    error // what was wrong before, and a line tells of it
}

// look compares a log with its mark h, which may be nil. each gets the entries, and may be
// nil.
func look(f *os.File, h *head, each func(*Entry)) (found finding, err error) {
	if each == nil {
		each = func(*Entry) {}
	}
	fresh := func(format string, args ...any) {
		if found.fresh == nil {
			found.fresh = fmt.Errorf("%w: %w", ErrLog, fmt.Errorf(format, args...))
		}
	}
	known := head{}
	if h != nil {
		known = *h
	}
	if known.Broken != "" {
		found.told = fmt.Errorf("%w, for the first time when %s; line %d tells of the last time", ErrLog, known.Broken, known.From)
	}
	var size int64
	if f != nil {
		found.end, err = walk(f, func(t tail, line []byte, e *Entry, err error) {
			if e != nil {
				each(e)
			}
			if err != nil && t.n <= known.From {
				found.told = first(found.told, err)
			} else if found.fresh == nil {
				found.fresh = err
			}
			if e != nil && e.Kind == KindLog {
				found.told = first(found.told, fmt.Errorf("%w: line %d tells how", ErrLog, t.n))
			}
			if h == nil {
				return
			}
			if t.n == known.N && (t.size != known.Size || hex.EncodeToString(t.hash[:]) != known.Hash) {
				fresh("line %d is not what it was: the log was written anew", t.n)
			}
			if i := t.n - known.N - 1; i >= 0 && (i >= int64(len(known.Lines)) || string(line) != known.Lines[i]) {
				fresh("line %d was written by something else", t.n)
			}
		})
		if err != nil {
			return found, err
		}
		st, err := f.Stat()
		if err != nil {
			return found, err
		}
		size = st.Size()
	}
	found.torn = size > found.end.size
	if h == nil {
		return found, nil
	}
	if found.end.n < known.N {
		fresh("it had %d lines and has %d: the end was cut off, or an old copy was put back", known.N, found.end.n)
		return found, nil
	}
	if i := found.end.n - known.N; i < int64(len(known.Lines)) { // a crash came between
		found.missing = known.Lines[i:]
	}
	if found.torn && len(found.missing) == 0 {
		fresh("something that is no line stands at its end")
	}
	return found, nil
}

func first(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// ReadLog shows each entry of a folder's log and checks that the log is whole: the chain,
// and by the mark outside the folder that nothing was changed, cut off or added. The error
// is [ErrLog] for the first thing that is wrong, when all entries were shown; what was
// wrong once stays so. each may be nil.
func ReadLog(dir, marks string, each func(*Entry)) error {
	h, damaged := readHead(dir, marks)
	if damaged != nil && !errors.Is(damaged, ErrLog) {
		return damaged
	}
	f, err := os.Open(filepath.Join(dir, logName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil {
		defer f.Close()
	} else {
		f = nil
	}
	found, err := look(f, h, each)
	if err != nil {
		return err
	}
	for _, line := range found.missing { // on disk in the mark, and put back by the next device
		e := &Entry{}
		if json.Unmarshal([]byte(line), e) == nil && each != nil && found.fresh == nil {
			each(e)
		}
	}
	return first(damaged, first(found.fresh, found.told))
}
