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

	"parley/internal/keyfile"
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

// head is what is kept outside the folder, so that a log that was cut is known.
type head struct {
	N    int64  `json:"n"`
	Hash string `json:"hash"`
}

// walk reads the whole lines of a log from t on. each may be nil; a line that is no entry
// comes to it with an error.
func walk(f io.ReaderAt, t tail, each func(line int64, e *Entry, err error) error) (tail, error) {
	r := bufio.NewReaderSize(io.NewSectionReader(f, t.size, 1<<62), maxLine)
	for {
		b, err := r.ReadSlice('\n')
		whole := bytes.Clone(b)
		for errors.Is(err, bufio.ErrBufferFull) { // no line of ours: taken as it is, and found wrong
			b, err = r.ReadSlice('\n')
			if len(whole) < 1<<20 {
				whole = append(whole, b...)
			}
		}
		if errors.Is(err, io.EOF) {
			return t, nil // what has no line end was not written whole
		}
		if err != nil {
			return t, err
		}
		line := whole[:len(whole)-1]
		prev := t.hash
		t.size += int64(len(whole))
		t.n++
		t.hash = sha256.Sum256(line)
		if each == nil {
			continue
		}
		e := &Entry{}
		switch err := json.Unmarshal(line, e); {
		case err != nil:
			err = each(t.n, nil, fmt.Errorf("%w: line %d is none of the log's", ErrLog, t.n))
			if err != nil {
				return t, err
			}
			continue
		case e.N != t.n || e.Prev != hex.EncodeToString(prev[:]):
			err = fmt.Errorf("%w: line %d does not follow the line before it: one of the two was changed, or lines are missing between them", ErrLog, t.n)
			if err := each(t.n, e, err); err != nil {
				return t, err
			}
			continue
		}
		if err := each(t.n, e, nil); err != nil {
			return t, err
		}
	}
}

// ReadLog shows each entry of a folder's log and checks that the log is whole: the chain,
// and by the mark outside the folder that nothing was cut off its end. The error is
// [ErrLog] for the first thing that is wrong, when all entries were shown. each may be nil.
func ReadLog(dir, marks string, each func(*Entry)) error {
	f, err := os.Open(filepath.Join(dir, logName))
	if errors.Is(err, fs.ErrNotExist) {
		return checkHead(dir, marks, tail{}, nil)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	var first error
	hashes := map[int64][sha256.Size]byte{}
	h, err := readHead(dir, marks)
	if err != nil {
		return err
	}
	last := tail{}
	t, err := walk(f, tail{}, func(_ int64, e *Entry, err error) error {
		if first == nil {
			first = err
		}
		if e != nil && each != nil {
			each(e)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if h != nil && h.N > 0 && h.N < t.n { // where the mark is, for its hash
		if last, err = walkTo(f, h.N); err != nil {
			return err
		}
		hashes[h.N] = last.hash
	}
	hashes[t.n] = t.hash
	if first != nil {
		return first
	}
	return checkHead(dir, marks, t, hashes)
}

// walkTo reads up to line n.
func walkTo(f io.ReaderAt, n int64) (t tail, err error) {
	stop := errors.New("there")
	t, err = walk(f, t, func(line int64, _ *Entry, _ error) error {
		if line == n {
			return stop
		}
		return nil
	})
	if errors.Is(err, stop) {
		err = nil
	}
	return t, err
}

// checkHead compares a log's end with the mark.
func checkHead(dir, marks string, t tail, hashes map[int64][sha256.Size]byte) error {
	h, err := readHead(dir, marks)
	if err != nil || h == nil {
		return err
	}
	if h.N > t.n {
		return fmt.Errorf("%w: it had %d lines and has %d: the end was cut off, or an old copy was put back", ErrLog, h.N, t.n)
	}
	if hash, ok := hashes[h.N]; ok && h.N > 0 && h.Hash != hex.EncodeToString(hash[:]) {
		return fmt.Errorf("%w: line %d is not what it was: the log was written anew", ErrLog, h.N)
	}
	return nil
}

// headPath is by the folder's path: a log that was removed is missed, too.
func headPath(dir, marks string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		abs = real
	}
	sum := sha256.Sum256([]byte(abs))
	return filepath.Join(marks, "events-"+hex.EncodeToString(sum[:8])), nil
}

func readHead(dir, marks string) (*head, error) {
	path, err := headPath(dir, marks)
	if err != nil {
		return nil, err
	}
	b, err := keyfile.Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	h := &head{}
	if err == nil {
		err = json.Unmarshal(b, h)
	}
	if err != nil {
		return nil, fmt.Errorf("the mark of the event log: %w", err)
	}
	return h, nil
}

func writeHead(dir, marks string, t tail) error {
	path, err := headPath(dir, marks)
	if err != nil {
		return err
	}
	b, err := json.Marshal(head{t.n, hex.EncodeToString(t.hash[:])})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(marks, 0o700); err != nil {
		return err
	}
	return keyfile.Replace(path, append(b, '\n'))
}

// MarksDir is the default folder of marks, which padstore uses as well.
func MarksDir() (string, error) {
	state := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(state) {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("there is no folder for marks: give one: %w", err)
		}
		state = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(state, "parley", "marks"), nil
}
