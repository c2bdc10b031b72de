package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"parley/internal/term"
)

// Kinds of an [Entry] beside padstore's kinds of events.
const (
	KindStart   = "start"
	KindStop    = "stop"
	KindAllow   = "allow-all"    // the device runs without asking anybody
	KindDenied  = "denied"       // a person said no
	KindTimeout = "timeout"      // nobody said anything
	KindBusy    = "busy"         // more questions than are kept
	KindClient  = "wrong client" // a client that is not paired
	KindPage    = "wrong page"   // the page was asked without its secret, or by another site
	KindPair    = "pair"
	KindUnpair  = "unpair"
	KindCode    = "wrong code" // a pairing with a wrong secret
	KindRule    = "rule"
	KindText    = "not text" // a message that the original's RPC cannot carry
	KindLog     = "log"      // the log itself is not as it was
)

// loud kinds are flooded by whoever is on the network: what comes again within a time is
// counted, not written.
const (
	firstWindow = time.Minute
	lastWindow  = time.Hour
	maxPending  = 256
)

// always kinds are rare, and each of them counts.
var always = []string{KindStart, KindStop, KindAllow, KindPair, KindUnpair, KindRule, KindLog}

// A Log appends to the event log of a folder. Other processes may do so, too.
type Log struct {
	dir, marks string
	told       func(Entry) // each line as it is written; may be nil
	warn       func(error)

	mu      sync.Mutex
	pending []Entry
	repeats map[[3]string]*repeat
	writing bool
	idle    *sync.Cond // pending is empty and nobody writes
	timer   *time.Timer
	closed  bool

	file *os.File // the writer's
	tail tail
}

type repeat struct {
	entry  Entry
	count  int
	until  time.Time
	window time.Duration
}

// OpenLog opens or makes the log. A log that is not as it was left gets a line that says
// so. told and warn, which gets what keeps the log from being written, may be nil.
func OpenLog(dir, marks string, told func(Entry), warn func(error)) (*Log, error) {
	f, err := os.OpenFile(filepath.Join(dir, logName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if told == nil {
		told = func(Entry) {}
	}
	if warn == nil {
		warn = func(error) {}
	}
	l := &Log{dir: dir, marks: marks, told: told, warn: warn, file: f, repeats: map[[3]string]*repeat{}}
	l.idle = sync.NewCond(&l.mu)
	if err := ReadLog(dir, marks, nil); errors.Is(err, ErrLog) {
		l.Add(Entry{Kind: KindLog, Text: err.Error()})
		l.Sync()
	} else if err != nil {
		f.Close()
		return nil, err
	}
	return l, nil
}

// Add takes an entry to be written. It does not wait for that: [Log.Sync] does.
func (l *Log) Add(e Entry) {
	e.Time = time.Now().UTC().Truncate(time.Millisecond)
	e.Kind, e.Peer, e.Client, e.Text = clip(e.Kind), clip(e.Peer), clip(e.Client), clip(e.Text)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	if !slices.Contains(always, e.Kind) {
		key := [3]string{e.Kind, e.Peer, e.Client}
		if r := l.repeats[key]; r != nil {
			r.count++
			r.entry = e
			return
		}
		l.repeats[key] = &repeat{until: e.Time.Add(firstWindow), window: firstWindow}
		l.arm()
	}
	l.push(e)
}

// clip makes a text fit for a line, whoever it is from.
func clip(s string) string {
	s = term.Line(s)
	if len(s) > maxText {
		s = s[:maxText] + "…"
	}
	return s
}

func (l *Log) push(e Entry) {
	if len(l.pending) >= maxPending {
		return // the disk is full; warn has said so
	}
	l.pending = append(l.pending, e)
	if !l.writing {
		l.writing = true
		go l.write()
	}
}

// arm has the earliest window looked after when it ends.
func (l *Log) arm() {
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	var first time.Time
	for _, r := range l.repeats {
		if first.IsZero() || r.until.Before(first) {
			first = r.until
		}
	}
	if !first.IsZero() {
		l.timer = time.AfterFunc(time.Until(first), l.tick)
	}
}

func (l *Log) tick() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	now := time.Now()
	for key, r := range l.repeats {
		if r.until.After(now) {
			continue
		}
		if r.count == 0 {
			delete(l.repeats, key)
			continue
		}
		l.push(r.sum())
		r.window = min(2*r.window, lastWindow)
		r.until = now.Add(r.window)
	}
	l.arm()
}

// sum is the line about all that came in the window.
func (r *repeat) sum() Entry {
	e := r.entry
	e.Count, r.count = r.count, 0
	return e
}

// Sync waits until all that was added is on disk, or cannot be.
func (l *Log) Sync() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.writing {
		l.idle.Wait()
	}
}

// Close writes what was only counted so far.
func (l *Log) Close() error {
	l.mu.Lock()
	for _, r := range l.repeats {
		if r.count > 0 {
			l.push(r.sum())
		}
	}
	clear(l.repeats)
	l.arm()
	l.closed = true
	for l.writing {
		l.idle.Wait()
	}
	l.mu.Unlock()
	return l.file.Close()
}

func (l *Log) write() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.pending) > 0 {
		batch := l.pending
		l.pending = nil
		l.mu.Unlock()
		err := l.append(batch)
		if err != nil {
			l.warn(fmt.Errorf("the event log cannot be written: %w", err))
		}
		for _, e := range batch {
			l.told(e)
		}
		l.mu.Lock()
	}
	l.writing = false
	l.idle.Broadcast()
}

// append writes entries behind whatever is there by now, and has them on disk.
func (l *Log) append(batch []Entry) error {
	unlock, err := lock(context.Background(), l.dir)
	if err != nil {
		return err
	}
	defer unlock()
	st, err := l.file.Stat()
	if err != nil {
		return err
	}
	if st.Size() < l.tail.size {
		l.tail = tail{}
	}
	if l.tail, err = walk(l.file, l.tail, nil); err != nil {
		return err
	}
	if l.tail.size < st.Size() { // a line that a crash has torn
		if err := l.file.Truncate(l.tail.size); err != nil {
			return err
		}
	}
	var out []byte
	t := l.tail
	for _, e := range batch {
		t.n++
		e.N, e.Prev = t.n, hex.EncodeToString(t.hash[:])
		line, err := term.JSON(e)
		if err != nil {
			return err
		}
		t.hash = sha256.Sum256(line)
		out = append(append(out, line...), '\n')
	}
	if _, err := l.file.WriteAt(out, l.tail.size); err != nil {
		return err
	}
	if err := l.file.Sync(); err != nil {
		return err
	}
	t.size += int64(len(out))
	l.tail = t
	return writeHead(l.dir, l.marks, t)
}

// String is an entry for people.
func (e Entry) String() string {
	s := fmt.Sprintf("%s %s", e.Time.Local().Format("2006-01-02 15:04:05"), e.Kind)
	if e.Count > 0 {
		s += fmt.Sprintf(" (%d more)", e.Count)
	}
	if e.Peer != "" {
		s += ", peer " + term.Line(e.Peer)
	}
	if e.Client != "" {
		s += ", client " + term.Line(e.Client)
	}
	if e.Text != "" {
		s += ": " + term.Line(e.Text)
	}
	return s
}
