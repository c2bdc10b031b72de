package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"parley/internal/term"
)

// lockTime bounds how long one waits for another process of the folder.
const lockTime = 10 * time.Second

// maxBatch is how many bytes of lines are written at once: the mark holds them, too.
const maxBatch = 256 << 10

// append writes entries behind whatever is there by now, and has them on disk. It returns
// how many are, in the log or at least in its mark.
func (l *Log) append(batch []Entry) (taken int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), lockTime)
	defer cancel()
	unlock, err := lock(ctx, l.dir)
	if err != nil {
		return 0, err
	}
	defer unlock()
	return l.appendLocked(batch)
}

// record writes one entry at once, for somebody who has the folder's lock and will not do
// what the entry says unless it is on disk.
func (l *Log) record(e Entry) error {
	e.prepare()
	taken, err := l.appendLocked([]Entry{e})
	if taken == 0 {
		return fmt.Errorf("the event log cannot be written, so nothing was done: %w", err)
	}
	l.told(e)
	return nil
}

func (l *Log) appendLocked(batch []Entry) (taken int, err error) {
	l.disk.Lock()
	defer l.disk.Unlock()
	say, err := l.check()
	if err != nil {
		return 0, err
	}
	for i := range say {
		say[i].prepare()
		l.told(say[i])
	}
	all := append(say, batch...)
	for i := 0; i < len(all); {
		n, err := l.put(all[i:])
		i += n
		taken = max(0, i-len(say))
		if err != nil {
			return taken, err
		}
	}
	return taken, nil
}

// check looks at what is there, and returns what must be said about it first.
func (l *Log) check() (say []Entry, err error) {
	h, err := readHead(l.dir, l.marks)
	var fresh error
	if errors.Is(err, ErrLog) && l.head != nil {
		fresh, h, err = err, l.head, nil
	}
	if err != nil {
		return nil, err
	}
	if err := l.reopen(); err != nil {
		return nil, err
	}
	if fresh == nil && l.head != nil && h.is(l.tail) && l.untouched() {
		return nil, nil
	}
	found, err := look(l.file, h, nil)
	if err != nil {
		return nil, err
	}
	fresh = first(found.fresh, fresh)
	if fresh == nil && l.head != nil && l.tail.n > 0 {
		switch {
		case h == nil:
			fresh = fmt.Errorf("%w: its mark was removed", ErrLog)
		case h.N+int64(len(h.Lines)) < l.tail.n || h.N == l.tail.n && !h.at(l.tail).same(*h):
			fresh = fmt.Errorf("%w: an old copy of it and of its mark was put back", ErrLog)
		}
	}
	bare := h == nil && fresh == nil && found.end.n > 0
	if h == nil {
		h = &head{}
	}
	next := h.at(found.end)
	if fresh != nil {
		text := clip(strings.TrimPrefix(fresh.Error(), ErrLog.Error()+": "))
		if next.Broken == "" {
			next.Broken = text
		}
		next.From = found.end.n + 1
		say = append(say, Entry{Kind: KindLog, Text: text})
	} else if bare {
		say = append(say, Entry{Kind: KindMark, Text: fmt.Sprintf("nothing outside the folder vouches for the %d lines before: the folder was moved, or the marks are lost", found.end.n)})
	}
	l.tail, l.head = found.end, &next
	if fresh == nil && len(found.missing) > 0 {
		t, b := extend(l.tail, found.missing)
		if err := l.writeAt(b); err != nil {
			l.head = h
			return nil, err
		}
		l.settle(next, t, found.missing)
	}
	l.remember()
	return say, nil
}

// same reports whether two marks name the same end.
func (h head) same(o head) bool { return h.N == o.N && h.Size == o.Size && h.Hash == o.Hash }

// reopen makes sure that the file is the one in the folder.
func (l *Log) reopen() error {
	path := filepath.Join(l.dir, logName)
	if l.file != nil {
		there, err := os.Stat(path)
		ours, err2 := l.file.Stat()
		if err == nil && err2 == nil && os.SameFile(there, ours) {
			return nil
		}
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if l.file != nil {
		l.file.Close()
		l.mod = time.Time{}
	}
	l.file = f
	return nil
}

// untouched reports whether the file is as it was left: its length, its time, its last
// line.
func (l *Log) untouched() bool {
	st, err := l.file.Stat()
	if err != nil || st.Size() != l.tail.size || !st.ModTime().Equal(l.mod) {
		return false
	}
	if l.tail.n == 0 {
		return true
	}
	b := make([]byte, l.tail.size-l.last)
	if _, err := l.file.ReadAt(b, l.last); err != nil || len(b) == 0 || b[len(b)-1] != '\n' {
		return false
	}
	return sha256.Sum256(b[:len(b)-1]) == l.tail.hash
}

// remember keeps how the file is left. Without a last line that is known, the next look
// is at the whole.
func (l *Log) remember() {
	l.mod = time.Time{}
	if st, err := l.file.Stat(); err == nil && (l.last > 0 || l.tail.n < 2) {
		l.mod = st.ModTime()
	}
}

// extend returns the end of a log with more lines, and their bytes.
func extend(t tail, lines []string) (tail, []byte) {
	var b []byte
	for _, line := range lines {
		t.hash = sha256.Sum256([]byte(line))
		b = append(append(b, line...), '\n')
		t.n++
	}
	t.size += int64(len(b))
	return t, b
}

// put writes as many entries as go at once: into the mark, into the log, and then the mark
// says that they are there. n of them are on disk, whatever the error is.
func (l *Log) put(all []Entry) (n int, err error) {
	t, size := l.tail, 0
	var lines []string
	for _, e := range all {
		t.n++
		e.N, e.Prev = t.n, hex.EncodeToString(t.hash[:])
		line, err := term.JSON(e)
		if err != nil {
			return 0, err
		}
		if size += len(line); size > maxBatch && len(lines) > 0 {
			break
		}
		t.hash = sha256.Sum256(line)
		lines = append(lines, string(line))
	}
	h := *l.head
	h.Lines = lines
	if err := writeHead(l.dir, l.marks, h); err != nil {
		return 0, err
	}
	l.head = &h
	t, b := extend(l.tail, lines)
	if err := l.writeAt(b); err != nil {
		return len(lines), err
	}
	l.settle(h, t, lines)
	l.remember()
	return len(lines), nil
}

// writeAt writes at the end. What is there already is part of it, or no line.
func (l *Log) writeAt(b []byte) error {
	st, err := l.file.Stat()
	if err == nil && st.Size() > l.tail.size {
		err = l.file.Truncate(l.tail.size)
	}
	if err == nil {
		_, err = l.file.WriteAt(b, l.tail.size)
	}
	if err == nil {
		err = l.file.Sync()
	}
	return err
}

// settle has the mark say that lines are in the log. If it cannot, the next look finds
// that they are.
func (l *Log) settle(h head, t tail, lines []string) {
	l.last = t.size - int64(len(lines[len(lines)-1])) - 1
	l.tail = t
	settled := h.at(t)
	if writeHead(l.dir, l.marks, settled) == nil {
		l.head = &settled
	}
}
